"""The log as a subsystem."""

from actors.logs.logs import Logs, RunLogs
from actors.subsystems.descriptor import Phase, Subsystem, Surroundings


def _start(where: Surroundings) -> RunLogs:
    storage = where.settings.storage
    return RunLogs(where.runtime.logging, storage.log_dir or storage.data_dir / "logs")


SUBSYSTEM = Subsystem(name="logs", actor=Logs, start=_start, phase=Phase.LOGGING, stays=True)
