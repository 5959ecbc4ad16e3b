"""How a link to a broker is opened: the host, TLS, a websocket, the login."""

import asyncio
import ssl

from actors.connections import dialing, os_errors
from actors.connections.certificates import untrusted
from actors.connections.connection import Permanent, Transient
from actors.mqtt.broker import V5, Broker, tls_context
from actors.mqtt.greeting import Hello
from actors.mqtt.link import Link
from actors.mqtt.packets import Answer
from actors.mqtt.reasons import REFUSED, login_refused, subscription_refused
from actors.system.failure import Refusal

# OpenSSL's X509_V_ERR_ for a certificate that is self-signed or whose issuer is not known.
_UNKNOWN_AUTHORITY = (18, 19, 20, 21)


class Way:
    """To one broker, over all connections: an address behind which nobody has answered is the last to be
    tried the next time."""

    def __init__(self, broker: Broker) -> None:
        self._broker = broker
        self._tls: ssl.SSLContext | None = None
        self._reached: dialing.Address | None = None
        self._avoid: dialing.Address | None = None

    @property
    def where(self) -> str:
        return f"{self._broker.host}:{self._broker.port}"

    async def open(self, link: Link, hello: Hello, filters: tuple[str, ...], seconds: float) -> None:
        """Connect, log in, subscribe. Raises `Transient` or `Permanent`; then, or cancelled, `link` is still
        to be aborted."""
        self._reached = None
        try:
            await self._open(link, hello, filters, seconds)
        except BaseException:
            self._avoid = self._reached
            raise
        self._avoid = None

    async def _open(self, link: Link, hello: Hello, filters: tuple[str, ...], seconds: float) -> None:
        try:
            async with asyncio.timeout(seconds):
                await self._connect(link)
                await self._log_in(link, hello)
                await self._subscribe(link, filters)
        except TimeoutError as error:
            raise Transient(self._timed_out(seconds)) from error
        except ssl.SSLCertVerificationError as error:
            raise untrusted(self.where, error, self._hint(error)) from error
        except OSError as error:
            raise Transient(f"{os_errors.reason(error)} ({self.where})") from error

    async def _connect(self, link: Link) -> None:
        broker = self._broker
        if broker.tls and self._tls is None:
            self._tls = await _prepared(broker)
        if broker.websocket:
            from actors.mqtt.websocket import open_websocket

            await open_websocket(broker, self._tls, link, self._was_reached, self._avoid)
            return
        connected = await dialing.dial(broker.host, broker.port, self._avoid)
        self._was_reached(connected.getpeername())
        await asyncio.get_running_loop().create_connection(
            lambda: link, sock=connected, ssl=self._tls, server_hostname=broker.host if self._tls else None
        )

    def _was_reached(self, address: dialing.Address) -> None:
        self._reached = address

    async def _log_in(self, link: Link, hello: Hello) -> None:
        link.log_in(hello)
        answer = await self._answer(link.connack, "logging in")
        if answer.code:
            raise login_refused(self._broker.version, answer)

    async def _subscribe(self, link: Link, filters: tuple[str, ...]) -> None:
        if filters:
            answer = await self._answer(link.subscribe(filters), "subscribing")
            if answer.code >= REFUSED:
                raise Permanent(subscription_refused(", ".join(filters), answer))

    async def _answer(self, answer: "asyncio.Future[Answer | None]", instead_of: str) -> Answer:
        found = await answer
        if found is None:
            doubt = (
                "; does it speak MQTT 5?" if self._broker.version == V5 and instead_of == "logging in" else ""
            )
            raise Transient(f"{self.where} closed the connection instead of {instead_of}{doubt}")
        return found

    def _timed_out(self, seconds: float) -> str:
        if self._reached is None:
            return "TCP connection timed out"
        return f"{self.where} did not answer the MQTT login within {seconds:g} s"

    def _hint(self, error: ssl.SSLCertVerificationError) -> str:
        if error.verify_code not in _UNKNOWN_AUTHORITY:
            return ""
        own = "is the configured ca the authority that signed it?"
        return f"; {own if self._broker.ca else 'configure its ca'}"


async def _prepared(broker: Broker) -> ssl.SSLContext:
    try:
        return await asyncio.to_thread(tls_context, broker)
    except Refusal as refusal:
        raise Permanent(refusal.message) from refusal
