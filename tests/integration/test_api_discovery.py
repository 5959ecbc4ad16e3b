import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import aiohttp
import msgspec
import pytest
from fake_agent import NOW, SILENT, Client, FakeAgent, serving
from fake_discovery import DEVICE, NOW_MS, run_row

from actors.discovery.messages import (
    ChangeRule,
    Discover,
    Discovered,
    RunRuleNow,
    RunsProgressed,
    SavedDevices,
    ScanTrouble,
)
from actors.system.failure import Failed
from api import leaving
from api.app import build_app
from api.context import Context
from api.http_server import HttpServer
from api.runs_hub import RunsHub

DISCOVER, RULES, RUNS = "/v1/discover", "/v1/discovery-rules", "/v1/discovery-runs"
RULE = {"name": "line 1", "protocol": "modbus", "params_json": {"network": "10.0.1.0/24"}}


@pytest.fixture
def fake() -> FakeAgent:
    return FakeAgent()


@pytest.fixture
def hub() -> RunsHub:
    return RunsHub()


@pytest.fixture
async def client(fake: FakeAgent, hub: RunsHub) -> AsyncIterator[Client]:
    async with serving(fake, runs=hub) as client:
        yield client


async def answered(client: Client, method: str, path: str, status: int = 200, **more: Any) -> Any:
    response = await client.request(method, path, **more)
    text = await response.text()
    assert response.status == status, text
    return json.loads(text) if text else None


async def scanned(client: Client, body: Any = None) -> Any:
    return await answered(client, "POST", DISCOVER, json=body or {})


# Looking for devices now


async def test_what_is_found_has_the_shape_of_the_reference(client: Client):
    reply = await scanned(client)
    assert reply["devices"] == [
        {
            "name": "Modbus Device at 10.0.1.100",
            "protocol": "modbus",
            "fingerprint": "f" * 32,
            "connection": {"host": "10.0.1.100", "port": 502, "password": "********"},
            "dataPoints": [{"name": "speed", "register": "holding:0"}],
            "confidence": "high",
            "discoveredAt": NOW,
            "validated": True,
            "metadata": {"slaveId": 1},
            "known": False,
        }
    ]
    assert reply["errors"] == []
    assert (reply["run"]["status"], reply["run"]["probed"]) == ("success", 254)
    assert "saved" not in reply


async def test_what_is_asked_is_what_was_meant(client: Client, fake: FakeAgent):
    await scanned(client)
    body = {
        "protocols": ["modbus", "opcua", "modbus"],
        "validate": "true",
        "forceRun": True,
        "overrides": {"modbus": {"network": "10.0.1.0/24", "timeout": 2000}},
        "save": True,
        "prune": "true",
        "dryRun": True,
        "timeLimit": 5000,
    }
    await scanned(client, body)
    await scanned(client, {"validate": "false", "forceRun": "false", "overrides": None, "protocols": None})
    first, second, third = [one for one in fake.asked if isinstance(one, Discover)]
    assert first == third == Discover(within=300)
    assert second == Discover(
        ("modbus", "opcua", "modbus"),
        True,
        True,
        {"modbus": {"network": "10.0.1.0/24", "timeout": 2000}},
        save=True,
        prune=True,
        dry_run=True,
        within=5,
    )


async def test_errors_are_told_beside_what_was_found(client: Client, fake: FakeAgent):
    fake.answers[Discover] = Discovered(
        run=run_row(status="error", error="opcua: no network", troubles=250),
        devices=(
            msgspec.structs.replace(
                DEVICE,
                known=True,
                endpoint="plc",
                validation_data={"a": 1},
                others=({"host": "10.0.2.1", "password": "hunter2"},),
            ),
        ),
        errors={"opcua": "no network"},
        troubles=(ScanTrouble("modbus", "10.0.1.7", "it closed the connection"),),
        saved=SavedDevices(added=("a",), refused={"b": "no name"}, dry_run=True),
    )
    reply = await scanned(client, {"protocols": ["modbus", "opcua"]})
    assert reply["errors"] == [
        {"protocol": "opcua", "error": "no network"},
        {"protocol": "modbus", "error": "it closed the connection", "where": "10.0.1.7"},
    ]
    [device] = reply["devices"]
    assert (device["known"], device["endpoint"], device["validationData"]) == (True, "plc", {"a": 1})
    assert device["others"] == [{"host": "10.0.2.1", "password": "********"}]
    run = reply["run"]
    assert (run["status"], run["outcome"], run["error"]) == ("error", "error", "opcua: no network")
    assert reply["saved"] == {
        "added": ["a"],
        "changed": [],
        "kept": [],
        "removed": [],
        "refused": {"b": "no name"},
        "spared": {},
        "dryRun": True,
    }


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({"protocols": ["modbus", "profibus"]}, "protocols[1]"),
        ({"protocols": ["modbus", "modbus", "profibus"]}, "protocols[2]"),
        ({"protocols": []}, "protocols"),
        ({"protocols": "modbus"}, "protocols"),
        ({"protocols": [5]}, "protocols[0]"),
        ({"validate": "yes"}, "validate"),
        ({"validate": 1}, "validate"),
        ({"forceRun": "maybe"}, "forceRun"),
        ({"force_run": True}, "force_run"),
        ({"overrides": []}, "overrides"),
        ({"overrides": {"modbus": "10.0.0.0/24"}}, "overrides.modbus"),
        ({"overrides": {"opcua": {}, "modbus": None}}, "overrides.modbus"),
        ({"overrides": {"profibus": {}}}, "overrides.profibus"),
        ({"protocols": ["opcua"], "overrides": {"modbus": {}}}, "overrides.modbus"),
        ({"overrides": {"modbus": {"netwerk": "10.0.0.0/24"}}}, "overrides.modbus.netwerk"),
        ({"timeLimit": 0}, "timeLimit"),
        ({"timeLimit": 3_600_001}, "timeLimit"),
    ],
)
async def test_what_cannot_be_scanned_is_refused_by_the_field(client: Client, body: Any, field: str):
    reply = await answered(client, "POST", DISCOVER, 400, json=body)
    assert reply["field"].startswith(field)
    assert reply["message"]


async def test_an_agent_without_discovery(client: Client, fake: FakeAgent):
    fake.answers[Discover] = SILENT
    await answered(client, "POST", DISCOVER, 503, json={})
    fake.answers[Discover] = Failed("unavailable", "4 scans are under way")
    assert (await answered(client, "POST", DISCOVER, 503, json={}))["error"] == "4 scans are under way"


class Patient(FakeAgent):
    """Looks for ever."""

    def __init__(self) -> None:
        super().__init__()
        self.looking = asyncio.Event()
        self.ended = asyncio.Event()
        self.within: float | None = None

    async def ask(self, target: Any, message: Any, within: float | None = None) -> Any:
        if not isinstance(message, Discover | RunRuleNow):
            return await super().ask(target, message)
        self.within = within
        self.looking.set()
        try:
            await asyncio.Event().wait()
        finally:
            self.ended.set()


@pytest.fixture
async def patient(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[tuple[Patient, int]]:
    """With the port where it is served as an agent is: by a server that does not end for itself what nobody
    waits for."""
    monkeypatch.setattr(leaving, "LOOK_EVERY", 0.05)
    fake = Patient()
    server = HttpServer(build_app(Context(fake.ask, fake.ask_each)), 10, 10)
    yield fake, await server.start("127.0.0.1", 0)
    await server.close()


@pytest.mark.parametrize(
    ("path", "body", "within"),
    [
        (DISCOVER, {}, 315),
        (DISCOVER, {"timeLimit": 60_000}, 75),
        (f"{RULES}/some/run", {}, 3615),
    ],
)
async def test_nobody_waits_for_a_client_that_has_hung_up(
    patient: tuple[Patient, int], path: str, body: Any, within: float
):
    fake, port = patient
    async with aiohttp.ClientSession() as session:
        asking = asyncio.ensure_future(session.post(f"http://127.0.0.1:{port}{path}", json=body))
        await asyncio.wait_for(fake.looking.wait(), 5)
        await asyncio.sleep(0.2)
        assert not fake.ended.is_set()
        asking.cancel()
        await asyncio.wait_for(fake.ended.wait(), 5)
    assert fake.within == within


# Rules


async def test_a_rule_is_flat_and_wrapped(client: Client):
    made = await answered(client, "POST", RULES, 201, json=RULE)
    assert made["rule"] == {name: value for name, value in made.items() if name != "rule"}
    assert made["rule"] == {
        "uuid": made["uuid"],
        "name": "line 1",
        "enabled": True,
        "protocol": "modbus",
        "interval_seconds": 3600,
        "target_json": None,
        "params_json": {"network": "10.0.1.0/24"},
        "auto_enable": False,
        "status": "idle",
        "last_run_at": None,
        "next_run_at": "2024-01-15T11:30:00.000Z",
        "last_result_json": None,
        "created_at": NOW,
        "updated_at": NOW,
    }
    assert await answered(client, "GET", RULES) == {"rules": [made["rule"]]}
    changed = await answered(client, "PATCH", f"{RULES}/{made['uuid']}", json={"enabled": False})
    assert (changed["enabled"], changed["rule"]["enabled"], changed["name"]) == (False, False, "line 1")
    response = await client.delete(f"{RULES}/{made['uuid']}")
    assert (response.status, await response.read()) == (204, b"")
    await answered(client, "DELETE", f"{RULES}/{made['uuid']}", 404)


async def test_parameters_may_be_json_text_and_come_back_as_objects_with_secrets_masked(
    client: Client, fake: FakeAgent
):
    body = RULE | {"params_json": '{"community": "private", "password": "hunter2"}', "target_json": " "}
    made = await answered(client, "POST", RULES, 201, json=body)
    assert made["params_json"]["password"] == "********"
    assert made["target_json"] is None
    assert "hunter2" not in json.dumps(await answered(client, "GET", RULES))
    path = f"{RULES}/{made['uuid']}"
    changed = await answered(
        client, "PATCH", path, json={"target_json": '{"name": "a"}', "params_json": None}
    )
    assert (changed["target_json"], changed["params_json"]) == ({"name": "a"}, None)
    [asked] = [one for one in fake.asked if isinstance(one, ChangeRule)]
    assert asked == ChangeRule(uuid=made["uuid"], target_json={"name": "a"}, params_json=None)


@pytest.mark.parametrize(
    ("changes", "field"),
    [
        ({"name": None}, "name"),
        ({"name": ""}, "name"),
        ({"protocol": None}, "protocol"),
        ({"protocol": "profibus"}, "protocol"),
        ({"interval_seconds": "often"}, "interval_seconds"),
        ({"interval_seconds": 59}, "interval_seconds"),
        ({"enabled": "yes"}, "enabled"),
        ({"params_json": []}, "params_json"),
        ({"params_json": "{"}, "params_json"),
        ({"params_json": "[1]"}, "params_json"),
        ({"target_json": '{"a": 1e999}'}, "target_json"),
        ({"target_json": '{"a": "\\u0000"}'}, "target_json"),
    ],
)
async def test_a_rule_that_cannot_be(client: Client, changes: Any, field: str):
    body = {name: value for name, value in (RULE | changes).items() if value is not None}
    reply = await answered(client, "POST", RULES, 400, json=body)
    assert reply["field"].startswith(field)


async def test_a_name_twice(client: Client):
    await answered(client, "POST", RULES, 201, json=RULE)
    reply = await answered(client, "POST", RULES, 409, json=RULE)
    assert reply["error"] == "Discovery rule already exists: line 1"


async def test_a_rule_is_run(client: Client, fake: FakeAgent):
    uuid = (await answered(client, "POST", RULES, 201, json=RULE))["uuid"]
    ran = await answered(client, "POST", f"{RULES}/{uuid}/run")
    assert ran["rule"]["uuid"] == uuid
    assert [device["name"] for device in ran["devices"]] == [DEVICE.name]
    assert ran["prunedCount"] == 0
    await answered(client, "POST", f"{RULES}/{uuid}/run", json={"dryRun": True})
    assert [one.dry_run for one in fake.asked if isinstance(one, RunRuleNow)] == [False, True]
    [_, run] = (await answered(client, "GET", f"{RULES}/{uuid}/runs"))["runs"]
    assert run["rule_name"] == "line 1"
    assert (await answered(client, "GET", RUNS))["runs"][1] == run
    for kind, status in (("conflict", 409), ("unavailable", 503), ("not_found", 404)):
        fake.answers[RunRuleNow] = Failed(kind, "no")  # type: ignore[arg-type]
        await answered(client, "POST", f"{RULES}/{uuid}/run", status)


# Runs


async def test_a_run_has_the_words_of_the_reference_and_of_clients(client: Client, fake: FakeAgent):
    fake.runs = [
        run_row(uuid="b", status="running", finished_at=None, duration_ms=None, probed=17, found=3),
        run_row(uuid="a", id=7, planned=None, probed=None, troubles=None, saved=1, trigger="scheduled"),
    ]
    running, ended = (await answered(client, "GET", RUNS))["runs"]
    assert (running["status"], running["planned"], running["probed"]) == ("running", 254, 17)
    assert (running["devices_found"], running["finished_at"]) == (3, None)
    assert ended == {
        "uuid": "a",
        "id": 7,
        "rule_uuid": None,
        "rule_name": None,
        "protocol": "modbus",
        "trigger": "scheduled",
        "started_at": NOW,
        "finished_at": "2024-01-15T10:30:01.500Z",
        "duration_ms": 1500,
        "status": "success",
        "outcome": "ok",
        "devices_found": 1,
        "found": 1,
        "saved": 1,
        "skipped": 0,
        "pruned": 0,
        "error": None,
        "planned": None,
        "probed": None,
        "troubles": None,
    }
    assert len((await answered(client, "GET", f"{RUNS}?limit=1"))["runs"]) == 1


@pytest.mark.parametrize("limit", ["0", "-1", "1001", "many", "2.5", ""])
async def test_limits(client: Client, limit: str):
    for path in (RUNS, f"{RULES}/some/runs"):
        reply = await answered(client, "GET", f"{path}?limit={limit}", 400)
        assert reply["field"] == "limit"


async def test_a_run_is_ended(client: Client, fake: FakeAgent):
    fake.runs = [run_row(uuid="a"), run_row(uuid="b", status="running")]
    assert await answered(client, "DELETE", f"{RUNS}/b", 204) is None
    await answered(client, "DELETE", f"{RUNS}/a", 404)
    await answered(client, "DELETE", f"{RUNS}/c", 404)


# Runs as they go on


@asynccontextmanager
async def following(client: Client) -> AsyncIterator[Any]:
    async with client.get(f"{RUNS}/stream") as reply:
        assert (reply.status, reply.content_type) == (200, "text/event-stream")

        async def next_event() -> tuple[str, Any]:
            fields: dict[str, str] = {}
            async with asyncio.timeout(5):
                while "data" not in fields:
                    name, _, value = (await reply.content.readline()).decode().rstrip("\n").partition(": ")
                    fields[name] = value
            return fields["event"], json.loads(fields["data"])

        yield next_event


async def test_runs_are_told_as_they_go_on(client: Client, fake: FakeAgent, hub: RunsHub):
    fake.runs = [run_row(uuid="b", status="running", probed=1), run_row(uuid="a")]
    async with following(client) as next_event:
        name, run = await next_event()
        assert (name, run["uuid"], run["probed"]) == ("run", "b", 1)
        hub.publish(RunsProgressed([run_row(uuid="b", status="running", probed=200), run_row(uuid="c")]))
        _, run = await next_event()
        assert (run["uuid"], run["probed"]) == ("b", 200)
        _, run = await next_event()
        assert (run["uuid"], run["status"]) == ("c", "success")
        assert hub.clients == 1
    async with asyncio.timeout(5):
        while hub.clients:  # noqa: ASYNC110
            await asyncio.sleep(0.02)
    hub.publish(RunsProgressed([run_row(started_at=NOW_MS)]))


async def test_a_stream_where_nothing_goes_on_is_silent(client: Client, fake: FakeAgent):
    fake.runs = [run_row(uuid="a")]
    async with following(client) as next_event:
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.2):
                await next_event()
