"""What a device has to read: its objects, with names, units, states, and which can be written."""

import asyncio
from collections.abc import Iterator
from typing import Any, Final

import msgspec

from actors.connections.connection import NoConnection, Transient
from actors.endpoints.protocol import Browsed, BrowsedNode, BrowseRequest
from actors.system.failure import Refusal
from conf.texts import without_controls

from . import kinds, quality, tags, units
from .asking import Asking, Refused
from .codec import Value, key_of
from .describing import state_texts
from .points import Ref, parse_object
from .reader import LONGEST, Reader

MOST_OBJECTS: Final = 20_000
_AT_A_TIME: Final = 1000

Place = tuple[int, int]


async def object_list(asking: Asking, instance: int) -> list[Place]:
    """Types and instances, by index where there are more than fit into an answer. Raises `Refusal`,
    `NoConnection`."""
    try:
        found = await asking.read(kinds.DEVICE, instance, kinds.OBJECT_LIST)
    except Refused as refused:
        if refused.kind == "error":
            raise refused.refusal("to list its objects") from None
        return [place async for place in _by_index(asking, instance)]
    except NoConnection as error:
        if error.code != quality.TIMEOUT:
            raise
        # There are devices that are silent about what is too much for them.
        return [place async for place in _by_index(asking, instance)]
    return [place for place in _listed(found) if _is_object(place)]


def _is_object(place: Any) -> bool:
    """Some devices fill what they do not use of the list with the instance that nobody has."""
    return isinstance(place, tuple) and place[1] != kinds.ANY_INSTANCE


def _listed(found: Any) -> list[Any]:
    return found if isinstance(found, list) else [found]


async def _by_index(asking: Asking, instance: int) -> Any:
    try:
        count = await asking.read(kinds.DEVICE, instance, kinds.OBJECT_LIST, 0)
    except Refused as refused:
        raise refused.refusal("to list its objects") from None
    if not isinstance(count, int):
        raise Transient("the device does not say how many objects it has", code=quality.READ_ERROR)
    port, station = asking.port, asking.station
    reader = Reader(port, station, port.capability(station), asking.connection)
    last = min(count, MOST_OBJECTS)
    for start in range(1, last + 1, _AT_A_TIME):
        indices = range(start, min(start + _AT_A_TIME, last + 1))
        refs = [Ref(kinds.DEVICE, instance, kinds.OBJECT_LIST, index) for index in indices]
        found = await reader.read([(ref,) for ref in refs], LONGEST)
        for ref in refs:
            content = found.get(key_of(ref))
            if content is None:
                raise Transient("the device did not list all of its objects in time", code=quality.TIMEOUT)
            if isinstance(content, Value) and content.tag == tags.OBJECT:
                place = content.value >> 22, content.value & kinds.ANY_INSTANCE
                if _is_object(place):
                    yield place


async def browse(asking: Asking, instance: int, request: BrowseRequest) -> Browsed:
    """The device above its objects; `node` is an object as data points spell it, None: all of them."""
    places = await object_list(asking, instance)
    device = f"device:{instance}"
    if request.node not in (None, device):
        places = _wanted(request.node or "", places)
    limit = max(1, request.limit)
    shown = [place for place in places if place[0] != kinds.DEVICE][request.skip :]
    root = BrowsedNode(
        device, await name_of(asking, kinds.DEVICE, instance) or device, "device", None, bool(shown)
    )
    nodes = [] if request.node not in (None, device) else [root]
    for start in range(0, len(shown), asking.connection.concurrent):
        part = shown[start : start + asking.connection.concurrent]
        part = part[: limit - len(nodes)]
        nodes += await asyncio.gather(*(_described(asking, place, device) for place in part))
        if len(nodes) >= limit:
            break
    whole = len(nodes) == len(shown) + (request.node in (None, device))
    return Browsed(_unlike(nodes), whole)


def _wanted(node: str, places: list[Place]) -> list[Place]:
    try:
        ref = parse_object(node)
    except ValueError as error:
        raise Refusal(f"node: {error}", "node") from error
    found = [place for place in places if place == (ref.type, ref.instance)]
    if not found:
        raise Refusal(f"the device has no {node}", "node", "not_found")
    return found


async def _described(asking: Asking, place: Place, device: str) -> BrowsedNode:
    kind, instance = place
    address = f"{kinds.type_name(kind)}:{instance}"
    name = await name_of(asking, kind, instance) or address
    if kind not in kinds.READABLE:
        return BrowsedNode(address, name, kinds.type_name(kind), device)
    point = await data_point(asking, place, name)
    return BrowsedNode(
        address,
        name,
        kinds.type_name(kind),
        device,
        data_type=_data_type(kind),
        unit=point.get("unit"),
        writable=bool(point.get("writable")),
        data_point=point,
    )


async def data_point(asking: Asking, place: Place, name: str) -> dict[str, Any]:
    """As clients may send it."""
    kind, instance = place
    point: dict[str, Any] = {"name": name, "object": f"{kinds.type_name(kind)}:{instance}"}
    code = await value_or_none(asking, kind, instance, kinds.UNITS) if kind in kinds.WITH_UNITS else None
    if isinstance(code, int) and (unit := units.symbol(code)) is not None:
        point["unit"] = unit
    if (
        kind in kinds.COMMANDABLE
        and await value_or_none(asking, kind, instance, kinds.PRIORITY_ARRAY) is not None
    ):
        point["writable"] = True
    if kind in kinds.MULTISTATE | kinds.BINARY and await state_texts(asking, kind, instance):
        point["stateText"] = True
    return point


async def name_of(asking: Asking, kind: int, instance: int) -> str | None:
    found = await value_or_none(asking, kind, instance, kinds.OBJECT_NAME)
    return without_controls(found.strip()[:200]) or None if isinstance(found, str) else None


async def value_or_none(asking: Asking, kind: int, instance: int, prop: int) -> Any:
    """None for what it refuses, or answers so that nobody understands it."""
    try:
        return await asking.read(kind, instance, prop)
    except Refused:
        return None
    except Transient as error:
        if error.code != quality.READ_ERROR:
            raise
        return None


def _data_type(kind: int) -> str:
    if kind in kinds.BINARY:
        return "enumerated"
    if kind in kinds.MULTISTATE or kind in (23, 48):
        return "unsigned"
    return {40: "string", 45: "integer", 46: "double"}.get(kind, "real")


def _unlike(nodes: list[BrowsedNode]) -> list[BrowsedNode]:
    """Data points of a device have names of their own; its objects should, and do not always."""
    seen: set[str] = set()
    return list(_renamed(nodes, seen))


def _renamed(nodes: list[BrowsedNode], seen: set[str]) -> Iterator[BrowsedNode]:
    for node in nodes:
        point = node.data_point
        if point is not None:
            if point["name"] in seen:
                point = {**point, "name": f"{point['name']} ({node.node})"}
                node = msgspec.structs.replace(node, data_point=point)
            seen.add(point["name"])
        yield node
