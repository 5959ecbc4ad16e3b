"""Writing one property, and who has the last word on a commanded one."""

from math import isclose
from typing import Any, Final, NamedTuple

from actors.system.failure import Refusal

from . import kinds
from .asking import Asking, Refused, encoded
from .describing import state_texts
from .points import Ref
from .writable import Writing

_NUMBER_OF_STATES: Final = 74
_RELINQUISH_DEFAULT: Final = 104
_DEFAULT_PRIORITY: Final = 16


class ReadBack(NamedTuple):
    """`note` is why the device has another value, if that is so and is known."""

    value: Any
    same: bool
    note: str | None


async def write(asking: Asking, prepared: Writing) -> Any:
    """The value as written. Raises `Refusal` with what the device says, `NoConnection`."""
    ref = prepared.ref
    value = await _number(asking, prepared) if prepared.text is not None else prepared.value
    await _check_states(asking, ref, value)
    try:
        kind = None if prepared.releases else prepared.kind
        await asking.write(
            ref.type, ref.instance, ref.property_id, ref.index, encoded(kind, value), prepared.priority
        )
    except Refused as refused:
        what = f"to release {ref}" if prepared.releases else f"to write {ref}"
        if prepared.priority is not None:
            what += f" at priority {prepared.priority}"
        raise refused.refusal(what) from None
    return prepared.text if prepared.text is not None else value


async def _number(asking: Asking, prepared: Writing) -> int:
    """Of a state that was given by its text."""
    ref = prepared.ref
    states = await state_texts(asking, ref.type, ref.instance)
    assert prepared.text is not None
    wanted = prepared.text.strip()
    first = int(ref.type in kinds.MULTISTATE)
    for number, text in enumerate(states, first):
        if text.strip().lower() == wanted.lower():
            return number
    if wanted.isascii() and wanted.isdecimal() and len(wanted) < 10:
        return int(wanted)
    raise Refusal(f"value must be one of {', '.join(states) or 'its numbers'}", "value")


async def _check_states(asking: Asking, ref: Ref, value: Any) -> None:
    """Devices take states that they do not have for granted, or for an error without a name."""
    if ref.type not in kinds.MULTISTATE or ref.property_id != kinds.PRESENT_VALUE:
        return
    if not isinstance(value, int | float):
        return
    try:
        count = await asking.read(ref.type, ref.instance, _NUMBER_OF_STATES)
    except Refused:
        return
    if isinstance(count, int) and not 1 <= value <= count:
        raise Refusal(f"value must be from 1 to {count}", "value")


async def read_back(asking: Asking, prepared: Writing) -> ReadBack:
    """What the object has now. Raises `Refusal`, `NoConnection`."""
    ref = prepared.ref
    try:
        found = await asking.read(ref.type, ref.instance, ref.property_id, ref.index)
    except Refused as refused:
        raise refused.refusal(f"to read {ref}") from None
    wanted = await _number(asking, prepared) if prepared.text is not None else prepared.value
    if not prepared.releases and _same(found, wanted):
        return ReadBack(found, True, None)
    if prepared.priority is None:
        return ReadBack(found, False, None)
    return await _judged(asking, prepared, found)


async def _judged(asking: Asking, prepared: Writing, found: Any) -> ReadBack:
    """By the priority array: whether it was taken back, and who commands the object now."""
    ref, priority = prepared.ref, prepared.priority
    assert priority is not None
    try:
        slots = await asking.read(ref.type, ref.instance, kinds.PRIORITY_ARRAY)
    except Refused:
        return ReadBack(found, prepared.releases, None)
    if not isinstance(slots, list) or len(slots) != _DEFAULT_PRIORITY:
        return ReadBack(found, prepared.releases, None)
    if prepared.releases:
        if slots[priority - 1] is None:
            return ReadBack(found, True, None)
        return ReadBack(found, False, f"priority {priority} still commands it")
    for number, slot in enumerate(slots[: priority - 1], 1):
        if slot is not None:
            return ReadBack(found, False, f"priority {number} keeps it at {slot}")
    return ReadBack(found, False, None)


def _same(found: Any, wanted: Any) -> bool:
    """Reals have 32 bits on the wire."""
    if isinstance(found, float) and isinstance(wanted, int | float):
        return isclose(found, wanted, rel_tol=1e-6, abs_tol=1e-30)
    return type(found) is type(wanted) and bool(found == wanted)
