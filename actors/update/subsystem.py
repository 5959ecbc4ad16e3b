"""Updating the agent as a subsystem."""

from actors.subsystems.descriptor import Phase, Subsystem
from actors.update.updates import RunUpdates, Updates

SUBSYSTEM = Subsystem(
    name="update",
    actor=Updates,
    start=lambda where: RunUpdates(where.settings, where.version, where.agent, where.at("backups")),
    phase=Phase.DEVICE,
    told_state=True,
)
