"""The subsystems there are, in the order of their phases; each is a folder with a `subsystem.py`."""

from importlib import import_module

from actors.subsystems.descriptor import Subsystem

_NAMES = (
    *("state", "readings"),
    "logs",
    *("settings", "accounts", "power", "backups", "update"),
    *("publish", "outputs"),
    *("host", "endpoints", "discovery"),
)


def subsystems() -> tuple[Subsystem, ...]:
    """Every descriptor."""
    return tuple(import_module(f"actors.{name}.subsystem").SUBSYSTEM for name in _NAMES)
