"""The router as a subsystem."""

from actors.readings.router import Router, RunRouter
from actors.subsystems.descriptor import Phase, Subsystem

SUBSYSTEM = Subsystem(
    name="readings", actor=Router, start=lambda where: RunRouter(), phase=Phase.CORE, critical=True
)
