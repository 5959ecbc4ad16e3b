"""The HTTP client of the command line: one agent, short waits, and errors that fit on one line."""

import contextlib
import json
import ssl
from collections.abc import Callable, Iterator, Mapping, Sequence
from http.client import HTTPConnection, HTTPException, HTTPResponse, HTTPSConnection
from pathlib import Path
from time import monotonic
from typing import IO, Any, NamedTuple
from urllib.parse import quote, urlencode, urlsplit

from api.cli.event_stream import events
from api.cli.exits import USAGE, CommandError, NoAgent, Refused
from api.cli.refusals import error_text
from api.printable import one_line

TIMEOUT_SECONDS = 5.0
SILENCE_SECONDS = 35.0
"""A stream in which nothing comes for so long is broken: the agent says something every 15 s."""
CHUNK = 65_536
SLOWEST = 4096
"""Bytes a second of a line that is slow but works."""

JSON = "application/json"
LOOPBACK = ("localhost", "127.0.0.1", "::1")

Query = Mapping[str, str | Sequence[str]]


class Address(NamedTuple):
    """Where an agent is: what of its URL a connection needs."""

    secure: bool
    host: str
    port: int
    path: str

    @property
    def is_overheard(self) -> bool:
        """Whether what is sent leaves this machine unencrypted."""
        return not self.secure and self.host not in LOOPBACK

    @property
    def origin(self) -> str:
        """What a session belongs to; below another path of a gateway is another agent."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{'https' if self.secure else 'http'}://{host}:{self.port}{self.path}"


class AgentClient:
    """The agent at `url`, through no proxy. `cookie` is the session that goes with each request.

    Every request raises `NoAgent` without an answer of an agent and `Refused` for one with an error status.
    """

    def __init__(
        self, url: str, key: str | None = None, *, ca: Path | None = None, timeout: float = TIMEOUT_SECONDS
    ) -> None:
        """Touches no network. Raises `CommandError` for an address or a key that cannot be one."""
        self.url = url
        self.address = address_of(url)
        self.timeout = timeout
        self.cookie: str | None = None
        self._key = checked_key(key)
        self._tls = _tls(ca) if self.address.secure else None

    def get(self, path: str, query: Query | None = None, *, also: Sequence[int] = ()) -> Any:
        """The reply's JSON, also that of the error statuses `also`, whose bodies say what a 200's say."""
        return self.call("GET", path, query=query, also=also)

    def get_if_known(self, path: str) -> Any:
        """The reply's JSON, None while the agent cannot say or does not know."""
        try:
            return self.get(path)
        except Refused as refused:
            if refused.status in (404, 500, 503):
                return None
            raise

    def call(
        self,
        method: str,
        path: str,
        body: Any = None,
        *,
        query: Query | None = None,
        also: Sequence[int] = (),
        timeout: float | None = None,
    ) -> Any:
        """The JSON of a reply to a JSON `body`, if there is one; None when the reply is empty."""
        return self.exchange(method, path, body, query=query, also=also, timeout=timeout)[0]

    def exchange(
        self,
        method: str,
        path: str,
        body: Any = None,
        *,
        query: Query | None = None,
        also: Sequence[int] = (),
        timeout: float | None = None,
    ) -> tuple[Any, Mapping[str, str]]:
        """As `call`, and the reply's headers."""
        data = None if body is None else json.dumps(body).encode()
        headers = {} if data is None else {"Content-Type": JSON}
        with self._answer(method, path, data, headers, query, also, timeout or self.timeout) as answer:
            raw = self._whole(answer, timeout or self.timeout)
            if not raw:
                return None, dict(answer.headers.items())
            self._check_kind(answer, JSON)
            try:
                return json.loads(raw), dict(answer.headers.items())
            except (ValueError, RecursionError) as error:
                raise NoAgent(self.url, "its answer is not JSON") from error

    def raw(self, path: str, query: Query | None = None, kind: str = JSON) -> bytes:
        """A reply as it came, of this media type."""
        with self._answer("GET", path, None, {}, query, (), self.timeout) as answer:
            self._check_kind(answer, kind)
            return self._whole(answer, self.timeout)

    def text(self, path: str, query: Query | None = None) -> str:
        """A reply of plain text."""
        return self.raw(path, query, "text/plain").decode("utf-8", "replace")

    def download(self, path: str, to: IO[bytes]) -> int:
        """Write a reply's body to a file, which may take as long as it goes on; returns its length."""
        length = 0
        with self._answer("GET", path, None, {}, None, (), self.timeout) as answer:
            if answer.headers.get_content_type() == "text/html":
                self._check_kind(answer, "application/octet-stream")
            while chunk := self._chunk(answer):
                to.write(chunk)
                length += len(chunk)
            # http.client reads on happily over the end of a connection that broke off.
            if answer.length:
                raise NoAgent(self.url, f"it broke off with {answer.length} bytes to come")
        return length

    def upload(self, path: str, content: IO[bytes], length: int, query: Query | None = None) -> Any:
        """The JSON of a reply to a file's content."""
        headers = {"Content-Type": "application/octet-stream", "Content-Length": str(length)}
        with self._answer("POST", path, content, headers, query, (), self.timeout) as answer:
            self._check_kind(answer, JSON)
            return json.loads(self._whole(answer, self.timeout))

    def send(
        self, path: str, content: bytes, kind: str, *, also: Sequence[int] = (), timeout: float | None = None
    ) -> Any:
        """The JSON of a reply to content of that media type, also of the error statuses `also`."""
        seconds = timeout or self.timeout
        with self._answer("POST", path, content, {"Content-Type": kind}, None, also, seconds) as answer:
            self._check_kind(answer, JSON)
            return json.loads(self._whole(answer, seconds))

    def stream(
        self,
        path: str,
        query: Query | None = None,
        after: str = "",
        see: Callable[[str], None] = lambda id: None,
    ) -> Iterator[tuple[str, bytes]]:
        """Names and data of events, of those `after` an id; one without a name when the stream has begun.
        `see` is told the ids."""
        headers = {"Last-Event-ID": after} if after else {}
        with self._answer("GET", path, None, headers, query, (), self.timeout, SILENCE_SECONDS) as answer:
            self._check_kind(answer, "text/event-stream")
            yield "", b""
            try:
                yield from events(answer, see)
            except (OSError, HTTPException) as error:
                raise NoAgent(self.url, reason_of(error)) from error

    @contextlib.contextmanager
    def _answer(
        self,
        method: str,
        path: str,
        body: bytes | IO[bytes] | None,
        headers: Mapping[str, str],
        query: Query | None,
        also: Sequence[int],
        timeout: float,
        silence: float | None = None,
    ) -> Iterator[HTTPResponse]:
        target = f"{self.address.path}{path}"
        if query:
            target += f"?{urlencode(query, doseq=True)}"
        connection = self._connection(timeout)
        try:
            try:
                connection.connect()
                with contextlib.suppress(BrokenPipeError, ConnectionResetError):
                    # Who refuses a large body says so before all of it is sent, and reads no more of it.
                    connection.request(method, target, body, {**headers, **self._credentials()})
                answer = connection.getresponse()
            except (OSError, HTTPException, ValueError) as error:
                raise NoAgent(self.url, reason_of(error)) from error
            if not 200 <= answer.status < 300 and answer.status not in also:
                raise self._refusal(answer)
            if silence is not None:
                connection.sock.settimeout(silence)
            yield answer
        finally:
            connection.close()

    def _connection(self, timeout: float) -> HTTPConnection:
        host, port = self.address.host, self.address.port
        if self._tls is None:
            return HTTPConnection(host, port, timeout=timeout)
        return HTTPSConnection(host, port, timeout=timeout, context=self._tls)

    def _credentials(self) -> dict[str, str]:
        headers = {"Accept-Encoding": "identity"}
        if self._key:
            headers["X-Api-Key"] = self._key
        if self.cookie:
            headers["Cookie"] = f"admin_session={self.cookie}"
        return headers

    def _refusal(self, answer: HTTPResponse) -> CommandError:
        """What an error status means: an agent's word, or that it is no agent."""
        status = one_line(f"HTTP {answer.status} {answer.reason}".rstrip())
        if 300 <= answer.status < 400:
            to = one_line(answer.headers.get("Location", "nowhere"))
            return NoAgent(self.url, f"{status}: it sends us on to {to}, which no agent does")
        try:
            said = error_text(answer.read(CHUNK))
        except (OSError, HTTPException):  # the rest of the answer does not come
            said = None
        if said is None:
            return NoAgent(self.url, status)
        return Refused(answer.status, said + (_way_in(said) if answer.status in (401, 403) else ""))

    def _whole(self, answer: HTTPResponse, timeout: float) -> bytes:
        """The body, if it all comes in time: a drop now and then is no answer, a slow line is given time."""
        deadline = monotonic() + timeout
        chunks = []
        while chunk := self._chunk(answer):
            chunks.append(chunk)
            deadline += len(chunk) / SLOWEST
            if monotonic() > deadline:
                raise NoAgent(self.url, "its answer took too long")
        if answer.length:
            raise NoAgent(self.url, f"it broke off with {answer.length} bytes to come")
        return b"".join(chunks)

    def _chunk(self, answer: HTTPResponse) -> bytes:
        try:
            return answer.read1(CHUNK)
        except (OSError, HTTPException, ValueError) as error:
            raise NoAgent(self.url, reason_of(error)) from error

    def _check_kind(self, answer: HTTPResponse, kind: str) -> None:
        if (found := answer.headers.get_content_type()) != kind:
            raise NoAgent(self.url, one_line(f"it answers with {found}, not {kind}"))


def address_of(url: str) -> Address:
    """Raises `CommandError` for what is no address of an agent."""
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError as error:
        raise CommandError(f"{one_line(url)!r} is not the URL of an agent: {error}", USAGE) from error
    if parts.scheme not in ("http", "https") or not parts.hostname or parts.username or parts.query:
        text = (
            f"{one_line(_without_password(url))!r} is not the URL of an agent, such as http://localhost:48484"
        )
        raise CommandError(text, USAGE)
    secure = parts.scheme == "https"
    return Address(secure, parts.hostname, port or (443 if secure else 80), parts.path.rstrip("/"))


def segment(text: str) -> str:
    """A name as one part of a path."""
    return quote(text, safe="")


def checked_key(key: str | None) -> str | None:
    """A key that fits a header. Raises `CommandError`, which does not tell the key."""
    if key and not (key.isascii() and key.isprintable()):
        raise CommandError("the API key has characters that no HTTP header can have", USAGE)
    return key


def reason_of(error: BaseException) -> str:
    """Why there is no answer, and where it is plain, what to do about it."""
    if isinstance(error, ssl.SSLCertVerificationError):
        said = one_line(error.verify_message or str(error))
        return f"its certificate is not trusted ({said}); name the file of its authority with --ca"
    if isinstance(error, ssl.SSLError) and "WRONG_VERSION" in str(error):
        return "it does not speak TLS; is it http://?"
    if isinstance(error, TimeoutError):
        return "it took too long"
    if isinstance(error, ConnectionResetError):  # also of a server that ends without a word
        return "it ended the connection without an answer; is it https://?"
    return one_line(str(error)) or type(error).__name__


def _way_in(said: str) -> str:
    """What somebody does whom the agent does not know."""
    if said.startswith(("Not authenticated", "Session expired", "User not found")):
        return ". Sign in: callboard login"
    if said.startswith("The password must be changed"):
        return " (callboard users passwd)"
    return ". Say the API key with --api-key or API_KEY" if said == "Unauthorized" else ""


def _without_password(url: str) -> str:
    return url if "@" not in url else f"...@{url.rpartition('@')[2]}"


def _tls(ca: Path | None) -> ssl.SSLContext:
    try:
        return ssl.create_default_context(cafile=ca)
    except (OSError, ValueError) as error:
        raise CommandError(f"--ca: {str(ca)!r} cannot be used: {one_line(str(error))}", USAGE) from error
