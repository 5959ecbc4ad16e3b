"""The store as a subsystem."""

from actors.state.store import RunStore, Store
from actors.subsystems.descriptor import Phase, Subsystem, Surroundings


def _start(where: Surroundings) -> RunStore:
    settings = where.settings
    return RunStore(
        path=settings.database_path,
        data_dir=settings.storage.data_dir,
        busy_timeout_ms=settings.storage.busy_timeout_ms,
        uuid=settings.agent.uuid,
        name=settings.agent.name,
        type=settings.agent.type,
    )


SUBSYSTEM = Subsystem(
    name="store",
    actor=Store,
    start=_start,
    phase=Phase.CORE,
    critical=True,
    stays=True,
    reported_as="database",
)
