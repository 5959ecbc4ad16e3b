"""What devices have recorded, read on request, and told as readings of the past."""

import logging
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import msgspec
from thespian.actors import ActorAddress

from actors.connections.connecting import beyond
from actors.connections.connection import NoConnection
from actors.connections.deadlines import Overdue, bounded
from actors.endpoints.guarding import fit_lists
from actors.endpoints.image import Image
from actors.endpoints.messages import BackfillDevice, Backfilled, DeviceBackfilled
from actors.endpoints.protocol import BackfillRequest, Recorded, Session
from actors.readings.batch import Batch
from actors.system.failure import Failed, Refusal
from storage.timestamps import unix_ms

if TYPE_CHECKING:
    from actors.endpoints.endpoint import Endpoint

log = logging.getLogger(__name__)

_MORE: float = 2.0
"""Seconds beyond what a session is given, until it counts as hung."""


class BackfillEnded(msgspec.Struct, frozen=True):
    """To the endpoint itself; `error` is the session's crash, and so the endpoint's."""

    number: int
    outcome: list[Recorded] | Failed
    error: Exception | None = None


class _Wanted(NamedTuple):
    message: BackfillDevice
    requester: ActorAddress
    image: Image


class Backfilling:
    """One at a time of an endpoint. Whoever asked is answered whatever becomes of the connection."""

    __slots__ = ("_wanted", "endpoint")

    def __init__(self, endpoint: "Endpoint") -> None:
        self.endpoint = endpoint
        self._wanted: _Wanted | None = None

    def asked(self, message: BackfillDevice, requester: ActorAddress) -> None:
        endpoint = self.endpoint
        try:
            image, session = self._image(message)
            points = _points(message.request, image)
        except Refusal as refusal:
            endpoint.send(requester, refusal.failed())
            return
        self._wanted = _Wanted(message, requester, image)
        request = msgspec.structs.replace(message.request, points=points)
        within = request.within + _MORE
        endpoint.run(_read(endpoint.number, session, request, within), then=_as_is, within=beyond(within))

    def _image(self, message: BackfillDevice) -> tuple[Image, Session]:
        endpoint = self.endpoint
        if endpoint.misconfigured is not None:
            text = f"{endpoint.config.device} is misconfigured: {endpoint.misconfigured}"
            raise Refusal(text, kind="unavailable")
        if not endpoint.protocol.backfills:
            text = f"Back-fill is not supported for protocol: {endpoint.protocol.name}"
            raise Refusal(text, kind="unsupported")
        image = endpoint.roster.of_uuid(message.device_uuid)
        if image is None or endpoint.connection is None or not image.record.connected:
            name = message.device_uuid if image is None else image.source.device
            raise Refusal(f"Device not connected: {name}", kind="unavailable")
        if self._wanted is not None:
            raise Refusal("Its records are being read already; try again", kind="unavailable")
        return image, endpoint.connection

    def ended(self, ended: BackfillEnded) -> None:
        wanted = self._wanted
        if wanted is None or ended.number != self.endpoint.number:
            return
        self._wanted = None
        outcome = ended.outcome
        answer = outcome if isinstance(outcome, Failed) else self._told(wanted, outcome)
        self.endpoint.send(wanted.requester, answer)
        if ended.error is not None:
            raise ended.error

    def _told(self, wanted: _Wanted, recorded: Sequence[Recorded]) -> DeviceBackfilled:
        """The n-th readings of all points go together: a batch has each point once."""
        image, now = wanted.image, unix_ms()
        places = {point.name: index for index, point in enumerate(image.source.points)}
        known = [one for one in recorded if one.point in places]
        self.endpoint.outlet.begin()
        for at in range(max((len(one.values) for one in known), default=0)):
            there = [one for one in known if at < len(one.values)]
            codes = [one.codes[at] for one in there]
            batch = Batch(
                image.source,
                now,
                [one.values[at] for one in there],
                codes if any(codes) else None,
                {},
                indices=tuple(places[one.point] for one in there),
                times=[one.times[at] for one in there],
                past=True,
            )
            self.endpoint.outlet.put(batch)
        readings = sum(len(one.values) for one in known)
        log.info(
            "back-fill of %s, %d readings, by %s",
            image.source.device,
            readings,
            wanted.message.by or "nobody known",
        )
        return DeviceBackfilled([_summary(one) for one in known])

    def interrupted(self) -> None:
        """The connection is no more, and with it what was under way."""
        wanted, self._wanted = self._wanted, None
        if wanted is not None:
            self.endpoint.send(wanted.requester, Failed("unavailable", "Interrupted: nothing was read"))


def _points(request: BackfillRequest, image: Image) -> tuple[str, ...]:
    names = [point.name for point in image.source.points]
    for index, name in enumerate(request.points):
        if name not in names:
            raise Refusal(f"Data point not found: {name}", f"points[{index}]", "not_found")
    points = tuple(dict.fromkeys(request.points or names))
    if request.log is not None and len(points) != 1:
        raise Refusal("a log is of one data point: say which", "points")
    return points


async def _read(number: int, session: Session, request: BackfillRequest, within: float) -> BackfillEnded:
    try:
        recorded = await bounded(session.backfill(request), within)
        return BackfillEnded(number, [_fitting(one) for one in recorded])
    except Refusal as refusal:
        return BackfillEnded(number, refusal.failed())
    except NoConnection as error:
        return BackfillEnded(number, Failed("unavailable", f"Device did not answer: {error}"))
    except Overdue:
        text = f"Device did not answer: no answer within {within:g} s"
        return BackfillEnded(number, Failed("unavailable", text))
    except Exception as error:  # noqa: BLE001 - a crash, once whoever asked is answered
        return BackfillEnded(number, Failed("internal", type(error).__name__), error)


def _fitting(one: Recorded) -> Recorded:
    """Without values that no reading can have. Raises `ValueError` where lists are of different lengths."""
    values, codes, times = fit_lists(len(one.values), one.values, one.codes, one.times)
    assert times is not None
    there = [at for at, time in enumerate(times) if time is not None]
    found: list[Any] = codes or [None] * len(values)
    return msgspec.structs.replace(
        one,
        values=[values[at] for at in there],
        codes=[found[at] for at in there],
        times=[times[at] for at in there],
    )


def _summary(one: Recorded) -> Backfilled:
    return Backfilled(
        point=one.point,
        log=one.log,
        readings=len(one.values),
        bad=one.values.count(None),
        first=one.times[0] if one.times else None,
        last=one.times[-1] if one.times else None,
        complete=one.complete,
        notes=one.notes,
    )


def _as_is(message: BackfillEnded) -> BackfillEnded:
    return message
