"""What a file under `destinations/` exports: one `DestinationType` named `DESTINATION`."""

from abc import ABC, abstractmethod
from collections.abc import Awaitable, Callable
from typing import Any

import msgspec

from actors.publish.messages import DestinationTested

Delivered = Callable[[list[int]], None]
Lost = Callable[[str], None]


class Transient(Exception):
    """Connecting failed; trying again soon may help. The text is for people."""


class Permanent(Exception):
    """Connecting was refused and will be until somebody changes the configuration, here or at the
    destination; trying again is worth it only now and then. The text is for people."""


class Driver(ABC):
    """One destination's connection. Constructing it touches no network.

    After `connect` it reports by two callbacks, never from within a call of its own methods:
    `delivered(seqs)`, at most once per turn of the event loop, with what the destination has
    acknowledged since; and `lost(reason)`, once, when an established connection has ended by itself.
    What was not delivered by then may or may not have arrived. After `lost`, `connect` may be called
    again. `lost` does not come once `close` is called; neither comes once it has returned.
    """

    @abstractmethod
    async def connect(self) -> None:
        """Connect anew. Raises `Transient` or `Permanent`."""

    @abstractmethod
    def send(self, seq: int, topic: str, payload: bytes) -> None:
        """Hand one payload to the connection; only between `connect` and `lost`.

        `seq` is the caller's own number. The caller bounds how many are not yet delivered.
        """

    @abstractmethod
    async def close(self) -> None:
        """Give the connection up. Never raises."""


class DestinationType(msgspec.Struct, frozen=True):
    """One kind of destination.

    `check` validates `config_json`, touches no network and raises `Refusal` naming the field.
    `driver` takes what `check` returned, the name that the connection goes by unless the
    configuration has one, and the two callbacks of `Driver`. `test` connects once and never raises.
    `secrets` are the keys of `config_json`, at any depth, whose values are never shown.
    """

    name: str
    check: Callable[[dict[str, Any]], Any]
    driver: Callable[[Any, str, Delivered, Lost], Driver]
    test: Callable[[dict[str, Any]], Awaitable[DestinationTested]]
    secrets: tuple[str, ...]
