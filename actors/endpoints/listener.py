"""What a session tells of by itself."""

from collections.abc import Callable, Sequence
from typing import Any, Protocol

import msgspec

from actors.connections.connection import NoConnection


class Description(msgspec.Struct, frozen=True):
    """A device, and its data points (each a `DataPoint`). `identifier` tells it apart on its endpoint; ""
    is the endpoint's own, which is there from the beginning and keeps the endpoint's name. `uuid` is the one
    that the configuration gives it, if it does; else it is made from the endpoint's and the identifier."""

    identifier: str
    name: str
    points: tuple[Any, ...]
    uuid: str | None = None


class Listener(Protocol):
    """Who is told, on the loop's thread, from `connect` on, until the session is closed. None of it raises or
    waits."""

    def changed(
        self,
        device: str,
        indices: Sequence[int],
        values: list[Any],
        codes: list[str | None] | None = None,
        times: list[int | None] | None = None,
    ) -> None:
        """New values of some points of a device, in the order of `indices` into its points, each at most once
        in a call. `codes` are None when all are GOOD, as in a `Batch`; `times` are Unix ms, None where
        nobody said when: then it is now. The lists are the listener's from now on."""

    def described(self, description: Description) -> None:
        """There is such a device, with these points. Points only grow in number: what is known keeps its
        place. One that takes points away, or renames any, is another device."""

    def presence(self, device: str, code: str | None) -> None:
        """The device is there (None), or away for that reason, a quality code: until it is there again,
        or one of its points changes, its readings are BAD. All count as there again with each `connect`."""

    def heard(self, device: str) -> None:
        """The device is alive, though nothing has changed."""

    def persisted(self, then: Callable[[], None]) -> None:
        """Call `then` once no crash can lose any more what has been told so far: it is on disk for whoever
        wants it, or delivered. Not at all when the connection ends before."""

    def raised(self, kind: str, body: dict[str, Any]) -> None:
        """Something to tell that is no reading: an event of that kind (`alarms`), which goes to whoever
        subscribes to `events/<kind>/<protocol>/<endpoint>`. `body` is JSON's types, without the endpoint."""

    def lost(self, error: NoConnection) -> None:
        """The session, which was connected, has ended by itself; once, until it connects again."""


class Nobody(Listener):
    """Of who uses a session for something else than its changes."""

    def changed(
        self,
        device: str,
        indices: Sequence[int],
        values: list[Any],
        codes: list[str | None] | None = None,
        times: list[int | None] | None = None,
    ) -> None: ...

    def described(self, description: Description) -> None: ...

    def presence(self, device: str, code: str | None) -> None: ...

    def heard(self, device: str) -> None: ...

    def persisted(self, then: Callable[[], None]) -> None: ...

    def raised(self, kind: str, body: dict[str, Any]) -> None: ...

    def lost(self, error: NoConnection) -> None: ...
