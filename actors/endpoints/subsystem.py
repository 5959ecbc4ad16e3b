"""Endpoints as a subsystem."""

from actors.endpoints.adapter_keeper import RunEndpoints
from actors.endpoints.supervisor import Endpoints
from actors.subsystems.descriptor import Phase, Subsystem, Surroundings
from storage.endpoints import ENDPOINT


def _start(where: Surroundings) -> RunEndpoints:
    settings = where.settings.endpoints
    return RunEndpoints(
        store=where.at("store"),
        router=where.at("readings"),
        reconnect_min_ms=settings.reconnect_min_ms,
        reconnect_max_ms=settings.reconnect_max_ms,
        settings=where.settings,
        agent_uuid=where.known.uuid,
        data_dir=str(where.settings.storage.data_dir.absolute()),
    )


SUBSYSTEM = Subsystem(
    name="endpoints",
    actor=Endpoints,
    start=_start,
    phase=Phase.FEATURES,
    critical=True,
    kinds=(ENDPOINT,),
)
