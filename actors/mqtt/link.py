"""One connection that speaks MQTT 3.1.1 or 5, in packets that gmqtt makes."""

import asyncio
import logging
import time
from typing import Any, NamedTuple, Protocol, cast

import msgspec
from gmqtt.client import Message as Contents
from gmqtt.mqtt import package
from gmqtt.mqtt.constants import MQTTCommands
from gmqtt.mqtt.utils import IdGenerator
from gmqtt.subscription import Subscription

from actors.connections.outflow import Outflow
from actors.mqtt import packets, reasons
from actors.mqtt.broker import V5
from actors.mqtt.packets import Answer, Malformed, TooLarge
from actors.mqtt.transports import forget, lowest, sever

MAX_RECEIVED = 1_048_576
"""Bytes of a packet that is taken from a broker."""
_IDS = 65_536
_PUBACK = int(MQTTCommands.PUBACK)

logging.getLogger("gmqtt").setLevel(logging.ERROR)  # it would log every packet


class Limits(msgspec.Struct, frozen=True):
    """What the broker takes, as it says in CONNACK of MQTT 5."""

    receive_maximum: int = 65_535
    maximum_packet_size: int = 268_435_460
    topic_alias_maximum: int = 0
    max_qos: int = 1
    retain_available: int = 1
    server_keep_alive: int | None = None


class Flight(NamedTuple):
    """What the broker is to answer; `end` is where it ends in all that was written, `messages` those of the
    owner in it."""

    messages: tuple[Any, ...]
    written_at: float
    end: int


class Owner(Protocol):
    """Who is told what comes of a link, from the event loop, until it is aborted or has ended."""

    def answered(self, messages: tuple[Any, ...], answer: Answer) -> None:
        """The broker has these; or, if `answer` is a refusal, will not have them."""

    def received(self, topic: str, payload: bytes) -> None:
        """A message to what was subscribed to."""

    def ended(self, link: "Link", reason: str | None, code: int, idle: bool) -> None:
        """By the other end, at most once; `reason` and `code` (0: none) are what it has said about it, `idle`
        whether it had answered everything before."""


class Link(asyncio.Protocol):
    """Packets of one turn of the event loop go out together.

    QoS 0 has no acknowledgement, but a broker reads in order: who answers a PINGREQ has what came before it.
    `owner` is let go of when the connection ends, and the transport too.
    """

    proto_name = b"MQTT"  # this, `proto_ver` and `id_generator` are what gmqtt's packets are made with

    def __init__(self, version: int, owner: Owner) -> None:
        loop = asyncio.get_running_loop()
        self.proto_ver = version
        self.id_generator = IdGenerator(_IDS)
        self.limits = Limits()
        self.connack: asyncio.Future[Answer | None] = loop.create_future()
        self.suback: asyncio.Future[Answer | None] = loop.create_future()
        self.gone = loop.create_future()
        self.outflow: Outflow | None = None
        self.written = self.proved = 0
        self.written_at = self.began_at = time.monotonic()
        self.ping_in_flight: Flight | None = None
        self._owner: Owner | None = owner
        self._transport: asyncio.Transport | None = None
        self._lowest: asyncio.BaseTransport | None = None
        self._packets: list[bytes | bytearray] = []
        self._buffer = bytearray()
        self._flights: dict[int, Flight] = {}
        self._unproved: list[Any] = []
        self._aliases: dict[bytes, int] = {}
        self._over = False

    # Towards the broker

    def log_in(
        self, client_id: bytes, username: str | None, password: str | None, keepalive: int, will: Any
    ) -> None:
        """Send CONNECT; `connack` gets the answer, None when the connection ends instead. `will` has topic,
        payload, qos and retain."""
        contents = None if will is None else Contents(will.topic, will.payload, will.qos, will.retain)
        properties = {"maximum_packet_size": MAX_RECEIVED} if self.proto_ver == V5 else {}
        self._write(
            package.LoginPackageFactor.build_package(
                client_id,
                None if username is None else username.encode(),
                None if password is None else password.encode(),
                True,
                keepalive,
                self,
                will_message=contents,
                **properties,
            )
        )

    def subscribe(self, filters: tuple[str, ...]) -> None:
        """At QoS 1; `suback` gets the answer, None when the connection ends instead."""
        wanted = [Subscription(each, qos=1) for each in filters]
        self._write(package.SubscribePacket.build_package(wanted, self)[1])

    @property
    def has_room(self) -> bool:
        """Whether the broker takes one more at QoS 1 before it answers."""
        return len(self._flights) < self.limits.receive_maximum

    def publish(
        self,
        topic: bytes,
        payload: bytes,
        qos: int,
        retain: bool,
        message: Any = None,
        properties: dict[str, Any] | None = None,
    ) -> None:
        """What the broker does not offer is done without: QoS 1, keeping the message. Raises `TooLarge`."""
        limits = self.limits
        qos = min(qos, limits.max_qos)
        spelled, encoded = topic, b""
        if self.proto_ver == V5:
            spelled = b"" if topic in self._aliases else topic
            retain = retain and limits.retain_available == 1
            properties = {**(properties or {}), **self._alias(topic)}
            encoded = bytes(package.PackageFactory._build_properties_data(properties, V5))
        mid = self.id_generator.next_id() if qos else None
        packet = packets.encode_publish(spelled, payload, retain, mid, encoded)
        if len(packet) > limits.maximum_packet_size:
            self.id_generator.free_id(mid)
            most = limits.maximum_packet_size
            raise TooLarge(f"The packet has {len(packet)} bytes; the broker takes {most} at most")
        if properties and "topic_alias" in properties:
            self._aliases[topic] = properties["topic_alias"]
        self._write(packet)
        messages = () if message is None else (message,)
        if mid is not None:
            self._flights[mid] = Flight(messages, self.written_at, self.written)
        else:
            self._unproved += messages

    def prove(self, message: Any) -> None:
        """Have it answered when the broker has read all that was written before."""
        self._unproved.append(message)
        asyncio.get_running_loop().call_soon(self._flush)

    def ping(self) -> None:
        """Unless one is on its way."""
        if self.ping_in_flight is None:
            proven, self._unproved = tuple(self._unproved), []
            self._write(package.SimpleCommandPacket.build_package(MQTTCommands.PINGREQ))
            self.ping_in_flight = Flight(proven, self.written_at, self.written)

    @property
    def oldest(self) -> Flight | None:
        """What the broker should answer first."""
        first = next(iter(self._flights.values()), None)
        ping = self.ping_in_flight
        return first if ping is None or (first is not None and first.end < ping.end) else ping

    async def hang_up(self) -> None:
        """Say goodbye, and wait until what is written has gone, a second at most."""
        self._owner = None
        if self._transport is not None:
            self._write(package.DisconnectPacket.build_package(self))
            self._flush()
            self._transport.close()
            await asyncio.wait({self.gone}, timeout=1)
        self.abort()

    def abort(self) -> None:
        """Drop the connection with what is still to be written; waiting for a dead peer to take it would keep
        the socket for as long as TCP retries."""
        self._owner = None
        transport, self._transport = self._transport, None
        if transport is not None:
            sever(transport)
        self._let_go()

    def _alias(self, topic: bytes) -> dict[str, int]:
        """The number that stands for the topic, or shall from now on; nothing when the broker knows as many
        as it wants to."""
        alias = self._aliases.get(topic)
        if alias is None and len(self._aliases) < self.limits.topic_alias_maximum:
            alias = len(self._aliases) + 1
        return {} if alias is None else {"topic_alias": alias}

    def _write(self, packet: bytes | bytearray) -> None:
        if not self._packets:
            asyncio.get_running_loop().call_soon(self._flush)
        self._packets.append(packet)
        self.written += len(packet)
        self.written_at = time.monotonic()

    def _flush(self) -> None:
        """A system call costs several times what making a packet does."""
        if self._transport is None or self._transport.is_closing():
            return
        if self._unproved:
            self.ping()
        queued, self._packets = self._packets, []
        if queued:
            self._transport.write(queued[0] if len(queued) == 1 else b"".join(queued))

    # From the broker

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        stream = cast(asyncio.Transport, transport)
        if self._over:  # who wanted it has gone meanwhile
            sever(stream)
            return
        self._transport = stream
        self._lowest = lowest(stream)
        self.outflow = Outflow(stream)

    def data_received(self, data: bytes) -> None:
        self._buffer += data
        try:
            while self._transport is not None and (found := packets.header(self._buffer)) is not None:
                begin, end = found
                if end > MAX_RECEIVED:
                    raise Malformed(f"a packet of {end} bytes")
                if end > len(self._buffer):
                    return
                first, body = self._buffer[0], bytes(self._buffer[begin:end])
                del self._buffer[:end]
                self._take(first, body)
        except Malformed as error:
            self._end(f"sent what is not MQTT: {error}", 0)

    def _take(self, first: int, body: bytes) -> None:
        version = self.proto_ver
        kind = first & 0xF0
        if kind == _PUBACK:
            self._acknowledged(*packets.puback(version, body))
            return
        match kind:
            case MQTTCommands.PINGRESP:
                self._pinged()
            case MQTTCommands.CONNACK:
                self._greeted(packets.connack(version, body))
            case MQTTCommands.SUBACK:
                _settle(self.suback, packets.suback(version, body))
            case MQTTCommands.PUBLISH:
                self._received(packets.publish(version, first, body))
            case MQTTCommands.DISCONNECT:
                answer = packets.disconnect(version, body)
                self._end(reasons.words(answer) if answer.code else None, answer.code)

    def _greeted(self, answer: Answer) -> None:
        if answer.code == 0:
            said = {name: answer.properties[name] for name in _LIMITS if name in answer.properties}
            self.limits = Limits(**said)
            if not (self.limits.receive_maximum and self.limits.maximum_packet_size):
                raise Malformed("a limit by which nothing could ever be sent")
        _settle(self.connack, answer)

    def _acknowledged(self, mid: int, answer: Answer) -> None:
        flight = self._flights.pop(mid, None)
        if flight is not None:
            self.id_generator.free_id(mid)
            self._answered(flight, answer)

    def _pinged(self) -> None:
        flight, self.ping_in_flight = self.ping_in_flight, None
        if flight is not None:
            self._answered(flight, packets.YES)
            if self._unproved:
                self.ping()

    def _answered(self, flight: Flight, answer: Answer) -> None:
        self.proved = max(self.proved, flight.end)
        if self._owner is not None:
            self._owner.answered(flight.messages, answer)

    def _received(self, message: packets.Received) -> None:
        if message.mid is not None:
            kind = MQTTCommands.PUBACK
            version = self.proto_ver
            self._write(package.CommandWithMidPacket.build_package(kind, message.mid, False, 0, version))
        if self._owner is not None:
            self._owner.received(message.topic, message.payload)

    def connection_lost(self, exc: Exception | None) -> None:
        _settle(self.gone, None)
        forget(self._lowest)
        self._lowest = None
        self._end(None, 0)

    def _end(self, reason: str | None, code: int) -> None:
        owner = self._owner
        idle = not self._flights and not self._unproved
        self.abort()
        if owner is not None:
            owner.ended(self, reason, code, idle)

    def _let_go(self) -> None:
        self._over = True
        _settle(self.connack, None)
        _settle(self.suback, None)
        self.outflow = None
        self._packets.clear()
        self._flights.clear()
        self._unproved.clear()
        self.ping_in_flight = None


def _settle(future: "asyncio.Future[Any]", answer: Answer | None) -> None:
    if not future.done():
        future.set_result(answer)


_LIMITS = Limits.__struct_fields__
