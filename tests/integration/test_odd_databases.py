"""The agent on databases that are not quite as it left them: what can run runs, the rest is listed and said,
and nothing is overwritten."""

import os
import shutil
import sqlite3
import subprocess
import time
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from servers.agent import AgentProcess, callboard
from servers.field import field

from storage import migrations, target_state
from storage.database import Database, open_database
from storage.endpoints import add_endpoint
from storage.publishing import DESTINATION, SUBSCRIPTION

POINTS = [{"name": "sequence", "register": "holding:0", "type": "uint32"}]
BROKER = {"type": "mqtt", "config_json": {"host": "127.0.0.1", "port": 1}, "enabled": True}
WANTS_ALL = {
    "topics": [],
    "route_json": {"topic": "plant"},
    "payload_format": "tags",
    "compression": None,
    "enabled": True,
}


def endpoint(port: int, **changes: Any) -> dict[str, Any]:
    body = {
        "protocol": "modbus",
        "connection": {"host": "127.0.0.1", "port": port},
        "poll_interval": 50,
        "enabled": True,
        "data_points": POINTS,
        "metadata": None,
        "fingerprint": None,
    }
    return body | changes


def without(body: dict[str, Any], name: str) -> dict[str, Any]:
    return {key: value for key, value in body.items() if key != name}


def spoil(database: Database, id: int, body: bytes = b"\x01 nobody's secret") -> None:
    database.db.execute("UPDATE target_state SET body = ? WHERE id = ?", [body, id])


def odd_destination(body: dict[str, Any]) -> Callable[[Database, int], int]:
    return lambda database, port: target_state.insert(database, DESTINATION, "odd", body).id


def odd_endpoint(**changes: Any) -> Callable[[Database, int], int]:
    def add(database: Database, port: int) -> int:
        body = endpoint(port, **changes)
        protocol = body["protocol"] if isinstance(body["protocol"], str) else "modbus"
        return add_endpoint(database, "odd", body, "1", protocol)[0].id

    return add


def odd_subscription(body: dict[str, Any]) -> Callable[[Database, int], int]:
    return lambda database, port: target_state.insert(database, SUBSCRIPTION, None, body, parent_id=1).id


def unreadable_destination(database: Database, port: int) -> int:
    id = target_state.insert(database, DESTINATION, "odd", BROKER).id
    spoil(database, id)
    return id


def unreadable_endpoint(database: Database, port: int) -> int:
    row, _ = add_endpoint(database, "odd", endpoint(port), "1", "modbus")
    spoil(database, row.id)
    return row.id


def unreadable_subscription(database: Database, port: int) -> int:
    id = target_state.insert(database, SUBSCRIPTION, None, WANTS_ALL, parent_id=1).id
    spoil(database, id)
    return id


def endpoint_without_device(database: Database, port: int) -> int:
    row, (device,) = add_endpoint(database, "odd", endpoint(port), "1", "modbus")
    database.db.execute("DELETE FROM devices WHERE uuid = ?", [device.uuid])
    return row.id


def device_with_odd_metadata(database: Database, port: int) -> int:
    row, (device,) = add_endpoint(database, "odd", endpoint(port), "1", "modbus")
    database.db.execute("UPDATE devices SET metadata = '{' WHERE uuid = ?", [device.uuid])
    return row.id


ODD: dict[str, tuple[str, Callable[[Database, int], int], str]] = {
    "destination of an unknown type": (
        "destinations",
        odd_destination(BROKER | {"type": "kafka"}),
        "Invalid type: kafka",
    ),
    "destination of a number as type": ("destinations", odd_destination(BROKER | {"type": 7}), "type"),
    "destination without a switch": ("destinations", odd_destination(without(BROKER, "enabled")), "enabled"),
    "destination that is an empty object": ("destinations", odd_destination({}), "type"),
    "destination that is not accepted any more": (
        "destinations",
        odd_destination(BROKER | {"config_json": {"port": 1883}}),
        "Host",
    ),
    "destination that cannot be decrypted": ("destinations", unreadable_destination, "cannot be"),
    "subscription of another shape": ("subscriptions", odd_subscription(WANTS_ALL | {"topics": 3}), "topics"),
    "subscription in an unknown format": (
        "subscriptions",
        odd_subscription(WANTS_ALL | {"payload_format": "xml"}),
        "xml",
    ),
    "subscription that cannot be decrypted": ("subscriptions", unreadable_subscription, "cannot be"),
    "endpoint of another shape": ("endpoints", odd_endpoint(poll_interval="soon"), "poll_interval"),
    "endpoint of no protocol": ("endpoints", odd_endpoint(protocol=None), "protocol"),
    "endpoint of an unknown protocol": (
        "endpoints",
        odd_endpoint(protocol="profinet"),
        "Unknown protocol: profinet",
    ),
    "endpoint that is not accepted any more": (
        "endpoints",
        odd_endpoint(data_points=[{"name": "x", "register": "none"}]),
        "'none' is not",
    ),
    "endpoint that cannot be decrypted": ("endpoints", unreadable_endpoint, "cannot be"),
    "endpoint without its device": ("endpoints", endpoint_without_device, "device is missing"),
}

PATHS = {
    "destinations": "/v1/publish/destinations",
    "subscriptions": "/v1/publish/subscriptions",
    "endpoints": "/v1/endpoints",
}


def listed(agent: AgentProcess, what: str) -> dict[int, dict[str, Any]]:
    """By id."""
    (rows,) = agent.get(PATHS[what]).values()
    return {row["id"]: row for row in rows}


def error_of(row: dict[str, Any]) -> str:
    return str(row.get("last_error") or row.get("health", {}).get("lastError"))


def bodies(folder: Path) -> dict[int, bytes]:
    with closing(sqlite3.connect(folder / "agent.sqlite")) as connection:
        return dict(connection.execute("SELECT id, body FROM target_state").fetchall())


def prepared(folder: Path, port: int) -> Database:
    """A database with a destination, a subscription of it and an endpoint, ids 1 to 3."""
    database = open_database(folder / "agent.sqlite")
    target_state.insert(database, DESTINATION, "broker", BROKER)
    target_state.insert(database, SUBSCRIPTION, None, WANTS_ALL, parent_id=1)
    add_endpoint(database, "plc", endpoint(port), "1", "modbus")
    return database


def until(happened: Callable[[], Any], seconds: float = 10) -> Any:
    deadline = time.monotonic() + seconds
    while not (found := happened()):
        assert time.monotonic() < deadline, "waited in vain"
        time.sleep(0.02)
    return found


def lines_of(agent: AgentProcess) -> dict[str, dict[str, Any]]:
    _, report = agent.request("GET", "/v1/health/report")
    return {line["name"]: line for line in report["report"]["subsystems"]}


@pytest.mark.parametrize("what", list(ODD))
def test_a_row_that_cannot_be_used_is_listed_with_its_error_and_everything_else_runs(tmp_path, what):
    listing, spoil_database, expected = ODD[what]
    with field() as device:
        with closing(prepared(tmp_path, device.port)) as database:
            id = spoil_database(database, device.port)
        before = bodies(tmp_path)
        with AgentProcess(tmp_path) as agent:
            assert agent.get("/v1/healthy")["status"] == "healthy"
            rows = listed(agent, listing)
            assert expected in error_of(rows[id])
            until(lambda: agent.get("/v1/readings/latest")["readings"])
            until(lambda: agent.get("/v1/buffer/status")["destinations"][0]["messageCount"])
            assert device.server.device().sequence
            began = time.monotonic()
            assert agent.stop() == 0
            assert time.monotonic() - began < 5
        assert bodies(tmp_path) == before
        assert "Traceback" not in agent.log.read_text()


@pytest.mark.parametrize("what", list(ODD))
def test_a_row_that_cannot_be_used_can_be_removed_and_others_added(tmp_path, what):
    listing, spoil_database, _ = ODD[what]
    with closing(prepared(tmp_path, 1)) as database:
        id = spoil_database(database, 1)
    with AgentProcess(tmp_path) as agent:
        rows = listed(agent, listing)
        key = rows[id]["uuid"] if listing == "endpoints" else id
        agent.delete(f"{PATHS[listing]}/{key}")
        if listing == "endpoints":
            body = {"name": "odd", "protocol": "modbus", "connection": {"host": "127.0.0.1", "port": 1}}
            agent.post(PATHS[listing], body | {"data_points": POINTS})
        elif listing == "destinations":
            agent.post(PATHS[listing], {"name": "odd", **BROKER})
        else:
            agent.post(PATHS[listing], {"publish_destination_id": 1, **WANTS_ALL})
        agent.stop()
        agent.start()
        assert id not in listed(agent, listing)
        assert len(listed(agent, listing)) == 2


def test_a_destination_that_cannot_be_understood_is_mended_by_saying_it_whole(tmp_path):
    with closing(prepared(tmp_path, 1)) as database:
        id = target_state.insert(database, DESTINATION, "odd", {"type": "mqtt"}).id
    with AgentProcess(tmp_path) as agent:
        status, refused = agent.request("PATCH", f"/v1/publish/destinations/{id}", {"enabled": False})
        assert status == 409
        assert "send type and config_json, or remove it" in refused["error"]
        whole = {"type": "mqtt", "config_json": BROKER["config_json"], "enabled": True}
        assert agent.patch(f"/v1/publish/destinations/{id}", whole)["enabled"] is True
        assert listed(agent, "destinations")[id]["status"]["health"] == "disconnected"


def test_health_says_which_rows_cannot_be_used_and_which_nobody_knows(tmp_path):
    with closing(prepared(tmp_path, 1)) as database:
        odd_destination(BROKER | {"type": "kafka"})(database, 1)
        odd_endpoint(poll_interval="soon")(database, 1)
        target_state.insert(database, "app", "bridge", {"image": "x"})
        target_state.insert(database, "app", "other", {"image": "y"})
    before = bodies(tmp_path)
    with AgentProcess(tmp_path) as agent:
        until(lambda: "publisher-rows" in lines_of(agent))
        lines = lines_of(agent)
        assert "odd: Invalid type: kafka" in lines["publisher-rows"]["lastError"]
        assert "odd: " in lines["endpoints-rows"]["lastError"]
        assert lines["stored-rows"]["lastError"] == "left alone, not known to this version: 2 of kind 'app'"
        assert not any(
            lines[name]["critical"] for name in ("publisher-rows", "endpoints-rows", "stored-rows")
        )
        assert agent.stop() == 0
    assert bodies(tmp_path) == before


def test_with_a_lost_key_everything_is_listed_and_said_and_the_old_key_brings_it_back(tmp_path):
    data = tmp_path / "data"
    with field() as device:
        prepared(data, device.port).close()
        key = data / ".master.key"
        kept = shutil.copy(key, tmp_path / "kept.key")
        key.unlink()
        before = bodies(data)
        with AgentProcess(data) as agent:
            for path, name in (("/v1/endpoints", "plc"), ("/v1/publish/destinations", "broker")):
                (row,) = next(iter(agent.get(path).values()))
                assert row["name"] == name
                assert "cannot be" in error_of(row)
            (device_row,) = agent.get("/v1/devices")["devices"]
            assert device_row["name"] == "plc"
            assert agent.get("/v1/publish/subscriptions")["subscriptions"][0]["last_error"]
            status, refused = agent.request("PATCH", "/v1/endpoints/plc", {"enabled": False})
            assert status == 409, refused
            restarts = {
                node["name"]: node["restarts"] for node in agent.get("/v1/actors")["root"]["children"]
            }
            assert set(restarts.values()) == {0}
            description = until(lambda: lines_of(agent)["database"].get("description"))
            assert ".master.key" in description
            assert description in agent.log.read_text()
            body = {"name": "new", "protocol": "modbus", "connection": {"host": "127.0.0.1", "port": 1}}
            agent.post("/v1/endpoints", body)
            assert agent.stop() == 0
        after = bodies(data)
        assert {id: after[id] for id in before} == before
        shutil.copy(kept, key)
        with AgentProcess(data) as agent:
            until(lambda: agent.get("/v1/readings/latest")["readings"])
            rows = {row["name"]: row for row in agent.get("/v1/endpoints")["endpoints"]}
            assert rows["plc"]["health"]["connected"]
            assert "cannot be" in error_of(rows["new"])


def refused_start(folder: Path) -> str:
    """The log of an agent that does not start."""
    done = subprocess.run(
        callboard("run", "--data-dir", str(folder)),
        env={
            "PATH": os.environ["PATH"],
            "PYTHONPATH": str(Path(__file__).parents[2]),
            "DEVICE_API_PORT": "0",
        },
        capture_output=True,
        text=True,
        timeout=20,
        check=False,
    )
    assert done.returncode == 1
    assert "Traceback" not in done.stderr
    return done.stderr


def test_a_database_of_a_newer_version_is_refused_and_not_touched(tmp_path):
    with closing(prepared(tmp_path, 1)) as database:
        database.db.execute(
            "INSERT INTO _sqlite_migrations (migration_set, name, applied_at)"
            " VALUES ('callboard', '9999_from_the_future', '2030-01-01')"
        )
    before = (tmp_path / "agent.sqlite").read_bytes()
    said = refused_start(tmp_path)
    assert "cannot start" in said
    assert "9999_from_the_future" in said
    assert "newer" in said
    assert (tmp_path / "agent.sqlite").read_bytes() == before


def test_a_data_folder_that_is_a_file_is_refused_with_what_to_do(tmp_path):
    (tmp_path / "file").write_text("mine")
    said = refused_start(tmp_path / "file")
    assert "cannot start" in said
    assert (tmp_path / "file").read_text() == "mine"


@pytest.mark.parametrize("version", migrations.names())
def test_a_data_folder_of_every_version_is_upgraded_and_runs(tmp_path, version):
    dumps = Path(__file__).parents[1] / "unit" / "stored_databases"
    with closing(sqlite3.connect(tmp_path / "agent.sqlite")) as connection:
        connection.executescript((dumps / f"{version}.sql").read_text())
        kept = connection.execute("SELECT kind, name, uuid FROM target_state ORDER BY id").fetchall()
        ((uuid, name),) = connection.execute("SELECT uuid, name FROM agent").fetchall()
    (tmp_path / ".master.key").write_bytes(bytes(range(32)))
    with AgentProcess(tmp_path) as agent:
        device = agent.get("/v1/device")
        assert (device["uuid"], device["name"]) == (uuid, name)
        endpoints = {row["uuid"] for row in agent.get("/v1/endpoints")["endpoints"]}
        assert endpoints == {uuid for kind, _, uuid in kept if kind == "endpoint"}
        destinations = {row["name"] for row in agent.get("/v1/publish/destinations")["publishers"]}
        assert destinations == {name for kind, name, _ in kept if kind == "destination"}
        assert agent.get("/v1/healthy")["status"] == "healthy"
        assert agent.stop() == 0
    missing = migrations.names()[migrations.names().index(version) + 1 :]
    copies = {path.name for path in tmp_path.glob("agent.sqlite.before-*")}
    assert copies == ({f"agent.sqlite.before-{missing[0]}"} if missing else set())
    assert "Traceback" not in agent.log.read_text()
