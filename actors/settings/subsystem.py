"""The settings as a subsystem."""

from actors.settings.settings import KIND, RunSettings, SettingsKeeper
from actors.subsystems.descriptor import Phase, Subsystem

SUBSYSTEM = Subsystem(
    name="settings",
    actor=SettingsKeeper,
    start=lambda where: RunSettings(where.at("store"), where.settings.agent.log_level),
    phase=Phase.DEVICE,
    kinds=(KIND,),
)
