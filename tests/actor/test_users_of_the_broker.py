"""Endpoints whose devices are users of the agent's own broker, which is a real one."""

import asyncio
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest
from fake_field import Field, Stage, until, until_answered
from servers.mosquitto import Mosquitto
from test_endpoint_supervisor import Agent, field, new, stage

from actors.endpoints import broker_files, broker_users
from actors.endpoints.accounts import Account
from actors.endpoints.messages import ChangeEndpoint, EndpointsImported, ImportEndpoints, RemoveEndpoint
from actors.subsystems.messages import CheckSubsystem
from actors.system.failure import Failed
from conf.settings import load

__all__ = ["field", "stage"]  # fixtures


def account(connection: dict[str, Any], data_points: Any) -> Account | None:
    """Of the protocol `fake`: a user may publish below its topic."""
    if "username" not in connection:
        return None
    topic = connection.get("topic", connection["username"])
    return Account(connection["username"], (("write", f"{topic}/#"),), connection["password"])


@pytest.fixture
def users(field: Field) -> Field:
    field.protocol = msgspec.structs.replace(field.protocol, account=account)
    return field


class Broker:
    """mosquitto with the files that the agent keeps."""

    def __init__(self, directory: Path) -> None:
        self.passwords, self.acl, self.pid = (directory / name for name in ("passwd", "acl", "pid"))
        for path in (self.passwords, self.acl):
            path.touch()
        options = (
            "allow_anonymous false",
            f"password_file {self.passwords}",
            f"acl_file {self.acl}",
        )
        self.server = _Closed(directory, options=options)

    def __enter__(self) -> "Broker":
        self.server.start()
        assert self.server._process is not None
        self.pid.write_text(str(self.server._process.pid))
        return self

    def __exit__(self, *_: object) -> None:
        self.server.__exit__(None, None, None)

    async def publishes(self, username: str, password: str, topic: str) -> bool:
        """Whether a client of that name gets a message to itself, or to a user who may read all."""
        return await asyncio.to_thread(self._publishes, username, password, topic)

    def _publishes(self, username: str, password: str, topic: str) -> bool:
        login = ["-h", "127.0.0.1", "-p", str(self.server.port)]
        command = ["mosquitto_pub", *login, "-u", username, "-P", password, "-V", "5", "-q", "1"]
        done = subprocess.run(
            [*command, "-t", topic, "-m", "x"], capture_output=True, text=True, timeout=5, check=False
        )
        return done.returncode == 0 and "not authorized" not in (done.stdout + done.stderr).lower()


class _Closed(Mosquitto):
    def _access(self, username: str | None, password: str | None) -> list[str]:
        return []


@pytest.fixture
def broker(tmp_path: Path) -> Iterator[Broker]:
    directory = tmp_path / "broker"
    directory.mkdir()
    with Broker(directory) as running:
        yield running


async def agent_of(stage: Stage, directory: Path, broker: Broker, **changes: Any) -> Agent:
    given = {
        "mosquitto.auth_dir": broker.passwords.parent,
        "mosquitto.pid_file": broker.pid,
        "mqtt.username": "admin",
        "mqtt.password": "pw-admin",
        **changes,
    }
    return await Agent(stage, directory, load(None, {}, given)).running()


def user(name: str, password: str = "pw", **more: Any) -> dict[str, Any]:
    return {"connection": {"mode": "idle", "username": name, "password": password, **more}}


async def check(agent: Agent) -> Any:
    """The line of the health report."""
    checked = await agent.ask(CheckSubsystem())
    return next((one for one in checked.checks if one.name == "broker-users"), None)


async def test_a_device_may_log_in_and_publish_on_its_topics_only(stage, users, tmp_path, broker):
    agent = await agent_of(stage, tmp_path, broker)
    row = await agent.added("press", **user("press", "pw-press", topic="plant/press"))
    await until_answered(lambda: broker.publishes("press", "pw-press", "plant/press/speed"), bool)
    assert not await broker.publishes("press", "pw-press", "plant/pump/speed")
    assert not await broker.publishes("press", "wrong", "plant/press/speed")
    assert await broker.publishes("admin", "pw-admin", "anything")
    await agent.ask(ChangeEndpoint("press", enabled=False))
    await agent.added("pump", **user("pump", "pw-pump"))
    await until_answered(lambda: broker.publishes("pump", "pw-pump", "pump"), bool)
    assert await broker.publishes("press", "pw-press", "plant/press/speed")
    await agent.ask(RemoveEndpoint(row.uuid))
    await until_answered(
        lambda: broker.publishes("press", "pw-press", "plant/press/speed"), lambda found: not found
    )
    assert (await check(agent)).healthy


async def test_a_second_life_writes_nothing_and_reloads_nothing(stage, users, tmp_path, broker, caplog):
    caplog.set_level("INFO")
    agent = await agent_of(stage, tmp_path, broker)
    await agent.added("press", **user("press"))
    await until(lambda: "press:" in broker.passwords.read_text() and "read by process" in caplog.text)
    await until(lambda: not (broker.passwords.parent / ".passwd.reload").exists())
    await agent.stop()
    before = broker.passwords.read_text(), broker.acl.read_text(), broker.passwords.stat().st_ino
    caplog.clear()
    again = await agent_of(stage, tmp_path, broker)
    await again.added("idle", connection={"mode": "idle"})
    await asyncio.sleep(3 * broker_users.GATHER)
    after = broker.passwords.read_text(), broker.acl.read_text(), broker.passwords.stat().st_ino
    assert after == before
    assert "were changed" not in caplog.text


async def test_many_changes_are_written_together(stage, users, tmp_path, broker, monkeypatch):
    written: list[int] = []
    bring = broker_users.bring_in_line

    def counted(files: Any, accounts: Any, superuser: Any, hashes: Any) -> Any:
        written.append(len(accounts))
        return bring(files, accounts, superuser, hashes)

    monkeypatch.setattr(broker_users, "bring_in_line", counted)
    agent = await agent_of(stage, tmp_path, broker)
    given = [
        msgspec.structs.replace(new(f"d{n}"), connection={"device": f"d{n}", **user(f"u{n}")["connection"]})
        for n in range(200)
    ]
    assert await agent.ask(ImportEndpoints(given)) == EndpointsImported(200)
    await until(lambda: broker.passwords.read_text().count("\nu") == 200)
    assert len(written) <= 3


async def test_what_the_disk_does_not_take_is_in_the_health_and_written_later(
    stage, users, tmp_path, broker, monkeypatch
):
    monkeypatch.setattr(broker_users, "AGAIN", (0.05, 0.1))
    agent = await agent_of(stage, tmp_path, broker)

    def full(path: Path, text: str) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patched:
        patched.setattr(broker_files, "_replace", full)
        await agent.added("press", **user("press"))
        found = await until_answered(lambda: check(agent), lambda line: not line.healthy)
        assert found.last_error == "No space left on device"
        assert not found.critical
    await until_answered(lambda: check(agent), lambda line: line.healthy)
    assert "press:" in broker.passwords.read_text()


async def test_a_broker_that_was_away_is_told_when_it_is_back(stage, users, tmp_path, broker, monkeypatch):
    monkeypatch.setattr(broker_users, "AGAIN", (0.05, 0.1))
    pid = broker.pid.read_text()
    broker.pid.unlink()
    agent = await agent_of(stage, tmp_path, broker)
    await agent.added("press", **user("press"))
    found = await until_answered(lambda: check(agent), lambda line: not line.healthy)
    assert "the broker still has its users of before" in found.last_error
    await agent.stop()
    broker.pid.write_text(pid)
    again = await agent_of(stage, tmp_path, broker)
    await until_answered(lambda: broker.publishes("press", "pw", "press"), bool)
    await until_answered(lambda: check(again), lambda line: line.healthy)


async def test_a_name_that_cannot_be_or_is_taken_is_refused(stage, users, tmp_path, broker):
    agent = await agent_of(stage, tmp_path, broker)
    await agent.added("press", **user("press"))
    for name, password, kind in (
        ("a:b", "pw", "invalid"),
        ("a\nb", "pw", "invalid"),
        ("admin", "pw", "conflict"),
        ("press", "other", "conflict"),
    ):
        refused = await agent.add("other", **user(name, password))
        assert isinstance(refused, Failed), name
        assert (refused.kind, refused.field) == (kind, "connection.username")
    await agent.added("same", **user("press"))
    twice = [
        msgspec.structs.replace(new(name), connection={"device": name, **user("u", name)["connection"]})
        for name in ("a", "b")
    ]
    imported = await agent.ask(ImportEndpoints(twice))
    assert [(fault.position, fault.failed.field) for fault in imported.faults] == [(1, "connection.username")]


async def test_without_a_folder_nothing_is_kept_and_nothing_refused(stage, users, tmp_path, broker):
    agent = await agent_of(stage, tmp_path, broker, **{"mosquitto.auth_dir": None})
    await agent.added("press", **user("a:b"))
    assert await check(agent) is None
    assert "broker-users" not in {child.name for child in agent.tree().children}
    assert broker.passwords.read_text() == ""


async def test_a_keeper_that_crashes_keeps_the_users(stage, users, tmp_path, broker):
    agent = await agent_of(stage, tmp_path, broker)
    await agent.added("press", **user("press"))
    await until(lambda: "press:" in broker.passwords.read_text())
    base = agent.stage.base
    base.crash(base.mailboxes[agent.endpoints.addressDetails], RuntimeError("boom"))
    await agent.added("pump", **user("pump"))
    await until(lambda: "pump:" in broker.passwords.read_text())
    assert "press:" in broker.passwords.read_text()
    path = f"{agent.endpoints.addressDetails}/broker-users"
    base.crash(base.mailboxes[path], RuntimeError("boom"))
    await agent.added("valve", **user("valve"))
    await until(lambda: "valve:" in broker.passwords.read_text())


async def test_names_and_topics_with_spaces_and_letters_of_any_script_work(stage, users, tmp_path, broker):
    agent = await agent_of(stage, tmp_path, broker)
    await agent.added("press", **user("press 4 / Süd #2", "gehöim: $1", topic="plant 7/größe"))
    name, password = "press 4 / Süd #2", "gehöim: $1"
    await until_answered(lambda: broker.publishes(name, password, "plant 7/größe/x"), bool)
    assert not await broker.publishes(name, password, "plant 7")
