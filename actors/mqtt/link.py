"""One connection that speaks MQTT 3.1.1 or 5, in packets that gmqtt makes."""

import asyncio
import logging
import time
from collections.abc import Sequence
from typing import Any, NamedTuple, Protocol, cast

from gmqtt.client import Message as Contents
from gmqtt.mqtt import package
from gmqtt.mqtt.constants import MQTTCommands
from gmqtt.mqtt.utils import IdGenerator
from gmqtt.subscription import Subscription

from actors.connections.outflow import Outflow
from actors.mqtt import packets, reasons
from actors.mqtt.broker import V5
from actors.mqtt.greeting import Hello, Limits
from actors.mqtt.packets import Answer, Malformed, Received, TooLarge
from actors.mqtt.transports import forget, lowest, sever

MAX_RECEIVED = 1_048_576 + 66_000
"""Bytes of a packet that is taken from a broker: a payload of 1 MiB, and the longest topic."""
_IDS = 65_536
_PUBACK = int(MQTTCommands.PUBACK)
_PUBLISH = int(MQTTCommands.PUBLISH)
_PUBACK_HEAD = bytes((MQTTCommands.PUBACK, 2))
_PUBREC_HEAD = bytes((MQTTCommands.PUBREC, 2))
_PUBCOMP_HEAD = bytes((MQTTCommands.PUBCOMP, 2))
_PINGREQ = package.SimpleCommandPacket.build_package(MQTTCommands.PINGREQ)

logging.getLogger("gmqtt").setLevel(logging.ERROR)  # it would log every packet


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

    def received(self, link: "Link", messages: list[Received]) -> None:
        """Messages to what was subscribed to, in order. Each with a `mid` is to be acknowledged, in order
        too."""

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
        self.gone = loop.create_future()
        self.outflow: Outflow | None = None
        self.written = self.proved = 0
        self.written_at = self.began_at = self.heard_at = time.monotonic()
        self.session_present = False
        self.ping_in_flight: Flight | None = None
        self._stays = 0
        self._owner: Owner | None = owner
        self._transport: asyncio.Transport | None = None
        self._lowest: asyncio.BaseTransport | None = None
        self._packets: list[bytes | bytearray] = []
        self._begun = bytearray()
        self._needed = 0
        self._passed_over = 0
        self._listens = False
        """Whether anything was subscribed to on this connection."""
        self._came: list[Received] = []
        self._half: set[int] = set()
        self._asked: dict[int, asyncio.Future[Answer | None]] = {}
        self._flights: dict[int, Flight] = {}
        self._unproved: list[Any] = []
        self._aliases: dict[bytes, int] = {}
        self._over = False

    # Towards the broker

    def log_in(self, hello: Hello) -> None:
        """Send CONNECT; `connack` gets the answer, None when the connection ends instead."""
        will, user, password = hello.will, hello.username, hello.password
        properties: dict[str, int] = {}
        if self.proto_ver == V5:
            properties["maximum_packet_size"] = MAX_RECEIVED
            if hello.receive_maximum is not None:
                properties["receive_maximum"] = hello.receive_maximum
            if hello.session_expiry:
                properties["session_expiry_interval"] = hello.session_expiry
        self._write(
            package.LoginPackageFactor.build_package(
                hello.client_id.encode(),  # gmqtt counts the characters of a str where MQTT wants its bytes
                None if user is None else user.encode(),
                None if password is None else password.encode(),
                hello.clean,
                hello.keepalive,
                self,
                will_message=will and Contents(will.topic, will.payload, will.qos, will.retain),
                **properties,
            )
        )

    def subscribe(
        self, filters: Sequence[str], qos: int = 1, identifier: int | None = None
    ) -> "asyncio.Future[Answer | None]":
        """Of all filters the worst answer; None when the connection ends instead. `identifier` (MQTT 5) comes
        with each message."""
        self._listens = True
        wanted = [Subscription(each, qos=qos) for each in filters]
        said = {} if identifier is None else {"subscription_identifier": identifier}
        return self._ask(package.SubscribePacket.build_package(wanted, self, **said))

    def unsubscribe(self, filters: Sequence[str]) -> "asyncio.Future[Answer | None]":
        """The answer says that no more messages come; None when the connection ends instead."""
        return self._ask(package.UnsubscribePacket.build_package([each.encode() for each in filters], self))

    def _ask(self, packet: tuple[int, bytes | bytearray]) -> "asyncio.Future[Answer | None]":
        mid, octets = packet
        asked: asyncio.Future[Answer | None] = asyncio.get_running_loop().create_future()
        if self._over:
            asked.set_result(None)
        else:
            self._asked[mid] = asked
            self._write(octets)
        return asked

    def acknowledge(self, message: Received) -> None:
        """That it has come, and need not be sent again."""
        if message.qos == 1:
            self._write(_PUBACK_HEAD + message.mid.to_bytes(2, "big"))
        elif message.qos:
            self._half.add(message.mid)
            self._write(_PUBREC_HEAD + message.mid.to_bytes(2, "big"))

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
            self._write(_PINGREQ)
            self.ping_in_flight = Flight(proven, self.written_at, self.written)

    def stay(self) -> None:
        """Tell the broker that this end is there, while nothing is read and no answer can come."""
        self._write(_PINGREQ)
        self._stays += 1

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

    def pause_reading(self) -> None:
        """Leave what the broker sends in the buffers of the system, and then with the broker."""
        if self._transport is not None:
            self._transport.pause_reading()

    def resume_reading(self) -> None:
        if self._transport is not None:
            self._transport.resume_reading()

    def data_received(self, data: bytes) -> None:
        self.heard_at = time.monotonic()
        if self._passed_over:
            passed = min(self._passed_over, len(data))
            self._passed_over -= passed
            data = data[passed:]
        if self._begun:
            self._begun += data
            if len(self._begun) < self._needed:
                return
            data = bytes(self._begun)
            self._begun.clear()
        try:
            rest = self._take_all(data)
        except Malformed as error:
            self._end(f"sent what is not MQTT: {error}", 0)
            return
        self._hand_over()
        if rest < len(data) and self._transport is not None:
            self._begun += data[rest:] if rest else data

    def _take_all(self, data: bytes) -> int:
        """Returns where the packet begins that is not whole yet."""
        at, size = 0, len(data)
        version, came = self.proto_ver, self._came
        while self._transport is not None:
            # What nearly all packets are is read here; `header` takes as long as the rest of it.
            if size - at > 1 and data[at + 1] < 0x80:
                begin = at + 2
                end = begin + data[at + 1]
            else:
                found = packets.header(data, at)
                if found is None:
                    self._needed = size - at + 1
                    break
                begin, end = found
                if end - at > MAX_RECEIVED:
                    if not self._leave_out(data, at, begin, end):
                        break
                    at = min(end, size)
                    continue
            if end > size:
                self._needed = end - at
                break
            first = data[at]
            at = end
            if first & 0xF0 == _PUBLISH:
                came.append(packets.publish(version, data, begin, end, first))
            else:
                self._take(first, data[begin:end])
        return at

    def _leave_out(self, data: bytes, at: int, begin: int, end: int) -> bool:
        """Pass over a message that is too large, once it is known which it is; ending the connection, the
        broker would send it again on the next one. Whether it is known. Who has not asked for messages has no
        time for one."""
        first = data[at]
        if first & 0xF0 != _PUBLISH or not (self._listens or self.session_present):
            raise Malformed(f"a packet of {end - at} bytes")
        found = packets.beginning(data, begin, end - at, first)
        if isinstance(found, int):
            self._needed = found - at
            return False
        self._came.append(found)
        self._passed_over = max(end - len(data), 0)
        return True

    def _hand_over(self) -> None:
        if self._came and self._owner is not None:
            came, self._came = self._came, []
            if self._half:
                came = self._without_known(came)
            self._owner.received(self, came)

    def _without_known(self, came: list[Received]) -> list[Received]:
        """What comes again at QoS 2 although it has come is answered, and nothing else."""
        new = []
        for message in came:
            if message.qos == 2 and message.mid in self._half:
                self.acknowledge(message)
            else:
                new.append(message)
        return new

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
                self.session_present = bool(body and body[0] & 1)
                self._greeted(packets.connack(version, body))
            case MQTTCommands.SUBACK:
                self._replied(*packets.suback(version, body))
            case MQTTCommands.UNSUBACK:
                self._replied(packets.unsuback(body), packets.YES)
            case MQTTCommands.PUBREL:
                mid, _ = packets.puback(version, body)
                self._half.discard(mid)
                self._write(_PUBCOMP_HEAD + mid.to_bytes(2, "big"))
            case MQTTCommands.DISCONNECT:
                answer = packets.disconnect(version, body)
                self._end(reasons.words(answer) if answer.code else None, answer.code)

    def _replied(self, mid: int, answer: Answer) -> None:
        asked = self._asked.pop(mid, None)
        if asked is not None:
            self.id_generator.free_id(mid)
            _settle(asked, answer)

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
        if self._stays:
            self._stays -= 1
            return
        flight, self.ping_in_flight = self.ping_in_flight, None
        if flight is not None:
            self._answered(flight, packets.YES)
            if self._unproved:
                self.ping()

    def _answered(self, flight: Flight, answer: Answer) -> None:
        self.proved = max(self.proved, flight.end)
        if self._owner is not None:
            self._owner.answered(flight.messages, answer)

    def connection_lost(self, exc: Exception | None) -> None:
        _settle(self.gone, None)
        forget(self._lowest)
        self._lowest = None
        self._end(None, 0)

    def _end(self, reason: str | None, code: int) -> None:
        self._hand_over()
        owner = self._owner
        idle = not self._flights and not self._unproved
        self.abort()
        if owner is not None:
            owner.ended(self, reason, code, idle)

    def _let_go(self) -> None:
        self._over = True
        _settle(self.connack, None)
        for asked in self._asked.values():
            _settle(asked, None)
        self._asked.clear()
        self.outflow = None
        self._came.clear()
        self._begun.clear()
        self._packets.clear()
        self._flights.clear()
        self._unproved.clear()
        self.ping_in_flight = None


def _settle(future: "asyncio.Future[Any]", answer: Answer | None) -> None:
    if not future.done():
        future.set_result(answer)


_LIMITS = Limits.__struct_fields__
