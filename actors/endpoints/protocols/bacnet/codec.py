"""Requests to read, and what answers them, as bytes (ASHRAE 135, clauses 13, 15, 20).

Scalars only; what is more than one value is told as such, and is bacpypes3's to decode. Whatever comes in,
nothing is raised but `Malformed`.
"""

from collections.abc import Iterator, Sequence
from typing import Any, Final, NamedTuple

from .kinds import ANY_INSTANCE, DEVICE
from .points import Ref
from .tags import (
    BITS,
    Elsewhere,
    Malformed,
    closing,
    context_object,
    context_unsigned,
    opening,
    read_context_unsigned,
    read_value,
    skip,
)

READ_PROPERTY: Final = 12
READ_MULTIPLE: Final = 14
_ENUMERATED_ONLY: Final = 9

_SIMPLE_ACK, _COMPLEX_ACK, _ERROR, _REJECT, _ABORT = 2, 3, 5, 6, 7
_SEGMENTED: Final = 0x08


class Value(NamedTuple):
    """A scalar; `tag` is its application tag's number."""

    tag: int
    value: Any


class Several(NamedTuple):
    """No scalar: none, several, or something constructed; the octets between the tags."""

    octets: bytes


class Refused(NamedTuple):
    """An error (clause 18)."""

    error_class: int
    code: int


class Rejected(NamedTuple):
    reason: int


class Aborted(NamedTuple):
    reason: int


class Segmented(NamedTuple):
    """The reply comes in several parts."""


class Garbled(NamedTuple):
    """What came makes no sense."""


Failure = Refused | Rejected | Aborted | Segmented
Content = Value | Several | Failure | Garbled
Key = tuple[int, int, int | None]
"""An object as on the wire (type and instance), a property, an index."""
Found = dict[Key, Content]


def key_of(ref: Ref) -> Key:
    return ref.type << 22 | ref.instance, ref.property_id, ref.index


def read_one(ref: Ref) -> bytes:
    """A ReadProperty request, from its service's number on."""
    return bytes((READ_PROPERTY,)) + context_object(0, ref.type, ref.instance) + _property(1, ref)


def read_several(refs: Sequence[Ref]) -> bytes:
    """A ReadPropertyMultiple request, from its service's number on; properties of an object that follow
    each other share it."""
    parts = [bytes((READ_MULTIPLE,))]
    latest = None
    for ref in refs:
        place = ref.type, ref.instance
        if place != latest:
            if latest is not None:
                parts.append(closing(1))
            parts += context_object(0, *place), opening(1)
            latest = place
        parts.append(_property(0, ref))
    parts.append(closing(1))
    return b"".join(parts)


def _property(number: int, ref: Ref) -> bytes:
    head = context_unsigned(number, ref.property_id)
    return head if ref.index is None else head + context_unsigned(number + 1, ref.index)


def refusal(apdu: bytes, service: int) -> Failure | None:
    """Why the APDU is no answer to that service; None: it is one. Raises `Malformed`."""
    try:
        kind = apdu[0] >> 4
        if kind == _COMPLEX_ACK:
            if apdu[0] & _SEGMENTED:
                return Segmented()
            if apdu[2] != service:
                raise Malformed("the answer to another service")
            return None
        if kind == _ERROR:
            if apdu[2] != service:
                raise Malformed("the error of another service")
            found, end = _error(apdu, 3)
            if end != len(apdu):
                raise Malformed("more than an error")
            return found
        if kind in (_REJECT, _ABORT) and len(apdu) == 3:
            return Rejected(apdu[2]) if kind == _REJECT else Aborted(apdu[2])
    except IndexError:
        raise Malformed("cut off") from None
    raise Malformed("no answer")


def _error(data: bytes, at: int) -> tuple[Refused, int]:
    numbers = []
    for _ in range(2):
        tag, value, at = read_value(data, at)
        if tag != _ENUMERATED_ONLY:
            raise Malformed("an error is two enumerated values")
        numbers.append(value)
    return Refused(*numbers), at


def answer_to_one(apdu: bytes, ref: Ref) -> Content:
    """What a ReadProperty answer says, which `refusal` has let through. Raises `Malformed`, also when it is
    about something else."""
    try:
        number, at = _object_at(apdu, 3)
        found, index, at = _property_at(apdu, at, 1)
        if not _is_meant((number, found, index), key_of(ref)):
            raise Elsewhere("the answer is about something else")
        content, at = _between(apdu, at, 3)
    except IndexError:
        raise Malformed("cut off") from None
    if at != len(apdu):
        raise Malformed("more than was asked for")
    return content


def _is_meant(spoken: Key, asked: Key) -> bool:
    """Whoever is asked as any device says which it is."""
    return spoken == asked or (asked[0] == _ANY_DEVICE and _of_any_device(spoken) == asked)


def _of_any_device(spoken: Key) -> Key:
    return (_ANY_DEVICE, *spoken[1:]) if spoken[0] >> 22 == DEVICE else spoken


def answer_to_several(apdu: bytes) -> Found:
    """What a ReadPropertyMultiple answer says, which `refusal` has let through. What it says twice is what it
    said first. Raises `Malformed`."""
    found: Found = {}
    at, end = 3, len(apdu)
    try:
        while at < end:
            number, at = _object_at(apdu, at)
            if apdu[at] != _OPENS_1:
                raise Malformed("a list of results expected")
            at += 1
            while apdu[at] != _CLOSES_1:
                prop, index, at = _property_at(apdu, at, 2)
                content, at = _result(apdu, at)
                found.setdefault((number, prop, index), content)
            at += 1
    except IndexError:
        raise Malformed("cut off") from None
    return found


_OPENS_1: Final = 0x1E
_CLOSES_1: Final = 0x1F
_OPENS_4: Final = 0x4E
_OPENS_5: Final = 0x5E
_CLOSES_5: Final = 0x5F


def _result(data: bytes, at: int) -> tuple[Content, int]:
    if data[at] == _OPENS_5:
        error, at = _error(data, at + 1)
        if data[at] != _CLOSES_5:
            raise Malformed("an error is two values")
        return error, at + 1
    if data[at] != _OPENS_4:
        raise Malformed("a value or an error expected")
    return _between(data, at, 4)


def _object_at(data: bytes, at: int) -> tuple[int, int]:
    if data[at] != 0x0C or at + 5 > len(data):
        raise Malformed("an object identifier expected")
    return int.from_bytes(data[at + 1 : at + 5], "big"), at + 5


def _property_at(data: bytes, at: int, number: int) -> tuple[int, int | None, int]:
    prop, at = read_context_unsigned(data, at, number)
    if data[at] >> 3 != (number + 1) << 1 | 1 or not 1 <= data[at] & 7 <= 4:
        return prop, None, at
    index, at = read_context_unsigned(data, at, number + 1)
    return prop, index, at


def _between(data: bytes, at: int, number: int) -> tuple[Value | Several, int]:
    """What is between the opening and the closing tag of that number, and where that ends."""
    if data[at] != number << 4 | 0x0E:
        raise Malformed("an opening tag expected")
    at += 1
    closes = number << 4 | 0x0F
    if not data[at] & 0x08:
        try:
            tag, value, after = read_value(data, at)
            if data[after] == closes:
                return Value(tag, value), after + 1
        except Malformed:
            pass  # if it ends where it says it costs the others nothing
    end = skip(data, at, number)
    return Several(data[at:end]), end + 1


def contents(octets: bytes) -> Content:
    """Of the octets of one property."""
    try:
        tag, value, end = read_value(octets, 0)
    except (Malformed, IndexError):
        return Several(octets)
    return Value(tag, value) if end == len(octets) else Several(octets)


class Notification(NamedTuple):
    """Of a change of value; `values` by property and index."""

    process: int
    device: int
    object_type: int
    instance: int
    remaining: int
    """seconds for which the subscription goes on; 0: until it is cancelled"""
    values: dict[tuple[int, int | None], Value | Several]


def notification(body: bytes) -> Notification:
    """A COV notification, confirmed or not, from its process identifier on (clause 13.14). Raises
    `Malformed`."""
    try:
        process, at = read_context_unsigned(body, 0, 0)
        device, at = _identifier(body, at, 1)
        number, at = _identifier(body, at, 2)
        remaining, at = read_context_unsigned(body, at, 3)
        if body[at] != _OPENS_4:
            raise Malformed("a list of values expected")
        values: dict[tuple[int, int | None], Value | Several] = {}
        at += 1
        while body[at] != _CLOSES_4:
            prop, index, at = _property_at(body, at, 0)
            content, at = _between(body, at, 2)
            values.setdefault((prop, index), content)
            if body[at] >> 3 == _PRIORITY:
                _, at = read_context_unsigned(body, at, 3)
    except IndexError:
        raise Malformed("cut off") from None
    if at + 1 != len(body):
        raise Malformed("more than a notification")
    return Notification(process, device & _INSTANCE, number >> 22, number & _INSTANCE, remaining, values)


_ANY_DEVICE: Final = DEVICE << 22 | ANY_INSTANCE
_CLOSES_4: Final = 0x4F
_INSTANCE: Final = 0x3F_FFFF
_PRIORITY: Final = 3 << 1 | 1


def _identifier(data: bytes, at: int, number: int) -> tuple[int, int]:
    if data[at] != number << 4 | 0x0C or at + 5 > len(data):
        raise Malformed("an object identifier expected")
    return int.from_bytes(data[at + 1 : at + 5], "big"), at + 5


class Batch:
    """A ReadPropertyMultiple request, and how its answer is read: devices that answer just what was asked
    for, in that order, are read by comparing bytes."""

    def __init__(self, refs: Sequence[Ref]) -> None:
        self.refs = tuple(refs)
        self.request = read_several(self.refs)
        self.keys = [key_of(ref) for ref in self.refs]
        self._any_device = any(key[0] == _ANY_DEVICE for key in self.keys)
        self._heads = list(_heads(self.refs))

    def answer(self, apdu: bytes) -> list[Content | None]:
        """In the order of `refs`; None for what the answer does not speak of. `refusal` has let it through.
        Raises `Malformed`."""
        found = self._plain(apdu)
        if found is not None:
            return found
        spoken = answer_to_several(apdu)
        if self._any_device:
            spoken |= {_of_any_device(key): content for key, content in spoken.items()}
        if spoken and spoken.keys().isdisjoint(self.keys):
            raise Elsewhere("the answer is about something else")
        return [spoken.get(key) for key in self.keys]

    def _plain(self, apdu: bytes) -> list[Content | None] | None:
        found: list[Content | None] = []
        at = 3
        try:
            for head in self._heads:
                if not apdu.startswith(head, at):
                    return None
                at += len(head)
                tag, value, at = read_value(apdu, at)
                found.append(Value(tag, value))
        except (Malformed, IndexError):
            return None
        return found if apdu[at:] == b"\x4f\x1f" else None


def _heads(refs: Sequence[Ref]) -> Iterator[bytes]:
    """What stands before each value, from the end of the one before it on."""
    latest = None
    for ref in refs:
        place = ref.type, ref.instance
        head = b"" if latest is None else b"\x4f"
        if place != latest:
            if latest is not None:
                head += bytes((_CLOSES_1,))
            head += context_object(0, *place) + bytes((_OPENS_1,))
            latest = place
        yield head + _property(2, ref) + bytes((_OPENS_4,))


def flags_of(content: Content | None) -> int | None:
    """Status flags as four bits, the first the highest; None where they are none."""
    if not isinstance(content, Value) or content.tag != BITS or len(content.value) != 4:
        return None
    first, second, third, fourth = content.value
    return int(first << 3 | second << 2 | third << 1 | fourth)
