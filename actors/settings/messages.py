"""Messages of the settings' keeper. Requests are answered by the reply named beside them or by `Failed`."""

from typing import Any

import msgspec


class ReportSettings(msgspec.Struct, frozen=True):
    """To `settings`; replies `SettingsReported`."""


class ChangeSettings(msgspec.Struct, frozen=True):
    """To `settings`: merge a patch, as a client has sent it; replies `SettingsReported` when it is on disk
    and the root has been told: whoever asks the root for something after that finds it put into effect."""

    patch: dict[str, Any]


class SettingsReported(msgspec.Struct, frozen=True):
    """All settings in their sections, the defaults too (`conf/runtime_patch.py`)."""

    settings: dict[str, Any]
