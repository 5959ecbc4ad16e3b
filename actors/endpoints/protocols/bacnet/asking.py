"""One station, asked by the library for what is rare: scalars, lists and arrays of them, writes, logs.

Every acknowledgement is looked at: it is of the object and the property that were asked for.
"""

import asyncio
from typing import Any, Final

from bacpypes3.apdu import (
    AbortPDU,
    ErrorRejectAbortNack,
    ReadPropertyRequest,
    RejectPDU,
    SimpleAckPDU,
    WritePropertyRequest,
)
from bacpypes3.basetypes import PropertyIdentifier
from bacpypes3.primitivedata import (
    BitString,
    Boolean,
    CharacterString,
    Date,
    Double,
    Enumerated,
    Integer,
    Null,
    ObjectIdentifier,
    ObjectType,
    OctetString,
    Real,
    Tag,
    TagClass,
    TagList,
    Time,
    Unsigned,
)

from actors.connections.connection import NoConnection, Transient
from actors.system.failure import Refusal, described

from . import kinds, quality
from .connection import Connection
from .points import WriteType
from .port import Port
from .station import Station

_TYPES: Final[dict[int, Any]] = {
    0: Null,
    1: Boolean,
    2: Unsigned,
    3: Integer,
    4: Real,
    5: Double,
    6: OctetString,
    7: CharacterString,
    8: BitString,
    9: Enumerated,
    10: Date,
    11: Time,
    12: ObjectIdentifier,
}
WRITTEN: Final[dict[WriteType, Any]] = {
    "boolean": Boolean,
    "unsigned": Unsigned,
    "integer": Integer,
    "real": Real,
    "double": Double,
    "enumerated": Enumerated,
    "string": CharacterString,
}


class Refused(Exception):
    """The device has answered, and did not do it. `name` is what it says: `UNKNOWN_OBJECT`,
    `UNRECOGNIZED_SERVICE`; `kind` error, reject or abort."""

    def __init__(self, kind: str, name: str) -> None:
        super().__init__(name if kind == "error" else f"{kind} {name}")
        self.kind = kind
        self.name = name

    def refusal(self, what: str, field: str = "register") -> Refusal:
        """For whoever has asked for `what`."""
        if self.name in _READ_ONLY:
            return Refusal(f"the device refuses {what}: {self}", field, "read_only")
        if self.name in _NOT_FOUND:
            return Refusal(f"the device refuses {what}: {self}", field, "not_found")
        return Refusal(f"the device refuses {what}: {self}", "value" if self.name in _OF_VALUE else field)


_READ_ONLY: Final = frozenset({"WRITE_ACCESS_DENIED"})
_NOT_FOUND: Final = frozenset({"UNKNOWN_OBJECT", "UNKNOWN_PROPERTY"})
_OF_VALUE: Final = frozenset(
    {"VALUE_OUT_OF_RANGE", "INVALID_DATA_TYPE", "INVALID_PARAMETER_DATA_TYPE", "PARAMETER_OUT_OF_RANGE"}
)


def object_id(kind: int, instance: int) -> Any:
    return ObjectIdentifier((ObjectType(kind), instance))


class Asking:
    """How it is asked is the connection's to say: time-outs, and how often again."""

    def __init__(self, port: Port, station: Station, connection: Connection) -> None:
        self.port = port
        self.station = station
        self.connection = connection

    async def request(self, apdu: Any, retries: int | None = None) -> Any:
        """What acknowledges it. Raises `Refused`, and `NoConnection` (TIMEOUT) when nobody answers."""
        connection = self.connection
        attempts = 1 + (connection.retries if retries is None else retries)
        for attempt in range(attempts):
            apdu.pduDestination = self.station.library()
            apdu.apduInvokeID = None
            try:
                return await self.port.request(apdu, connection.timeout, connection.concurrent)
            except ErrorRejectAbortNack as nack:
                raise refused(nack) from None
            except NoConnection as error:
                if error.code != quality.TIMEOUT or attempt == attempts - 1:
                    raise
                await asyncio.sleep(connection.retry_delay)
        raise AssertionError

    async def read_raw(self, kind: int, instance: int, prop: int, index: int | None = None) -> Any:
        """The library's tags of a value."""
        reply = await self._read(kind, instance, prop, index, None)
        return TagList(list(reply.propertyValue.tagList[1:-1]))

    async def read(
        self, kind: int, instance: int, prop: int, index: int | None = None, retries: int | None = None
    ) -> Any:
        """One value; of a list or an array all of them, as a list. What cannot be understood raises
        `Transient` (READ_ERROR)."""
        reply = await self._read(kind, instance, prop, index, retries)
        try:
            values = values_of(reply.propertyValue)
        except Exception as error:  # of whatever kind the library's decoders raise
            text = f"the answer of {self.station} cannot be understood: {described(error)}"
            raise Transient(text, code=quality.READ_ERROR) from error
        if len(values) == 1 and (index is not None or not _is_list(prop)):
            return values[0]
        return values

    async def _read(self, kind: int, instance: int, prop: int, index: int | None, retries: int | None) -> Any:
        request = ReadPropertyRequest(
            objectIdentifier=object_id(kind, instance), propertyIdentifier=PropertyIdentifier(prop)
        )
        if index is not None:
            request.propertyArrayIndex = index
        reply = await self.request(request, retries)
        found = getattr(reply, "objectIdentifier", None), getattr(reply, "propertyIdentifier", None)
        same = found[0] == request.objectIdentifier or instance == kinds.ANY_INSTANCE
        if not same or found[1] != request.propertyIdentifier or reply.propertyArrayIndex != index:
            raise Transient(f"{self.station} answers another question", code=quality.READ_ERROR)
        return reply

    async def write(
        self, kind: int, instance: int, prop: int, index: int | None, value: Any, priority: int | None
    ) -> None:
        """`value` is one of the library's (`encoded`)."""
        request = WritePropertyRequest(
            objectIdentifier=object_id(kind, instance),
            propertyIdentifier=PropertyIdentifier(prop),
            propertyValue=value,
        )
        if index is not None:
            request.propertyArrayIndex = index
        if priority is not None:
            request.priority = priority
        reply = await self.request(request)
        if not isinstance(reply, SimpleAckPDU):
            raise Transient(f"{self.station} answers another question", code=quality.READ_ERROR)


def encoded(kind: WriteType | None, value: Any) -> Any:
    """None: nothing, which releases."""
    return Null(()) if kind is None else WRITTEN[kind](value)


def refused(nack: Any) -> Refused:
    """Of the library's error, reject or abort."""
    reason = getattr(nack, "errorCode", None)
    if reason is None and not isinstance(nack, RejectPDU | AbortPDU):
        first = getattr(nack, "errorType", None)  # of services whose errors say more
        reason = getattr(first, "errorCode", None)
    if reason is None:
        reason = getattr(nack, "apduAbortRejectReason", "other")
    kind = "reject" if isinstance(nack, RejectPDU) else "abort" if isinstance(nack, AbortPDU) else "error"
    return Refused(kind, str(reason).upper().replace("-", "_"))


def values_of(given: Any) -> list[Any]:
    """The values of an application's tags, one after the other; what is constructed is None. Dates and times
    are the library's. `given` is the library's Any, whose tags stand between those of its context."""
    tags = given.tagList[1:-1]
    found: list[Any] = []
    depth = 0
    for tag in tags:
        if tag.tag_class == TagClass.opening:
            if not depth:
                found.append(None)
            depth += 1
        elif tag.tag_class == TagClass.closing:
            depth -= 1
        elif depth:
            continue
        elif tag.tag_class == TagClass.application:
            found.append(_value_of(tag))
        else:
            found.append(None)
    return found


def _value_of(tag: Tag) -> Any:
    kind = _TYPES.get(int(tag.tag_number))
    if kind is None:
        return None
    value = kind.decode(TagList([tag]))
    match int(tag.tag_number):
        case 0:
            return None
        case 1:
            return bool(value)
        case 2 | 3 | 9:
            return int(value)
        case 4 | 5:
            return float(value)
        case 7:
            return str(value)
        case 8:
            return [bool(bit) for bit in value]
        case 12:
            return int(value[0]), int(value[1])
        case _:
            return value


_LISTS: Final = frozenset({kinds.OBJECT_LIST, kinds.STATE_TEXT, kinds.PRIORITY_ARRAY, 371, 152, 97, 96})


def _is_list(prop: int) -> bool:
    return prop in _LISTS
