import asyncio
import json
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

import pytest
from fake_agent import SILENT, Client, FakeAgent, serving

from actors.readings.batch import Batch, Insight, Point, Source
from actors.readings.messages import ReportLatest
from api import streams
from api.readings_hub import ReadingsHub

STREAM = "/v1/readings/stream"
LATEST = "/v1/readings/latest"
AT = 1_705_314_600_042


def source(name: str, *metrics: str, protocol: str = "modbus") -> Source:
    points = tuple(Point(metric, "°C" if metric == "temp" else None) for metric in metrics)
    return Source(f"u-{name}", name, protocol, f"d-{name}", f"{name}-unit", points, ())


PRESS = source("press", "speed", "temp")


def batch(speed: float = 1.0) -> Batch:
    return Batch(PRESS, AT, [speed, 61.4])


class Following:
    """An open stream."""

    def __init__(self, reply) -> None:
        self.reply = reply

    async def event(self) -> tuple[str, dict]:
        """The next event; fails at the end of the stream."""
        fields: dict[str, str] = {}
        async with asyncio.timeout(5):
            while True:
                line = (await self.reply.content.readuntil(b"\n")).decode()
                assert line, "the stream has ended"
                if line == "\n" and "data" in fields:
                    return fields["event"], json.loads(fields["data"])
                name, _, value = line.rstrip("\n").partition(": ")
                fields[name] = value

    async def rest(self) -> bytes:
        async with asyncio.timeout(5):
            return await self.reply.content.read()


@asynccontextmanager
async def following(client: Client, query: str = "") -> AsyncIterator[Following]:
    async with client.get(f"{STREAM}{query}") as reply:
        assert reply.status == 200, await reply.text()
        yield Following(reply)


async def until(happened: Callable[[], bool]) -> None:
    async with asyncio.timeout(5):
        while not happened():  # noqa: ASYNC110 - what is waited for announces itself to nobody
            await asyncio.sleep(0.005)


@pytest.fixture
def hub() -> ReadingsHub:
    return ReadingsHub()


async def test_a_poll_is_an_event(hub):
    async with serving(FakeAgent(), readings=hub) as client, client.get(STREAM) as reply:
        assert (reply.status, reply.content_type, reply.charset) == (200, "text/event-stream", "utf-8")
        assert reply.headers["Cache-Control"] == "no-cache"
        assert reply.headers["X-Accel-Buffering"] == "no"
        hub.publish(batch())
        text = (await reply.content.readuntil(b"}\n\n")).decode()
    retry, event, end = text.split("\n\n")
    assert (retry, end) == ("retry: 1000", "")
    name, data = event.split("\n")
    assert name == "event: readings"
    assert json.loads(data.removeprefix("data: ")) == {
        "timestamp": "2024-01-15T10:30:00.042Z",
        "endpoint": "press",
        "endpoint_uuid": "u-press",
        "device": "press-unit",
        "device_uuid": "d-press",
        "protocol": "modbus",
        "readings": [
            {"metric": "speed", "value": 1.0, "quality": "GOOD"},
            {"metric": "temp", "value": 61.4, "unit": "°C", "quality": "GOOD"},
        ],
    }


@pytest.mark.parametrize(
    ("query", "metrics"),
    [
        ("?endpoint=press", ["speed", "temp"]),
        ("?metric=&endpoint=press", ["speed", "temp"]),
        ("?endpoint=x&endpoint=pre*", ["speed", "temp"]),
        ("?endpoint=x,press", ["speed", "temp"]),
        ("?device=press-unit&metric=temp", ["temp"]),
        ("?metric=t*&protocol=modbus", ["temp"]),
        ("?quality=BAD,GOOD", ["speed", "temp"]),
    ],
)
async def test_the_stream_is_filtered(hub, query, metrics):
    async with serving(FakeAgent(), readings=hub) as client, following(client, query) as stream:
        hub.publish(Batch(source("elsewhere", "metric", protocol="opcua"), AT, [1], ["RANGE"]))
        hub.publish(batch())
        _, body = await stream.event()
        assert (body["endpoint"], [one["metric"] for one in body["readings"]]) == ("press", metrics)


@pytest.mark.parametrize("path", [STREAM, LATEST])
@pytest.mark.parametrize("query", ["quality=good", "quality=GOOD&quality=x", "quality=GOOD,x"])
async def test_an_unknown_quality_is_400_and_names_the_field(hub, path, query):
    async with serving(FakeAgent(), readings=hub) as client:
        reply = await client.get(f"{path}?{query}")
        assert (reply.status, await reply.json()) == (
            400,
            {
                "error": "Bad request",
                "message": "quality must be GOOD, UNCERTAIN or BAD",
                "field": "quality",
            },
        )
    assert hub.clients == 0


async def test_the_stream_needs_the_key(hub):
    async with serving(FakeAgent(), readings=hub, security_mode="API_KEY", key="s3cret") as client:
        assert (await client.get(STREAM)).status == 401
        assert (await client.get(LATEST)).status == 401
        async with following(client, "?apiKey=s3cret"):
            assert hub.clients == 1


async def test_head_follows_nothing(hub):
    async with serving(FakeAgent(), readings=hub) as client:
        reply = await client.head(STREAM)
        assert (reply.status, reply.content_type) == (200, "text/event-stream")
        assert hub.clients == 0


async def test_a_client_that_leaves_makes_room(hub, monkeypatch):
    monkeypatch.setattr(streams, "MAX_CLIENTS", 2)
    monkeypatch.setattr(streams, "LOOK_EVERY", 0.01)
    async with serving(FakeAgent(), readings=hub) as client, following(client):
        async with following(client):
            refused = await client.get(STREAM)
            assert (refused.status, await refused.json()) == (
                503,
                {"error": "2 clients follow the readings already"},
            )
        await until(lambda: hub.clients == 1)
        async with following(client) as stream:
            hub.publish(batch())
            assert (await stream.event())[0] == "readings"


async def test_a_client_that_leaves_under_load_makes_room(hub):
    async with serving(FakeAgent(), readings=hub) as client:
        async with following(client):
            hub.publish(batch())

        def gone() -> bool:
            hub.publish(batch())
            return hub.clients == 0

        await until(gone)


async def test_a_client_that_does_not_read_is_told_how_much_was_left_out(hub):
    large = source("large", *(f"a-metric-with-a-long-name-{number}" for number in range(2000)))
    async with serving(FakeAgent(), readings=hub) as client:
        reader, writer = await asyncio.open_connection("127.0.0.1", client.port)
        writer.write(f"GET {STREAM} HTTP/1.0\r\nHost: localhost\r\n\r\n".encode())
        await until(lambda: hub.clients == 1)
        (follower,) = hub._audiences[next(iter(hub._audiences))].clients
        for number in range(500):
            hub.publish(Batch(large, AT, [number] * 2000))
            await asyncio.sleep(0)
            if follower._dropped > 3:
                break
        assert follower._dropped > 3
        numbers, dropped = [], 0
        async with asyncio.timeout(10):
            while not numbers or numbers[-1] < number:
                line = await readline(reader)
                if line == b"event: dropped\n":
                    left_out = json.loads((await readline(reader)).removeprefix(b"data: "))["count"]
                    dropped += left_out
                elif line.startswith(b"data: "):
                    numbers.append(json.loads(line.removeprefix(b"data: "))["readings"][0]["value"])
        assert numbers == sorted(numbers)
        assert len(numbers) + dropped == number + 1
        assert dropped > 3
        writer.close()
        await writer.wait_closed()


async def readline(reader: asyncio.StreamReader) -> bytes:
    reader._limit = 2**22  # events are longer than lines usually are
    return await reader.readline()


async def test_the_end_of_the_server_ends_open_streams_at_once(hub):
    async with serving(FakeAgent(), readings=hub) as client, following(client) as stream:
        hub.publish(batch())
        await stream.event()
        began = asyncio.get_running_loop().time()
        closing = asyncio.create_task(client.server.close())
        assert await stream.rest() == b""
        await closing
        assert asyncio.get_running_loop().time() - began < 1
        assert hub.clients == 0


async def test_the_end_of_the_server_does_not_wait_for_a_client_that_does_not_read(hub):
    async with serving(FakeAgent(), readings=hub) as client:
        _, writer = await asyncio.open_connection("127.0.0.1", client.port, limit=1024)
        writer.write(f"GET {STREAM} HTTP/1.1\r\nHost: localhost\r\n\r\n".encode())
        await until(lambda: hub.clients == 1)
        (follower,) = hub._audiences[next(iter(hub._audiences))].clients
        large = Batch(source("large", *("m" * 200 for _ in range(1000))), AT, [1] * 1000)
        for _ in range(1000):
            hub.publish(large)
            await asyncio.sleep(0)
            if follower._dropped:
                break
        assert follower._writing
        began = asyncio.get_running_loop().time()
        await client.server.close()
        assert asyncio.get_running_loop().time() - began < 1
        assert hub.clients == 0
        writer.close()


async def test_the_latest_readings_are_flat():
    agent = FakeAgent()
    known = [Insight(anomaly_score=0.7), None]
    agent.latest = [Batch(PRESS, AT, [None, 61.4], ["DEVICE_OFFLINE", None], insights=known)]
    async with serving(agent) as client:
        reply = await client.get(LATEST)
        assert reply.status == 200
        origin = {
            "timestamp": "2024-01-15T10:30:00.042Z",
            "endpoint": "press",
            "endpoint_uuid": "u-press",
            "device": "press-unit",
            "device_uuid": "d-press",
            "protocol": "modbus",
        }
        offline = {"metric": "speed", "value": None, "quality": "BAD", "qualityCode": "DEVICE_OFFLINE"}
        good = {"metric": "temp", "value": 61.4, "unit": "°C", "quality": "GOOD"}
        assert await reply.json() == {
            "readings": [{**origin, **offline, "anomaly_score": 0.7}, {**origin, **good}],
            "count": 2,
        }
        filtered = await (await client.get(f"{LATEST}?quality=BAD&metric=s*,t*")).json()
        assert [one["metric"] for one in filtered["readings"]] == ["speed"]
        assert await (await client.get(f"{LATEST}?endpoint=x")).json() == {"readings": [], "count": 0}


async def test_the_latest_readings_of_a_silent_router_are_503():
    agent = FakeAgent()
    agent.answers[ReportLatest] = SILENT
    async with serving(agent) as client:
        reply = await client.get(LATEST)
        assert (reply.status, await reply.json()) == (
            503,
            {"error": "The readings actor did not answer in time"},
        )
