import asyncio
import json
from collections.abc import Callable

import msgspec
import pytest

from actors.readings.batch import Batch, Point, Source
from actors.system.failure import Refusal
from api import readings, readings_hub, streams
from api.cli.event_stream import events
from api.readings import ReadingFilter
from api.readings_hub import ReadingsHub
from api.streams import Client, Dropped


class Reader:
    """What a client's events are written to; it takes them while `open` is set."""

    def __init__(self) -> None:
        self.received = b""
        self.open = asyncio.Event()
        self.open.set()
        self.gone = self.cut = False
        self.news = asyncio.Event()

    async def write(self, data: bytes) -> None:
        await self.open.wait()
        if self.cut:
            raise ConnectionResetError
        self.received += data
        self.news.set()

    def cut_off(self) -> None:
        self.cut = True
        self.open.set()

    def client(self, **fields: tuple[str, ...]) -> Client:
        return Client(ReadingFilter(**fields), self.write, lambda: self.gone, self.cut_off)

    async def until(self, happened: Callable[[], bool]) -> None:
        async with asyncio.timeout(5):
            while not happened():
                self.news.clear()
                await self.news.wait()


def source(name: str, *points: str) -> Source:
    return Source(f"u-{name}", name, "modbus", f"d-{name}", name, tuple(Point(one) for one in points), ())


PRESS = source("press", "speed", "temp")


def batch(speed: float = 1.0, source: Source = PRESS) -> Batch:
    return Batch(source, 1_705_314_600_042, [speed, 60])


def read(data: bytes) -> list[tuple[str, dict]]:
    return [(name, json.loads(body)) for name, body in events(data.splitlines(keepends=True))]


def speeds(data: bytes) -> list[float]:
    return [body["readings"][0]["value"] for name, body in read(data) if name == "readings"]


def test_each_client_gets_what_it_wants():
    hub, reader = ReadingsHub(), Reader()
    everything, other, temp = reader.client(), reader.client(endpoint=("x",)), reader.client(metric=("temp",))
    for client in (everything, other, temp):
        hub.join(client)
    hub.publish(batch())
    ((name, body),) = read(everything.take())
    assert (name, body["endpoint"]) == ("readings", "press")
    assert [one["metric"] for one in body["readings"]] == ["speed", "temp"]
    assert other.take() == b""
    ((_, body),) = read(temp.take())
    assert [one["metric"] for one in body["readings"]] == ["temp"]
    assert everything.take() == b""


def test_a_poll_without_a_reading_of_that_quality_is_no_event():
    hub, client = ReadingsHub(), Reader().client(quality=("BAD",))
    hub.join(client)
    hub.publish(batch())
    assert client.take() == b""
    hub.publish(Batch(PRESS, 1, [1, None], [None, "DEVICE_OFFLINE"]))
    ((_, body),) = read(client.take())
    assert [one["metric"] for one in body["readings"]] == ["temp"]


def test_equal_filters_share_one_encoding(monkeypatch):
    encoded = []

    def encode(data):
        encoded.append(data)
        return msgspec.json.encode(data)

    monkeypatch.setattr(streams, "_encode", encode)
    hub, reader = ReadingsHub(), Reader()
    clients = [reader.client(endpoint=("press",)) for _ in range(5)]
    for client in clients:
        hub.join(client)
    hub.publish(batch())
    assert len(encoded) == 1
    assert len({client.take() for client in clients}) == 1


def test_filters_are_matched_once_per_source(monkeypatch):
    matched = []

    def match(name, pattern):
        matched.append(name)
        return name == pattern

    monkeypatch.setattr(readings, "fnmatchcase", match)
    hub, client = ReadingsHub(), Reader().client(endpoint=("press",))
    hub.join(client)
    for _ in range(10):
        hub.publish(batch())
    assert matched == ["press"]
    hub.publish(Batch(source("press", "another"), 1, [7]))
    assert matched == ["press", "press"]
    assert read(client.take())[-1][1]["readings"] == [{"metric": "another", "value": 7, "quality": "GOOD"}]


def test_plans_of_endpoints_that_are_no_more_do_not_pile_up(monkeypatch):
    monkeypatch.setattr(readings_hub, "MAX_PLANS", 3)
    hub, client = ReadingsHub(), Reader().client()
    hub.join(client)
    for number in range(10):
        hub.publish(Batch(source(f"e{number}", "a"), 1, [number]))
    assert speeds(client.take()) == list(range(10))
    (audience,) = hub._audiences.values()
    assert len(audience._plans) <= 3


def test_the_oldest_events_are_left_out_for_a_slow_client_and_counted(monkeypatch):
    hub, slow, quick = ReadingsHub(), Reader().client(), Reader().client()
    hub.join(slow)
    hub.join(quick)
    hub.publish(batch(0.0))
    size = len(quick.take())
    monkeypatch.setattr(streams, "QUEUE_BYTES", 3 * size)
    for speed in range(1, 10):
        hub.publish(batch(float(speed)))
        assert speeds(quick.take()) == [speed]
    taken = slow.take()
    assert read(taken)[0] == ("dropped", {"count": 7})
    assert speeds(taken) == [7, 8, 9]
    hub.publish(batch(10.0))
    assert [name for name, _ in read(slow.take())] == ["readings"]


def test_an_event_larger_than_the_queue_waits_alone(monkeypatch):
    monkeypatch.setattr(streams, "QUEUE_BYTES", 10)
    client = Reader().client()
    for number in range(3):
        client.put(streams.event("readings", Dropped(number)))
    assert read(client.take()) == [("dropped", {"count": 2}), ("readings", {"count": 2})]


def test_it_tells_when_the_first_comes_and_the_last_has_left():
    told = []
    hub = ReadingsHub(lambda: told.append(hub.clients))
    one, other = Reader().client(), Reader().client(endpoint=("x",))
    hub.join(one)
    hub.join(other)
    assert told == [1]
    hub.leave(one)
    assert told == [1]
    hub.leave(other)
    assert told == [1, 0]
    hub.publish(batch())


def test_too_many_clients_are_refused_until_one_leaves(monkeypatch):
    monkeypatch.setattr(streams, "MAX_CLIENTS", 2)
    hub = ReadingsHub()
    first = Reader().client()
    hub.join(first)
    hub.join(Reader().client())
    with pytest.raises(Refusal, match="2 clients follow the readings already") as refused:
        hub.join(Reader().client())
    assert refused.value.kind == "unavailable"
    hub.leave(first)
    hub.join(Reader().client())


async def test_a_client_is_sent_what_comes_and_a_word_in_between(monkeypatch):
    monkeypatch.setattr(streams, "LOOK_EVERY", 0.005)
    monkeypatch.setattr(streams, "HEARTBEAT", 0.02)
    hub, reader = ReadingsHub(), Reader()
    client = reader.client()
    hub.join(client)
    serving = asyncio.create_task(client.serve())
    await reader.until(lambda: reader.received.startswith(b"retry: 1000\n\n"))
    hub.publish(batch())
    await reader.until(lambda: b"event: readings\n" in reader.received)
    await reader.until(lambda: reader.received.count(b": still here\n\n") >= 2)
    hub.publish(batch(2.0))
    await reader.until(lambda: speeds(reader.received) == [1, 2])
    hub.close()
    await asyncio.wait_for(serving, 5)
    assert not reader.cut


async def test_a_silent_client_that_has_left_is_noticed(monkeypatch):
    monkeypatch.setattr(streams, "LOOK_EVERY", 0.005)
    reader = Reader()
    serving = asyncio.create_task(reader.client().serve())
    await reader.until(lambda: reader.received != b"")
    reader.gone = True
    await asyncio.wait_for(serving, 5)


async def test_closing_ends_a_waiting_client_and_cuts_off_one_that_does_not_read():
    hub, reader, stuck = ReadingsHub(), Reader(), Reader()
    clients = [reader.client(), stuck.client()]
    for client in clients:
        hub.join(client)
    waiting, blocked = [asyncio.create_task(client.serve()) for client in clients]
    await reader.until(lambda: reader.received != b"")
    await stuck.until(lambda: stuck.received != b"")
    stuck.open.clear()
    hub.publish(batch())
    await reader.until(lambda: speeds(reader.received) == [1])
    hub.close()
    async with asyncio.timeout(0.5):
        await waiting
        with pytest.raises(ConnectionResetError):
            await blocked
    with pytest.raises(Refusal, match="stopping"):
        hub.join(Reader().client())


def test_devices_of_an_endpoint_do_not_have_one_another_looked_at_anew(monkeypatch: pytest.MonkeyPatch):
    looked: list[Source] = []

    def looking(chosen: ReadingFilter, source: Source) -> object:
        looked.append(source)
        return readings.wanted_points(chosen, source)

    monkeypatch.setattr(readings_hub, "wanted_points", looking)
    hub, reader = ReadingsHub(), Reader()
    client = reader.client(metric=("temp",))
    hub.join(client)
    pump = msgspec.structs.replace(source("pump", "speed", "temp"), endpoint_uuid=PRESS.endpoint_uuid)
    for _ in range(3):
        hub.publish(batch())
        hub.publish(batch(source=pump))
    assert looked == [PRESS, pump]
    assert [body["device"] for _, body in read(client.take())] == ["press", "pump"] * 3


def test_of_what_has_changed_a_client_gets_what_it_wants():
    hub, reader = ReadingsHub(), Reader()
    temp = reader.client(metric=("temp",))
    hub.join(temp)
    hub.publish(Batch(PRESS, 1000, [7], indices=[0]))
    hub.publish(Batch(PRESS, 1000, [8, 9], indices=[1, 0], times=[0, 1000]))
    ((_, body),) = read(temp.take())
    assert body["readings"] == [
        {"metric": "temp", "value": 8, "quality": "GOOD", "timestamp": "1970-01-01T00:00:00.000Z"}
    ]
