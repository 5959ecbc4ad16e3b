"""Publishing as a subsystem."""

from actors.publish.destinations.fallbacks import fallbacks
from actors.publish.entries import Limits
from actors.publish.pace import Flow
from actors.publish.publisher import Publisher, RunPublisher
from actors.publish.starts import Terms
from actors.subsystems.descriptor import Phase, Subsystem, Surroundings
from storage.publishing import DESTINATION, SUBSCRIPTION

MILLISECONDS_AN_HOUR = 3_600_000


def _start(where: Surroundings) -> RunPublisher:
    publish = where.settings.publish
    limits = Limits(
        max_rows=publish.max_rows,
        max_bytes=publish.max_bytes,
        ttl_ms=publish.ttl_hours * MILLISECONDS_AN_HOUR,
        memory_bytes=publish.memory_bytes,
        hold=publish.commit_interval_ms / 2000,
        strict=publish.durability == "strict",
        disk_percent=publish.max_disk_percent,
    )
    return RunPublisher(
        Terms(
            store=where.at("store"),
            router=where.at("readings"),
            agent_uuid=where.known.uuid,
            limits=limits,
            flow=Flow(publish.window, publish.replay_per_second, publish.attempts_per_minute),
            compression=publish.compression,
            fallbacks=fallbacks(where.settings),
            publishing=where.runtime.features.enable_device_publish,
        )
    )


SUBSYSTEM = Subsystem(
    name="publisher",
    actor=Publisher,
    start=_start,
    phase=Phase.INFRASTRUCTURE,
    critical=True,
    kinds=(DESTINATION, SUBSCRIPTION),
)
