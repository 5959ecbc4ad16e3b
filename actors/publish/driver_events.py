"""What a driver tells of payloads and of itself, as messages of its destination to itself."""

from collections.abc import Callable
from typing import Any

import msgspec

from actors.connections.connecting import Lost, trouble_of
from actors.connections.connection import NoConnection
from actors.publish.destinations.driver import Listener
from conf.redaction import clean


class Delivered(msgspec.Struct, frozen=True, gc=False):
    """To itself: acknowledged; `number` is that of the connection."""

    number: int
    seqs: list[int]


class Rejected(msgspec.Struct, frozen=True):
    """To itself: never to be delivered; `number` is that of the connection."""

    number: int
    seqs: list[int]
    reason: str


class RejectedPart(msgspec.Struct, frozen=True):
    """To itself: this part of a payload is never to be delivered; `number` is that of the connection."""

    number: int
    seq: int
    payload: bytes
    reason: str


class Expiring(msgspec.Struct, frozen=True):
    """To itself: the connection's credentials end soon; `number` is that of the connection."""

    number: int


class Teller(Listener):
    """Hands to `tell` what the driver of the connection `number` says."""

    def __init__(self, number: int, tell: Callable[[Any], None]) -> None:
        self._number = number
        self._tell = tell

    def delivered(self, seqs: list[int]) -> None:
        self._tell(Delivered(self._number, seqs))

    def rejected(self, seqs: list[int], reason: str) -> None:
        self._tell(Rejected(self._number, seqs, clean(reason)))

    def rejected_part(self, seq: int, payload: bytes, reason: str) -> None:
        self._tell(RejectedPart(self._number, seq, payload, clean(reason)))

    def lost(self, error: NoConnection) -> None:
        self._tell(Lost(self._number, trouble_of(error)))

    def expiring(self) -> None:
        self._tell(Expiring(self._number))
