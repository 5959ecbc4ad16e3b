"""Whether this installation can exchange itself, and how."""

import sys
from pathlib import Path
from typing import Final

import msgspec

from actors.update.layout import Layout
from actors.update.updater import PACKAGE, NotUpdatable, Updater
from conf.settings import Settings

_CONTAINERS: Final = (Path("/.dockerenv"), Path("/run/.containerenv"))


def find_updater(settings: Settings) -> Updater | NotUpdatable:
    environment = Path(sys.prefix)
    layout = Layout.around(environment)
    if layout is None:
        return NotUpdatable(_otherwise(environment))
    launcher = settings.update.launcher
    if launcher is None or launcher.resolve() != layout.launcher.resolve():  # links may lead there
        return NotUpdatable(f"It was not started by {layout.launcher}, which goes back from a bad update")
    from actors.update.venv_updater import VenvUpdater  # of no use to most

    return VenvUpdater(layout, environment.name, settings)


def _otherwise(environment: Path) -> str:
    source = _editable_source()
    if source is not None:
        return f"It is installed in editable mode: update the source tree {source}"
    if any(file.exists() for file in _CONTAINERS):
        return "It runs in a container: start one of a newer image"
    if sys.prefix == sys.base_prefix:
        return "It belongs to the system's Python: update it with the system's package manager"
    return f"{environment} is no version beside others: docs/updating.rst says how to install it so"


def _editable_source() -> str | None:
    """Metadata may lie in the source tree, too, and that says nothing of how it is installed."""
    from importlib.metadata import distributions

    for found in distributions(name=PACKAGE):
        text = found.read_text("direct_url.json")
        try:
            said = msgspec.json.decode(text) if text else {}
        except ValueError:
            continue
        if said.get("dir_info", {}).get("editable", False):
            return str(said.get("url"))
    return None
