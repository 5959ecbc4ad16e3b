"""Updating a running agent with real wheels and real virtual environments, under a service manager that
starts it anew whenever it ends."""

import shutil
import socket
import sqlite3
import time
from collections.abc import Iterator
from contextlib import closing, suppress
from pathlib import Path

import psutil
import pytest
from servers.supervised import SupervisedAgent, install_first, unpack_beside, write_site_wheel, write_wheel

from actors.update.layout import Layout

FIRST = "0.1.0"
GOOD, BROKEN, CRASHING, SILENT, FALSE, MIGRATING = "9.9.1", "9.9.2", "9.9.3", "9.9.4", "9.9.5", "9.9.6"
RUN = "api/cli/run.py"
NEVER_RUNS = "\n\ndef run(*arguments):\n    import time\n    time.sleep(600)\n"
CRASHES = "\n\ndef run(*arguments):\n    raise RuntimeError('boom')\n"
MIGRATION = """

@migrations(name="9999_of_tomorrow")
def of_tomorrow(db):
    db.execute("CREATE TABLE tomorrow (id INTEGER PRIMARY KEY)")
"""
ENDS_SOON = """

_run = run


def run(*arguments):
    import threading
    threading.Timer(2.0, os._exit, (9,)).start()
    return _run(*arguments)
"""
VARIANTS = {
    FIRST: {},
    GOOD: {},
    BROKEN: {RUN: lambda text: f"raise ImportError('no run')\n{text}"},
    CRASHING: {RUN: lambda text: text + CRASHES},
    SILENT: {RUN: lambda text: text + NEVER_RUNS},
    FALSE: {"api/version.py": lambda text: text + '\n\ndef version():\n    return "1.2.3"\n'},
    MIGRATING: {
        "storage/migrations.py": lambda text: text + MIGRATION,
        RUN: lambda text: text + ENDS_SOON,
    },
}


@pytest.fixture(scope="module")
def wheels(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("wheels")
    write_site_wheel(folder)
    for version, changes in VARIANTS.items():
        write_wheel(folder, version, changes)
    return folder


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory, wheels: Path) -> Layout:
    return install_first(tmp_path_factory.mktemp("installed") / "root", wheels, FIRST)


@pytest.fixture
def layout(installed: Layout) -> Layout:
    """The first version runs, and nothing is on trial."""
    for left in ("trial", "trial-says", "rolled-back"):
        (installed.root / left).unlink(missing_ok=True)
    installed.point_at(f"{FIRST}-1")
    return installed


@pytest.fixture
def agent(layout: Layout, wheels: Path, tmp_path: Path) -> Iterator[SupervisedAgent]:
    config = tmp_path / "agent.toml"
    config.write_text(
        "[update]\nhealthy_ms = 1500\ntrial_ms = 60000\nmin_free_mb = 10\nmin_interval_hours = 0\n"
    )
    env = {"CALLBOARD_UPDATE_WHEELS": str(wheels), "NOTIFY_SOCKET": str(tmp_path / "notify")}
    with SupervisedAgent(layout, tmp_path / "data", config, **env) as agent:
        yield agent


@pytest.fixture
def notified(tmp_path: Path) -> Iterator[socket.socket]:
    """What a service manager is told."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as notified:
        notified.bind(str(tmp_path / "notify"))
        notified.setblocking(False)
        yield notified


def told(notified: socket.socket) -> list[str]:
    lines: list[str] = []
    with suppress(BlockingIOError):
        while True:
            lines += notified.recv(4096).decode().splitlines()
    return lines


def switch(agent: SupervisedAgent, layout: Layout, wheels: Path, version: str, seconds: int) -> None:
    """As an update does at its end, without what comes before."""
    name = unpack_beside(layout, wheels / f"callboard-{version}-py3-none-any.whl")
    layout.begin_trial(f"{FIRST}-1", name, seconds, frozenset())
    agent.kill()


def update(agent: SupervisedAgent, version: str, **body: object) -> None:
    reply = agent.request("POST", "/v1/update", {"version": version, **body})
    assert reply == (202, {"status": "update_triggered", "version": version})


@pytest.mark.timeout(180)
def test_a_good_version_replaces_the_one_that_runs_in_the_same_process(notified, agent, layout):
    pid, starts = agent.process.pid, agent.starts
    descriptors = psutil.Process(pid).num_fds()
    update(agent, GOOD)
    status, refused = agent.request("POST", "/v1/update", {"version": "9.9.7"})
    assert (status, refused["error"]) == (409, f"An update to {GOOD} is under way")
    agent.until(lambda: agent.state() == (GOOD, "trial"))
    assert agent.get("/v1/device")["update"] | {"reason": None} == {
        "state": "trial",
        "reason": None,
        "from": FIRST,
        "to": GOOD,
    }
    agent.until(lambda: agent.state() == (GOOD, "completed"))
    assert agent.get("/v1/device")["agentVersion"] == GOOD
    assert (agent.process.pid, agent.starts) == (pid, starts)
    assert psutil.Process(pid).num_fds() < descriptors + 5
    lines = told(notified)
    assert lines.count("READY=1") == 2
    assert "STOPPING=1" not in lines  # upon which systemd would end the new version
    assert [one["trigger"] for one in agent.get("/v1/backups")["backups"]] == ["before-update"]
    assert layout.current == f"{GOOD}-1"
    assert not (layout.root / "trial").exists()
    events = [one["event"] for one in agent.get("/v1/update/status")["history"]]
    assert events == ["update_started", "update_rejected", "update_switched", "update_completed"]
    assert agent.request("POST", "/v1/update", {"version": GOOD})[1]["status"] == "update_skipped"
    status, refused = agent.request("POST", "/v1/update", {"version": FIRST})
    assert (status, refused["error"]) == (409, f"{FIRST} is older than {GOOD}, which runs")


@pytest.mark.timeout(180)
def test_what_cannot_work_is_not_switched_to(agent, layout, wheels):
    """One that cannot be imported, one that is not what it says, and one that is not there: the agent that
    runs goes on, and nothing is left of them."""
    pid = agent.process.pid
    given = agent.data_dir / "updates"
    given.mkdir(exist_ok=True)
    file = f"callboard-{BROKEN}-py3-none-any.whl"
    shutil.copy(wheels / file, given / file)
    for version, why, body in (
        (BROKEN, "no run", {"file": file}),
        (FALSE, "1.2.3", {}),
        ("9.9.99", "9.9.99", {}),
    ):
        update(agent, version, **body)
        agent.until(lambda: agent.state() == (FIRST, "failed"))
        device = agent.get("/v1/device")["update"]
        assert why in device["reason"]
        assert (device["from"], device["to"]) == (FIRST, version)
        update_log = agent.log.read_text()
        assert f"update failed {version}" in update_log
    assert agent.process.pid == pid
    assert layout.current == f"{FIRST}-1"
    assert not (layout.root / "scratch").exists()
    names = {path.name for path in layout.versions.iterdir()}
    assert not any(name.startswith((BROKEN, FALSE, "9.9.99")) for name in names)


@pytest.mark.timeout(180)
@pytest.mark.parametrize(
    ("version", "seconds", "why"), [(CRASHING, 600, "started 3 times"), (SILENT, 3, "within 3 s")]
)
def test_a_version_that_does_not_stay_is_taken_back_and_not_tried_again(
    agent, layout, wheels, version, seconds, why
):
    switch(agent, layout, wheels, version, seconds)
    agent.until(lambda: agent.ready() and agent.state() == (FIRST, "rolled_back"))
    assert why in agent.get("/v1/device")["update"]["reason"]
    assert f"the update to {version} was taken back: " in agent.log.read_text()
    assert layout.current == f"{FIRST}-1"
    agent.until(lambda: not (layout.root / "rolled-back").exists())
    status, refused = agent.request("POST", "/v1/update", {"version": version})
    assert status == 409
    assert refused["error"].startswith(f"{version} was taken back before: ")
    assert "force" in refused["hint"]


@pytest.mark.timeout(180)
def test_going_back_to_before_a_migration_keeps_what_waits_for_a_destination(agent, layout):
    broker = {"host": "127.0.0.1", "port": 1, "username": "u", "password": "p"}
    row = {"name": "away", "type": "mqtt", "config_json": broker}
    destination = agent.post("/v1/publish/destinations", row)
    update(agent, "latest")
    agent.until(lambda: (layout.root / "trial").exists() and layout.current == f"{MIGRATING}-1")
    database = agent.data_dir / "agent.sqlite"
    agent.until(lambda: agent.state() == (MIGRATING, "trial"))
    with closing(sqlite3.connect(database, timeout=10)) as connection, connection:
        row = (destination["id"], int(time.time() * 1000))
        columns = "(destination_id, seq, created_at, topic, payload)"
        connection.execute(f"INSERT INTO outbox {columns} VALUES (?, 77, ?, 't', x'31')", row)
    agent.until(lambda: agent.ready() and agent.state() == (FIRST, "rolled_back"))
    assert [one["name"] for one in agent.get("/v1/publish/destinations")["publishers"]] == ["away"]
    waiting = agent.until(lambda: agent.get("/v1/buffer/status")["mqttMessageBufferCount"])
    assert waiting == 1
    assert (agent.data_dir / "agent.sqlite.newer-9999_of_tomorrow").exists()
    assert "is that of before the update again, with what waited" in agent.log.read_text()


@pytest.mark.timeout(180)
def test_kill_9_during_the_preparation_leaves_the_old_version_and_nothing_else(agent, layout):
    update(agent, GOOD, force=True)
    agent.until(lambda: list((layout.root / "scratch").iterdir()))
    agent.kill()
    agent.until(lambda: agent.ready() and agent.state() == (FIRST, "failed"))
    assert "ended while it prepared" in agent.get("/v1/update/status")["reason"]
    assert not [path.name for path in layout.versions.iterdir() if not layout.complete(path.name)]


@pytest.mark.timeout(180)
def test_kill_9_on_trial_leaves_a_new_version_that_can_still_be_confirmed(agent, layout, wheels):
    switch(agent, layout, wheels, GOOD, 600)
    agent.until(lambda: agent.state() == (GOOD, "trial"))
    agent.kill()
    agent.until(lambda: agent.state() == (GOOD, "completed"))
    assert layout.taken_back() is None


@pytest.mark.timeout(180)
def test_stops_in_order_during_a_trial_are_not_held_against_it(agent, layout, wheels):
    """An operator who restarts the service, or the machine, four times must not thereby cause a rollback."""
    (agent.data_dir.parent / "agent.toml").write_text("[update]\nhealthy_ms = 500000\n")
    switch(agent, layout, wheels, GOOD, 600)
    for _ in range(4):
        agent.until(lambda: agent.ready() and agent.state() == (GOOD, "trial"))
        starts = agent.starts
        time.sleep(1.5)  # it looks at itself once a second
        agent.process.terminate()
        agent.until(lambda starts=starts: agent.starts > starts)
    agent.until(lambda: agent.ready() and agent.state() == (GOOD, "trial"))
    assert layout.trial().starts == 1
