"""Fields that a database does not take in the type that they have here, and so are left out. Plain.

They are remembered, so that every poll does not cost a request that is refused. Now and then one value is
tried again: once the field is mended there, it comes back.
"""

from collections.abc import Callable

import msgspec

from actors.publish.destinations.line_fields import kind_of

REST = 3600.0
"""Seconds between two tries of a field."""
MOST = 1000
"""Fields that are remembered; beyond that the oldest is forgotten, which costs a request."""

Key = tuple[str, bytes, str]
"""Measurement, name of the field as it is on the wire, and type."""


class Out(msgspec.Struct, frozen=True, gc=False):
    """A value that is left out, and as what."""

    value: bytes
    key: Key


class Refused(msgspec.Struct):
    """`reason` is the server's; `told`: somebody has been told of a value. `left_out` counts values."""

    reason: str
    try_at: float
    told: bool = False
    left_out: int = 0


class RefusedFields:
    """`now` is monotonic seconds."""

    def __init__(self, back: Callable[[str, str, int], None]) -> None:
        """`back` is called with measurement, field and the number of values left out when one comes back."""
        self._back = back
        self._known: dict[Key, Refused] = {}

    def __bool__(self) -> bool:
        return bool(self._known)

    def refuse(self, key: Key, reason: str, now: float) -> None:
        """The server has refused it."""
        known = self._known.get(key)
        if known is not None:
            known.try_at = now + REST
            return
        while len(self._known) >= MOST:
            del self._known[next(iter(self._known))]
        self._known[key] = Refused(reason, now + REST)

    def sift(
        self, measurement: str, fields: dict[bytes, bytes], now: float
    ) -> tuple[dict[bytes, bytes], dict[bytes, Out], list[Key]]:
        """Of these fields the ones to send, the ones to leave out, which of the former are tried again."""
        kept: dict[bytes, bytes] = {}
        out: dict[bytes, Out] = {}
        tried: list[Key] = []
        for name, value in fields.items():
            key = measurement, name, kind_of(value)
            known = self._known.get(key)
            if known is None:
                kept[name] = value
            elif now >= known.try_at:
                known.try_at = now + REST
                kept[name] = value
                tried.append(key)
            else:
                out[name] = Out(value, key)
        return kept, out, tried

    def reason(self, key: Key) -> str:
        """The server's, for a field that is left out."""
        return self._known[key].reason

    def leave_out(self, key: Key) -> str | None:
        """Count a value that was left out; the reason when nobody has been told of one before."""
        known = self._known.get(key)
        if known is None:
            return None
        known.left_out += 1
        if known.told:
            return None
        known.told = True
        return known.reason

    def taken(self, key: Key) -> None:
        """The server has taken one that was tried again."""
        known = self._known.pop(key, None)
        if known is not None:
            measurement, name, _ = key
            self._back(measurement, name.decode(errors="replace"), known.left_out)
