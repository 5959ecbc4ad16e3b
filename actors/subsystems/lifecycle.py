"""The states of the agent, and which follows which (spec 06 section 1)."""

from collections.abc import Mapping
from typing import Final

STARTING: Final = ("BOOT", "INIT", "READY")

MOVES: Final[Mapping[str, frozenset[str]]] = {
    "BOOT": frozenset({"INIT", "STOPPING", "ERROR"}),
    "INIT": frozenset({"READY", "STOPPING", "ERROR"}),
    "READY": frozenset({"RUNNING", "STOPPING", "ERROR"}),
    "RUNNING": frozenset({"STOPPING", "ERROR"}),
    "STOPPING": frozenset({"STOPPED", "ERROR"}),
    "STOPPED": frozenset({"INIT", "ERROR"}),
    "ERROR": frozenset({"INIT", "STOPPING"}),
}
"""A signal may come at any time: BOOT and INIT, too, can be followed by STOPPING."""
