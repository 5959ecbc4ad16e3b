"""The connection of destination `mqtt`, on gmqtt 0.8."""

import asyncio
import logging
import ssl
import time
from collections.abc import Callable
from typing import Any, NoReturn

import gmqtt
from gmqtt.mqtt.constants import MQTTv311
from gmqtt.mqtt.handler import MQTTConnectError
from gmqtt.storage import PersistentStorage

from actors import os_errors
from actors.publish.destinations.driver import Delivered, Driver, Lost, Permanent, Transient
from actors.publish.destinations.mqtt_config import Config, tls_context

CONNECT_SECONDS = 10.0
ACKNOWLEDGE_SECONDS = 20.0

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
    old one, packet identifiers above all, is carried over."""

    def __init__(
        self,
        config: Config,
        client_id: str,
        delivered: Delivered,
        lost: Lost,
        connect_seconds: float = CONNECT_SECONDS,
        acknowledge_seconds: float = ACKNOWLEDGE_SECONDS,
    ) -> None:
        self._config = config
        self._client_id = client_id
        self._delivered = delivered
        self._lost = lost
        self._connect_seconds = connect_seconds
        self._acknowledge_seconds = acknowledge_seconds
        self._client: _Client | None = None
        self._sent = _Sent(self._acknowledged)
        self._acknowledgements: list[int] = []
        self._watch: asyncio.TimerHandle | None = None
        self._ending: asyncio.Handle | None = None
        self._tls: ssl.SSLContext | None = None

    async def connect(self) -> None:
        self._sent = _Sent(self._acknowledged)
        client = self._new_client()
        try:
            await self._establish(client)
        except BaseException:
            _abort(client)
            raise
        self._client = client
        self._schedule_watch()

    def send(self, seq: int, topic: str, payload: bytes) -> None:
        if self._client is None:
            # The connection has ended and `lost` comes later in this turn of the loop.
            return
        self._sent.sending = seq
        self._client.publish(topic, payload, qos=1)

    async def close(self) -> None:
        client = self._release()
        if self._ending is not None:
            self._ending.cancel()
        if client is not None:
            await _hang_up(client)
        self._acknowledgements.clear()

    def _new_client(self) -> "_Client":
        # Bytes: gmqtt counts the characters of a str where MQTT wants its bytes.
        client = _Client(
            self._client_id.encode(), clean_session=True, persistent_storage=self._sent, logger=_log
        )
        if self._config.username is not None:
            client.set_auth_credentials(self._config.username, self._config.password)
        client.on_disconnect = self._disconnected
        return client

    async def _establish(self, client: "_Client") -> None:
        """Connect and log in; gmqtt itself waits forever for a broker that does not answer."""
        config = self._config
        if config.tls and self._tls is None:
            # Reading the system's authorities takes tens of ms.
            self._tls = await asyncio.to_thread(tls_context, config)
        attempt = asyncio.ensure_future(
            client.connect(
                config.host,
                config.port,
                ssl=self._tls or False,
                keepalive=config.keepalive,
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
        return f"{self._config.host}:{self._config.port}"

    def _timed_out(self, client: "_Client") -> str:
        if _transport(client) is None:
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
        hint = "is config_json.ca the authority that signed it?" if self._config.ca else "set config_json.ca"
        return f"{text}; {hint}"

    def _acknowledged(self, seq: int) -> None:
        if not self._acknowledgements:
            # One read from the socket brings many PUBACKs; they are told together.
            asyncio.get_running_loop().call_soon(self._tell_delivered)
        self._acknowledgements.append(seq)

    def _tell_delivered(self) -> None:
        if self._acknowledgements:
            seqs, self._acknowledgements = self._acknowledgements, []
            self._delivered(seqs)

    def _disconnected(self, client: "_Client", _packet: object) -> None:
        client.ended.set()
        if client is self._client:
            self._end(f"{self._where} closed the connection")

    def _end(self, reason: str) -> None:
        client = self._release()
        if client is not None:
            _abort(client)
            self._ending = asyncio.get_running_loop().call_soon(self._tell_lost, reason)

    def _tell_lost(self, reason: str) -> None:
        self._tell_delivered()
        self._lost(reason)

    def _release(self) -> "_Client | None":
        client, self._client = self._client, None
        if self._watch is not None:
            self._watch.cancel()
            self._watch = None
        return client

    def _schedule_watch(self) -> None:
        loop = asyncio.get_running_loop()
        self._watch = loop.call_later(self._acknowledge_seconds / 4, self._check_silence)

    def _check_silence(self) -> None:
        """A broker that is gone without a word (power, cable) leaves TCP retrying for a quarter of an
        hour; keepalive notices only what is idle."""
        oldest = self._sent.oldest()
        if oldest is not None and _now() - oldest >= self._acknowledge_seconds:
            self._end(f"no acknowledgement for {self._acknowledge_seconds:g} s")
        else:
            self._schedule_watch()


class _Client(gmqtt.Client):  # type: ignore[misc]  # gmqtt has no types
    """`ended` is set when the connection is."""

    def __init__(self, *args: Any, **keywords: Any) -> None:
        super().__init__(*args, **keywords)
        self.ended = asyncio.Event()

    async def reconnect(self, delay: bool = False) -> None:
        """Never: when to connect again is the destination's to decide. gmqtt calls this whenever a
        connection ends; its option `reconnect_retries` lets one retry through even at 0."""


class _Sent(PersistentStorage):  # type: ignore[misc]  # gmqtt has no types
    """Where gmqtt keeps a QoS 1 message from its PUBLISH to its PUBACK, which is the only place that
    tells of the PUBACK. The messages themselves are dropped: their owner keeps them and sends them
    again, and gmqtt, seeing none, replays none."""

    def __init__(self, acknowledged: Callable[[int], None]) -> None:
        super().__init__()
        self.sending = 0
        self._acknowledged = acknowledged
        self._unacknowledged: dict[int, tuple[int, float]] = {}

    def push_message(self, mid: int, raw_package: Any) -> None:
        self._unacknowledged[mid] = (self.sending, _now())

    def remove_message_by_mid(self, mid: int) -> None:
        sent = self._unacknowledged.pop(mid, None)
        if sent is not None:
            self._acknowledged(sent[0])

    def oldest(self) -> float | None:
        """When the oldest unacknowledged message was sent, on the clock of `_now`."""
        for _, sent_at in self._unacknowledged.values():
            return sent_at
        return None


def _transport(client: _Client) -> asyncio.Transport | None:
    """gmqtt has no public way to its socket."""
    connection = client._connection
    return None if connection is None else connection._transport


async def _hang_up(client: _Client) -> None:
    try:
        async with asyncio.timeout(1):
            await client.disconnect()
    except (TimeoutError, OSError):
        # The broker does not take what is still to be written; there is nobody to tell.
        _abort(client)


def _abort(client: _Client) -> None:
    """Drop the connection with what is still to be written; waiting for a dead peer to take it would
    keep the socket for as long as TCP retries."""
    transport = _transport(client)
    if transport is not None:
        transport.abort()


_now = time.monotonic
