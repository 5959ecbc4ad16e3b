"""An actor that keeps a connection to a far end which does what a test says."""

import asyncio
from collections.abc import Callable
from time import monotonic
from typing import Any

import msgspec
from thespian.actors import ActorAddress

from actors.connections.connecting import Connecting, Lost, Trouble, trouble_of
from actors.connections.connection import Connection, NoConnection, Transient
from actors.connections.retry import Retry
from actors.system.asyncio_base import AsyncioSystemBase

REFUSED = Transient("nobody listens")


class FarEnd:
    """Where lines lead. `fault` is raised by attempts to connect; what is in `hangs` never ends."""

    def __init__(self) -> None:
        self.fault: Exception | None = REFUSED
        self.hangs: set[str] = set()
        self.withstands = False
        """What hangs does not end when it is cancelled either."""
        self.seconds = 0.0
        """That an attempt takes."""
        self.attempts: list[float] = []
        self.failed: list[float] = []
        self.lines: list[Line] = []
        self.open: set[Line] = set()
        """The lines that hold a socket."""
        self.release = asyncio.Event()

    async def hang(self) -> None:
        while not self.release.is_set():
            try:
                await self.release.wait()
            except asyncio.CancelledError:
                if not self.withstands:
                    raise

    def end(self, reason: str = "the far end left") -> None:
        for line in list(self.open):
            line.end(reason)


class Line(Connection):
    def __init__(self, far: FarEnd, number: int, tell: Callable[[Lost], None]) -> None:
        self.far = far
        self.number = number
        self.tell = tell
        self.connects = 0
        self.closed = 0
        far.lines.append(self)

    @property
    def patience(self) -> float:
        return 0.1

    async def connect(self) -> None:
        far = self.far
        self.connects += 1
        far.attempts.append(monotonic())
        far.open.add(self)
        try:
            if far.seconds:
                await asyncio.sleep(far.seconds)
            if "connect" in far.hangs:
                await far.hang()
            if far.fault is not None:
                far.failed.append(monotonic())
                raise far.fault.with_traceback(None)
        except BaseException:
            far.open.discard(self)
            raise

    async def close(self) -> None:
        self.closed += 1
        if "close" in self.far.hangs:
            await self.far.hang()
        self.far.open.discard(self)

    def end(self, reason: str | NoConnection = "the far end left") -> None:
        error = reason if isinstance(reason, NoConnection) else Transient(reason)
        self.far.open.discard(self)
        asyncio.get_running_loop().call_soon(self.tell, Lost(self.number, trouble_of(error)))


class Patient(Retry):
    """Waits `seconds` whatever happens, and keeps what it was asked."""

    def __init__(self, seconds: float = 0.01, steady: float = float("inf")) -> None:
        self.seconds = seconds
        self.steady = steady
        self.asked: list[tuple[int, float, bool]] = []

    def delay(self, failures: int, away: float, permanent: bool) -> float:
        self.asked.append((failures, away, permanent))
        return self.seconds


class RunCaller(msgspec.Struct, frozen=True):
    """Start, and again to call another far end."""

    far: Any
    retry: Any
    kind: str = "line"
    make: Any = None


class Prove(msgspec.Struct, frozen=True):
    """The connection has been of use."""


class ConnectAgain(msgspec.Struct, frozen=True):
    """As somebody may ask who does not know that it is being done."""


class LookAtClock(msgspec.Struct, frozen=True):
    """As who inherits does now and then."""


class Caller(Connecting[Line]):
    def __init__(self) -> None:
        super().__init__()
        self.made = 0
        self.reasons: list[str] = []
        self.ended: list[str] = []

    def receiveMsg_RunCaller(self, message: RunCaller, sender: ActorAddress) -> None:
        self.peer = "far end"
        self.retry = message.retry
        self.disconnect()
        self.start = message
        self.connect()

    def receiveMsg_Prove(self, message: Prove, sender: ActorAddress) -> None:
        self.proved()

    def receiveMsg_LookAtClock(self, message: LookAtClock, sender: ActorAddress) -> None:
        self.look_at_clock()

    def receiveMsg_ConnectAgain(self, message: ConnectAgain, sender: ActorAddress) -> None:
        self.connect()

    def builder(self, number: int) -> tuple[str, Callable[[], Line]]:
        start = self.start
        make = start.make or (lambda: Line(start.far, number, lambda lost: self.send(self.myAddress, lost)))
        return start.kind, make

    def connection_made(self) -> None:
        self.made += 1

    def attempt_failed(self, trouble: Trouble, news: bool) -> None:
        self.reasons.append(trouble.reason)

    def connection_ended(self, trouble: Trouble, news: bool) -> None:
        self.ended.append(trouble.reason)


class Call:
    """A running caller."""

    def __init__(self, system: AsyncioSystemBase, name: str, start: RunCaller) -> None:
        self.system = system
        self.address = system.spawn(None, Caller, name, start)

    @property
    def caller(self) -> Caller:
        cell: Any = self.system.mailboxes[self.address.addressDetails]
        found: Caller = cell.instance
        return found

    def tell(self, message: Any) -> None:
        self.system.tell(self.address, message)
