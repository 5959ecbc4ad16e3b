"""The connection of every destination that speaks MQTT."""

import asyncio
import contextlib
import math
import time
from bisect import insort
from collections.abc import Callable
from typing import Any

from actors.connections.connection import NoConnection, Permanent, Transient
from actors.mqtt.broker import MAX_PAYLOAD, V5, Broker, Login
from actors.mqtt.client_id import ClientId
from actors.mqtt.greeting import Hello
from actors.mqtt.link import Link
from actors.mqtt.message import Message
from actors.mqtt.packets import Answer, Received, TooLarge
from actors.mqtt.reasons import PATIENT, REFUSED, UNSAID, words
from actors.mqtt.silence import Line, Silence
from actors.mqtt.topics import unpublishable
from actors.mqtt.way import Way
from actors.publish.destinations.driver import Driver, Listener, Nobody, Outgoing
from actors.publish.destinations.mqtt_session import Session
from actors.publish.messages import DestinationTested
from actors.system.failure import Refusal

CONNECT_SECONDS = 10.0
ACKNOWLEDGE_SECONDS = 20.0
READY_SECONDS = 30.0
TEST_SECONDS = 5.0

AGAIN_SECONDS = 5.0
"""After which a payload is offered again to a broker that cannot take it now."""
UNSAID_TIMES = 10
"""How often it is offered to one that does not say why it does not take it."""


_LONGEST_EXPIRY = 0xFFFF_FFFF


class MqttDriver(Driver):
    """Delivered is what is acknowledged (PUBACK), at QoS 0 what the broker is known to have read. A new link
    per connection, so that nothing of an old one, packet identifiers above all, is carried over.

    `login` is asked at each connect and may raise `Transient` or `Permanent`. `session` says what is spoken
    besides. Payloads larger than `max_payload` bytes are rejected. With `may_rename` the client id changes
    where somebody else seems to use it; see `ClientId`. To brokers of MQTT 5 each payload goes with the user
    properties `properties` and with what is left of `ttl_ms`.
    """

    def __init__(
        self,
        broker: Broker,
        login: Callable[[], Login],
        listener: Listener,
        *,
        session: Session | None = None,
        max_payload: int = MAX_PAYLOAD,
        may_rename: bool = False,
        properties: tuple[tuple[str, str], ...] = (),
        ttl_ms: int | None = None,
        connect_seconds: float = CONNECT_SECONDS,
        acknowledge_seconds: float = ACKNOWLEDGE_SECONDS,
    ) -> None:
        self._broker = broker
        self._login = login
        self._listener = listener
        self._session = session or Session()
        self._max_payload = max_payload
        self._properties = properties
        self._ttl_ms = ttl_ms
        self._connect_seconds = connect_seconds
        self._acknowledge_seconds = acknowledge_seconds
        self._way = Way(broker)
        self._client_id = ClientId(may_rename)
        self._line = Line()
        self._link: Link | None = None
        self._silence: Silence | None = None
        self._keepalive: float | None = None
        self._waiting: list[Outgoing] = []
        self._offered: dict[int, int] = {}
        self._acknowledgements: list[int] = []
        self._acknowledged_any = False
        self._rejections: list[tuple[int, str]] = []
        self._watch: asyncio.TimerHandle | None = None
        self._again: asyncio.TimerHandle | None = None
        self._renewal: asyncio.TimerHandle | None = None
        self._ending: asyncio.Handle | None = None

    async def connect(self) -> None:
        # Signing takes milliseconds, and importing what signs the first token takes tens of them.
        login = await asyncio.to_thread(self._login)
        link = Link(self._broker.version, self)
        will, filters = self._session.will(), self._session.subscriptions
        client_id = self._client_id.of(login.client_id)
        try:
            hello = Hello(client_id, login.username, login.password, self._broker.keepalive, will)
            await self._way.open(link, hello, filters, self._connect_seconds)
            await self._ready(link)
            if link.outflow is None:
                raise Transient(f"{self._way.where} closed the connection")
        except BaseException:
            link.abort()
            self._client_id.failed()
            raise
        login.accepted()
        try:
            self._begin(link)
        except TooLarge as error:
            self._release()
            link.abort()
            raise Permanent(str(error)) from error
        if login.renew_after is not None:
            loop = asyncio.get_running_loop()
            self._renewal = loop.call_later(login.renew_after, self._listener.expiring)

    async def _ready(self, link: Link) -> None:
        """Nobody pings meanwhile."""
        within = min(READY_SECONDS, self._broker.keepalive)
        waiting = asyncio.ensure_future(self._session.ready(within))
        try:
            await asyncio.wait({waiting, link.gone}, return_when=asyncio.FIRST_COMPLETED)
            if waiting.done():
                waiting.result()
        finally:
            waiting.cancel()

    def _begin(self, link: Link) -> None:
        self._link = link
        self._acknowledged_any = False
        self._client_id.connected(_now())
        asked = link.limits.server_keep_alive
        keepalive = self._keepalive = self._broker.keepalive if asked is None else asked
        patience = self._acknowledge_seconds
        self._silence = Silence(link, self._line, patience, 2.0 * keepalive if keepalive else patience)
        self._schedule_watch()
        self._session.opened(self.publish)

    def send(self, message: Outgoing) -> None:
        link = self._link
        if link is None:
            # The connection has ended and `lost` comes later in this turn of the loop.
            return
        if self._waiting or not link.has_room:
            insort(self._waiting, message, key=_seq)
        else:
            self._write(link, message)

    def publish(self, message: Message) -> None:
        """What the session says of its own accord; it is not held up by payloads that wait."""
        if self._link is not None:
            self._say(self._link, message)

    @staticmethod
    def _say(link: Link, message: Message) -> None:
        link.publish(message.topic.encode(), message.payload, message.qos, message.retain)

    async def close(self) -> None:
        link = self._release()
        if self._ending is not None:
            self._ending.cancel()
        if link is not None:
            for message in self._session.farewell():
                with contextlib.suppress(TooLarge):
                    self._say(link, message)
            await link.hang_up()
        self._acknowledgements.clear()
        self._rejections.clear()

    # Sending

    def _write(self, link: Link, message: Outgoing) -> None:
        try:
            told = self._session.outgoing(message)
            if told is None:
                link.prove(message)
                return
            topic, payload = told
            reason = self._unsendable(topic, payload)
            if reason is None:
                properties = self._properties_of(message) if self._broker.version == V5 else None
                link.publish(topic.encode(), payload, message.qos, message.retain, message, properties)
        except (Refusal, TooLarge) as error:
            reason = str(error)
        if reason is not None:
            self._reject(message.seq, reason)

    def _unsendable(self, topic: str, payload: bytes) -> str | None:
        """Why no broker takes this; most of them end the connection over it. Another version may have stored
        the topic."""
        if len(payload) > self._max_payload:
            return f"The payload has {len(payload)} bytes; {self._max_payload} is the most allowed"
        why = unpublishable(topic)
        return None if why is None else f"Not a topic that can be published to: {why}"

    def _properties_of(self, message: Outgoing) -> dict[str, Any]:
        properties: dict[str, Any] = {}
        if self._properties:
            properties["user_property"] = self._properties
        if self._ttl_ms is not None:
            # What should have expired and did not is of an unknown age: what expires too early is lost.
            left = self._ttl_ms - message.age_ms if message.age_ms < self._ttl_ms else self._ttl_ms
            properties["message_expiry_interval"] = min(math.ceil(left / 1000), _LONGEST_EXPIRY)
        return properties

    def _pump(self) -> None:
        """Write what has waited, once the broker takes more."""
        link = self._link
        while link is not None and self._waiting and self._again is None and link.has_room:
            self._write(link, self._waiting.pop(0))

    def _offer_again(self) -> None:
        self._again = None
        self._pump()

    # What the broker says, as the owner of its link

    def answered(self, messages: tuple[Outgoing, ...], answer: Answer) -> None:
        for message in messages:
            if answer.code < REFUSED:
                self._acknowledge(message.seq)
            elif self._may_offer_again(message.seq, answer.code):
                insort(self._waiting, message, key=_seq)
                if self._again is None:
                    self._again = asyncio.get_running_loop().call_later(AGAIN_SECONDS, self._offer_again)
            else:
                self._offered.pop(message.seq, None)
                self._reject(message.seq, f"The broker refuses it: {words(answer)}")
        self._pump()

    def _may_offer_again(self, seq: int, code: int) -> bool:
        if code in PATIENT:
            return True
        times = self._offered[seq] = self._offered.get(seq, 0) + 1
        return code in UNSAID and times < UNSAID_TIMES

    def _acknowledge(self, seq: int) -> None:
        if not self._acknowledgements:
            # One read from the socket brings many PUBACKs; they are told together.
            asyncio.get_running_loop().call_soon(self._tell_delivered)
        self._acknowledgements.append(seq)
        self._acknowledged_any = True
        if self._offered:
            self._offered.pop(seq, None)

    def received(self, link: Link, messages: list[Received]) -> None:
        try:
            for message in messages:
                link.acknowledge(message)
                if not message.left_out:
                    self._session.received(message.topic, message.payload)
        except Transient as error:
            self._end(str(error))

    def ended(self, link: Link, reason: str | None, code: int, idle: bool) -> None:
        if link is self._link:
            mine = self._client_id
            mine.lost(_now(), idle or self._acknowledged_any, code)
            said = f": {reason}" if reason else ""
            self._end(f"{self._way.where} closed the connection{said}{mine.doubt}", mine.pause)

    # Telling the listener

    def _tell_delivered(self) -> None:
        if self._acknowledgements:
            seqs, self._acknowledgements = self._acknowledgements, []
            if self._silence is not None:
                self._silence.look(_now())
            self._listener.delivered(seqs)

    def _reject(self, seq: int, reason: str) -> None:
        if not self._rejections:
            asyncio.get_running_loop().call_soon(self._tell_rejected)
        self._rejections.append((seq, reason))

    def _tell_rejected(self) -> None:
        rejections, self._rejections = self._rejections, []
        for seq, reason in rejections:
            self._listener.rejected([seq], reason)

    def _end(self, reason: str, pause: float = 0.0) -> None:
        link = self._release()
        if link is not None:
            link.abort()
            lost = Transient(reason, retry_after=pause)
            self._ending = asyncio.get_running_loop().call_soon(self._tell_lost, lost)

    def _tell_lost(self, error: Transient) -> None:
        self._ending = None
        self._tell_delivered()
        self._tell_rejected()
        self._listener.lost(error)

    def _release(self) -> Link | None:
        link, self._link = self._link, None
        for timer in (self._watch, self._again, self._renewal):
            if timer is not None:
                timer.cancel()
        self._watch = self._again = self._renewal = self._silence = None
        self._waiting.clear()
        return link

    # Watching

    def _schedule_watch(self) -> None:
        waits = [self._acknowledge_seconds, *([self._keepalive] if self._keepalive else [])]
        self._watch = asyncio.get_running_loop().call_later(min(waits) / 5, self._look)

    def _look(self) -> None:
        """A broker that is gone without a word (power, cable) leaves TCP retrying for a quarter of an
        hour."""
        link, silence = self._link, self._silence
        assert link is not None
        assert silence is not None
        now = _now()
        silent = silence.too_long(now)
        if silent is not None:
            self._client_id.lost(now, well=False)
            self._end(f"no acknowledgement for {silent:g} s")
            return
        if self._keepalive and now - link.written_at >= self._keepalive / 2:
            link.ping()
        self._schedule_watch()


async def try_connect(broker: Broker, login: Callable[[], Login], message: str) -> DestinationTested:
    """Connect and log in once, within 5 s; `message` is what to answer when that worked."""
    attempt = MqttDriver(broker, login, Nobody(), connect_seconds=TEST_SECONDS)
    try:
        await attempt.connect()
    except NoConnection as error:
        return DestinationTested(False, error=str(error))
    await attempt.close()
    return DestinationTested(True, message=message)


def _seq(message: Outgoing) -> int:
    return message.seq


_now = time.monotonic
