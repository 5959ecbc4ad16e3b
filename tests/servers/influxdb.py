"""A strict fake of InfluxDB 2: no real one can be installed. It takes `POST /api/v2/write` only, refuses
whatever InfluxDB's documentation does not allow, and does what no real server does on demand."""

import asyncio
import contextlib
import enum
import threading
from collections.abc import Callable, Iterator
from types import TracebackType
from typing import Any, NamedTuple, Self

from aiohttp import web
from line_protocol_parser import LineFormatError, parse_line

from servers.mosquitto import free_port

ORG, BUCKET, TOKEN = "my plant", "readings/raw+1", "s3cret-token=="
READ_ONLY_TOKEN = "read-only"
SECONDS = 5.0

_NS = {"ns": 1, "us": 1_000, "ms": 1_000_000, "s": 1_000_000_000}
_LATEST_NS = 2**63 - 2


class Point(NamedTuple):
    """`time` is Unix ns."""

    measurement: str
    tags: dict[str, str]
    fields: dict[str, Any]
    time: int


class Request(NamedTuple):
    """A request as it came in; `lines` are those of its body."""

    method: str
    path: str
    query: dict[str, str]
    headers: dict[str, str]
    lines: list[bytes]


class Reply(NamedTuple):
    """What a scripted request gets instead of being looked at."""

    status: int
    body: str = '{"code":"unavailable","message":"scripted"}'
    headers: dict[str, str] = {}


class Refusals(enum.Enum):
    """How versions of InfluxDB say that a field has another type."""

    LATE_2 = 422
    EARLY_2 = 500
    ONE = 400
    THREE = -400
    SERVERLESS = 201


_TYPES = {float: "float", int: "integer", str: "string", bool: "boolean"}


class _Conflict(NamedTuple):
    """`number` is the line's, from 0."""

    number: int
    measurement: str
    field: str
    kind: str
    known: str


class _Refused(Exception):
    def __init__(self, status: int, code: str, message: str, body: dict[str, Any] | None = None) -> None:
        super().__init__(message)
        self.status = status
        self.body = body or {"code": code, "message": message}


class InfluxDB:
    """On a free port of 127.0.0.1 that stays its own from start to start, on a thread of its own.

    Everything below may be read and set from any thread. `points` are those written, in order, repeats
    included. `script` are replies for the next requests; after those `hold()` keeps requests unanswered.
    `refuse_line` says why a line is to be dropped, the others of its request being written; `max_body`
    is in bytes; `empty` False refuses a write of nothing as version 2.0 does. A field keeps the type that
    it was first written with; `refusals` is how it says of what another type is. `partial_status` is
    that of other partial writes. `gzip_refusal` is the status for a body in gzip, 0 to take it; `packed`
    counts those taken.
    """

    def __init__(self, org: str = ORG, bucket: str = BUCKET, token: str = TOKEN, tls: Any = None) -> None:
        self.port = free_port()
        self.org = org
        self.bucket = bucket
        self.token = token
        self.points: list[Point] = []
        self.requests: list[Request] = []
        self.script: list[Reply] = []
        self.refuse_line: Callable[[Point], str | None] = lambda _: None
        self.max_body = 50_000_000
        self.empty = True
        self.gzip_refusal = 0
        self.packed = 0
        self.refusals = Refusals.LATE_2
        self.partial_status = 422
        self._types: dict[tuple[str, str], type] = {}
        self._tls = tls
        self._held: asyncio.Event | None = None
        self._loop = asyncio.new_event_loop()
        self._thread: threading.Thread | None = None
        self._runner: web.AppRunner | None = None

    def forget_types(self) -> None:
        """Fields may have any type again."""
        self._types.clear()

    @property
    def url(self) -> str:
        return f"{'https' if self._tls else 'http'}://127.0.0.1:{self.port}"

    def config_json(self, **others: Any) -> dict[str, Any]:
        """That of a destination that may write here."""
        own = {"url": self.url, "org": self.org, "bucket": self.bucket, "token": self.token}
        return {**own, **others}

    @property
    def writes(self) -> list[Request]:
        """The requests that had lines."""
        return [request for request in self.requests if request.lines]

    def start(self) -> None:
        """Listen; what was written before is still there."""
        if self._thread is None:
            self._thread = threading.Thread(target=self._loop.run_forever, name="influxdb", daemon=True)
            self._thread.start()
        self._run(self._start())

    def stop(self) -> None:
        """Go down, with the requests under way."""
        self._run(self._stop())

    @contextlib.contextmanager
    def hold(self) -> Iterator[None]:
        """Within it no request is answered."""
        held = self._held = asyncio.Event()
        try:
            yield
        finally:
            self._held = None
            self._loop.call_soon_threadsafe(held.set)

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()
        assert self._thread is not None
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(SECONDS)
        self._loop.close()

    def _run(self, coroutine: Any) -> None:
        asyncio.run_coroutine_threadsafe(coroutine, self._loop).result(SECONDS)

    async def _start(self) -> None:
        app = web.Application(client_max_size=2**30)
        app.router.add_route("*", "/{path:.*}", self._answer)
        # Not 0, which would be for ever.
        self._runner = web.AppRunner(app, shutdown_timeout=0.01, access_log=None)
        await self._runner.setup()
        await web.TCPSite(self._runner, "127.0.0.1", self.port, ssl_context=self._tls).start()

    async def _stop(self) -> None:
        if self._runner is not None:
            await self._runner.cleanup()
            self._runner = None

    async def _answer(self, request: web.Request) -> web.Response:
        body = await request.read()
        lines = body.split(b"\n") if body else []
        taken = Request(request.method, request.path, dict(request.query), dict(request.headers), lines)
        self.requests.append(taken)
        held = self._held
        if held is not None:
            await held.wait()
        if self.script:
            reply = self.script.pop(0)
            return web.Response(
                status=reply.status, text=reply.body, headers=reply.headers, content_type="application/json"
            )
        try:
            self._check(taken)
            if len(body) > self.max_body:
                raise _Refused(413, "request too large", "unable to read data: points batch is too large")
            self._write(taken)
        except _Refused as refused:
            return web.json_response(refused.body, status=refused.status)
        return web.Response(status=204)

    def _check(self, request: Request) -> None:
        if request.path != "/api/v2/write":
            raise _Refused(404, "not found", "path not found")
        if request.method != "POST":
            raise _Refused(405, "method not allowed", "allow: POST")
        authorization = request.headers.get("Authorization")
        if authorization not in (f"Token {self.token}", f"Token {READ_ONLY_TOKEN}"):
            raise _Refused(401, "unauthorized", "unauthorized access")
        if request.query.keys() != {"org", "bucket", "precision"}:
            raise _Refused(400, "invalid", f"unexpected parameters: {sorted(request.query)}")
        for key, known in (("org", self.org), ("bucket", self.bucket)):
            if request.query[key] != known:
                raise _Refused(404, "not found", f'{key} "{request.query[key]}" not found')
        if authorization == f"Token {READ_ONLY_TOKEN}":
            raise _Refused(403, "forbidden", "insufficient permissions for write")
        if request.query["precision"] not in _NS:
            raise _Refused(400, "invalid", "invalid precision; valid ones are ns, us, ms, and s")
        if request.headers.get("Content-Type", "").partition(";")[0] != "text/plain":
            raise _Refused(400, "invalid", "the body must be text/plain")
        if "Content-Encoding" in request.headers:
            if self.gzip_refusal or request.headers["Content-Encoding"] != "gzip":
                raise _Refused(self.gzip_refusal or 400, "invalid", "unexpected Content-Encoding")
            self.packed += 1

    def _write(self, request: Request) -> None:
        if not request.lines and not self.empty:
            raise _Refused(400, "invalid", "writing requires points")
        scale = _NS[request.query["precision"]]
        # One line that cannot be parsed refuses them all; a point that cannot be stored only itself.
        points = [_parsed(line, scale) for line in request.lines]
        conflicts: list[_Conflict] = []
        complaints: list[str] = []
        for number, point in enumerate(points):
            conflict, why = self._conflict(number, point), self.refuse_line(point)
            if conflict:
                conflicts.append(conflict)
            elif why:
                complaints.append(why)
            else:
                self.points.append(point)
        if conflicts:
            raise _conflicting(self.refusals, conflicts)
        if complaints:
            message = f"failure writing points to database: partial write: {complaints[0]}"
            dropped = f"{message} dropped={len(complaints)}"
            raise _Refused(self.partial_status, "unprocessable entity", dropped)

    def _conflict(self, number: int, point: Point) -> _Conflict | None:
        for field, value in point.fields.items():
            known = self._types.setdefault((point.measurement, field), type(value))
            if type(value) is not known:
                return _Conflict(number, point.measurement, field, _TYPES[type(value)], _TYPES[known])
        return None


def _conflicting(refusals: Refusals, conflicts: list[_Conflict]) -> _Refused:
    """As the version words it; the older ones tell of the first and count the others."""
    _, measurement, field, kind, known = conflicts[0]
    message = (
        f'partial write: field type conflict: input field "{field}" on measurement "{measurement}" is type '
        f"{kind}, already exists as type {known} dropped={len(conflicts)}"
    )
    match refusals:
        case Refusals.ONE:
            return _Refused(400, "", "", {"error": message})
        case Refusals.EARLY_2:
            return _Refused(500, "internal error", f"unexpected error writing points to database: {message}")
        case Refusals.LATE_2:
            return _Refused(422, "unprocessable entity", f"failure writing points to database: {message}")
        case Refusals.THREE:
            data = [
                {
                    "original_line": "cut",
                    "line_number": each.number + 1,
                    "error_message": f"invalid column type for column '{each.field}', expected "
                    f"iox::column_type::field::{each.known}, got iox::column_type::field::{each.kind}",
                }
                for each in conflicts
            ]
            return _Refused(400, "", "", {"error": "partial write of line protocol occurred", "data": data})
    words = (
        f"failed to parse line protocol: error writing line {conflicts[0].number + 1}: Unable to insert type "
        f"iox::column_type::field::{kind} type into column {field} with type iox::column_type::field::{known}"
    )
    return _Refused(201, "", "", {"code": "invalid", "line": conflicts[0].number + 1, "message": words})


def _parsed(line: bytes, scale: int) -> Point:
    try:
        found = parse_line(line.decode())
    except (LineFormatError, UnicodeDecodeError) as error:
        raise _Refused(400, "invalid", f"unable to parse {line!r}: {error}") from error
    if found is None or found["time"] is None:
        raise _Refused(400, "invalid", f"unable to parse {line!r}: a comment, or no time")
    point = Point(found["measurement"], found["tags"], found["fields"], found["time"] * scale)
    if not 0 < point.time <= _LATEST_NS:
        raise _Refused(400, "invalid", f"unable to parse {line!r}: time outside range")
    for name in (point.measurement, *point.tags, *point.fields):
        if name.startswith("_") or not name:
            raise _Refused(400, "invalid", f"unable to parse {line!r}: reserved name {name!r}")
    if "time" in point.tags or "time" in point.fields:
        raise _Refused(400, "invalid", f"unable to parse {line!r}: reserved name 'time'")
    return point
