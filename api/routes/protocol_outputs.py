"""Protocol outputs and schema drift (spec 01 section 10)."""

import asyncio
from typing import Annotated, Any, ClassVar

import msgspec
from msgspec import UNSET, Meta, UnsetType
from thespian.actors import ActorAddress

from actors.outputs.messages import (
    BaselineRow,
    BaselinesListed,
    BaselinesRemoved,
    ChangeDriftOptions,
    DriftEventsListed,
    ListBaselines,
    ListDriftEvents,
    ListOutputs,
    OutputRow,
    OutputsChanged,
    OutputsListed,
    RemoveBaselines,
)
from api.errors import not_found
from api.routing import Call, route
from storage.drift import StoredDriftEvent


class OutputList(msgspec.Struct, frozen=True):
    outputs: list[OutputRow]


class OutputReply(OutputRow, frozen=True, kw_only=True):
    """The object flat, as the reference has it, and wrapped, as clients read it."""

    output: OutputRow


class DriftPatch(msgspec.Struct, frozen=True):
    """Merged into the options of before; null clears them."""

    drift_options: dict[str, Any] | None

    EXAMPLE: ClassVar[dict[str, Any]] = {
        "drift_options": {"enabled": True, "windowMs": 600_000, "maxFieldCount": 500}
    }


class EventQuery(msgspec.Struct, frozen=True):
    protocol: str | UnsetType = UNSET
    limit: Annotated[int, Meta(ge=1, le=1000)] = 100


class EventList(msgspec.Struct, frozen=True):
    events: list[StoredDriftEvent]


class BaselineQuery(msgspec.Struct, frozen=True):
    protocol: str | UnsetType = UNSET


class BaselineList(msgspec.Struct, frozen=True):
    baselines: list[BaselineRow]


class RemovalQuery(msgspec.Struct, frozen=True):
    """`device` is a name or a uuid."""

    device: str | UnsetType = UNSET


class Removal(msgspec.Struct, frozen=True):
    removed: int
    deleted: bool = True


@route("GET", "/v1/protocol-outputs", reply=OutputList, summary="How each protocol's readings are put out")
async def list_outputs(call: Call) -> OutputList:
    listed = await call.context.request("outputs", ListOutputs(), OutputsListed)
    return OutputList(listed.outputs)


@route(
    "PATCH",
    "/v1/protocol-outputs/{protocol}/drift",
    reply=OutputReply,
    body=DriftPatch,
    errors=(404,),
    summary="Change a protocol's drift options",
)
async def change_drift_options(call: Call, body: DriftPatch) -> OutputReply:
    message = ChangeDriftOptions(call.text("protocol"), body.drift_options)
    changed = await call.context.request("outputs", message, OutputsChanged)
    (row,) = changed.outputs
    return OutputReply(**msgspec.structs.asdict(row), output=row)


@route(
    "PATCH",
    "/v1/protocol-outputs/drift",
    reply=OutputList,
    body=DriftPatch,
    summary="Change the drift options of all protocols",
)
async def change_all_drift_options(call: Call, body: DriftPatch) -> OutputList:
    message = ChangeDriftOptions(None, body.drift_options)
    changed = await call.context.request("outputs", message, OutputsChanged)
    return OutputList(changed.outputs)


@route(
    "GET",
    "/v1/protocol-outputs/drift/events",
    reply=EventList,
    query=EventQuery,
    summary="Changes of devices' fields, the latest first",
)
async def list_drift_events(call: Call, query: EventQuery) -> EventList:
    message = ListDriftEvents(None if query.protocol is UNSET else query.protocol, query.limit)
    listed = await call.context.request("outputs", message, DriftEventsListed)
    return EventList(listed.events)


@route(
    "GET",
    "/v1/protocol-outputs/drift/baselines",
    reply=BaselineList,
    query=BaselineQuery,
    summary="What the fields of each device usually are",
)
async def list_baselines(call: Call, query: BaselineQuery) -> BaselineList:
    detectors = await _detectors(call)
    wanted = [address for protocol, address in detectors.items() if query.protocol in (UNSET, protocol)]
    answers = await asyncio.gather(
        *(call.context.peek(address, ListBaselines(), BaselinesListed) for address in wanted)
    )
    return BaselineList([row for answer in answers if answer for row in answer.baselines])


@route(
    "DELETE",
    "/v1/protocol-outputs/drift/baselines/{protocol}",
    reply=Removal,
    query=RemovalQuery,
    errors=(404,),
    summary="Learn anew what the fields of a protocol's devices usually are",
)
async def remove_baselines(call: Call, query: RemovalQuery) -> Removal:
    protocol = call.text("protocol")
    detectors = await _detectors(call)
    if protocol not in detectors:
        raise not_found(f"Protocol output not found: {protocol}")
    message = RemoveBaselines(None if query.device is UNSET else query.device)
    removed = await call.context.request(detectors[protocol], message, BaselinesRemoved)
    return Removal(removed.removed)


async def _detectors(call: Call) -> dict[str, ActorAddress]:
    listed = await call.context.request("outputs", ListOutputs(), OutputsListed)
    return listed.detectors
