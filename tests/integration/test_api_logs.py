"""`/v1/logs` as the reference has it, and its stream."""

import asyncio
import json
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

import pytest
from fake_agent import SILENT, Client, FakeAgent, serving

from actors.logs.entries import About, LogEntry, LogFilter
from actors.logs.messages import LogsAdded, LogsReported, ReportLogs
from actors.system.failure import Failed
from api import log_hub, streams
from api.log_hub import LogHub

AT = 1_705_312_200_000
STREAM = "/v1/logs/stream"


def entry(number: int, message: str = "said", **fields: object) -> LogEntry:
    return LogEntry(
        **{"number": number, "timestamp": AT + number, "at": 0.0, "level": "info", "message": message,
           "logger": "actors.endpoints.endpoint"} | fields
    )  # fmt: skip


class Logging(FakeAgent):
    """An agent whose log has these entries."""

    def __init__(self, *entries: LogEntry) -> None:
        super().__init__()
        self.entries = list(entries)

    def on_ReportLogs(self, message: ReportLogs) -> LogsReported:
        found = [one for one in self.entries if message.chosen.matches(one)]
        found = [one for one in found if message.after is None or one.number > message.after]
        newest = self.entries[-1].number if self.entries else 0
        return LogsReported(found[-message.limit :] if message.limit else [], len(self.entries), newest)


STARTED = entry(
    0, "Container started", logger="actors.apps.planner", about=About(app_id=1), operation="start",
    actor="apps/bridge",
)  # fmt: skip


async def test_the_body_is_that_of_the_reference():
    async with serving(Logging(STARTED)) as client:
        reply = await client.get("/v1/logs")
        body = await reply.json()
    assert (reply.status, reply.content_type) == (200, "application/json")
    assert set(body) == {"logs", "total"}
    assert body["total"] == 1
    (said,) = body["logs"]
    documented = {
        "level": "info",
        "message": "Container started",
        "timestamp": 1705312200000,
        "component": "container-manager",
        "appId": 1,
    }
    assert documented.items() <= said.items()
    assert said["id"] == "log-0"
    assert said["source"] == {"type": "manager", "name": "container-manager"}
    assert said["context"]["component"] == "container-manager"
    assert said["context"]["operation"] == "start"
    assert said["actor"] == "apps/bridge"


@pytest.mark.parametrize(
    ("query", "wanted"),
    [
        ("", (LogFilter(), 200)),
        ("?level=warn", (LogFilter(level="warn"), 200)),
        ("?minLevel=warn&limit=1000", (LogFilter(min_level="warn"), 1000)),
        ("?source=container&since=1705312200000", (LogFilter(source="container", since=AT), 200)),
        (
            "?text=K%C3%BChl&actor=endpoints/modbus&limit=1",
            (LogFilter(text="Kühl", actor="endpoints/modbus"), 1),
        ),
        ("?text=&actor=", (LogFilter(), 200)),
    ],
)
async def test_the_filters_are_asked_for(query, wanted):
    agent = Logging()
    async with serving(agent) as client:
        reply = await client.get(f"/v1/logs{query}")
        assert (reply.status, await reply.json()) == (200, {"logs": [], "total": 0})
    (asked,) = agent.asked
    assert (asked.chosen, asked.limit) == wanted


@pytest.mark.parametrize("path", ["/v1/logs", STREAM])
@pytest.mark.parametrize(
    ("query", "field"),
    [
        ("level=warning", "level"),
        ("level=INFO", "level"),
        ("minLevel=x", "minLevel"),
        ("source=app", "source"),
        ("since=yesterday", "since"),
        ("since=-1", "since"),
        ("limit=-1", "limit"),
        ("limit=1001", "limit"),
        ("limit=many", "limit"),
        (f"text={'x' * 201}", "text"),
        ("text=%00", "text"),
    ],
)
async def test_a_bad_parameter_is_400_and_named(path, query, field):
    async with serving(Logging()) as client:
        reply = await client.get(f"{path}?{query}")
        body = await reply.json()
    assert (reply.status, body["error"], body["field"]) == (400, "Bad request", field)
    assert field in body["message"]


async def test_a_limit_of_none_is_no_list():
    async with serving(Logging()) as client:
        assert (await client.get("/v1/logs?limit=0")).status == 400


@pytest.mark.parametrize("answer", [SILENT, Failed("unavailable", "logs is not running")])
async def test_without_a_log_it_says_so(answer):
    agent, hub = Logging(), LogHub()
    agent.answers[ReportLogs] = answer
    async with serving(agent, logs=hub) as client:
        for path in ("/v1/logs", STREAM):
            reply = await client.get(path)
            assert (reply.status, await reply.json()) == (503, {"error": "Log backend not available"})
    assert hub.clients == 0


async def test_a_thousand_entries_are_listed_in_portions():
    async with serving(Logging(*(entry(number) for number in range(1000)))) as client:
        body = await (await client.get("/v1/logs?limit=1000")).json()
    assert [one["id"] for one in body["logs"]] == [f"log-{number}" for number in range(1000)]


# The stream


class Reading:
    """An open stream."""

    def __init__(self, reply) -> None:
        self.reply = reply

    async def event(self) -> tuple[str, dict]:
        """The name and the data of the next event; fails at the end of the stream."""
        fields: dict[str, str] = {}
        async with asyncio.timeout(5):
            while True:
                line = (await self.reply.content.readuntil(b"\n")).decode()
                assert line, "the stream has ended"
                if line == "\n":
                    if "data" in fields:
                        return fields.get("event", "message"), json.loads(fields["data"])
                    fields = {}
                name, _, value = line.rstrip("\n").partition(": ")
                fields[name] = value

    async def messages(self, count: int) -> list[str]:
        return [(await self.event())[1]["message"] for _ in range(count)]

    async def rest(self) -> bytes:
        async with asyncio.timeout(5):
            return await self.reply.content.read()


@asynccontextmanager
async def following(client: Client, query: str = "", **headers: str) -> AsyncIterator[Reading]:
    async with client.get(f"{STREAM}{query}", headers=headers) as reply:
        assert reply.status == 200, await reply.text()
        assert (reply.content_type, reply.headers["X-Accel-Buffering"]) == ("text/event-stream", "no")
        yield Reading(reply)


async def until(happened: Callable[[], bool]) -> None:
    async with asyncio.timeout(5):
        while not happened():  # noqa: ASYNC110 - what is waited for announces itself to nobody
            await asyncio.sleep(0.005)


@pytest.fixture
def hub() -> LogHub:
    return LogHub()


async def test_an_entry_is_an_event_that_any_client_understands(hub):
    async with serving(Logging(), logs=hub) as client, client.get(STREAM) as reply:
        hub.publish(LogsAdded([entry(1, about=About(app_id=1)), entry(2, "späße\n\ndata: forged")]))
        text = (await reply.content.readuntil(b'forged","')).decode()
    events = text.split("\n\n")
    assert events[0] == "retry: 1000"
    assert events[1].startswith('id: log-1\ndata: {"appId":1,')
    assert len(events) == 3, "a message cannot begin an event"


async def test_only_what_is_wanted_comes(hub):
    async with serving(Logging(), logs=hub) as client, following(client, "?minLevel=warn&actor=a") as stream:
        hub.publish(LogsAdded([entry(1, actor="a"), entry(2, "this", level="error", actor="a/b"), entry(3)]))
        assert await stream.messages(1) == ["this"]


async def test_what_was_before_comes_first_and_nothing_twice(hub):
    agent = Logging(*(entry(number, f"{number}") for number in range(10)))
    answer, asked = agent.on_ReportLogs, asyncio.Event()

    def late(message: ReportLogs) -> LogsReported:
        """The hub is told the last of these, and two more, before the answer gets to the route."""
        found = answer(message)
        hub.publish(LogsAdded([entry(9, "9"), entry(10, "10"), entry(11, "11")]))
        asked.set()
        return found

    agent.answers[ReportLogs] = late
    async with serving(agent, logs=hub) as client, following(client, "?limit=3") as stream:
        await asked.wait()
        hub.publish(LogsAdded([entry(12, "12")]))
        assert await stream.messages(6) == ["7", "8", "9", "10", "11", "12"]


async def test_who_comes_back_gets_what_it_has_missed(hub):
    agent = Logging(*(entry(number, f"{number}") for number in range(10)))
    async with serving(agent, logs=hub) as client:
        async with following(client, **{"Last-Event-ID": "log-6"}) as stream:
            assert await stream.messages(3) == ["7", "8", "9"]
        async with following(client, **{"Last-Event-ID": "nonsense"}) as stream:
            hub.publish(LogsAdded([entry(10, "10")]))
            assert await stream.messages(1) == ["10"]


async def test_a_client_that_does_not_read_loses_lines_and_is_told_how_many(hub, monkeypatch):
    monkeypatch.setattr(streams, "QUEUE_BYTES", 20_000)
    async with serving(Logging(), logs=hub) as client, following(client) as stream:
        await until(lambda: hub.clients == 1)
        number = 0
        for _ in range(300):
            hub.publish(LogsAdded([entry(number + one + 1, "x" * 1000) for one in range(100)]))
            number += 100
            await asyncio.sleep(0)
        name, seen, dropped, last = "", 0, 0, None
        while last != f"log-{number}":
            name, data = await stream.event()
            dropped += data["count"] if name == "dropped" else 0
            seen += name == "message"
            last = data.get("id")
        assert dropped > 0
        assert seen + dropped == number


async def test_what_was_lost_on_the_way_is_told_too(hub):
    async with serving(Logging(), logs=hub) as client, following(client) as stream:
        await until(lambda: hub.clients == 1)
        hub.publish(LogsAdded([entry(5)], lost=7))
        assert await stream.event() == ("dropped", {"count": 7})


async def test_streams_are_bounded_and_end_with_the_agent(hub, monkeypatch):
    monkeypatch.setattr(streams, "MAX_CLIENTS", 2)
    async with serving(Logging(), logs=hub) as client, following(client) as one, following(client) as other:
        await until(lambda: hub.clients == 2)
        reply = await client.get(STREAM)
        assert reply.status == 503
        assert "2 clients follow the log already" in await reply.text()
        hub.close()
        assert b"data" not in await one.rest() + await other.rest()
        await until(lambda: hub.clients == 0)
        assert (await client.get(STREAM)).status == 503


async def test_a_silent_stream_says_that_it_is_still_there(hub, monkeypatch):
    monkeypatch.setattr(streams, "LOOK_EVERY", 0.005)
    monkeypatch.setattr(streams, "HEARTBEAT", 0.01)
    async with serving(Logging(), logs=hub) as client, following(client) as stream:
        async with asyncio.timeout(5):
            assert await stream.reply.content.readuntil(b": still here\n\n")


async def test_the_log_needs_the_key(hub):
    async with serving(Logging(), logs=hub, security_mode="API_KEY", key="s3cret") as client:
        assert (await client.get("/v1/logs")).status == 401
        assert (await client.get(STREAM)).status == 401
        assert (await client.get("/v1/logs", headers={"X-Api-Key": "s3cret"})).status == 200


async def test_head_follows_nothing(hub):
    async with serving(Logging(), logs=hub) as client:
        assert (await client.head(STREAM)).status == 200
        assert hub.clients == 0


async def test_an_entry_is_encoded_once_for_all(hub, monkeypatch):
    encoded: list[LogEntry] = []
    real = log_hub.log_event
    monkeypatch.setattr(log_hub, "log_event", lambda one: (encoded.append(one), real(one))[1])
    async with serving(Logging(), logs=hub) as client, following(client) as one, following(client) as other:
        await until(lambda: hub.clients == 2)
        hub.publish(LogsAdded([entry(1, "one")]))
        assert await one.messages(1) == await other.messages(1) == ["one"]
    assert len(encoded) == 1
