"""Shutting the machine down as a subsystem."""

from actors.power.power import Power, RunPower
from actors.subsystems.descriptor import Phase, Subsystem, Surroundings


def _start(where: Surroundings) -> RunPower:
    settings = where.settings.power
    return RunPower(settings.shutdown_command, settings.shutdown_timeout_ms / 1000)


SUBSYSTEM = Subsystem(name="power", actor=Power, start=_start, phase=Phase.DEVICE)
