"""Setting a variable, and what an agent says to it."""

from typing import Any, Final

from actors.connections.connection import Transient
from actors.system.failure import Refusal

from . import oids, pdus, quality, values
from .client import Client, CommunityClient
from .connection import Connection
from .kinds import (
    COUNTER32,
    COUNTER64,
    GAUGE,
    INTEGER,
    IP_ADDRESS,
    OCTETS,
    OID,
    TIME_TICKS,
    UNSIGNED,
    WHOLE,
)
from .pdus import Value
from .reading import read_one, understood
from .values import Unfit
from .writable import Writing, encode

_KINDS: Final = {
    INTEGER: "integer",
    OCTETS: "string",
    OID: "oid",
    IP_ADDRESS: "ipaddress",
    COUNTER32: "counter32",
    GAUGE: "gauge",
    UNSIGNED: "gauge",
    TIME_TICKS: "timeticks",
    COUNTER64: "counter64",
}
"""What is written to a variable of that type."""
_READ_ONLY: Final = frozenset({"READ_ONLY", "NOT_WRITABLE", "NO_ACCESS"})


async def write(client: Client, connection: Connection, prepared: Writing) -> Any:
    """Returns the value as the client wants it. It is sent once: a device that has done it and whose answer
    was lost would do it twice. Raises as `Session.write` does."""
    kind = prepared.kind or await _kind_of(client, prepared)
    _, field = encode(kind, prepared.raw, prepared.point)
    request = pdus.request(pdus.SET, [prepared.oid], [field])
    try:
        if isinstance(client, CommunityClient) and connection.write_community is not None:
            reply = await client.ask_as(connection.write_community, request, attempts=1)
        else:
            reply = await client.ask(request, attempts=1)
        if reply.status:
            raise _refused(quality.status(reply.status))
        if pdus.values(reply, request.asked) is None:
            raise Transient("the answer is not about what was written", code=quality.WRONG_OID)
    except ValueError as error:
        raise understood(error) from error
    return prepared.value


async def _kind_of(client: Client, prepared: Writing) -> str:
    """Of the variable as the agent has it."""
    try:
        answer = await read_one(client, prepared.oid)
    except ValueError as error:
        raise understood(error) from error
    place = oids.shown(prepared.oid)
    if isinstance(answer, str):
        raise Refusal(f"Register not found: {place} ({answer}); give its dataType", "register", "not_found")
    kind = _KINDS.get(answer.tag)
    if kind is None:
        raise Refusal(f"{place} is of a type that cannot be written", "register")
    return kind


def _refused(code: str) -> Exception:
    message = f"the device refused the write: {code}"
    if code in _READ_ONLY:
        return Refusal(message, "register", "read_only")
    if code in quality.OF_THE_VALUE:
        return Refusal(message, "value")
    if code in quality.OF_THE_PLACE:
        return Refusal(message, "register")
    return Refusal(message, "register", "conflict")


def compare(prepared: Writing, answer: Value) -> tuple[Any, bool]:
    """The value that the device has, as the data point shows it, and whether it is what was written."""
    point = prepared.point
    try:
        shown = values.plain(*answer) if point is None else values.shape_of(point)(*answer)
        kind = prepared.kind or _KINDS.get(answer.tag)
        tag, field = encode(kind or "", prepared.raw, point)
    except (Unfit, KeyError) as error:
        raise Refusal(f"the device does not let it be read: {error}", "verify", "conflict") from error
    written = field[2 if field[1] < 0x80 else 2 + (field[1] & 0x7F) :]
    if tag in WHOLE and answer.tag in WHOLE:
        return shown, values.whole(*answer) == values.whole(tag, written)
    return shown, answer.raw == written
