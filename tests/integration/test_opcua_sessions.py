"""Sessions on servers that restart, fall silent, forget, change and set limits."""

import asyncio
import contextlib
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from opcua_sessions import Opened, opened, point, until
from servers.opcua import EVERYTHING, KINDS, OpcUaServer

from actors.connections.connection import NoConnection, Transient
from actors.endpoints.protocols.opcua import pushed, session, subscription
from actors.endpoints.protocols.opcua.subscription import NO_NODE

COUNTERS = [point(f"c{n}", f"s=Counter.{n}") for n in range(10)]


@pytest.fixture(scope="module", params=KINDS)
def server(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[OpcUaServer]:
    with OpcUaServer(tmp_path_factory.mktemp("opcua"), request.param, interval_ms=0) as server:
        yield server


@pytest.fixture(autouse=True)
def soon(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(session, "AGAIN_AFTER", 0.5)


async def test_each_change_is_told_with_its_own_time(server: OpcUaServer) -> None:
    async with opened(server.url, COUNTERS) as one:
        await until(lambda: len(one.heard.told) >= 10)
        before = one.heard.last("c3")
        assert before is not None
        await server.tell("step")
        await until(lambda: one.heard.last("c3") != before)
        after = one.heard.last("c3")
        assert after is not None
        assert after.value == before.value + 1
        assert abs((after.time or 0) - time.time() * 1000) < 5000


async def test_a_queue_yields_every_value_in_order(server: OpcUaServer) -> None:
    points = [point("fast", "s=Counter.0", queueSize=20, samplingInterval=0)]
    async with opened(server.url, points, publishingInterval=500) as one:
        await until(lambda: one.heard.told)
        start = one.heard.values("fast")[-1]
        for _ in range(5):
            await server.tell("step")
        await until(lambda: one.heard.values("fast")[-1] == start + 5)
        values = one.heard.values("fast")
        assert values == sorted(values)
        if server.kind == "asyncua":  # node-opcua samples even so
            assert values == [start + n for n in range(6)]


@pytest.mark.parametrize("subscribed", [True, False])
async def test_a_server_that_restarts_is_read_again(server: OpcUaServer, subscribed: bool) -> None:
    one = opened(server.url, COUNTERS, useSubscription=subscribed)
    async with one:
        if subscribed:
            await until(lambda: len(one.heard.told) >= 10)
        assert one.session.identification["product"]
        await asyncio.to_thread(server.restart)
        if subscribed:
            await until(lambda: one.heard.losses)
            assert one.heard.losses[0].code in ("CONNECTION_RESET", "BadShutdown", "BadSessionClosed")
        else:
            await until(lambda: one.heard.losses)
            with pytest.raises(NoConnection):
                await one.session.read(1)
        one.heard.told.clear()
        await one.reconnected()
        if subscribed:
            await until(lambda: len(one.heard.told) >= 10)
            assert {told.code for told in one.heard.told} == {None}
        else:
            assert (await one.session.read(1)).qualities is None
        assert len(one.heard.losses) == 1


async def test_a_server_that_falls_silent_is_noticed_and_taken_up_again(server: OpcUaServer) -> None:
    async with opened(server.url, COUNTERS) as one:
        await until(lambda: len(one.heard.told) >= 10)
        server.pause()
        began = time.monotonic()
        try:
            await until(lambda: one.heard.losses)
            assert time.monotonic() - began < 5.5
            assert one.heard.losses[0].code == "TIMEOUT"
        finally:
            server.resume()
        one.heard.told.clear()
        await one.reconnected()
        await until(lambda: len({told.point for told in one.heard.told}) == 10)
        before = one.heard.values("c0")[-1]
        await server.tell("step")
        await until(lambda: one.heard.values("c0")[-1] == before + 1)


async def test_subscriptions_that_the_server_forgets_are_made_anew(server: OpcUaServer) -> None:
    async with opened(server.url, COUNTERS) as one:
        await until(lambda: len(one.heard.told) >= 10)
        one.heard.told.clear()
        await server.tell("delete_subscriptions")
        await until(lambda: len(one.heard.told) >= 10, 10)
        before = one.heard.values("c0")[-1]
        await server.tell("step")
        await until(lambda: one.heard.values("c0")[-1] == before + 1)
        assert one.heard.losses == []


async def test_sessions_that_the_server_closes_are_made_anew(server: OpcUaServer) -> None:
    async with opened(server.url, COUNTERS) as one:
        await until(lambda: len(one.heard.told) >= 10)
        await server.tell("close_sessions")
        await until(lambda: one.heard.losses, 10)
        one.heard.told.clear()
        await one.reconnected()
        await until(lambda: len(one.heard.told) >= 10)


async def test_one_bad_status_leaves_the_other_polled_points_good(server: OpcUaServer) -> None:
    await server.tell(
        "write", node="ns=2;s=Type.Int32", type="Int32", value=1, status="BadCommunicationError"
    )
    points = [COUNTERS[0], point("bad", "s=Type.Int32"), point("nowhere", "s=Nowhere"), COUNTERS[1]]
    async with opened(server.url, points, useSubscription=False) as one:
        began = time.monotonic()
        reading = await one.session.read(5)
        assert reading.qualities == [None, "BadCommunicationError", "BadNodeIdUnknown", None]
        assert time.monotonic() - began > 0.25  # it was asked again
    await server.tell("write", node="ns=2;s=Type.Int32", type="Int32", value=-70_000)


async def test_nodes_that_a_server_has_only_some_time_after_its_start_are_read(
    tmp_path: Path, server: OpcUaServer
) -> None:
    points = [point("early", "s=Counter.0"), point("a", "s=A"), point("b", "s=B")]
    with OpcUaServer(tmp_path, server.kind, nodes=[], interval_ms=0) as slow:
        async with opened(slow.url, points) as one:
            await until(lambda: len(one.heard.told) >= 3)
            for name in "AB":
                await slow.tell("add", node=f"ns=2;s={name}", name=name, type="Int32", value=7)
            await until(lambda: one.heard.values("a")[-1] == one.heard.values("b")[-1] == 7)
            await asyncio.to_thread(slow.restart)
            await until(lambda: one.heard.losses)
            one.heard.told.clear()
            await one.reconnected()
            await until(lambda: (one.heard.last("a") or ("",) * 3)[2] == "BadNodeIdUnknown")
            await slow.tell("add", node="ns=2;s=A", name="A", type="Int32", value=8)
            await until(lambda: one.heard.values("a")[-1] == 8)


async def test_connecting_to_a_server_that_hangs_ends(server: OpcUaServer) -> None:
    server.pause()
    try:
        one = opened(server.url, COUNTERS, connectionTimeout=500)
        began = time.monotonic()
        for _ in range(3):
            with pytest.raises(NoConnection) as failure:
                await one.session.connect()
            assert (failure.value.code, failure.value.retry_within) == ("TIMEOUT", 3.0)
        assert time.monotonic() - began < 4
    finally:
        server.resume()
    await one.reconnected()
    await one.session.close()


async def test_nodes_that_are_not_there_are_bad_until_they_come(server: OpcUaServer) -> None:
    points = [
        *COUNTERS[:2],
        point("late", "s=Late"),
        {"name": "late path", "browsePath": "/Objects/2:Plant/2:Late"},
        {"name": "nowhere", "nodeId": "nsu=urn:nowhere;s=x"},
    ]
    async with opened(server.url, points) as one:
        await until(lambda: len(one.heard.told) >= 5)
        assert {(told.point, told.code) for told in one.heard.told} == {
            ("c0", None),
            ("c1", None),
            ("late", "BadNodeIdUnknown"),
            ("late path", "BadNoMatch"),
            ("nowhere", "BadNodeIdUnknown"),
        }
        await server.tell("add", node="ns=2;s=Late", name="Late", type="Int32", value=5)
        await until(lambda: 5 in one.heard.values("late") and 5 in one.heard.values("late path"))
        await server.tell("remove", node="ns=2;s=Late")
        await until(lambda: (one.heard.last("late") or ("",) * 3)[2] in NO_NODE)
        await server.tell("add", node="ns=2;s=Late", name="Late", type="Int32", value=6)
        await until(lambda: 6 in one.heard.values("late"))
        await server.tell("remove", node="ns=2;s=Late")


async def test_polled_nodes_that_are_not_there_are_bad_until_they_come(server: OpcUaServer) -> None:
    points = [COUNTERS[0], point("late", "s=Late"), {"name": "path", "browsePath": "/Objects/2:Plant/2:Late"}]
    async with opened(server.url, points, useSubscription=False) as one:
        assert (await one.session.read(1)).qualities == [None, "BadNodeIdUnknown", "BadNoMatch"]
        await server.tell("add", node="ns=2;s=Late", name="Late", type="Int32", value=5)
        await asyncio.sleep(session.AGAIN_AFTER)
        reading = await one.session.read(1)
        assert reading.values[1:] == [5, 5]
        await server.tell("remove", node="ns=2;s=Late")


async def test_status_codes_are_qualities(server: OpcUaServer) -> None:
    node = "ns=2;s=Type.Double"
    async with opened(server.url, [point("p", "s=Type.Double")]) as one:
        await until(lambda: one.heard.told)
        for status, value, code in (
            ("UncertainLastUsableValue", 5.0, "UncertainLastUsableValue"),
            ("BadSensorFailure", None, "BadSensorFailure"),
            ("GoodClamped", 6.0, None),
            ("Good", 2.25, None),
        ):
            await server.tell("write", node=node, type="Double", value=value or 1.0, status=status)
            wanted = (value, code)
            await until(lambda wanted=wanted: (one.heard.last("p") or ())[1:3] == wanted)


@pytest.mark.parametrize("subscribed", [True, False])
async def test_readings_have_the_times_that_are_asked_for(server: OpcUaServer, subscribed: bool) -> None:
    long_ago = 946_684_800_000
    await server.tell("write", node="ns=2;s=Type.Double", type="Double", value=2.25, source_ms=long_ago)
    points = [point("p", "s=Type.Double")]
    for whose, wanted in (("source", long_ago), ("arrival", None)):
        async with opened(server.url, points, timestamps=whose, useSubscription=subscribed) as one:
            if subscribed:
                await until(lambda one=one: one.heard.told)
                assert one.heard.told[0].time == wanted
            else:
                assert (await one.session.read(1)).times == (None if wanted is None else [wanted])


async def test_a_source_that_says_no_time_has_the_servers(server: OpcUaServer) -> None:
    node, epoch = "ns=2;s=Type.Double", -11_644_473_600_000  # 1601, which is how many say that there is none
    for said in ({"source_ms": epoch}, {"no_source": True}):
        await server.tell("write", node=node, type="Double", value=2.25, **said)
        async with opened(server.url, [point("p", "s=Type.Double")]) as one:
            await until(lambda one=one: one.heard.told)
            time_told = one.heard.told[0].time
            assert time_told is None or abs(time_told - 1000 * time.time()) < 60_000


async def test_a_session_is_kept_between_rare_polls(tmp_path: Path) -> None:
    with OpcUaServer(tmp_path, "asyncua", max_session_timeout_ms=2000, interval_ms=0) as impatient:
        async with opened(impatient.url, COUNTERS, useSubscription=False) as one:
            assert one.session._channel.session_timeout == 2
            for _ in range(2):
                assert (await one.session.read(1)).qualities is None
                await asyncio.sleep(3)
            assert (await one.session.read(1)).qualities is None
        assert one.heard.losses == []


async def test_two_endpoints_have_a_session_each_and_leave_none(server: OpcUaServer) -> None:
    before = (await server.tell("counts"))["sessions"]
    async with opened(server.url, COUNTERS) as one, opened(server.url, COUNTERS[:3]) as two:
        await until(lambda: len(one.heard.told) >= 10 and len(two.heard.told) >= 3)
        assert (await server.tell("counts"))["sessions"] == before + 2
    assert (await server.tell("counts"))["sessions"] == before


async def test_a_connection_that_ends_leaves_one_session(server: OpcUaServer) -> None:
    before = (await server.tell("counts"))["sessions"]
    async with opened(server.url, COUNTERS) as one:
        await until(lambda: len(one.heard.told) >= 10)
        for _ in range(5):
            await interrupted(one)
            await until(lambda: len({told.point for told in one.heard.told}) == 10)
        counts = await server.tell("counts")
        assert counts["sessions"] == before + 1
        assert counts["subscriptions"] == 1


async def interrupted(one: Opened) -> None:
    """The connection ends, and is made again."""
    losses = len(one.heard.losses)
    one.session._channel._socket.transport.abort()
    await until(lambda: len(one.heard.losses) > losses)
    one.heard.told.clear()
    await one.reconnected()


async def test_a_secured_session_is_taken_up_again(tmp_path: Path, server: OpcUaServer) -> None:
    users = {"operator": "press-4"}
    with OpcUaServer(
        tmp_path, server.kind, security=EVERYTHING, users=users, anonymous=False, interval_ms=0
    ) as secured:
        user = {"username": "operator", "password": "press-4"}
        async with opened(secured.url, COUNTERS, tmp_path / "opcua", **SECURED, **user) as one:
            await until(lambda: len(one.heard.told) >= 10)
            for _ in range(2):
                await interrupted(one)
                await until(lambda: len({told.point for told in one.heard.told}) == 10)
            assert one.session._channel.resumed
            before = one.heard.values("c0")[-1]
            await secured.tell("step")
            await until(lambda: one.heard.values("c0")[-1] == before + 1)
            await asyncio.to_thread(secured.restart)
            await until(lambda: len(one.heard.losses) == 3)
            one.heard.told.clear()
            await one.reconnected()
            await until(lambda: len(one.heard.told) >= 10)


SECURED = {
    "securityMode": "SignAndEncrypt",
    "securityPolicy": "Basic256Sha256",
    "certificateTrustMode": "trust-on-first-use",
    "connectionTimeout": 5000,
}


@pytest.mark.parametrize("subscribed", [True, False])
async def test_channels_are_renewed_while_values_come(tmp_path: Path, subscribed: bool) -> None:
    with OpcUaServer(tmp_path, "node", security=EVERYTHING, token_lifetime_ms=2500, interval_ms=50) as server:
        folder = tmp_path / "opcua"
        async with opened(server.url, COUNTERS, folder, **SECURED, useSubscription=subscribed) as one:
            assert one.session._channel._client.secure_channel_timeout == 2500
            ends = time.monotonic() + 6
            while time.monotonic() < ends:
                if subscribed:
                    await asyncio.sleep(0.5)
                    before = len(one.heard.told)
                    await until(lambda before=before: len(one.heard.told) > before)
                else:
                    assert (await one.session.read(1)).qualities is None
        assert one.heard.losses == []


async def test_values_of_an_interruption_are_not_lost(server: OpcUaServer) -> None:
    points = [point("q", "s=Counter.0", queueSize=100)]
    async with opened(server.url, points) as one:
        await until(lambda: one.heard.told)
        start = one.heard.values("q")[-1]
        one.session._channel._socket.transport.abort()
        await until(lambda: one.heard.losses)
        for _ in range(4):
            await server.tell("step")
            await asyncio.sleep(0.1)
        await one.reconnected()
        await until(lambda: start + 4 in one.heard.values("q"))
        await asyncio.sleep(0.3)
        wanted = {start + n for n in range(5)}
        assert wanted <= set(one.heard.values("q"))
        assert one.heard.values("q")[-1] == start + 4


async def test_a_dead_band_that_the_server_does_not_take_is_left_out(server: OpcUaServer) -> None:
    points = [
        point("text", "s=Type.String", deadband=1),
        point("percent", "s=Type.Double", deadband=10, deadbandType="percent"),
        point("number", "s=Counter.0", deadband=2.5),
    ]
    async with opened(server.url, points) as one:
        await until(lambda: len(one.heard.told) >= 3)
        assert {told.code for told in one.heard.told} == {None}
        if server.kind == "asyncua":  # it compares with the value before, not with the one that it has told
            return
        start = one.heard.values("number")[-1]
        for _ in range(3):
            await server.tell("step")
            await asyncio.sleep(0.1)
        await until(lambda: one.heard.values("number")[-1] == start + 3)
        assert start + 1 not in one.heard.values("number")


@pytest.fixture(scope="module")
def narrow(tmp_path_factory: pytest.TempPathFactory) -> Iterator[OpcUaServer]:
    limits = {
        "maxNodesPerRead": 10,
        "maxMonitoredItemsPerCall": 7,
        "maxMonitoredItemsPerSubscription": 12,
        "maxSubscriptionsPerSession": 100,
    }
    directory = tmp_path_factory.mktemp("narrow")
    with OpcUaServer(directory, "node", limits=limits, variables=60, interval_ms=0) as server:
        yield server


@pytest.mark.parametrize("subscribed", [True, False])
async def test_a_server_of_small_limits_is_read_in_parts(narrow: OpcUaServer, subscribed: bool) -> None:
    points = [point(f"c{n}", f"s=Counter.{n}") for n in range(60)]
    async with opened(narrow.url, points, useSubscription=subscribed) as one:
        if subscribed:
            await until(lambda: len(one.heard.told) >= 60)
            assert {told.code for told in one.heard.told} == {None}
        else:
            reading = await one.session.read(1)
            assert reading.qualities is None
            assert len(reading.values) == 60


async def test_a_server_of_few_subscriptions_has_more_in_each(tmp_path: Path) -> None:
    limits = {"maxSubscriptionsPerSession": 2}
    points = [point(f"c{n}", f"s=Counter.{n}") for n in range(30)]
    with OpcUaServer(tmp_path, "node", limits=limits, variables=30, interval_ms=0) as server:
        async with opened(server.url, points, maxMonitoredItemsPerSubscription=10) as one:
            await until(lambda: len(one.heard.told) >= 30)
            assert {told.code for told in one.heard.told} == {None}


async def test_an_attempt_that_fails_leaves_no_session(server: OpcUaServer) -> None:
    before = (await server.tell("counts"))["sessions"]
    one = opened(server.url, COUNTERS)

    async def refuse(nodes: object) -> None:
        raise Transient("no", code="BadTooManySubscriptions")

    for _ in range(3):
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(subscription.Subscriptions, "monitor", lambda self, nodes: refuse(nodes))
            with pytest.raises(NoConnection):
                await one.session.connect()
    assert (await server.tell("counts"))["sessions"] == before
    assert one.heard.told == one.heard.losses == []
    async with one:
        await until(lambda: len(one.heard.told) >= 10)


async def test_the_next_server_takes_over(tmp_path: Path) -> None:
    with (
        OpcUaServer(tmp_path, "asyncua", interval_ms=0) as first,
        OpcUaServer(tmp_path, "node", interval_ms=0) as second,
    ):
        one = opened(first.url, COUNTERS, endpointUrls=[first.url, second.url])
        async with one:
            await until(lambda: len(one.heard.told) >= 10)
            assert one.session._channel.url == first.url
            await asyncio.to_thread(first.kill)
            await until(lambda: one.heard.losses)
            one.heard.told.clear()
            await one.reconnected()
            assert one.session._channel.url == second.url
            await until(lambda: len(one.heard.told) >= 10)


async def test_the_healthier_server_is_used(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pushed, "LEVEL_EVERY", 0.3)
    with (
        OpcUaServer(tmp_path, "asyncua", interval_ms=0) as first,
        OpcUaServer(tmp_path, "node", interval_ms=0) as second,
    ):
        await first.tell("service_level", level=100)
        await second.tell("service_level", level=255)
        async with opened(first.url, COUNTERS, endpointUrls=[second.url]) as one:
            assert one.session._channel.url == second.url
            await first.tell("service_level", level=255)
            await second.tell("service_level", level=10)
            await until(lambda: one.heard.losses)
            await one.reconnected()
            assert one.session._channel.url == first.url


async def refusing(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    writer.close()


async def silent(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    await reader.read()
    writer.close()


async def http(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    await reader.read(10)
    writer.write(b"HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\n\r\n")
    await writer.drain()
    await reader.read()
    writer.close()


async def endless(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """A chunk that never ends."""
    await reader.read(10)
    writer.write(b"MSGF\xff\xff\xff\x7f" + bytes(8))
    try:
        for _ in range(1000):
            writer.write(bytes(65536))
            await writer.drain()
    except OSError:
        pass
    writer.close()


@pytest.mark.parametrize("serve", [refusing, silent, http, endless])
async def test_what_is_no_server_is_told_within_its_time(serve: Any) -> None:
    serving: list[asyncio.Task[None]] = []

    async def served(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        serving.append(asyncio.ensure_future(serve(reader, writer)))
        await asyncio.wait(serving[-1:])
        with contextlib.suppress(OSError):
            await writer.wait_closed()

    listening = await asyncio.start_server(served, "127.0.0.1", 0)
    async with listening:
        port = listening.sockets[0].getsockname()[1]
        one = opened(f"opc.tcp://127.0.0.1:{port}", COUNTERS, connectionTimeout=1000)
        began = time.monotonic()
        with pytest.raises(NoConnection) as failure:
            await one.session.connect()
        assert time.monotonic() - began < 2.5
        assert failure.value.code
        await one.session.close()
        await until(lambda: all(task.done() for task in serving))
        await asyncio.sleep(0.05)
