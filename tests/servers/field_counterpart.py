"""What the other end of a field protocol is: a device, and the relays in front of it."""

from abc import ABC, abstractmethod
from contextlib import AbstractContextManager, AsyncExitStack, nullcontext
from pathlib import Path
from types import TracebackType
from typing import Any, ClassVar, Literal, Self

from servers.relay import Relay
from servers.udp_relay import UdpRelay

TWIN = 10_000
"""What `twin` has more than `counter`."""
TIMEOUT_MS = 300
"""Of everything that an endpoint can be told to wait for."""

AnyRelay = Relay | UdpRelay


class FieldCounterpart(ABC):
    """A device behind `relay`; `detour` is another relay to the same. It has three data points: `counter`,
    `twin`, which is that and `TWIN`, and `setpoint`, which can be written.

    What takes long to start is started once for many of them (`shared`).
    """

    protocol: ClassVar[str]
    name: ClassVar[str] = ""
    """Of another one of the same protocol."""
    replays: ClassVar[bool] = False
    """What it had while nobody was connected is told afterwards, with its own times."""
    order: ClassVar[Literal["arrival", "times", "none"]] = "arrival"
    """What says in which order it had the values; none: what was not acknowledged comes again."""
    marks: ClassVar[frozenset[str]] = frozenset()
    """Codes of values that count as good here."""
    login: ClassVar[bool] = False
    """It lets in only who has a password."""
    back_within: ClassVar[float] = 5.0
    """Seconds from the end of a trouble to good values."""
    relay_kind: ClassVar[type[AnyRelay]] = Relay
    """What carries its datagrams is a `UdpRelay`: nobody accepts, ends or cuts a connection then, and clients
    need not come from another port when they try again."""
    a_try: ClassVar[int] = 1
    """Of one that is reached by datagrams: how many an attempt to connect costs at most."""

    def __init__(self, shared: Any) -> None:
        self.relay: Any
        """An `AnyRelay`; its own code knows which."""
        self.detour: Any
        self._stack = AsyncExitStack()

    @classmethod
    def share(cls, directory: Path) -> AbstractContextManager[Any]:
        """What each of them is constructed with; it may keep files in `directory`."""
        return nullcontext()

    @property
    def connects(self) -> bool:
        """Whether there are connections between it and its clients."""
        return self.relay_kind is Relay

    @abstractmethod
    def connection(self, relay: AnyRelay, right: bool = True) -> dict[str, Any]:
        """An endpoint's, by way of that relay; with wrong credentials unless `right`."""

    @property
    @abstractmethod
    def data_points(self) -> list[dict[str, Any]]: ...

    @abstractmethod
    async def set(self, number: int) -> None:
        """Its counter is that from now on, whether anybody is connected or not."""

    @property
    @abstractmethod
    def written(self) -> list[float]:
        """What was written to `setpoint`, in order."""

    @abstractmethod
    def refuse_writes(self) -> bool:
        """From now on; whether it can."""

    @abstractmethod
    async def _run(self, stack: AsyncExitStack) -> int:
        """Start it; returns the port where clients connect."""

    @abstractmethod
    async def stop(self) -> None: ...

    @abstractmethod
    async def start(self) -> None:
        """Where it was before it was stopped, with the values of now."""

    async def __aenter__(self) -> Self:
        """At a counter of 0, a setpoint of 0 and nothing written."""
        async with AsyncExitStack() as stack:
            port = await self._run(stack)
            self.relay = await stack.enter_async_context(self.relay_kind(port))
            self.detour = await stack.enter_async_context(self.relay_kind(port))
            self._stack = stack.pop_all()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._stack.aclose()
