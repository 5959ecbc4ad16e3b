"""HTTP requests with a body to one server, one at a time, and what it answers; on aiohttp."""

import asyncio
import contextlib
import io
import math
import re
import socket
import ssl
import weakref
from collections.abc import Awaitable, Callable, Coroutine, Mapping
from typing import Any, TypeVar

import aiohttp
import msgspec
from yarl import URL

from actors.connections import os_errors, retry_after
from actors.connections.building import build
from actors.connections.certificates import untrusted
from actors.connections.connection import NoConnection, Permanent, Transient
from actors.connections.dialing import Address, tuned
from actors.connections.http_names import Names
from actors.connections.outflow import acknowledged
from actors.publish.messages import DestinationTested
from conf.redaction import MASK

T = TypeVar("T")

TIMED_OUT = "Connection timed out"
TEST_SECONDS = 8.0
LONGEST = 3600.0
"""Seconds after which a request ends although its bytes move."""
STALE = 1.0
"""Seconds without a request after which a server may be just closing the connection."""
UNFIT = 2
"""Times in a row that a connection was of no use for a second request before each has one of its own."""

_READ = 65_536
_SHOWN = 120
_LOOK = 1.0  # seconds between two looks at whether bytes move
_REST = 2.0  # seconds for more of an answer whose beginning says that all is well
_MARKUP = re.compile(
    r"[\ufeff\s]*(<!--.*?-->\s*)*<(!doctype\s+html|html|head|body|script|meta)\b", re.I | re.S
)
_HTML = ("text/html", "application/xhtml+xml")


class Answer(msgspec.Struct, frozen=True):
    """`body` is the beginning of it, without the secrets that may be in there; `media_type` is in lower case
    and without parameters, empty where there is none."""

    status: int
    body: str
    media_type: str = ""
    retry_after: float = 0.0

    @property
    def is_page(self) -> bool:
        """Something for people to read, such as a login: whatever its status, not from whom was asked."""
        return self.media_type in _HTML or _MARKUP.match(self.body) is not None

    @property
    def text(self) -> str:
        return f"HTTP {self.status}: {shown(self.body)}"


def shown(text: str) -> str:
    """The beginning of what a server says, on one line."""
    return " ".join(text.split())[:_SHOWN]


Requesting = Callable[[bytes, Mapping[str, str], str], Awaitable[aiohttp.ClientResponse]]
"""Makes one request of a body, further headers and a method; it does not follow redirects."""


class Site(msgspec.Struct, frozen=True):
    """Who is asked, and how. `where` is the server in words; `secrets` are never repeated in an answer.
    `requesting` says who makes the requests over a session, if a library of the server's own does."""

    where: str
    url: str
    context: ssl.SSLContext
    headers: dict[str, str]
    method: str = "POST"
    secrets: tuple[str, ...] = ()
    requesting: Callable[[aiohttp.ClientSession], Requesting] | None = None


class Posting:
    """One session, over one connection at a time; to be made, and closed, on the loop.

    Nothing but the URL itself gets what is sent: redirects are not followed, and a proxy of the environment
    is not used.
    """

    def __init__(self, site: Site, avoid: Address | None = None) -> None:
        """`avoid` is an address of the server's that was of no use: it is tried last."""
        self.peer: Address | None = None
        """The address of the server that was reached, or tried as the last."""
        self._site = site
        self._sockets: weakref.WeakSet[socket.socket] = weakref.WeakSet()
        self._session = aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(
                limit=1,
                ssl=site.context,
                resolver=Names(avoid),
                use_dns_cache=False,
                socket_factory=self._socket,
            ),
            timeout=aiohttp.ClientTimeout(total=None, sock_connect=None),
            cookie_jar=aiohttp.DummyCookieJar(),
            headers={"Accept-Encoding": "identity", **site.headers},
            trust_env=False,
        )
        self._library = None if site.requesting is None else site.requesting(self._session)
        self._answered_at = math.inf
        self._unfit = 0

    async def aclose(self) -> None:
        await self._session.close()

    async def ask(
        self, body: bytes, silence: float, headers: Mapping[str, str] | None = None, method: str = ""
    ) -> Answer:
        """The answer to whatever was asked. Raises `Transient` or `Permanent` when there is none: after
        `silence` seconds in which no byte has moved, or after `LONGEST` in all."""
        try:
            answer = await self._answered(body, silence, headers or {}, method or self._site.method)
        except (aiohttp.ClientError, OSError, TimeoutError) as error:
            raise self._trouble(error) from _without_frames(error)
        self._answered_at = _clock()
        return answer

    def _trouble(self, error: Exception) -> NoConnection:
        where = self._site.where
        match error:
            case aiohttp.ClientConnectorCertificateError():
                return self._untrusted(error)
            case aiohttp.ClientConnectorError():
                return Transient(f"{os_errors.reason(error.os_error)} ({where})")
            case TimeoutError():
                return Transient(TIMED_OUT)
            case OSError():
                return Transient(f"{os_errors.reason(error)} ({where})")
            case aiohttp.ServerDisconnectedError():
                return Transient(f"{where} closed the connection")
        return Transient(f"{where} does not speak HTTP: {type(error).__name__}")

    async def _answered(self, body: bytes, silence: float, headers: Mapping[str, str], method: str) -> Answer:
        """A connection that has served may have been closed meanwhile, or hold what is no answer: then the
        next one is asked."""
        used = self._answered_at != math.inf and self._unfit < UNFIT
        idle = _clock() - self._answered_at > STALE
        try:
            answer = await self._watched(self._exchange(body, headers, method, silence), silence)
        except (aiohttp.ClientError, ConnectionError) as error:
            if not used or isinstance(error, aiohttp.ClientConnectorError):
                raise
            _without_frames(error)
        else:
            self._unfit = 0 if used else self._unfit
            return answer
        self._unfit += not idle
        return await self._watched(self._exchange(body, headers, method, silence), silence)

    async def _exchange(self, body: bytes, headers: Mapping[str, str], method: str, silence: float) -> Answer:
        request = self._library or self._plain
        async with await request(body, headers, method) as response:
            begun = await _beginning(response, min(_REST, silence / 2))
            if self._unfit >= UNFIT:
                response.close()
        text = begun.decode(errors="replace")
        for secret in self._site.secrets:
            text = text.replace(secret, MASK)
        return Answer(
            response.status,
            text or response.reason or "",
            response.headers.get("Content-Type", "").partition(";")[0].strip().lower(),
            retry_after.seconds(response.headers),
        )

    async def _plain(self, body: bytes, headers: Mapping[str, str], method: str) -> aiohttp.ClientResponse:
        site = self._site
        return await self._session.request(
            method,
            # As it was given: a library that tidies it up may spoil a signature.
            URL(site.url, encoded=True),
            # A stream, which aiohttp writes piece by piece.
            data=io.BytesIO(body),
            headers=headers,
            allow_redirects=False,
        )

    async def _watched(self, call: Coroutine[Any, Any, T], silence: float) -> T:
        """Raises `TimeoutError` when nothing has moved for that long; while the loop stands still nobody
        counts."""
        task = asyncio.ensure_future(call)
        look = min(silence / 4, _LOOK)
        quiet, looked = 0.0, _clock()
        taken, ends = self._taken(), looked + LONGEST
        try:
            while not task.done():
                await asyncio.wait({task}, timeout=look)
                now = _clock()
                quiet += min(now - looked, 2 * look)
                looked = now
                if (latest := self._taken()) != taken:
                    quiet, taken = 0.0, latest
                if not task.done() and (quiet >= silence or now > ends):
                    raise TimeoutError
            return task.result()
        finally:
            if not task.done():
                task.cancel()
                await asyncio.gather(task, return_exceptions=True)

    def _socket(self, address: tuple[Any, ...]) -> socket.socket:
        self.peer = address[4]
        made = tuned(address)
        self._sockets.add(made)
        return made

    def _taken(self) -> int:
        """Bytes that the server's TCP has acknowledged, over all connections there are."""
        for each in self._sockets:
            with contextlib.suppress(OSError):  # it is not connected
                self.peer = each.getpeername()
        return sum(acknowledged(each) for each in self._sockets)

    def _untrusted(self, error: aiohttp.ClientConnectorCertificateError) -> NoConnection:
        cause = error.certificate_error
        if isinstance(cause, ssl.SSLCertVerificationError):
            return untrusted(self._site.where, cause)
        return Permanent(f"The certificate of {self._site.where} is not trusted: {cause}")


async def tried(
    kind: str, site: Callable[[], Site], ask: Callable[[Posting], Awaitable[str]]
) -> DestinationTested:
    """What comes of asking once, within 8 s; `site` is made in the thread of that kind of connection, and
    `ask` returns what to say when all is well."""
    try:
        async with asyncio.timeout(TEST_SECONDS):
            async with contextlib.aclosing(Posting(await build(kind, site))) as posting:
                return DestinationTested(True, message=await ask(posting))
    except TimeoutError:
        return DestinationTested(False, error=TIMED_OUT)
    except NoConnection as error:
        return DestinationTested(False, error=str(error))


def _without_frames(error: BaseException) -> BaseException:
    """Frames hold the session, and some of them the error: only the collector would let go of it."""
    chain: BaseException | None = error
    while chain is not None:
        chain.__traceback__ = None
        chain = chain.__cause__ or chain.__context__
    return error


def _clock() -> float:
    return asyncio.get_running_loop().time()


async def _beginning(response: aiohttp.ClientResponse, rest: float) -> bytes:
    """That of the body. A status that says that all is well says it also where the body does not end as it
    should, or not within `rest` seconds of silence."""
    body = b""
    well = response.status < 300
    try:
        while len(body) < _READ:
            async with asyncio.timeout(rest if well else None):
                more = await response.content.read(_READ - len(body))
            if not more:
                break
            body += more
    except (aiohttp.ClientPayloadError, TimeoutError):
        if not well:
            raise
        response.close()
    return body
