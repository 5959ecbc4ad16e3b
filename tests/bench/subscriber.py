"""Counting subscriber: what reached topics of an MQTT broker, how late, and what is missing.

A process of its own, told what to do by lines on stdin: `reset` starts a measurement, `report` answers
with one JSON line (`Report`), end of file ends the process.

It subscribes with QoS 0 and acknowledges TCP segments at once. Of QoS 1 a default mosquitto keeps 20
messages in flight and 1,000 queued for a subscriber and drops the rest, and what it queues dies with it
in a restart, although it has acknowledged it to the publisher. With QoS 0 a message is in the socket
before the publisher's PUBACK, and is dropped only when the socket buffers (megabytes) and 1,000 more are
full. Without TCP_QUICKACK mosquitto's Nagle timer would wait for the delayed ACK of a receiver that sends
nothing, and the latency shown would be this process's own.

Payloads of the first topic are of format `tags`; their tags `seq` and `clock` hold a device's sequence
number and its clock (ms since the epoch modulo 2**32, whole ms: latency reads up to 1 ms too long, 0.5 on
average). Of other topics the messages are counted and not looked into.
"""

import argparse
import asyncio
import os
import socket
import sys
import time
from collections import Counter
from collections.abc import Iterator, Sequence

import msgspec
import uvloop

RECONNECT_S = 0.005  # a publisher must not get its backlog in before the subscription stands
LATE_MS = 1_000
SILENT_S = 3
CLOCK_MODULUS = 2**32

SUBACK = 0x90
PUBLISH_QOS_0 = 0x30


class Report(msgspec.Struct, frozen=True):
    """What was seen since `reset`; times are Unix s, latencies ms, None when nothing was seen.

    `missing` are gaps between each device's first and last sequence number; `duplicates` are not in
    `messages`; `unreadable` messages had no sequence number or clock. `silent` devices were heard once, but
    not within SILENT_S. `connected_at` is the latest connect, `first_at` the first reading after it,
    `late_at` the last reading that was over LATE_MS old. `counted` are messages of the other topics.
    """

    devices: int
    messages: int
    tags: int
    missing: int
    duplicates: int
    unreadable: int
    p50: float | None
    p99: float | None
    silent: int
    connected_at: float | None
    first_at: float | None
    late_at: float | None
    counted: dict[str, int]


class Tag(msgspec.Struct):
    name: str
    value: int | float | bool | str | None = None


class Message(msgspec.Struct):
    """Tags stay raw: decoding two of a hundred halves the cost."""

    node: str
    tags: list[msgspec.Raw]


class Measurement:
    """Counts messages. `now` is the arrival in Unix ms."""

    def __init__(self) -> None:
        self.seen: dict[str, set[int]] = {}
        self.heard: dict[str, float] = {}
        self.delays: Counter[int] = Counter()
        self.counted: Counter[bytes] = Counter()
        self.tags = self.duplicates = self.unreadable = 0
        self.connected_at: float | None = None
        self.first_at: float | None = None
        self.late_at: float | None = None
        self._message = msgspec.json.Decoder(Message)
        self._tag = msgspec.json.Decoder(Tag)

    def connected(self) -> None:
        self.connected_at, self.first_at = time.time(), None

    def count(self, payload: memoryview, now: float) -> None:
        try:
            message = self._message.decode(payload)
            seq, clock = self._seq_and_clock(message.tags)
        except (msgspec.DecodeError, LookupError):
            self.unreadable += 1
            return
        delay = (now - clock + CLOCK_MODULUS / 2) % CLOCK_MODULUS - CLOCK_MODULUS / 2
        self.heard[message.node] = now
        if self.first_at is None:
            self.first_at = now / 1000
        if delay > LATE_MS:
            self.late_at = now / 1000
        seen = self.seen.setdefault(message.node, set())
        if seq in seen:
            self.duplicates += 1
            return
        seen.add(seq)
        self.tags += len(message.tags)
        self.delays[int(delay * 10)] += 1

    def _seq_and_clock(self, tags: list[msgspec.Raw]) -> tuple[int, int]:
        """Raises LookupError or DecodeError on a reading without them."""
        found: dict[str, int] = {}
        for raw in tags:
            tag = self._tag.decode(raw)
            if tag.name in ("seq", "clock") and isinstance(tag.value, int):
                found[tag.name] = tag.value
                if len(found) == 2:
                    break
        return found["seq"], found["clock"]

    def report(self) -> Report:
        now = time.time() * 1000
        return Report(
            devices=len(self.seen),
            messages=sum(map(len, self.seen.values())),
            tags=self.tags,
            missing=sum(max(seen) - min(seen) + 1 - len(seen) for seen in self.seen.values()),
            duplicates=self.duplicates,
            unreadable=self.unreadable,
            p50=self._percentile(0.50),
            p99=self._percentile(0.99),
            silent=sum(heard < now - SILENT_S * 1000 for heard in self.heard.values()),
            connected_at=self.connected_at,
            first_at=self.first_at,
            late_at=self.late_at,
            counted={topic.decode(): count for topic, count in self.counted.items()},
        )

    def _percentile(self, share: float) -> float | None:
        wanted, passed = share * self.delays.total(), 0
        for delay in sorted(self.delays):
            passed += self.delays[delay]
            if passed >= wanted:
                return delay / 10
        return None


def connect_and_subscribe(topics: Sequence[str]) -> bytes:
    """CONNECT (clean session, no keep-alive) and SUBSCRIBE (QoS 0) of MQTT 3.1.1, sent in one go."""

    def text(value: bytes) -> bytes:
        return len(value).to_bytes(2) + value

    connect = text(b"MQTT") + b"\x04\x02\x00\x00" + text(b"bench-subscriber-%d" % os.getpid())
    subscribe = b"\x00\x01" + b"".join(text(topic.encode()) + b"\x00" for topic in topics)
    return bytes([0x10, len(connect)]) + connect + bytes([0x82, len(subscribe)]) + subscribe


def packets(data: memoryview) -> Iterator[tuple[int, int, int]]:
    """The whole MQTT packets in `data`: type byte, start and end of the body."""
    start = 0
    while True:
        size, shift, body = 0, 0, start + 1
        while True:
            if body >= len(data):
                return
            size |= (data[body] & 0x7F) << shift
            shift, body = shift + 7, body + 1
            if data[body - 1] < 0x80:
                break
        if body + size > len(data):
            return
        yield data[start], body, body + size
        start = body + size


class Subscription(asyncio.Protocol):
    """One connection to the broker; `lost` is set when it ends."""

    def __init__(self, subscriber: "Subscriber", connection: socket.socket) -> None:
        self.subscriber = subscriber
        self.connection = connection
        self.lost = asyncio.Event()
        self.rest = b""

    def connection_lost(self, exc: Exception | None) -> None:
        self.lost.set()

    def data_received(self, data: bytes) -> None:
        now = time.time() * 1000
        self.connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_QUICKACK, 1)
        view = memoryview(self.rest + data if self.rest else data)
        done = 0
        for kind, start, end in packets(view):
            done = end
            if kind == PUBLISH_QOS_0:
                payload = start + 2 + int.from_bytes(view[start : start + 2])
                self.subscriber.count(view[start + 2 : payload], view[payload:end], now)
            elif kind == SUBACK:
                self.subscriber.subscribed.set()
        self.rest = bytes(view[done:])


class Subscriber:
    """Stays subscribed to `topic` and `others`, over any restart of the broker."""

    def __init__(self, port: int, topic: str, others: Sequence[str]) -> None:
        self.port = port
        self.topic = topic.encode()
        self.greeting = connect_and_subscribe([topic, *others])
        self.measurement = Measurement()
        self.subscribed = asyncio.Event()

    def count(self, topic: memoryview, payload: memoryview, now: float) -> None:
        if topic == self.topic:
            self.measurement.count(payload, now)
        else:
            self.measurement.counted[bytes(topic)] += 1

    async def run(self) -> None:
        while True:
            connection = socket.socket()
            connection.setblocking(False)
            try:
                await self._follow(connection)
            except OSError:
                await asyncio.sleep(RECONNECT_S)
            finally:
                connection.close()

    async def _follow(self, connection: socket.socket) -> None:
        loop = asyncio.get_running_loop()
        await loop.sock_connect(connection, ("127.0.0.1", self.port))
        self.measurement.connected()
        transport, subscription = await loop.create_connection(
            lambda: Subscription(self, connection), sock=connection
        )
        transport.write(self.greeting)
        await subscription.lost.wait()


async def serve(port: int, topic: str, others: Sequence[str]) -> None:
    """Print `ready` once subscribed, then obey stdin until its end."""
    subscriber = Subscriber(port, topic, others)
    following = asyncio.create_task(subscriber.run())
    await subscriber.subscribed.wait()
    print("ready", flush=True)
    while command := (await asyncio.to_thread(sys.stdin.readline)).strip():
        if command == "reset":
            subscriber.measurement = Measurement()
        else:
            print(msgspec.json.encode(subscriber.measurement.report()).decode(), flush=True)
    following.cancel()


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--port", type=int, required=True, help="of the broker on 127.0.0.1")
    parser.add_argument("--topic", default="bench", help="whose payloads are looked into")
    parser.add_argument("--count", nargs="*", default=[], help="other topics, whose messages are counted")
    arguments = parser.parse_args()
    uvloop.run(serve(arguments.port, arguments.topic, arguments.count))
