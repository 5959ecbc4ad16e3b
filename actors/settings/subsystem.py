"""The settings as a subsystem."""

from actors.settings.settings import KIND, RunSettings, SettingsKeeper
from actors.subsystems.descriptor import Phase, Subsystem, Surroundings


def _start(where: Surroundings) -> RunSettings:
    discovery = where.settings.discovery
    otherwise = {
        "intervals.discovery.fullIntervalMs": discovery.full_interval_ms,
        "intervals.discovery.lightIntervalMs": discovery.light_interval_ms,
    }
    return RunSettings(where.at("store"), where.settings.agent.log_level, otherwise)


SUBSYSTEM = Subsystem(
    name="settings",
    actor=SettingsKeeper,
    start=_start,
    phase=Phase.DEVICE,
    kinds=(KIND,),
)
