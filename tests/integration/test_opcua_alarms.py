"""Alarms and conditions of two servers, as they are told."""

import asyncio
from collections.abc import Iterator
from typing import Any

import pytest
from opcua_sessions import Opened, opened, point, until
from servers.opcua import KINDS, OpcUaServer


@pytest.fixture(scope="module")
def servers(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, OpcUaServer]]:
    folder = tmp_path_factory.mktemp("opcua")
    made = {kind: OpcUaServer(folder, kind, interval_ms=0) for kind in KINDS}  # type: ignore[arg-type]
    with made["asyncua"], made["node"]:
        yield made


@pytest.fixture(params=KINDS)
def server(request: pytest.FixtureRequest, servers: dict[str, OpcUaServer]) -> OpcUaServer:
    return servers[request.param]


def listening(server: OpcUaServer, **given: Any) -> Opened:
    return opened(server.url, [point("a", "s=Type.Double")], alarms=True, **given)


def alarms(found: Opened, condition: str) -> list[dict[str, Any]]:
    assert all(kind == "alarms" for kind, _ in found.heard.raised_events)
    return [body for _, body in found.heard.raised_events if body.get("condition") == condition]


async def test_a_condition_is_told_as_it_changes(server: OpcUaServer) -> None:
    async with listening(server) as found:
        await server.tell("alarm", name="Hot", active=True, severity=700, message="too hot")
        await until(lambda: alarms(found, "Hot"))
        [body] = alarms(found, "Hot")
        assert body["type"] == "alarm"
        assert (body["active"], body["acked"], body["retain"]) == (True, False, True)
        assert (body["severity"], body["message"]) == (700, "too hot")
        assert body["condition_id"] == "ns=2;s=Alarm.Hot"
        assert body["source"].endswith("Plant")
        assert body["time"].endswith("Z")
        assert body["event_type"] == "i=2915"
        await server.tell("alarm", name="Hot", active=True, severity=700, message="too hot", acked=True)
        await until(lambda: len(alarms(found, "Hot")) == 2)
        await server.tell("alarm", name="Hot", active=False, severity=700, acked=True)
        await until(lambda: len(alarms(found, "Hot")) == 3)
        assert [one["acked"] for one in alarms(found, "Hot")] == [False, True, True]
        assert [one["active"] for one in alarms(found, "Hot")] == [True, True, False]


async def test_what_is_there_already_is_told_at_once(server: OpcUaServer) -> None:
    await server.tell("alarm", name="Old", active=True)
    async with listening(server) as found:
        await until(lambda: alarms(found, "Old"))
        assert [one["active"] for one in alarms(found, "Old")] == [True]
    await server.tell("alarm", name="Old", active=False, acked=True)


async def test_a_connection_that_comes_again_repeats_nothing_and_tells_what_has_ended(
    server: OpcUaServer,
) -> None:
    async with listening(server) as found:
        for name in ("Stays", "Ends"):
            await server.tell("alarm", name=name, active=True)
        await until(lambda: alarms(found, "Stays") and alarms(found, "Ends"))
        await server.tell("close_sessions")
        await server.tell("alarm", name="Ends", active=False, acked=True)
        await until(lambda: found.heard.losses or found.session._channel is None, 10)
        await found.reconnected()
        await until(lambda: len(alarms(found, "Ends")) == 2)
        assert alarms(found, "Ends")[-1]["active"] is False
        await server.tell("alarm", name="Last", active=True)
        await until(lambda: alarms(found, "Last"))
        assert len(alarms(found, "Stays")) == 1
    for name in ("Stays", "Last"):
        await server.tell("alarm", name=name, active=False, acked=True)


async def test_a_subscription_that_the_server_forgets_is_made_anew(server: OpcUaServer) -> None:
    async with listening(server) as found:
        await server.tell("delete_subscriptions")
        await until(lambda: server.ask("counts")["subscriptions"] == 2, 10)
        await server.tell("alarm", name="After", active=True)
        await until(lambda: alarms(found, "After"))
    await server.tell("alarm", name="After", active=False, acked=True)


async def test_a_session_that_is_taken_up_again_goes_on_telling(server: OpcUaServer) -> None:
    async with listening(server) as found:
        await server.tell("alarm", name="Before", active=True)
        await until(lambda: alarms(found, "Before"))
        found.session._channel._socket.transport.abort()
        await until(lambda: found.heard.losses)
        await server.tell("alarm", name="Between", active=True)
        await found.reconnected()
        await server.tell("alarm", name="Afterwards", active=True)
        await until(lambda: alarms(found, "Between") and alarms(found, "Afterwards"))
        counts = [len(alarms(found, name)) for name in ("Before", "Between", "Afterwards")]
        assert counts == [1, 1, 1]
    for name in ("Before", "Between", "Afterwards"):
        await server.tell("alarm", name=name, active=False, acked=True)


async def test_an_endpoint_may_be_there_for_alarms_alone(server: OpcUaServer) -> None:
    async with opened(server.url, [], alarms=True) as found:
        await server.tell("delete_subscriptions")
        await until(lambda: server.ask("counts")["subscriptions"] == 1, 10)
        await server.tell("alarm", name="Alone", active=True)
        await until(lambda: alarms(found, "Alone"))
    await server.tell("alarm", name="Alone", active=False, acked=True)


async def test_a_storm_is_told_whole(server: OpcUaServer) -> None:
    async with listening(server) as found:
        for number in range(300):
            await server.tell("alarm", name="Storm", active=number % 2 == 0, message=f"m{number}")
        await until(lambda: len(alarms(found, "Storm")) == 300, 9)
        assert [one["message"] for one in alarms(found, "Storm")] == [f"m{n}" for n in range(300)]
    await server.tell("alarm", name="Storm", active=False, acked=True)


async def test_only_from_that_severity_on(server: OpcUaServer) -> None:
    async with listening(server, alarmMinSeverity=600) as found:
        await server.tell("alarm", name="Minor", active=True, severity=100)
        await server.tell("alarm", name="Major", active=True, severity=900)
        await until(lambda: alarms(found, "Major"))
        assert alarms(found, "Minor") == []
    for name in ("Minor", "Major"):
        await server.tell("alarm", name=name, active=False, acked=True)


async def test_a_node_that_tells_of_none_is_no_reason_to_do_without_readings(server: OpcUaServer) -> None:
    sources = ["ns=2;s=Nobody", "ns=2;s=Type.Double"]
    async with listening(server, alarmSources=sources) as found:
        await until(lambda: found.heard.values("a") == [2.25])


async def test_without_alarms_nobody_is_asked(server: OpcUaServer) -> None:
    async with opened(server.url, [point("a", "s=Type.Double")]) as found:
        await until(lambda: found.heard.values("a"))
        assert (await server.tell("counts"))["subscriptions"] == 1
        await server.tell("alarm", name="Quiet", active=True)
        await asyncio.sleep(0.2)
        assert found.heard.raised_events == []
    await server.tell("alarm", name="Quiet", active=False, acked=True)
