"""The machine and the agent's memory as a subsystem."""

from actors.host.host import Host, RunHost
from actors.subsystems.descriptor import Phase, Subsystem, Surroundings


def _start(where: Surroundings) -> RunHost:
    return RunHost(
        router=where.at("readings"),
        agent=where.agent,
        agent_uuid=where.known.uuid,
        agent_name=where.known.name,
        folder=where.settings.storage.data_dir,
        interval_ms=where.runtime.intervals.agent.host_sample_interval_ms,
        memory=where.runtime.runtime.memory,
    )


SUBSYSTEM = Subsystem(
    name="host", actor=Host, start=_start, phase=Phase.FEATURES, stays=True, told_state=True
)
