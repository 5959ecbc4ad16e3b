"""What users of other products have reported of delivery: each rebuilt with a small fake or a real broker,
with the link of the report."""

import random
import sqlite3
import ssl
from collections.abc import AsyncIterator
from contextlib import closing
from pathlib import Path
from time import monotonic
from typing import Any

import msgspec
import pytest
from mqtt_owner import subscriber
from publishing_system import PublishingSystem, hasten, numbers_of
from servers.certificates import Authority
from servers.mosquitto import Mosquitto, free_port
from servers.names import named
from servers.rude_http import NO_CONTENT, Asked, RudeHttp, Said, reply
from servers.scripted_broker import ScriptedBroker
from servers.webhook import WebhookReceiver

from actors.publish.messages import AddDestination, DeadLettersListed, ListDeadLetters

HTTP_TYPES = ("influxdb", "webhook")


class Site(PublishingSystem):
    """With one destination, of any type."""

    async def begin(self, type: str, config_json: dict[str, Any], **route_json: Any) -> int:
        destination = await self.new_destination("one", type, config_json)
        await self.add_subscription(destination.id, route_json=route_json)
        await self.observed(destination.id)
        return destination.id

    async def begin_http(self, type: str, port: int, most: int = 1, host: str = "127.0.0.1") -> int:
        """With requests of at most so many payloads."""
        own = {"batch": most}
        if type == "influxdb":
            own = {"org": "plant", "bucket": "raw", "token": "secret", "flushInterval": 1, "batchSize": most}
        return await self.begin(type, {"url": f"http://{host}:{port}", "timeout": 1000, **own})

    async def dead(self, id: int) -> int:
        return (await self.ask(ListDeadLetters(id, 10), DeadLettersListed)).total

    async def delivered(self, id: int) -> None:
        """Wait until nothing waits any more, and see that nothing was given up."""
        await self.settle(id)
        assert await self.dead(id) == 0


@pytest.fixture
async def site(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Site]:
    hasten(monkeypatch)
    async with Site(tmp_path) as running:
        yield running


class Taken:
    """The numbers in the requests that a server took, in the order of their first arrival."""

    def __init__(self) -> None:
        self.numbers: dict[int, None] = {}

    def take(self, asked: Asked) -> Said:
        self.numbers |= dict.fromkeys(_numbers_in(asked.body))
        return Said()


def _numbers_in(body: bytes) -> list[int]:
    if body[:1] in (b"[", b"{"):
        payloads = msgspec.json.decode(body if body[:1] == b"[" else b"[%b]" % body, type=list[msgspec.Raw])
        return [number for payload in payloads for number in numbers_of(bytes(payload))]
    return [int(float(line.partition(b"seq=")[2].split(b" ")[0])) for line in body.splitlines()]


# Servers that take less than they are sent


@pytest.mark.parametrize("type", HTTP_TYPES)
async def test_a_server_that_limits_requests_gets_fewer_and_fuller_ones(site: Site, type: str) -> None:
    """One request a moment, 429 for all others: neither are they made smaller, which would make them more,
    nor is the only one allowed spent on asking whether the server is there, nor is any payload suspected.
    https://github.com/influxdata/telegraf/issues/9353, https://github.com/fleetdm/fleet/issues/18044"""
    taken = Taken()
    next_at = 0.0

    def answer(asked: Asked) -> Said:
        nonlocal next_at
        if monotonic() < next_at:
            return Said(reply(429, "slow down"))
        next_at = monotonic() + 0.1
        return taken.take(asked)

    async with RudeHttp(answer) as server:
        id = await site.begin_http(type, server.port, most=100)
        for start in range(0, 400, 100):
            site.poll(*range(start, start + 100))
            await site.routed()
        await site.delivered(id)
    assert list(taken.numbers) == list(range(400))
    assert len(server.asked) < 200


@pytest.mark.parametrize("type", HTTP_TYPES)
async def test_a_payload_over_which_a_server_says_that_it_is_busy_does_not_hold_up_the_others(
    site: Site, type: str
) -> None:
    """As one may that comes down over it, and up again.
    https://github.com/open-telemetry/opentelemetry-collector-contrib/issues/35512"""
    taken = Taken()

    def answer(asked: Asked) -> Said:
        return Said(reply(503, "busy")) if 3 in _numbers_in(asked.body) else taken.take(asked)

    async with RudeHttp(answer) as server:
        id = await site.begin_http(type, server.port)
        site.poll(*range(12))
        await site.settle(id)
        assert await site.dead(id) == 1
    assert sorted(taken.numbers) == [0, 1, 2, *range(4, 12)]


@pytest.mark.parametrize("wanted", ["Thu, 01 Jan 1970 00:00:00 GMT", "-5", "soon", ""])
async def test_an_odd_time_to_wait_is_none(site: Site, wanted: str) -> None:
    """https://github.com/influxdata/telegraf/pull/4645 (anything but a number was an error)"""
    taken = Taken()
    scripted = [Said(reply(503, "full", Retry_After=wanted))] * 3
    async with RudeHttp(
        lambda asked: scripted.pop() if asked.body and scripted else taken.take(asked)
    ) as server:
        id = await site.begin_http("webhook", server.port)
        site.poll(1)
        await site.delivered(id)
    assert list(taken.numbers) == [1]


@pytest.mark.parametrize("type", HTTP_TYPES)
@pytest.mark.parametrize("share", [0.3, 0.5])
async def test_a_balancer_with_a_backend_that_is_down_costs_no_payload(
    site: Site, type: str, share: float
) -> None:
    """So many requests fail, whatever is in them.
    https://github.com/open-telemetry/opentelemetry-collector-contrib/issues/32045,
    https://github.com/open-telemetry/opentelemetry-collector-contrib/issues/18281"""
    taken = Taken()
    dice = random.Random(1)

    def answer(asked: Asked) -> Said:
        fails = asked.body and dice.random() < share
        return Said(reply(502, "Bad Gateway")) if fails else taken.take(asked)

    async with RudeHttp(answer) as server:
        id = await site.begin_http(type, server.port)
        for start in range(0, 100, 10):
            site.poll(*range(start, start + 10))
            await site.until(lambda: site.held(id) == 0)
        await site.delivered(id)
    assert sorted(taken.numbers) == list(range(100))


async def test_a_token_that_is_revoked_within_a_batch_costs_none_of_it(site: Site) -> None:
    """InfluxDB 1.x says of it that something cannot be parsed, as it does of points.
    https://github.com/influxdata/helm-charts/issues/407 (will be dropped: 401),
    https://github.com/hassio-addons/app-influxdb/issues/111"""
    taken = Taken()
    revoked = reply(401, '{"error":"unable to parse authentication credentials"}')
    scripted = [Said(revoked), Said(), Said(reply(400, '{"error":"unable to parse"}'))]
    async with RudeHttp(
        lambda asked: scripted.pop() if asked.body.count(b"seq=") and scripted else taken.take(asked)
    ) as server:
        id = await site.begin_http("influxdb", server.port, most=2)
        site.poll(1, 2)
        await site.delivered(id)
    assert 2 in taken.numbers


# Connections of HTTP


@pytest.mark.parametrize("type", HTTP_TYPES)
@pytest.mark.parametrize("late", [0.0, 0.005])
async def test_a_server_that_closes_after_each_answer_without_a_word_gets_everything(
    site: Site, type: str, late: float
) -> None:
    """At once, or in the moment in which the next request is on its way.
    https://github.com/aio-libs/aiohttp/issues/3507, https://github.com/lysine-dev/okhttp/issues/220"""
    taken = Taken()

    def answer(asked: Asked) -> Said:
        if asked.turn:
            return Said(b"", close=0.0)
        return Said(taken.take(asked).raw, close=late)

    async with RudeHttp(answer) as server:
        id = await site.begin_http(type, server.port)
        site.poll(*range(20))
        await site.delivered(id)
    assert list(taken.numbers) == list(range(20))


ODD_ANSWERS = {
    "shorter than it says": b"HTTP/1.1 200 OK\r\nContent-Length: 99\r\n\r\n{}",
    "chunks without an end": b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\n{}\r\n",
    "1.0, of no length": b"HTTP/1.0 200 OK\r\n\r\nok",
    "go on": b"HTTP/1.1 100 Continue\r\n\r\n" + NO_CONTENT,
    "no reason": b"HTTP/1.1 200 \r\nContent-Length: 0\r\n\r\n",
    "bare line feeds": b"HTTP/1.1 204 No Content\nConnection: close\n\n",
}


@pytest.mark.parametrize("close", [None, 0.0])
@pytest.mark.parametrize("odd", ODD_ANSWERS)
async def test_an_answer_that_says_well_done_is_believed_however_it_ends(
    site: Site, monkeypatch: pytest.MonkeyPatch, odd: str, close: float | None
) -> None:
    """Else the server would get the same payload without end.
    https://github.com/sxhxliang/mcp-access-point/issues/16, https://github.com/JuliaWeb/HTTP.jl/issues/261"""
    monkeypatch.setattr("actors.publish.destinations.posting._REST", 0.05)
    taken = Taken()

    def answer(asked: Asked) -> Said:
        taken.take(asked)
        return Said(ODD_ANSWERS[odd], close) if asked.body else Said()

    async with RudeHttp(answer) as server:
        id = await site.begin_http("webhook", server.port)
        site.poll(*range(5))
        await site.delivered(id)
    assert list(taken.numbers) == list(range(5))
    assert len([asked for asked in server.asked if asked.body]) <= 7


async def test_a_connection_that_a_router_has_forgotten_is_replaced(site: Site) -> None:
    """Nothing comes back on it, and it is not closed.
    https://github.com/marvinroger/async-mqtt-client/issues/105, https://github.com/influxdata/telegraf/issues/15418"""
    taken = Taken()
    async with RudeHttp(
        lambda asked: Said(b"") if server.asked.count(asked) == 1 and asked.turn == 3 else taken.take(asked)
    ) as server:
        id = await site.begin_http("webhook", server.port)
        site.poll(*range(5))
        await site.delivered(id)
    assert list(taken.numbers) == list(range(5))


# Names and certificates


@pytest.mark.parametrize("type", ["webhook", "mqtt"])
async def test_a_name_that_moves_to_another_address_is_followed(
    site: Site, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, type: str
) -> None:
    """https://github.com/fluent/fluentd/issues/3084, https://github.com/netdata/netdata/issues/3721"""
    names = named(monkeypatch, {"server.plant": ["127.0.0.3"]})
    with Mosquitto(tmp_path / "broker") as broker:
        async with RudeHttp(lambda _: Said()) as server:
            if type == "webhook":
                id = await site.begin_http(type, server.port, host="server.plant")
            else:
                id = await site.begin(type, {"host": "server.plant", "port": broker.port})
            site.poll(*range(5))
            await site.until(lambda: len(names.asked) >= 3 and site.held(id) == 5)
            names.known["server.plant"] = ["127.0.0.1"]
            await site.delivered(id)


@pytest.mark.parametrize("type", ["webhook", "mqtt"])
async def test_a_server_with_a_new_authority_is_reached_once_the_system_knows_that(
    site: Site, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, type: str
) -> None:
    """Without a restart.
    https://github.com/mqttjs/MQTT.js/issues/916, https://github.com/BroadbandForum/obuspa/issues/29"""
    bundle = tmp_path / "authorities.pem"
    bundle.write_text(Authority("former").pem)
    monkeypatch.setenv("SSL_CERT_FILE", str(bundle))
    with Mosquitto(tmp_path / "broker", tls=True) as broker:
        assert broker.authority is not None
        async with WebhookReceiver(tls=_context(broker.authority, tmp_path)) as server:
            mqtt = {"brokerUrl": f"mqtts://127.0.0.1:{broker.port}"}
            id = await site.begin(type, mqtt if type == "mqtt" else server.config_json())
            site.poll(*range(5))
            await site.reported(id, lambda report: "not trusted" in (report.last_error or ""))
            bundle.write_text(broker.authority.pem)
            await site.delivered(id)


def _context(authority: Authority, directory: Path) -> ssl.SSLContext:
    certificate, key = authority.issue()
    file = directory / "server.pem"
    file.write_text(f"{certificate}\n{key}")
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(file)
    return context


# What brokers say


@pytest.fixture
async def broker() -> AsyncIterator[ScriptedBroker]:
    async with ScriptedBroker() as running:
        yield running


def _to(broker: ScriptedBroker, **config_json: Any) -> dict[str, Any]:
    return {"host": "127.0.0.1", "port": broker.port, **config_json}


async def test_acknowledgements_of_nothing_and_for_the_second_time_prove_nothing(
    site: Site, broker: ScriptedBroker
) -> None:
    """https://github.com/njh/ruby-mqtt/pull/158 (the client crashed),
    https://github.com/eclipse-paho/paho.mqtt.java/issues/27 (it disconnected, again and again)"""
    id = await site.begin("mqtt", _to(broker))
    site.poll(1, 2, 3)
    await site.until(lambda: len(broker.published) == 3)
    for mid in (99, 0, 0xFFFF):
        broker.say(b"\x40\x02" + mid.to_bytes(2, "big"))
    broker.say(b"\x50\x02\x00\x02" + b"\x70\x02\x00\x02" + b"\xd0\x00")  # of QoS 2, and to no ping
    first = broker.published[0].to_bytes(2, "big")
    broker.acknowledge(1)
    broker.say(b"\x40\x02" + first)
    await site.until(lambda: site.held(id) == 2)
    site.poll(4)
    await site.until(lambda: len(broker.published) == 3)
    broker.say(b"\x40\x02" + first)
    broker.acknowledge(1)
    await site.until(lambda: site.held(id) == 2)
    broker.acknowledge()
    await site.delivered(id)
    assert broker.connections == 1


HOSTILE = {
    "a packet of 256 MB": b"\x30\xff\xff\xff\x7f",
    "a length without an end": b"\x30\xff\xff\xff\xff\xff",
    "an acknowledgement too short": b"\x40\x01\x00",
}


@pytest.mark.parametrize("what", HOSTILE)
async def test_what_is_no_mqtt_costs_a_connection_and_no_payload(
    site: Site, broker: ScriptedBroker, what: str
) -> None:
    """https://github.com/eclipse-mosquitto/mosquitto/issues/2325, https://github.com/eclipse-paho/paho.mqtt.c/issues/916"""
    id = await site.begin("mqtt", _to(broker))
    site.poll(1)
    await site.until(lambda: broker.published)
    broker.say(HOSTILE[what])
    await site.until(lambda: broker.connections == 2 and len(broker.published) == 2)
    broker.acknowledge()
    await site.delivered(id)


async def test_a_message_whose_topic_is_no_utf_8_costs_not_even_the_connection(
    site: Site, broker: ScriptedBroker
) -> None:
    """https://github.com/eclipse-mosquitto/mosquitto/issues/2168"""
    id = await site.begin("mqtt", _to(broker))
    site.poll(1)
    await site.until(lambda: broker.published)
    broker.say(b"\x30\x04\x00\x02\xff\xfe")
    broker.acknowledge()
    await site.delivered(id)
    assert broker.connections == 1


@pytest.mark.parametrize("property", [b"\x21\x00\x00", b"\x27\x00\x00\x00\x00"])
async def test_a_broker_by_whose_limits_nothing_can_be_sent_is_not_waited_for_without_a_word(
    site: Site, broker: ScriptedBroker, property: bytes
) -> None:
    """A receive maximum or a maximum packet size of 0, which MQTT 5 forbids: nothing is given up for it.
    https://github.com/eclipse-mosquitto/mosquitto/issues/3621, https://github.com/emqx/emqx/issues/1848"""
    broker.properties = property
    id = await site.begin("mqtt", _to(broker, protocolVersion="5"))
    site.poll(1)
    await site.reported(id, lambda report: report.last_error and not report.connected)
    assert await site.dead(id) == 0
    broker.properties = b""
    await site.until(lambda: broker.published)
    broker.acknowledge()
    await site.delivered(id)


@pytest.mark.parametrize("keepalive", [1, 65_535])
async def test_the_shortest_and_the_longest_keep_alive_work(
    site: Site, tmp_path: Path, keepalive: int
) -> None:
    """https://github.com/eclipse-paho/paho.mqtt.python/issues/42, https://github.com/emqx/emqx/pull/6232"""
    with Mosquitto(tmp_path / "broker") as real:
        config = {"host": "127.0.0.1", "port": real.port, "keepalive": keepalive}
        id = await site.begin("mqtt", config)
        site.poll(*range(5))
        await site.delivered(id)
    for wrong in (0, 65_536, -1):
        refused = await site.refused(AddDestination("two", "mqtt", {**config, "keepalive": wrong}))
        assert refused.field == "config_json.keepalive"


@pytest.mark.parametrize("version", ["3.1.1", "5"])
async def test_thousands_of_topics_each_get_their_own(site: Site, tmp_path: Path, version: str) -> None:
    """More than a broker has aliases for, and after a backlog.
    https://github.com/eclipse-mosquitto/mosquitto/issues/2604 (lost what it had kept for later)"""
    port = free_port()
    config = {
        "host": "127.0.0.1",
        "port": port,
        "topicTemplate": "plant/{name}",
        "protocolVersion": version,
    }
    id = await site.begin("mqtt", config, topic=None)
    for number in range(2000):
        site.poll(number, endpoint=f"line-{number}")
        if number % 100 == 99:
            await site.routed()
    with Mosquitto(tmp_path / "broker", port=port) as real:
        received: list[tuple[str, bytes, int]] = []
        client = await subscriber(real.port, received)
        await site.until(lambda: len({topic for topic, _, _ in received}) == 2000)
        await site.delivered(id)
        await client.disconnect()
    assert {topic: numbers_of(payload) for topic, payload, _ in received} == {
        f"plant/line-{number}": [number] for number in range(2000)
    }


# The database


async def test_a_backup_that_locks_the_database_costs_no_reading(site: Site) -> None:
    """https://github.com/thingsboard/thingsboard-gateway/issues/1446, https://github.com/home-assistant/core/pull/60874"""
    taken = Taken()
    port = free_port()
    id = await site.begin_http("webhook", port)
    with closing(sqlite3.connect(site.path, isolation_level=None)) as backup:
        backup.execute("BEGIN IMMEDIATE")
        site.poll(*range(50))
        await site.until(lambda: site.held(id) == 50)
        backup.execute("ROLLBACK")
    await site.until(lambda: site.stored(id) == list(range(50)))
    server = RudeHttp(taken.take)
    server.port = port
    async with server:
        await site.delivered(id)
    assert list(taken.numbers) == list(range(50))
