"""The connection of destination `influxdb`: requests to `POST /api/v2/write`."""

import functools
import logging
from collections.abc import Sequence
from time import monotonic

import msgspec

from actors.connections.connection import Permanent, Transient
from actors.publish.destinations import influxdb_answers as answers
from actors.publish.destinations.driver import Listener, Outgoing
from actors.publish.destinations.field_types import FieldTypes, fitted
from actors.publish.destinations.gzip_bodies import Gzip
from actors.publish.destinations.http_url import where
from actors.publish.destinations.influxdb_config import Config, tls_context
from actors.publish.destinations.influxdb_requests import requesting
from actors.publish.destinations.line_fields import kind_of, name_of, series_of, take_apart
from actors.publish.destinations.posting import Answer, Posting, Site
from actors.publish.destinations.posting_driver import PostingDriver, halves
from actors.publish.destinations.refused_fields import Key, Out, RefusedFields
from actors.publish.destinations.request_pace import RequestPace
from actors.publish.formats.line_protocol import measurement

MOST_SUSPECTS = 10_000

_log = logging.getLogger(__name__)
_measurement = functools.lru_cache(maxsize=100)(measurement)


class Line(msgspec.Struct, gc=False):
    """A payload that lacks its measurement and has its time in ms, without the fields in `out`. Those in
    `tried` are tried again."""

    seq: int
    measurement: str
    payload: bytes
    out: dict[bytes, Out] = {}
    tried: list[Key] = []


class InfluxDriver(PostingDriver[Line]):
    """HTTP 204 is delivery.

    What the server refuses is halved and written again until the offending points are found: at most twice as
    many requests as points. Writing a point twice is harmless, it replaces itself. Where the server names a
    field that has another type there, the point goes without it, and so do later ones. A series with a
    refused point is written apart from the others until a point of it is taken: it holds them up once.
    """

    def __init__(self, config: Config, listener: Listener) -> None:
        pace = RequestPace(config.batch_size, config.timeout)
        super().__init__(site_of(config), listener, pace, config.flush_interval)
        self._config = config
        self._refused = RefusedFields(self._back)
        self._suspects: dict[bytes, None] = {}
        self._types = FieldTypes(config.field_types)
        self._gzip = Gzip(config.gzip)
        self._accessible = False

    async def check_access(self, posting: Posting) -> None:
        """Write nothing, to see whether points would be taken."""
        await check_access(posting, self._config, self.pace.silence)

    # Making requests

    def parts(self, batch: Sequence[Outgoing]) -> list[list[Line]]:
        self._accessible = False
        now = monotonic()
        lines: list[Line] = []
        suspects: list[Line] = []
        for message in batch:
            line = self._line(message, now)
            if line is not None:
                apart = bool(self._suspects) and series_of(self._complete(line)) in self._suspects
                (suspects if apart else lines).append(line)
        return [part for part in (lines, suspects) if part]

    def _line(self, message: Outgoing, now: float) -> Line | None:
        """None when nothing is to be written of it, which is told."""
        point, _, ms = message.payload.rpartition(b" ")
        if not (point and ms.isdigit()):
            # Another format's, left from when the destination was of another type.
            self.listener.rejected([message.seq], "The payload is not line protocol")
            return None
        line = Line(message.seq, message.topic, message.payload)
        return line if not (self._types or self._refused) or self._sifted(line, now) else None

    def _sifted(self, line: Line, now: float) -> bool:
        """Give fields their types, and leave out what does not fit or is known to be refused; False when
        nothing is left, which is told."""
        taken = take_apart(line.payload)
        if taken is None:
            return True
        typed = self._typed(line, taken.fields, now) if self._types else taken.fields
        kept, out, line.tried = self._refused.sift(line.measurement, typed, now)
        line.out |= out
        if not kept:
            [first, *_] = line.out.values()
            self.listener.rejected([line.seq], self._refused.reason(first.key))
            return False
        if kept is not taken.fields:
            line.payload = taken.payload(kept)
        return True

    def _typed(self, line: Line, fields: dict[bytes, bytes], now: float) -> dict[bytes, bytes]:
        """The fields in the types declared; those that have another are left out."""
        typed = {}
        for name, value in fields.items():
            kind = self._types.of(name)
            fitting = value if kind is None else fitted(value, kind)
            if fitting is None:
                key = line.measurement, name, f"no {kind}"
                self._refused.refuse(key, f"{name_of(name)} is declared {kind} and does not fit", now)
                line.out[name] = Out(value, key)
            else:
                typed[name] = fitting
        return typed

    async def post(self, posting: Posting, part: list[Line]) -> Answer:
        body = b"\n".join([self._complete(line) for line in part])
        packed = await self._gzip.packed(body)
        if packed is not None:
            answer = await self.ask(posting, packed, len(part), {"Content-Encoding": "gzip"})
            if not self._gzip.refused(answer.status, answers.written(answer)):
                return answer
        answer = await self.ask(posting, body, len(part), {})
        if packed is not None and self._gzip.plain(answers.written(answer)):
            _log.warning("%s does not take gzip; it gets points as they are", self._site.where)
        return answer

    def _complete(self, line: Line) -> bytes:
        point, _, ms = line.payload.rpartition(b" ")
        precision = self._config.precision
        time = {"s": ms[:-3] or b"0", "ms": ms, "us": ms + b"000", "ns": ms + b"000000"}[precision]
        # Without any tag the fields follow at once.
        separator = b"" if point.startswith(b" ") else b","
        return b"%b%b%b %b" % (_measurement(line.measurement), separator, point, time)

    # What becomes of them

    async def judge(self, posting: Posting, part: list[Line], answer: Answer) -> list[list[Line]]:
        if answers.written(answer):
            self._written(part)
            return []
        if not answers.refuses_content(answer):
            raise failure(self._config, answer)
        if self._leave_out(part, answer):
            return [left] if (left := self._with_fields(part, answer)) else []
        if len(part) > 1 and answers.dropped(answer) < len(part):
            return halves(part)
        if not self._accessible:
            # Some proxies refuse a token with 400; readings must not be given up for that.
            await self.check_access(posting)
            self._accessible = True
        self.listener.rejected([line.seq for line in part], answers.reason(answer))
        self._suspect(part)
        return []

    def _written(self, part: list[Line]) -> None:
        self._accessible = True
        for line in part:
            for key in line.tried:
                self._refused.taken(key)
            if line.out:
                self._tell(line)
            if self._suspects:
                self._suspects.pop(series_of(self._complete(line)), None)
        self.listener.delivered([line.seq for line in part])

    def _tell(self, line: Line) -> None:
        """Of what was left out, unless somebody has been told of such before."""
        reasons = {name: self._refused.leave_out(out.key) for name, out in line.out.items()}
        told = {name: line.out[name].value for name, reason in reasons.items() if reason is not None}
        taken = take_apart(line.payload)
        if told and taken is not None:
            reason = next(reason for reason in reasons.values() if reason is not None)
            self.listener.rejected_part(line.seq, taken.payload(told), reason)

    def _leave_out(self, part: list[Line], answer: Answer) -> bool:
        """The fields that the answer names; whether there are any."""
        found = False
        for conflict in answers.conflicts(answer):
            lines = part if conflict.line is None else part[conflict.line : conflict.line + 1]
            for line in lines:
                if conflict.measurement in (None, name_of(_measurement(line.measurement))):
                    found |= self._without(line, conflict, answers.reason(answer))
        return found

    def _without(self, line: Line, conflict: answers.Conflict, reason: str) -> bool:
        taken = take_apart(line.payload)
        if taken is None:
            return False
        out = {
            name: Out(value, (line.measurement, name, conflict.kind))
            for name, value in taken.fields.items()
            if name_of(name) == conflict.field and kind_of(value) == conflict.kind
        }
        for each in out.values():
            self._refused.refuse(each.key, reason, monotonic())
            line.tried = [key for key in line.tried if key != each.key]
        line.out = line.out | out
        line.payload = taken.payload({name: v for name, v in taken.fields.items() if name not in out})
        return bool(out)

    def _with_fields(self, part: list[Line], answer: Answer) -> list[Line]:
        """Those of which something is left; the others are rejected."""
        empty = [line.seq for line in part if take_apart(line.payload) is None]
        if empty:
            self.listener.rejected(empty, answers.reason(answer))
        return [line for line in part if line.seq not in empty]

    def _suspect(self, part: list[Line]) -> None:
        for line in part:
            self._suspects[series_of(self._complete(line))] = None
        while len(self._suspects) > MOST_SUSPECTS:
            del self._suspects[next(iter(self._suspects))]

    def _back(self, measured: str, field: str, left_out: int) -> None:
        _log.info(
            "%s takes field %s of %s again; %d values were left out",
            where(self._config.url),
            field,
            measured,
            left_out,
        )


def site_of(config: Config) -> Site:
    """Where points are written. Reading the system's authorities takes tens of ms."""
    context = tls_context(config)
    return Site(
        where=where(config.url),
        url=f"{config.url}/api/v2/write",
        context=context,
        headers={},
        secrets=(config.token,),
        requesting=functools.partial(requesting, config, context),
    )


async def check_access(posting: Posting, config: Config, silence: float) -> None:
    """Raises `Transient` or `Permanent` when points would not be taken."""
    answer = await posting.ask(b"", silence)
    if not answers.nothing_to_write(answer):
        raise failure(config, answer)


def failure(config: Config, answer: Answer) -> Transient | Permanent:
    """What an answer says of the access or the server."""
    match answer.status:
        case 401:
            return Permanent("Invalid or missing token")
        case 403:
            return Permanent("Token lacks write permission for this bucket")
        case 404:
            return Permanent(f'Org "{config.org}" or bucket "{config.bucket}" not found')
    return Transient(answer.text, answer.retry_after)
