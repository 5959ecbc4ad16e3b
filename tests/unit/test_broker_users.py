"""The users of the agent's own broker: what is in mosquitto's files, and how it is told to read them."""

import asyncio
import os
import stat
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web

from actors.endpoints import broker_files, broker_reload
from actors.endpoints.accounts import Account, Accounts, check, read_too
from actors.endpoints.broker_files import BEGIN, END, Files, Hashes, bring_in_line, fits, hashed
from actors.endpoints.broker_reload import NotReloaded, reload
from actors.endpoints.protocols.mqtt import accounts as mqtt
from actors.system.failure import Refusal
from conf.tables import MosquittoSettings

PRESS = Account("press", (("write", "plant/press/#"),), "pw-press")
PUMP = Account("pump", (("readwrite", "plant/pump/#"),), hashed="$7$101$c2FsdA==$aGFzaA==")
ADMIN = Account("admin", (("readwrite", "#"),), "pw-admin")


@pytest.fixture
def files(tmp_path: Path) -> Files:
    return Files(tmp_path / "passwd", tmp_path / "acl")


def bring(files: Files, *accounts: Account, superuser: Account | None = None, hashes: Hashes | None = None):
    return bring_in_line(files, accounts, superuser, hashes or Hashes())


def passwords(files: Files) -> dict[str, str]:
    lines = files.passwords.read_text().splitlines()
    return dict(line.split(":", 1) for line in lines if ":" in line and not line.startswith("#"))


# Hashes


def test_a_hash_is_as_mosquitto_makes_it(tmp_path):
    line = hashed("a passphrase")
    assert line.startswith("$7$101$")
    assert fits(line, "a passphrase")
    assert not fits(line, "another")
    assert hashed("a passphrase") != line


def test_a_hash_of_mosquittos_own_tool_fits(tmp_path):
    path = tmp_path / "passwd"
    subprocess.run(["mosquitto_passwd", "-c", "-b", path, "press", "gehöim:$"], check=True, timeout=10)
    name, _, line = path.read_text().strip().partition(":")
    assert name == "press"
    assert fits(line, "gehöim:$")


@pytest.mark.parametrize(
    "line", ["", "$6$a$b", "$7$x$a$b", "$7$0$YQ==$YQ==", "$7$99999999999$YQ==$YQ==", "$7$101$%$%", "plain"]
)
def test_what_is_no_hash_fits_nothing(line):
    assert not fits(line, "x")


# Files


def test_users_are_written_with_what_they_may_do(files):
    assert bring(files, PRESS, PUMP, superuser=ADMIN) == (True, [])
    found = passwords(files)
    assert list(found) == ["admin", "press", "pump"]
    assert fits(found["press"], "pw-press")
    assert found["pump"] == PUMP.hashed
    assert files.acl.read_text().split("\n") == [
        BEGIN,
        "user admin",
        "topic readwrite #",
        "",
        "user press",
        "topic write plant/press/#",
        "",
        "user pump",
        "topic readwrite plant/pump/#",
        "",
        END,
        "",
    ]
    assert "pw-press" not in files.passwords.read_text()


def test_what_has_not_changed_is_not_written_again_and_keeps_its_salt(files):
    hashes = Hashes()
    bring(files, PRESS, PUMP, hashes=hashes)
    files.mark.unlink()
    before = [(path.read_bytes(), path.stat().st_ino) for path in (files.passwords, files.acl)]
    for known in (hashes, Hashes()):
        assert bring(files, PRESS, PUMP, hashes=known) == (False, [])
        assert [(path.read_bytes(), path.stat().st_ino) for path in (files.passwords, files.acl)] == before
        assert not files.mark.exists()
    line = passwords(files)["press"]
    other = Account("valve", (("write", "v/#"),), "x-valve")
    bring(files, PRESS, other, hashes=hashes)
    assert passwords(files)["press"] == line
    changed = Account("press", PRESS.topics, "pw-changed")
    bring(files, changed, hashes=hashes)
    assert fits(passwords(files)["press"], "pw-changed")
    assert list(passwords(files)) == ["press"]


def test_lines_of_others_stay_as_they_are(files):
    files.passwords.write_bytes(b"# by hand\nanna:$7$101$YQ==$YQ==\n\xff\xfe:$6$a$b\n")
    files.acl.write_text("topic read $SYS/#\n\nuser anna\ntopic readwrite #\n\npattern write %u/#\n")
    before = files.passwords.read_bytes(), files.acl.read_text()
    bring(files, PRESS)
    assert files.passwords.read_bytes().startswith(before[0])
    assert files.acl.read_text().startswith(before[1])
    bring(files)
    assert files.passwords.read_bytes() == before[0] + f"{BEGIN}\n{END}\n".encode()
    with files.acl.open("a") as file:
        file.write("user late\ntopic read x\n")
    bring(files, PRESS)
    text = files.acl.read_text()
    assert text.index("user late") < text.index(BEGIN)
    assert text.endswith(f"topic write plant/press/#\n\n{END}\n")


def test_ends_of_lines_stay_as_they_are_and_the_block_is_found_among_any(files):
    files.passwords.write_bytes(b"anna:x\r\nbert:y\r\n")
    bring(files, PRESS)
    assert files.passwords.read_bytes().startswith(b"anna:x\r\nbert:y\r\n")
    files.passwords.write_bytes(files.passwords.read_bytes().replace(b"\n", b"\r\n"))
    bring(files, PRESS, PUMP)
    text = files.passwords.read_text()
    assert (text.count(BEGIN), text.count("press:"), text.count("pump:")) == (1, 1, 1)


def test_a_user_of_others_whose_line_is_no_text_is_in_nobody_elses_way(files):
    files.passwords.write_bytes(b"pump:\xff\xfe\n")
    _, faults = bring(files, PUMP, PRESS)
    assert faults == [f"the user pump is in {files.passwords} with another password"]
    assert "press:" in files.passwords.read_text("utf-8", "replace")


def test_what_an_agent_that_was_killed_has_left_goes(files):
    left, others = files.passwords.with_name(".passwd.x1.part"), files.passwords.with_name(".acl2.part")
    left.touch()
    others.touch()
    bring(files, PRESS)
    assert not left.exists()
    assert others.exists()


def test_a_user_of_others_keeps_its_password_and_is_told(files):
    files.passwords.write_text(f"press:{hashed('of somebody')}\npump:{PUMP.hashed}\n")
    before = files.passwords.read_text()
    _, faults = bring(files, PRESS, PUMP)
    assert faults == [f"the user press is in {files.passwords} with another password"]
    assert files.passwords.read_text().startswith(before)
    assert "user press" not in files.acl.read_text()
    assert "user pump" in files.acl.read_text()
    files.passwords.write_text(f"press:{hashed('pw-press')}\n")
    assert bring(files, PRESS)[1] == []
    assert "user press" in files.acl.read_text()
    assert files.passwords.read_text().count("press:") == 1


def test_a_block_without_an_end_goes_to_the_end(files):
    files.passwords.write_text(f"anna:x\n{BEGIN}\nold:y\n")
    bring(files, PRESS)
    assert list(passwords(files)) == ["anna", "press"]


@pytest.mark.parametrize("mode", [0o600, 0o644, 0o640])
def test_a_file_keeps_who_may_read_it(files, mode):
    files.passwords.write_text("anna:x\n")
    files.passwords.chmod(mode)
    if os.geteuid() == 0:
        os.chown(files.passwords, 12345, 12346)
    bring(files, PRESS)
    found = files.passwords.stat()
    assert stat.S_IMODE(found.st_mode) == mode
    if os.geteuid() == 0:
        assert (found.st_uid, found.st_gid) == (12345, 12346)
    assert stat.S_IMODE(files.acl.stat().st_mode) == 0o640


def test_a_file_that_its_readers_would_lose_is_not_replaced(files, monkeypatch):
    files.passwords.write_text("anna:x\n")
    files.passwords.chmod(0o600)

    def refused(*args: Any) -> None:
        raise PermissionError(1, "Operation not permitted")

    found = os.stat(files.passwords)
    other = os.stat_result((*found[:4], found.st_uid + 1, *found[5:]))
    monkeypatch.setattr(broker_files.os, "fchown", refused)
    monkeypatch.setattr(broker_files.os, "fstat", lambda fd: other)
    with pytest.raises(PermissionError):
        bring(files, PRESS)
    assert files.passwords.read_text() == "anna:x\n"
    assert [path.name for path in files.passwords.parent.iterdir() if path.name.startswith(".passwd.")] == [
        ".passwd.reload"
    ]


def test_a_link_stays_one(files, tmp_path):
    real = tmp_path / "real"
    real.write_text("anna:x\n")
    files.passwords.symlink_to(real)
    bring(files, PRESS)
    assert files.passwords.is_symlink()
    assert "press:" in real.read_text()


def test_a_full_disk_leaves_the_files_as_they_are(files, monkeypatch):
    bring(files, PRESS)
    before = files.passwords.read_text(), files.acl.read_text()

    def full(fd: int) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patched:
        patched.setattr(broker_files.os, "fsync", full)
        with pytest.raises(OSError, match="No space"):
            bring(files, PUMP)
    assert (files.passwords.read_text(), files.acl.read_text()) == before
    assert bring(files, PUMP) == (True, [])


def test_a_folder_that_is_not_there_is_told(tmp_path):
    with pytest.raises(FileNotFoundError):
        bring(Files(tmp_path / "none" / "passwd", tmp_path / "none" / "acl"), PRESS)


# Accounts


@pytest.mark.parametrize("name", ["a:b", "#a", "a\nb", " a", "a ", "a\0b", "a\u2028b", "x" * 513, "a\tb"])
def test_a_name_that_the_files_cannot_hold_is_refused(name):
    with pytest.raises(Refusal) as refusal:
        check(Account(name, (), "x"))
    assert refusal.value.field == "connection.username"


def test_names_with_spaces_and_letters_of_any_script_are_fine():
    check(Account("press 4 / Süd", (("write", "a b/#"),), "x"))


def test_endpoints_may_share_a_user_if_they_mean_the_same():
    accounts = Accounts("admin")
    accounts.put(1, PRESS)
    same = Account("press", (("read", "plant/press/#"), ("write", "b/#")), "pw-press")
    assert accounts.refusal(same) is None
    accounts.put(2, same)
    assert accounts.merged() == (
        Account("press", (("readwrite", "plant/press/#"), ("write", "b/#")), "pw-press"),
    )
    other = Account("press", (), "other")
    refusal = accounts.refusal(other)
    assert refusal is not None
    assert (refusal.kind, refusal.field) == ("conflict", "connection.username")
    accounts.put(3, other)
    assert len(accounts.merged()[0].topics) == 2
    accounts.drop(1)
    accounts.drop(2)
    assert accounts.merged() == (other,)
    assert accounts.refusal(Account("admin", (), "x")) is not None


def test_a_change_is_told_from_none():
    accounts = Accounts()
    assert accounts.put(1, PRESS)
    assert not accounts.put(1, PRESS)
    assert accounts.put(1, None)
    assert not accounts.drop(1)


def test_a_password_is_in_no_text_of_an_account():
    assert "pw-press" not in repr(PRESS)
    assert "c2FsdA" not in repr([PUMP])


# MQTT


def account(connection: dict[str, Any], points: list[dict[str, Any]] | None = None) -> Account | None:
    return mqtt.account(connection, points or [])


def test_a_user_name_and_a_password_without_a_broker_are_the_devices():
    given = {"username": "press", "password": "pw", "topic": "plant/press"}
    assert account(given) == Account("press", (("write", "plant/press/#"),), "pw")
    assert account({**given, "topic": "plant/{device}/#"}) == Account(
        "press", (("write", "plant/+/#"),), "pw"
    )
    assert account({**given, "brokerUrl": "mqtt://plant.example"}) is None
    assert account({**given, "host": "plant.example"}) is None
    assert account({"topic": "plant/press"}) is None


def test_data_points_say_what_a_device_publishes_and_what_it_is_written():
    points = [
        {"topic": "press/speed", "metric": "speed", "writeTopic": "press/speed/set"},
        {"topic": "press/{device}/oil", "metric": "oil"},
    ]
    found = account({"username": "press", "password": "pw"}, points)
    assert found is not None
    assert found.topics == (
        ("write", "press/speed"),
        ("write", "press/+/oil"),
        ("read", "press/speed/set"),
    )
    assert account({"username": "press", "password": "pw"}) == Account("press", (("write", "#"),), "pw")


@pytest.mark.parametrize(("access", "right"), [(1, "read"), (2, "write"), (3, "readwrite")])
def test_auth_is_a_user_with_a_hash_whatever_the_broker(access, right):
    own = {"username": "press", "passwordFileHash": PUMP.hashed, "access": access}
    found = account({"topic": "i/t", "auth": {"mqtt": own}, "brokerUrl": "mqtt://b"})
    assert found == Account(
        "press", ((right, "i/t/#"),), hashed=PUMP.hashed, field="connection.auth.mqtt.username"
    )


def test_an_agent_without_a_user_of_its_own_reads_as_the_device():
    assert read_too(PRESS).topics == (("readwrite", "plant/press/#"),)


# Reloading


def settings(tmp_path: Path, **changes: Any) -> MosquittoSettings:
    given: dict[str, Any] = {
        "auth_dir": tmp_path,
        "password_file": "passwd",
        "acl_file": "acl",
        "pid_file": None,
        "reload_helper": None,
        "container": None,
        "docker_socket": tmp_path / "docker.sock",
        **changes,
    }
    return MosquittoSettings(**given)


async def failed(given: MosquittoSettings) -> str:
    with pytest.raises(NotReloaded) as error:
        await reload(given)
    return str(error.value)


@pytest.mark.parametrize("text", ["", "x", "0", "1", "-1", "999999999"])
async def test_a_pid_file_that_names_nobody_is_told(tmp_path, text):
    path = tmp_path / "pid"
    path.write_text(text)
    assert "names" in await failed(settings(tmp_path, pid_file=path))
    assert "names no process" in await failed(settings(tmp_path, pid_file=tmp_path / "none"))


async def test_a_process_that_is_no_mosquitto_is_left_alone(tmp_path):
    path = tmp_path / "pid"
    process = await asyncio.create_subprocess_exec(sys.executable, "-c", "input()", stdin=subprocess.PIPE)
    try:
        path.write_text(str(process.pid))
        assert "which is no mosquitto" in await failed(settings(tmp_path, pid_file=path))
        assert process.returncode is None
    finally:
        process.kill()
        await process.wait()


def helper(tmp_path: Path, text: str) -> Path:
    path = tmp_path / "helper.sh"
    path.write_text(f"#!/bin/sh\n{text}\n")
    path.chmod(0o755)
    return path


async def test_a_helper_is_run_without_arguments(tmp_path):
    path = helper(tmp_path, f'echo "$# done" > {tmp_path}/out')
    assert await reload(settings(tmp_path, reload_helper=path)) == str(path)
    assert (tmp_path / "out").read_text() == "0 done\n"


async def test_a_helper_that_fails_or_hangs_or_cannot_be_run_is_told(tmp_path, monkeypatch):
    monkeypatch.setattr(broker_reload, "WITHIN", 0.3)
    path = helper(tmp_path, "echo no such container >&2; exit 3")
    assert await failed(settings(tmp_path, reload_helper=path)) == f"{path} ended with 3: no such container"
    path = helper(tmp_path, "sleep 60")
    assert "has not ended within" in await failed(settings(tmp_path, reload_helper=path))
    path.chmod(0o644)
    assert "cannot be run" in await failed(settings(tmp_path, reload_helper=path))


async def test_a_container_gets_the_signal(tmp_path):
    asked: list[tuple[str, str]] = []

    async def kill(request: web.Request) -> web.Response:
        asked.append((request.match_info["name"], request.query["signal"]))
        return web.Response(status=204 if request.match_info["name"] == "broker" else 404)

    app = web.Application()
    app.router.add_post("/containers/{name}/kill", kill)
    runner = web.AppRunner(app)
    await runner.setup()
    await web.UnixSite(runner, str(tmp_path / "docker.sock")).start()
    try:
        given = settings(tmp_path, container="broker", reload_helper=tmp_path / "no-helper")
        assert await reload(given) == "container broker"
        assert "the engine answers 404" in await failed(settings(tmp_path, container="other"))
    finally:
        await runner.cleanup()
    assert asked == [("broker", "HUP"), ("other", "HUP")]
    assert "no engine answers" in await failed(given)


async def test_nothing_that_says_how_is_told(tmp_path):
    assert "see mosquitto.pid_file" in await failed(settings(tmp_path))
    await asyncio.sleep(0)


# What has been reported of others


@pytest.mark.parametrize(
    ("mode", "owner", "group", "expected"),
    [
        (0o600, True, True, True),
        (0o600, False, True, False),
        (0o640, False, True, True),
        (0o640, False, False, False),
        (0o644, False, False, True),
        (0o004, True, True, False),
    ],
)
def test_who_may_read_a_file_is_told_from_who_may_not(tmp_path, mode, owner, group, expected):
    path = tmp_path / "acl"
    path.touch()
    path.chmod(mode)
    found = path.stat()
    user = (found.st_uid if owner else found.st_uid + 1) or 4711
    if owner and os.geteuid() == 0:
        os.chown(path, user, found.st_gid)
    assert broker_reload.may_read(path, user, {found.st_gid if group else found.st_gid + 1}) is expected


async def test_a_broker_that_could_not_read_the_files_is_not_told_to(tmp_path, monkeypatch):
    """eclipse-mosquitto/mosquitto, issue 588: after SIGHUP everybody was let in, for the files could not be
    read by the user that the broker had become."""
    binary = tmp_path / "mosquitto"
    binary.symlink_to("/bin/sleep")
    process = await asyncio.create_subprocess_exec(binary, "60")
    pid, acl = tmp_path / "pid", tmp_path / "acl"
    pid.write_text(str(process.pid))
    acl.touch()
    acl.chmod(0o600)
    monkeypatch.setattr(broker_reload, "_user_of", lambda pid: (acl.stat().st_uid + 1, set()))
    try:
        with pytest.raises(NotReloaded, match="may not read"):
            await reload(settings(tmp_path, pid_file=pid), [acl])
        assert process.returncode is None
    finally:
        process.kill()
        await process.wait()
