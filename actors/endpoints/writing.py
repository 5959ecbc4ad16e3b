"""Writes to the devices of an endpoint: what is allowed, in which order, and what the log tells of them."""

import logging
from collections import deque
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import msgspec
from thespian.actors import ActorAddress

from actors.connections.connecting import beyond
from actors.connections.connection import NoConnection
from actors.connections.deadlines import Overdue, bounded
from actors.endpoints.image import Image
from actors.endpoints.messages import RegisterWritten, WriteRegister
from actors.endpoints.protocol import Session, WriteRequest
from actors.system.failure import Failed, Refusal
from conf.redaction import clean

if TYPE_CHECKING:
    from actors.endpoints.endpoint import Endpoint

log = logging.getLogger(__name__)

WAITING = 100
"""Writes to one device that may wait for those before them."""
SHOWN = 200
"""Characters of a register or a value in the log."""
INTERRUPTED = "Interrupted: it may have been written"
NOT_BEGUN = "Interrupted: it was not written"


class WriteEnded(msgspec.Struct, frozen=True):
    """To the endpoint itself, of the write under way to that device. `hung`: the device did not answer in
    time; `error` is the session's crash, and so the endpoint's."""

    number: int
    device: str
    outcome: RegisterWritten | Failed
    hung: bool = False
    error: Exception | None = None


class Write(NamedTuple):
    """One that waits, or is under way."""

    message: WriteRegister
    requester: ActorAddress
    name: str
    """the device's"""
    prepared: Any


class Writing:
    """One write at a time to each device, in the order in which they came. Whoever asked is answered whatever
    becomes of the connection; what nobody waits for any more is not begun."""

    __slots__ = ("_queues", "endpoint")

    def __init__(self, endpoint: "Endpoint") -> None:
        self.endpoint = endpoint
        self._queues: dict[str, deque[Write]] = {}
        """By the device's identifier; the first of each is under way."""

    @property
    def busy(self) -> bool:
        return bool(self._queues)

    def asked(self, message: WriteRegister, requester: ActorAddress) -> None:
        name = self.endpoint.config.device
        try:
            image = self._image(message)
            name = image.source.device
            write = Write(message, requester, name, self._prepared(message, image))
            self._see_that_it_can_be(message, image)
        except Refusal as refusal:
            self._answer(Write(message, requester, name, None), refusal.failed())
            return
        queue = self._queues.setdefault(image.description.identifier, deque())
        queue.append(write)
        if len(queue) == 1:
            self._begin(image.description.identifier)

    def _image(self, message: WriteRegister) -> Image:
        endpoint = self.endpoint
        if endpoint.misconfigured is not None:
            text = f"{endpoint.config.device} is misconfigured: {endpoint.misconfigured}"
            raise Refusal(text, kind="unavailable")
        image = endpoint.roster.of_uuid(message.device_uuid)
        if image is None:
            raise Refusal(f"Device not connected: {message.device_uuid}", kind="unavailable")
        return image

    def _prepared(self, message: WriteRegister, image: Image) -> Any:
        """What can never be written is refused whether the device is there or not."""
        protocol, points = self.endpoint.protocol, image.description.points
        if protocol.prepare is None:
            raise Refusal(f"Writing is not supported for protocol: {protocol.name}", kind="unsupported")
        if message.verify and not protocol.verifies:
            text = f"Reading back is not supported for protocol: {protocol.name}"
            raise Refusal(text, "verify", kind="unsupported")
        request = WriteRequest(
            image.description.identifier,
            message.register,
            message.value,
            message.data_type,
            message.priority,
        )
        checked = self.endpoint.endpoint
        if checked.points is not points:
            checked = msgspec.structs.replace(checked, points=points)
        prepared = protocol.prepare(checked, request)
        if message.unit is not None:
            _check_unit(message.register, message.unit, points)
        return prepared

    def _see_that_it_can_be(self, message: WriteRegister, image: Image) -> None:
        if self.endpoint.connection is None or not image.record.connected:
            raise Refusal(f"Device not connected: {image.source.device}", kind="unavailable")
        if len(self._queues.get(image.description.identifier, ())) > WAITING:
            text = f"Too many writes wait for {image.source.device}: it was not written"
            raise Refusal(text, kind="unavailable")

    def _begin(self, device: str) -> None:
        """The next that somebody waits for; who has left was told that it failed: that is to stay true."""
        endpoint, queue = self.endpoint, self._queues[device]
        while queue and not endpoint.exists(queue[0].requester):
            _tell(queue.popleft(), "not begun: nobody waits for it any more")
        session = endpoint.connection
        while queue and session is None:
            self._answer(queue.popleft(), Failed("unavailable", NOT_BEGUN))
        if not queue:
            del self._queues[device]
        elif session is not None:
            calls = 2 if queue[0].message.verify else 1
            endpoint.run(
                _write(endpoint.number, device, session, queue[0]),
                then=_as_is,
                within=beyond(calls * session.patience),
            )

    def ended(self, ended: WriteEnded) -> None:
        queue = self._queues.get(ended.device)
        if queue is None or ended.number != self.endpoint.number:
            return
        self._answer(queue.popleft(), ended.outcome)
        if ended.error is not None:
            raise ended.error
        if not ended.hung:
            self._begin(ended.device)
            return
        for write in self._queues.pop(ended.device):
            self._answer(write, Failed("unavailable", NOT_BEGUN))
        assert self.endpoint.connection is not None
        hung = self.endpoint.hung(self.endpoint.connection.patience)
        self.endpoint.send(self.endpoint.myAddress, hung)

    def interrupted(self) -> None:
        """The connection is no more, and with it what was under way."""
        queues, self._queues = self._queues, {}
        for queue in queues.values():
            for place, write in enumerate(queue):
                self._answer(write, Failed("unavailable", NOT_BEGUN if place else INTERRUPTED))

    def _answer(self, write: Write, outcome: RegisterWritten | Failed) -> None:
        _tell(write, outcome)
        self.endpoint.send(write.requester, outcome)


async def _write(number: int, device: str, session: Session, write: Write) -> WriteEnded:
    try:
        value = await bounded(session.write(write.prepared), session.patience)
    except Refusal as refusal:
        return WriteEnded(number, device, refusal.failed())
    except NoConnection as error:
        return WriteEnded(number, device, Failed("unavailable", f"Device did not answer: {error}"))
    except Overdue:
        text = f"Device did not answer: no answer within {session.patience:g} s"
        return WriteEnded(number, device, Failed("unavailable", text), hung=True)
    except Exception as error:  # noqa: BLE001 - a crash, once whoever asked is answered
        failed = Failed("internal", f"It may have been written: {type(error).__name__}")
        return WriteEnded(number, device, failed, error=error)
    written = RegisterWritten(write.message.register, value)
    if not write.message.verify:
        return WriteEnded(number, device, written)
    return await _verify(number, device, session, write, written)


async def _verify(
    number: int, device: str, session: Session, write: Write, written: RegisterWritten
) -> WriteEnded:
    """The write is done; what is said of it says so."""
    try:
        found, same = await bounded(session.read_back(write.prepared), session.patience)
    except Refusal as refusal:
        failed = Failed(refusal.kind, f"Written, but {refusal.message}", "verify")
        return WriteEnded(number, device, failed)
    except NoConnection as error:
        failed = Failed("unavailable", f"Written, but it could not be read back: {error}")
        return WriteEnded(number, device, failed)
    except Overdue:
        text = f"Written, but it could not be read back: no answer within {session.patience:g} s"
        return WriteEnded(number, device, Failed("unavailable", text), hung=True)
    except Exception as error:  # noqa: BLE001 - as above
        failed = Failed("internal", f"Written, but it could not be read back: {type(error).__name__}")
        return WriteEnded(number, device, failed, error=error)
    note = None if same or session.overruled is None else f"Written, but {session.overruled}"
    verified = RegisterWritten(written.register, written.value, verified=same, read_back=found, note=note)
    return WriteEnded(number, device, verified)


def _check_unit(register: str, unit: str, points: Sequence[Any]) -> None:
    """A value is in the unit of its point: it is not converted. Raises `Refusal`."""
    point = next((point for point in points if point.name == register), None) or next(
        (point for point in points if point.address_text == register), None
    )
    known = None if point is None else point.unit
    if known != unit:
        text = "has no unit" if known is None else f"is in {known}, not in {unit}"
        raise Refusal(f"{register} {text}", "unit")


def tell_refused(device: str, message: WriteRegister, reason: str) -> None:
    """Log a write that has not come as far as an endpoint."""
    _tell_of(device, message, f"refused: {reason}")


def _tell(write: Write, outcome: RegisterWritten | Failed | str) -> None:
    if isinstance(outcome, Failed):
        what = "failed" if outcome.kind in ("unavailable", "internal") else "refused"
        outcome = f"{what}: {outcome.message}"
    elif isinstance(outcome, RegisterWritten):
        outcome = {None: "done", True: "done, verified", False: "done, but it reads"}[outcome.verified] + (
            f" {_shown(outcome.read_back)}" if outcome.verified is False else ""
        )
    _tell_of(write.name, write.message, outcome)


def _tell_of(device: str, message: WriteRegister, outcome: str) -> None:
    """The audit entry: one line a write, whatever became of it."""
    done = outcome.startswith("done")
    log.log(
        logging.INFO if done and "but" not in outcome else logging.WARNING,
        "write to %s, register %s, value %s, by %s: %s",
        _shown(device),
        _shown(message.register),
        _shown(message.value),
        message.by or "nobody known",
        " ".join(clean(outcome)[: 2 * SHOWN].split()),
    )


def _shown(value: Any) -> str:
    """On one line, and not at any length."""
    text = value if isinstance(value, str) and value.isprintable() and value == value.strip() else ""
    if not text:
        try:
            text = msgspec.json.encode(value).decode()
        except (TypeError, ValueError, RecursionError):
            text = ascii(value)
    text = clean(text)
    return text if len(text) <= SHOWN else f"{text[:SHOWN]}..."


def _as_is(message: WriteEnded) -> WriteEnded:
    return message
