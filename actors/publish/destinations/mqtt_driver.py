"""The connection of every destination that speaks MQTT, on gmqtt 0.8."""

import asyncio
import logging
import secrets
import ssl
import time
from collections.abc import Callable
from typing import NoReturn

from gmqtt.mqtt.constants import MQTTv311
from gmqtt.mqtt.handler import MQTTConnectError

from actors.connections import os_errors
from actors.connections.connection import NoConnection, Permanent, Transient
from actors.publish.destinations.broker import MAX_PAYLOAD, Broker, Login, tls_context
from actors.publish.destinations.driver import Driver, Listener, Nobody, Outgoing
from actors.publish.destinations.fields import MAX_TEXT
from actors.publish.destinations.gmqtt_client import Client, Sent, abort, hang_up, transport_of, unsent
from actors.publish.messages import DestinationTested
from actors.publish.topics import unpublishable
from actors.system.failure import Refusal

CONNECT_SECONDS = 10.0
ACKNOWLEDGE_SECONDS = 20.0
TEST_SECONDS = 5.0

QUICK_SECONDS = 3.0
QUICK_LOSSES = 3

_BROKER_UNAVAILABLE = 3
_REFUSALS = {
    1: "the broker does not speak MQTT 3.1.1",
    2: "client id rejected",
    _BROKER_UNAVAILABLE: "broker unavailable",
    4: "bad user name or password",
    5: "not authorised, check user name and password",
}

# OpenSSL's X509_V_ERR_ for a certificate that is self-signed or whose issuer is not known.
_UNKNOWN_AUTHORITY = (18, 19, 20, 21)

# gmqtt logs every packet, and every lost connection with a traceback. Its owner hears of what matters
# from the driver; exceptions inside gmqtt are what is left worth a line.
logging.getLogger("gmqtt").setLevel(logging.ERROR)
_log = logging.getLogger(f"{__name__}.gmqtt")
_log.setLevel(logging.ERROR)
_log.addFilter(lambda record: bool(record.exc_info))


class MqttDriver(Driver):
    """Publishes at QoS 1; PUBACK is delivery. A new gmqtt client per connection, so that nothing of an
    old one, packet identifiers above all, is carried over.

    `login` is asked at each connect and may raise `Transient` or `Permanent`. `address` makes the topic
    on the wire from the topic and payload handed to `send`. Payloads larger than `max_payload` bytes are
    rejected. With `may_rename`, a client id whose connection has ended within 3 s three times in a row
    gets a suffix: somebody else is using it (spec 02 section 8.2). Where the changed one fares no better, or
    cannot log in, its own comes back: a broker may know its clients by their ids.
    """

    def __init__(
        self,
        broker: Broker,
        login: Callable[[], Login],
        listener: Listener,
        *,
        address: Callable[[str, bytes], str] | None = None,
        max_payload: int = MAX_PAYLOAD,
        may_rename: bool = False,
        connect_seconds: float = CONNECT_SECONDS,
        acknowledge_seconds: float = ACKNOWLEDGE_SECONDS,
    ) -> None:
        self._broker = broker
        self._login = login
        self._listener = listener
        self._address = address
        self._max_payload = max_payload
        self._name = _Name(may_rename)
        self._connect_seconds = connect_seconds
        self._acknowledge_seconds = acknowledge_seconds
        self._client: Client | None = None
        self._sent = Sent(self._acknowledged)
        self._progress: Progress | None = None
        self._acknowledgements: list[int] = []
        self._rejections: list[tuple[int, str]] = []
        self._watch: asyncio.TimerHandle | None = None
        self._renewal: asyncio.TimerHandle | None = None
        self._ending: asyncio.Handle | None = None
        self._tls: ssl.SSLContext | None = None

    async def connect(self) -> None:
        # Signing takes milliseconds, and importing what signs the first token takes tens of them.
        login = await asyncio.to_thread(self._login)
        self._sent = Sent(self._acknowledged)
        client = self._new_client(login)
        try:
            await self._establish(client)
        except BaseException:
            abort(client)
            self._name.failed()
            raise
        self._client = client
        self._progress = Progress(self._sent, client)
        self._name.connected()
        self._schedule_watch()
        if login.renew_after is not None:
            loop = asyncio.get_running_loop()
            self._renewal = loop.call_later(login.renew_after, self._listener.expiring)

    def send(self, message: Outgoing) -> None:
        if self._client is None:
            # The connection has ended and `lost` comes later in this turn of the loop.
            return
        seq, topic, payload = message.seq, message.topic, message.payload
        if self._address is not None:
            topic = self._address(topic, payload)
        reason = self._unsendable(topic, payload)
        if reason is not None:
            self._reject(seq, reason)
            return
        self._sent.sending = seq
        self._client.publish(topic.encode(), payload, qos=1)

    async def close(self) -> None:
        client = self._release()
        if self._ending is not None:
            self._ending.cancel()
        if client is not None:
            await hang_up(client)
        self._acknowledgements.clear()
        self._rejections.clear()

    def _new_client(self, login: Login) -> Client:
        # Bytes: gmqtt counts the characters of a str where MQTT wants its bytes.
        client_id = self._name.of(login.client_id).encode()
        client = Client(client_id, clean_session=True, persistent_storage=self._sent, logger=_log)
        client.websocket = self._broker if self._broker.websocket else None
        if login.username is not None:
            client.set_auth_credentials(login.username, login.password)
        client.on_disconnect = self._disconnected
        return client

    async def _establish(self, client: Client) -> None:
        """Connect and log in; gmqtt itself waits forever for a broker that does not answer."""
        broker = self._broker
        if broker.tls and self._tls is None:
            self._tls = await _prepared(broker)
        attempt = asyncio.ensure_future(
            client.connect(
                broker.host,
                broker.port,
                ssl=self._tls or False,
                keepalive=broker.keepalive,
                # With version 5 the broker's Receive Maximum (mosquitto's is 20) would be the window;
                # 3.1.1 has none, and the caller's own window applies.
                version=MQTTv311,
            )
        )
        try:
            ended = asyncio.ensure_future(client.ended.wait())
            try:
                async with asyncio.timeout(self._connect_seconds):
                    await asyncio.wait({attempt, ended}, return_when=asyncio.FIRST_COMPLETED)
                    # A refusing broker closes the connection right behind its reason.
                    await asyncio.wait({attempt}, timeout=0.5)
            finally:
                ended.cancel()
            if not attempt.done():
                raise Transient(f"{self._where} closed the connection instead of logging in")
            attempt.result()
        except TimeoutError as error:
            raise Transient(self._timed_out(client)) from error
        except MQTTConnectError as error:
            self._refused(error)
        except ssl.SSLCertVerificationError as error:
            raise Permanent(self._untrusted(error)) from error
        except OSError as error:
            raise Transient(f"{os_errors.reason(error)} ({self._where})") from error
        finally:
            attempt.cancel()
        if client.ended.is_set():
            raise Transient(f"{self._where} closed the connection")

    @property
    def _where(self) -> str:
        return f"{self._broker.host}:{self._broker.port}"

    def _timed_out(self, client: Client) -> str:
        if not client.reached and transport_of(client) is None:
            return "TCP connection timed out"
        return f"{self._where} did not answer the MQTT login within {self._connect_seconds:g} s"

    def _refused(self, error: MQTTConnectError) -> NoReturn:
        code = error._code
        kind = Permanent if code in _REFUSALS and code != _BROKER_UNAVAILABLE else Transient
        raise kind(f"Connection refused: {_REFUSALS.get(code, error.message)}") from error

    def _untrusted(self, error: ssl.SSLCertVerificationError) -> str:
        text = f"The certificate of {self._where} is not trusted: {error.verify_message}"
        if error.verify_code not in _UNKNOWN_AUTHORITY:
            return text
        hint = "is the configured ca the authority that signed it?" if self._broker.ca else "configure its ca"
        return f"{text}; {hint}"

    def _acknowledged(self, seq: int) -> None:
        if not self._acknowledgements:
            # One read from the socket brings many PUBACKs; they are told together.
            asyncio.get_running_loop().call_soon(self._tell_delivered)
        self._acknowledgements.append(seq)

    def _tell_delivered(self) -> None:
        if self._acknowledgements:
            seqs, self._acknowledgements = self._acknowledgements, []
            if self._progress is not None:
                self._progress.acknowledged(_now())
            self._listener.delivered(seqs)

    def _unsendable(self, topic: str, payload: bytes) -> str | None:
        """Why no broker takes this; most of them end the connection over it. Another version may have stored
        the topic."""
        if len(payload) > self._max_payload:
            return f"The payload has {len(payload)} bytes; {self._max_payload} is the most allowed"
        why = unpublishable(topic)
        return None if why is None else f"Not a topic that can be published to: {why}"

    def _reject(self, seq: int, reason: str) -> None:
        if not self._rejections:
            asyncio.get_running_loop().call_soon(self._tell_rejected)
        self._rejections.append((seq, reason))

    def _tell_rejected(self) -> None:
        rejections, self._rejections = self._rejections, []
        for seq, reason in rejections:
            self._listener.rejected([seq], reason)

    def _disconnected(self, client: Client, _packet: object) -> None:
        client.ended.set()
        if client is self._client:
            self._end(f"{self._where} closed the connection")

    def _end(self, reason: str) -> None:
        client = self._release()
        if client is not None:
            self._name.lost()
            abort(client)
            self._ending = asyncio.get_running_loop().call_soon(self._tell_lost, Transient(reason))

    def _tell_lost(self, error: Transient) -> None:
        self._tell_delivered()
        self._tell_rejected()
        self._listener.lost(error)

    def _release(self) -> Client | None:
        client, self._client = self._client, None
        for timer in (self._watch, self._renewal):
            if timer is not None:
                timer.cancel()
        self._watch = self._renewal = None
        return client

    def _schedule_watch(self) -> None:
        loop = asyncio.get_running_loop()
        self._watch = loop.call_later(self._acknowledge_seconds / 4, self._check_silence)

    def _check_silence(self) -> None:
        """A broker that is gone without a word (power, cable) leaves TCP retrying for a quarter of an
        hour; keepalive notices only what is idle. One at the end of a slow line is not gone."""
        if self._progress is not None and self._progress.none_for(_now()) >= self._acknowledge_seconds:
            self._end(f"no acknowledgement for {self._acknowledge_seconds:g} s")
        else:
            self._schedule_watch()


async def _prepared(broker: Broker) -> ssl.SSLContext:
    try:
        return await asyncio.to_thread(tls_context, broker)
    except Refusal as refusal:
        raise Permanent(refusal.message) from refusal


async def try_connect(broker: Broker, login: Callable[[], Login], message: str) -> DestinationTested:
    """Connect and log in once, within 5 s; `message` is what to answer when that worked."""
    attempt = MqttDriver(broker, login, Nobody(), connect_seconds=TEST_SECONDS)
    try:
        await attempt.connect()
    except NoConnection as error:
        return DestinationTested(False, error=str(error))
    await attempt.close()
    return DestinationTested(True, message=message)


class Progress:
    """Whether a connection gets anywhere with what is in flight on it."""

    def __init__(self, sent: Sent, client: Client) -> None:
        self._sent = sent
        self._client = client
        self._oldest: float | None = None
        self._unsent = 0
        self._moved_at = 0.0

    def acknowledged(self, now: float) -> None:
        """Something was; of what is in flight only the oldest tells, for brokers acknowledge in order."""
        oldest = self._sent.oldest()
        if oldest != self._oldest:
            self._oldest, self._moved_at = oldest, now

    def none_for(self, now: float) -> float:
        """For how many seconds nothing was acknowledged, nor taken of what is still to be written."""
        oldest = self._sent.oldest()
        before, self._unsent = self._unsent, unsent(self._client)
        if self._unsent < before:
            self._moved_at = now
        return 0.0 if oldest is None else now - max(oldest, self._moved_at)


class _Name:
    """The client id over the connections of a driver."""

    def __init__(self, may_change: bool) -> None:
        self._may_change = may_change
        self._suffix = ""
        self._quick = 0
        self._connected_at = 0.0

    def of(self, client_id: str) -> str:
        if self._may_change and self._quick >= QUICK_LOSSES:
            self._suffix = "" if self._suffix else f"-{secrets.token_hex(4)}"
            self._quick = 0
        name = client_id + self._suffix
        return name if len(name.encode()) <= MAX_TEXT else client_id

    def connected(self) -> None:
        self._connected_at = _now()

    def lost(self) -> None:
        self._quick = self._quick + 1 if _now() - self._connected_at < QUICK_SECONDS else 0

    def failed(self) -> None:
        """It could not log in; brokers that know their clients by their ids need not say why."""
        self._suffix, self._quick = "", 0


_now = time.monotonic
