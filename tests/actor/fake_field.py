"""A field protocol of the tests' own: devices in memory that do what a test tells them to."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any

import msgspec
import pytest
from thespian.actors import ActorAddress

from actors.endpoints import protocols
from actors.endpoints.endpoint import RunEndpoint
from actors.endpoints.lines import Lines
from actors.endpoints.listener import Description, Listener
from actors.endpoints.protocol import (
    CheckedEndpoint,
    PolledSession,
    PollResult,
    Protocol,
    PushedSession,
    WriteRequest,
)
from actors.readings.batch import Batch
from actors.readings.messages import AwaitPersisted, EventRaised, ForgetSource
from actors.system.actor import Actor
from actors.system.asyncio_base import AsyncioSystemBase
from actors.system.failure import Refusal

INTERVAL_MS = 20


class FakePoint(msgspec.Struct, frozen=True):
    name: str
    unit: str | None = None

    @property
    def address_text(self) -> str:
        return f"fake:{self.name}"


class FakeDevice:
    """What readers find. `fault` is raised by `connect` and `read`; while `open` is clear both wait, or until
    the reader is closed. What is in `hangs` (`connect`, `read`, `write`,
    `read_back`, `close`) never ends."""

    def __init__(self) -> None:
        self.values: list[Any] = [1]
        self.qualities: list[str | None] | None = None
        self.times: list[int] | None = None
        self.fault: BaseException | None = None
        self.write_fault: Exception | None = None
        self.fault_on_close: Exception | None = None
        """Raised in whatever waits on a connection that is closed."""
        self.hangs: set[str] = set()
        self.patience = 60.0
        self.readers = 0
        self.subscribing: FakePushed | None = None
        """The latest that has begun to."""
        self.sessions: list[FakePushed] = []
        """Those that have subscribed, the latest last."""
        self.open = asyncio.Event()
        self.open.set()
        self.connects = 0
        self.reads = 0
        self.in_flight = 0
        self.peak = 0
        self.closed = 0
        self.written: list[tuple[str, Any]] = []
        self.read_back_fault: Exception | None = None
        self.held: Any = None
        """What is read back instead of what was written."""
        self.writable = asyncio.Event()
        """While it is clear writes wait."""
        self.writable.set()
        self.writing = 0
        """Writes under way."""


class FakeReader(PolledSession):
    def __init__(self, device: FakeDevice) -> None:
        self.device = device
        self.closing = asyncio.Event()
        device.readers += 1

    @property
    def patience(self) -> float:
        return self.device.patience

    async def connect(self) -> None:
        self.device.connects += 1
        await self._hang("connect")
        await self._answer()

    async def read(self, within: float) -> PollResult:
        self.device.reads += 1
        await self._hang("read")
        await self._answer()
        return PollResult(list(self.device.values), self.device.qualities, self.device.times)

    async def write(self, prepared: tuple[str, Any]) -> Any:
        if self.device.write_fault is not None:
            raise self.device.write_fault
        register, value = prepared
        await self._hang("write")
        self.device.writing += 1
        try:
            await self.device.writable.wait()
            await asyncio.sleep(0)
        finally:
            self.device.writing -= 1
        self.device.written.append((register, value))
        return value

    async def read_back(self, prepared: tuple[str, Any]) -> tuple[Any, bool]:
        if self.device.read_back_fault is not None:
            raise self.device.read_back_fault
        await self._hang("read_back")
        found = prepared[1] if self.device.held is None else self.device.held
        return found, found == prepared[1]

    async def close(self) -> None:
        self.closing.set()
        self.device.closed += 1
        await self._hang("close")

    async def _hang(self, call: str) -> None:
        if call in self.device.hangs:
            await asyncio.Event().wait()

    async def _answer(self) -> None:
        device = self.device
        device.in_flight += 1
        device.peak = max(device.peak, device.in_flight)
        try:
            await self._wait_open()
        finally:
            device.in_flight -= 1
        if device.fault is not None:
            raise device.fault

    async def _wait_open(self) -> None:
        if self.device.open.is_set():
            await asyncio.sleep(0)
            return
        waits = [asyncio.ensure_future(self.device.open.wait()), asyncio.ensure_future(self.closing.wait())]
        try:
            await asyncio.wait(waits, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for waiting in waits:
                waiting.cancel()
        if self.closing.is_set() and self.device.fault_on_close is not None:
            raise self.device.fault_on_close


class FakePushed(PushedSession):
    """Subscribes to a device, when that is `open`; a test tells changes by its `listener`."""

    def __init__(self, device: FakeDevice, listener: Listener) -> None:
        self.device = device
        self.listener = listener

    async def connect(self) -> None:
        self.device.connects += 1
        self.device.subscribing = self
        await asyncio.sleep(0)
        await self.device.open.wait()
        if self.device.fault is not None:
            raise self.device.fault
        self.device.sessions.append(self)

    async def write(self, prepared: tuple[str, Any]) -> Any:
        self.device.written.append(prepared)
        return prepared[1]

    async def close(self) -> None:
        self.device.closed += 1


def _prepare(endpoint: CheckedEndpoint, request: WriteRequest) -> tuple[str, Any]:
    if request.register == "unknown":
        raise Refusal(f"Register not found: {request.register}", "register", "not_found")
    return request.register, request.value


def _point(given: dict[str, Any]) -> FakePoint:
    return FakePoint(given["name"], given.get("unit"))


def _devices(data_points: Any) -> tuple[Description, ...]:
    """Points may say that they are another device's, by `device_name` and perhaps `device_uuid`."""
    named: dict[str, list[dict[str, Any]]] = {}
    for point in data_points:
        if "device_name" in point:
            named.setdefault(point["device_name"], []).append(point)
    return tuple(
        Description(name, name, tuple(map(_point, points)), points[0].get("device_uuid"))
        for name, points in named.items()
    )


class Field:
    """Devices by the `connection["device"]` of their endpoints, and the protocol `fake` that reads them."""

    def __init__(self) -> None:
        self.devices: dict[str, FakeDevice] = {}
        self.protocol = Protocol("fake", self._check, self._session, "asyncio", _prepare, verifies=True)

    def __getitem__(self, name: str) -> FakeDevice:
        return self.devices.setdefault(name, FakeDevice())

    def _check(self, connection: dict[str, Any], data_points: Any) -> CheckedEndpoint:
        if "device" not in connection:
            raise Refusal("device is required", "connection.device")
        return CheckedEndpoint(
            connection=connection,
            points=tuple(_point(point) for point in data_points if "device_name" not in point),
            devices=_devices(data_points),
            identifier=str(connection.get("unit", 1)),
            address=f"fake:{connection['device']}",
            mode=connection.get("mode", "polled"),
            silent_after=connection.get("silent_after"),
        )

    def _session(
        self, endpoint: CheckedEndpoint, listener: Listener, lines: Lines
    ) -> PolledSession | PushedSession:
        if endpoint.mode == "pushed":
            return FakePushed(self[endpoint.connection["device"]], listener)
        return FakeReader(self[endpoint.connection["device"]])

    def find(self, name: str) -> Protocol:
        if name not in ("fake", "other"):
            raise Refusal(f"Unknown protocol: {name}", "protocol")
        return msgspec.structs.replace(self.protocol, name=name)


class Sink(Actor):
    """Stands for the router: keeps the batches, the uuids to forget, and what is asked. Its start message is
    the list to keep the batches in."""

    def __init__(self) -> None:
        self.forgotten: list[str] = []
        self.questions: list[AwaitPersisted] = []
        self.events: list[EventRaised] = []

    def receiveMsg_list(self, message: list[Batch], sender: ActorAddress) -> None:
        self.batches = message

    def receiveMsg_Batch(self, message: Batch, sender: ActorAddress) -> None:
        self.batches.append(message)

    def receiveMsg_AwaitPersisted(self, message: AwaitPersisted, sender: ActorAddress) -> None:
        self.questions.append(message)

    def receiveMsg_EventRaised(self, message: EventRaised, sender: ActorAddress) -> None:
        self.events.append(message)

    def receiveMsg_ForgetSource(self, message: ForgetSource, sender: ActorAddress) -> None:
        self.forgotten.append(message.endpoint_uuid)


def as_json(value: Any) -> msgspec.Raw:
    return msgspec.Raw(msgspec.json.encode(value))


class Stage:
    """An actor system with a router that keeps what it gets."""

    def __init__(self, base: AsyncioSystemBase) -> None:
        self.base = base
        self.batches: list[Batch] = []
        self.router = base.spawn(None, Sink, "router", self.batches)

    @property
    def forgotten(self) -> list[str]:
        """The uuids of endpoints that are no more, as the router was told."""
        sink: Any = self.base.mailboxes[self.router.addressDetails].instance
        uuids: list[str] = sink.forgotten
        return uuids

    @property
    def events(self) -> list[EventRaised]:
        sink: Any = self.base.mailboxes[self.router.addressDetails].instance
        raised: list[EventRaised] = sink.events
        return raised

    @property
    def questions(self) -> list[AwaitPersisted]:
        """Those of endpoints that wait for what they have sent to be safe; nobody answers them."""
        sink: Any = self.base.mailboxes[self.router.addressDetails].instance
        asked: list[AwaitPersisted] = sink.questions
        return asked

    def start_of(self, name: str = "plc", **changes: Any) -> RunEndpoint:
        start = RunEndpoint(
            uuid=f"uuid-{name}",
            name=name,
            protocol="fake",
            device_uuid=f"device-{name}",
            device=name,
            connection=as_json({"device": name}),
            data_points=as_json([{"name": "speed", "unit": "m/s"}]),
            poll_interval=INTERVAL_MS,
            phase=0.0,
            reconnect_min_ms=100,
            reconnect_max_ms=400,
            router=self.router,
        )
        given = {key: as_json(changes[key]) for key in ("connection", "data_points") if key in changes}
        return msgspec.structs.replace(start, **changes | given)

    async def ask(self, address: ActorAddress, message: Any) -> Any:
        return await self.base.ask(address, message, 5.0)

    async def batch(self, wanted: Callable[[Batch], bool], after: int = 0) -> Batch:
        """The first batch from the `after`-th on that is wanted."""
        found: list[Batch] = []

        def looked() -> bool:
            found.extend(batch for batch in self.batches[after:] if wanted(batch))
            return bool(found)

        await until(looked)
        return found[0]


@asynccontextmanager
async def staged(monkeypatch: pytest.MonkeyPatch, field: Field) -> AsyncIterator[Stage]:
    monkeypatch.setattr(protocols, "find", field.find)
    base = AsyncioSystemBase()
    try:
        yield Stage(base)
    finally:
        base.shutdown()
        await base.released()


async def until(happened: Callable[[], Any], seconds: float = 5.0) -> None:
    """Wait for `happened()` to be true."""
    async with asyncio.timeout(seconds):
        while not happened():  # noqa: ASYNC110 - what is waited for announces itself to nobody
            await asyncio.sleep(0.002)


async def until_answered(asked: Callable[[], Awaitable[Any]], right: Callable[[Any], bool]) -> Any:
    """Ask until the answer is right; returns it."""
    async with asyncio.timeout(5.0):
        while True:
            answer = await asked()
            if right(answer):
                return answer
            await asyncio.sleep(0.002)
