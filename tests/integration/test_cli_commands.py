"""What each command asks an agent, and what it prints of the answer."""

import asyncio
import io
import json
import os
import stat
import subprocess
import tarfile
from pathlib import Path

import pytest
from aiohttp import web
from scripted_api import scripted
from servers.agent import callboard

from api.cli import restarting
from api.cli.command import main
from api.cli.commands import update
from storage.timestamps import unix_ms

TOKEN = "ab" * 32


@pytest.fixture(autouse=True)
def kept(monkeypatch, tmp_path) -> Path:
    """Where sessions are kept."""
    for name in list(os.environ):
        if name.startswith(("DEVICE_API", "API_", "CALLBOARD_")):
            monkeypatch.delenv(name)
    runtime = tmp_path / "run"
    runtime.mkdir(mode=0o700)
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(runtime))
    monkeypatch.setattr(restarting, "UNSEEN_SECONDS", 0.2)
    monkeypatch.setattr(restarting, "LOOK_SECONDS", 0.01)
    return runtime / "callboard" / "sessions.json"


def login(**more):
    async def reply(request: web.Request) -> web.Response:
        said = await request.json()
        if said != {"username": "ann", "password": "right one"}:
            return web.json_response({"error": "Invalid credentials"}, status=401)
        answer = web.json_response({"username": "ann", "role": "admin", "is_superuser": True} | more)
        answer.set_cookie("admin_session", TOKEN, max_age=86400, httponly=True, samesite="Strict", path="/")
        return answer

    return reply


def cookie_of(asked) -> str | None:
    return asked.headers.get("Cookie")


# settings


async def test_settings_are_read_by_dotted_keys(capsys):
    settings = {"logging": {"level": "info", "maxLogs": 1000}, "features": {}}
    async with scripted({"GET /v1/settings": {"settings": settings}}) as api:
        assert await api.callboard("settings", "get", "logging.maxLogs") == 0
        assert capsys.readouterr().out == "1000\n"
        assert await api.callboard("settings", "get", "logging", "--json") == 0
        assert json.loads(capsys.readouterr().out) == settings["logging"]
        assert await api.callboard("settings", "get") == 0
        assert "logging.level    info\n" in capsys.readouterr().out
        assert await api.callboard("settings", "get", "logging.none") == 5
        assert capsys.readouterr() == ("", "callboard: there is no setting logging.none\n")


async def test_settings_are_set_together(capsys):
    replies = {
        "GET /v1/settings": {"settings": {"logging": {}, "intervals": {}, "a": {}, "agent": {}}},
        "PATCH /v1/settings": {"settings": {"logging": {"level": "debug"}, "a": {"c": 1}}},
    }
    async with scripted(replies) as api:
        pairs = ("logging.level", "debug", "intervals.agent.metricsIntervalMs", "60000", "a.b", "null")
        assert await api.callboard("settings", "set", *pairs) == 0
        assert api.last.body == {
            "logging": {"level": "debug"},
            "intervals": {"agent": {"metricsIntervalMs": 60000}},
            "a": {"b": None},
        }
        assert await api.callboard("settings", "set", "a.b", "-1.5") == 0
        assert api.last.body == {"a": {"b": -1.5}}
        assert "a.b is now -1.5" in capsys.readouterr().out
        assert await api.callboard("settings", "set", "a") == 2
        assert await api.callboard("settings", "set", "a", "1", "a.b", "2") == 2
        count = len(api.asked)
        assert await api.callboard("settings", "set", "loging.level", "debug") == 5
        assert await api.callboard("settings", "set", "agent.name", "x") == 5
        assert [one.method for one in api.asked[count:]] == ["GET", "GET"]
        assert await api.callboard("settings", "set", "a.c", "null") == 0
        assert "a.c is now 1" in capsys.readouterr().out


# who may sign in


async def test_a_session_is_kept_between_commands_and_ended(kept, capsys, monkeypatch):
    replies = {
        "POST /v1/auth/login": login(),
        "POST /v1/auth/logout": {"ok": True},
        "GET /v1/admin/users": {"users": [{"username": "ann", "role": "admin", "is_active": True}]},
    }
    monkeypatch.setenv("CALLBOARD_PASSWORD", "right one")
    old = os.umask(0)
    try:
        async with scripted(replies) as api:
            assert await api.callboard("login", "--user", "ann") == 0
            assert stat.S_IMODE(kept.stat().st_mode) == 0o600
            assert TOKEN not in capsys.readouterr().out
            monkeypatch.delenv("CALLBOARD_PASSWORD")
            assert await api.callboard("users", "list") == 0
            assert cookie_of(api.last) == f"admin_session={TOKEN}"
            assert "ann" in capsys.readouterr().out
            async with scripted(replies) as other:  # the same host, another port
                assert await other.callboard("users", "list") == 0
                assert cookie_of(other.last) is None
            assert await api.callboard("logout") == 0
            assert (api.last.path, cookie_of(api.last)) == ("/v1/auth/logout", f"admin_session={TOKEN}")
            assert await api.callboard("users", "list") == 0
            assert cookie_of(api.last) is None
            assert stat.S_IMODE(kept.stat().st_mode) == 0o600
    finally:
        os.umask(old)


async def test_who_says_who_they_are_is_signed_in_for_one_command(kept, tmp_path):
    password = tmp_path / "password"
    password.write_text("right one\n")
    replies = {
        "POST /v1/auth/login": login(),
        "POST /v1/auth/logout": {"ok": True},
        "GET /v1/admin/users": (403, {"error": "Insufficient role"}),
    }
    async with scripted(replies) as api:
        assert await api.callboard("users", "list", "--user", "ann", "--password-file", str(password)) == 4
        paths = [asked.path for asked in api.asked]
        assert paths == ["/v1/auth/login", "/v1/admin/users", "/v1/auth/logout"]
        assert not kept.exists()
        password.write_text("wrong\n")
        assert await api.callboard("users", "list", "--user", "ann", "--password-file", str(password)) == 4


async def test_a_session_that_is_over_is_said_with_what_to_do(capsys):
    replies = {"GET /v1/admin/users": (401, {"error": "Session expired"})}
    async with scripted(replies) as api:
        assert await api.callboard("users", "list") == 4
    assert capsys.readouterr().err == "callboard: Session expired. Sign in: callboard login\n"


@pytest.mark.parametrize("spoil", ["open", "link", "half", "old"])
async def test_a_file_of_sessions_that_is_not_as_it_should_be_is_not_used(kept, spoil, capsys):
    async with scripted({"GET /v1/admin/users": {"users": []}}) as api:
        kept.parent.mkdir()
        entry = {"token": TOKEN, "user": "ann", "expires_at": unix_ms() + (-1 if spoil == "old" else 100_000)}
        text = json.dumps({api.url: entry})
        kept.write_text(text[:-9] if spoil == "half" else text)
        kept.chmod(0o644 if spoil == "open" else 0o600)
        if spoil == "link":
            kept.rename(kept.with_name("elsewhere"))
            kept.symlink_to("elsewhere")
        assert await api.callboard("users", "list", "--json") == 0
        assert cookie_of(api.last) is None
        captured = capsys.readouterr()
        assert json.loads(captured.out) == {"users": []}
        assert captured.err.count("\n") == (1 if spoil in ("open", "link") else 0)


@pytest.mark.parametrize(
    "content",
    [b"", b"[]", b"null", b'{"%s": 7}', b'{"%s": {"token": 7, "expires_at": 9e99}}', b"\xff", b"[" * 9000],
)
async def test_a_file_of_sessions_with_anything_in_it_is_no_crash(kept, content):
    async with scripted({"GET /v1/admin/users": {"users": []}, "POST /v1/auth/login": login()}) as api:
        kept.parent.mkdir()
        kept.write_bytes(content.replace(b"%s", api.url.encode()))
        kept.chmod(0o600)
        assert await api.callboard("users", "list") == 0
        assert cookie_of(api.last) is None
        assert await api.callboard("logout") == 0


async def test_a_password_is_never_asked_for_without_a_terminal(capsys):
    async with scripted({"POST /v1/auth/login": login()}) as api:
        done = await asyncio.to_thread(
            subprocess.run,
            callboard("login", "--url", api.url),
            stdin=subprocess.DEVNULL,
            capture_output=True,
            env={**os.environ},
        )
    assert done.returncode == 2
    assert b"CALLBOARD_PASSWORD" in done.stderr
    assert not api.asked


async def test_users_are_added_changed_and_removed(tmp_path, monkeypatch):
    new = tmp_path / "new"
    new.write_text("n3w password\nsecond line")
    replies = {
        "POST /v1/admin/users": (201, {"username": "bob"}),
        "PATCH /v1/admin/users/a b/c": {"username": "a b/c"},
        "DELETE /v1/admin/users/a b/c": {"ok": True},
    }
    async with scripted(replies) as api:
        command = ("users", "add", "bob", "--role", "viewer", "--new-password-file", str(new))
        assert await api.callboard(*command) == 0
        assert api.last.body == {"username": "bob", "password": "n3w password", "role": "viewer"}
        assert await api.callboard("users", "set", "a b/c", "--disable", "--role", "operator") == 0
        assert api.last.body == {"role": "operator", "is_active": False}
        assert await api.callboard("users", "set", "bob") == 2
        assert await api.callboard("users", "remove", "a b/c", "--yes") == 0
        assert await api.callboard("users", "remove", "nobody", "--yes") == 5
        api.says("DELETE /v1/admin/users/ann", (409, {"error": "The last administrator"}))
        assert await api.callboard("users", "remove", "ann", "--yes") == 6


async def test_a_password_is_changed_and_the_session_goes_on(kept, monkeypatch, capsys):
    replies = {
        "POST /v1/auth/login": login(must_change_password=True),
        "GET /v1/auth/me": {"username": "ann", "is_superuser": True},
        "POST /v1/auth/password": {"ok": True},
        "POST /v1/auth/logout": {"ok": True},
        "PATCH /v1/admin/users/bob": {"username": "bob"},
    }
    monkeypatch.setenv("CALLBOARD_PASSWORD", "right one")
    monkeypatch.setenv("CALLBOARD_NEW_PASSWORD", "right one")
    async with scripted(replies) as api:
        assert await api.callboard("login", "--user", "ann") == 0
        assert "must be changed: callboard users passwd" in capsys.readouterr().err
        assert await api.callboard("users", "passwd", "--user", "ann") == 0
        asked = [one for one in api.asked if one.path == "/v1/auth/password"]
        assert asked[0].body == {"current_password": "right one", "new_password": "right one"}
        assert await api.callboard("users", "passwd", "bob", "--user", "ann") == 0
        assert {"password": "right one"} in [one.body for one in api.asked]


async def test_sessions_are_listed_and_ended(capsys):
    one = {"id": "7", "username": "ann", "created_at": "2024-01-15T10:30:00Z", "current": True}
    replies = {
        "GET /v1/admin/sessions": {"sessions": [one]},
        "DELETE /v1/admin/sessions/7": {"ok": True},
        "DELETE /v1/admin/sessions": {"ended": 3},
    }
    async with scripted(replies) as api:
        assert await api.callboard("sessions", "list") == 0
        assert "ann" in capsys.readouterr().out
        assert await api.callboard("sessions", "end", "7") == 0
        assert await api.callboard("sessions", "end", "--of", "ann") == 0
        assert api.last.query == {"username": "ann"}
        assert "3 sessions of ann" in capsys.readouterr().out


# backups


async def test_backups_are_made_checked_fetched_and_deleted(tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    content = os.urandom(200_000)

    async def download(request: web.Request) -> web.Response:
        return web.Response(body=content)

    backup = {"file": "a.sqlite", "size_bytes": 1_234_567, "created_at": "2024-01-15T10:30:00Z"}
    replies = {
        "GET /v1/backups": {"backups": [backup]},
        "POST /v1/backups": (201, backup),
        "POST /v1/backups/a.sqlite/verify": {"file": "a.sqlite", "ok": False, "problems": ["checksum"]},
        "GET /v1/backups/a.sqlite": download,
        "DELETE /v1/backups/a.sqlite": {"deleted": True},
        "POST /v1/backups/upload": (201, backup),
        "GET /v1/backups/schedule": {"enabled": True, "interval_hours": 24, "keep_count": 7},
        "PATCH /v1/backups/schedule": {"enabled": False, "interval_hours": 6, "keep_count": 7},
    }
    async with scripted(replies) as api:
        assert await api.callboard("backup", "list") == 0
        assert "1.2 MB" in capsys.readouterr().out
        assert await api.callboard("backup", "create") == 0
        assert api.last.body == {}
        monkeypatch.setenv("CALLBOARD_PASSPHRASE", "horse")
        assert await api.callboard("backup", "create", "--with-key") == 0
        assert api.last.body == {"passphrase": "horse"}
        assert await api.callboard("backup", "verify", "a.sqlite") == 1
        assert "  checksum\n" in capsys.readouterr().out
        assert await api.callboard("backup", "download", "a.sqlite") == 0
        assert look_of("a.sqlite") == (content, 0o600)
        assert await api.callboard("backup", "download", "a.sqlite") == 2  # it is there already
        assert await api.callboard("backup", "upload", "a.sqlite") == 0
        assert api.last.body == content
        assert await api.callboard("backup", "delete", "a.sqlite", "--yes") == 0
        assert await api.callboard("backup", "schedule") == 0
        assert await api.callboard("backup", "schedule", "--off", "--every", "6") == 0
        assert api.last.body == {"enabled": False, "interval_hours": 6}


def look_of(name: str) -> tuple[bytes, int]:
    """Content and mode."""
    return Path(name).read_bytes(), stat.S_IMODE(os.stat(name).st_mode)


async def test_half_a_download_leaves_no_file(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)

    async def break_off(request: web.Request) -> web.StreamResponse:
        reply = web.StreamResponse()
        reply.content_length = 1000
        await reply.prepare(request)
        await reply.write(b"half")
        request.transport.close()
        return reply

    async with scripted({"GET /v1/backups/a": break_off}) as api:
        assert await api.callboard("backup", "download", "a") == 3
    assert [one for one in tmp_path.iterdir() if one.is_file()] == []
    assert "broke off" in capsys.readouterr().err


@pytest.mark.parametrize("name", ["../../etc/passwd", "/etc/passwd", "..", "a/b"])
async def test_a_backups_name_is_one_part_of_a_path_and_no_way_out(tmp_path, monkeypatch, name):
    inside = tmp_path / "in" / "side"
    inside.mkdir(parents=True)
    monkeypatch.chdir(inside)

    async def anything(request: web.Request) -> web.Response:
        return web.Response(body=b"x")

    async with scripted({f"GET /v1/backups/{name}": anything}) as api:
        await api.callboard("backup", "download", name)
    assert {one for one in tmp_path.rglob("*") if one.is_file()} <= {inside / Path(name).name}


def states(*said):
    """Replies of `/v1/readiness`, the last for ever."""
    left = list(said)

    async def reply(request: web.Request) -> web.Response:
        state = left.pop(0) if len(left) > 1 else left[0]
        ready = state == "RUNNING"
        return web.json_response({"ready": ready, "state": state}, status=200 if ready else 503)

    return reply


async def test_a_restore_waits_until_the_agent_runs_again(capsys):
    replies = {
        "POST /v1/backups/a/restore": (202, {"status": "restoring", "file": "a"}),
        "GET /v1/readiness": states("RUNNING", "STOPPING", "INIT", "RUNNING"),
    }
    async with scripted(replies) as api:
        assert await api.callboard("backup", "restore", "a", "--yes", "--json") == 0
    captured = capsys.readouterr()
    assert json.loads(captured.out)["state"] == "RUNNING"
    assert "the agent is STOPPING" in captured.err


# power


async def test_a_reboot_is_waited_for(capsys):
    replies = {
        "POST /v1/reboot": (202, {"Data": "Agent services restarting", "Error": None, "state": "RUNNING"}),
        "GET /v1/readiness": states("STOPPING", "STOPPED", "INIT", "READY", "RUNNING"),
    }
    async with scripted(replies) as api:
        assert await api.callboard("reboot") == 0
        captured = capsys.readouterr()
        assert captured.out == "the agent is RUNNING again\n"
        assert [line.rpartition(" ")[2] for line in captured.err.splitlines()] == [
            "STOPPING",
            "STOPPED",
            "INIT",
            "READY",
            "RUNNING",
        ]
        hint = {"error": "Restart not allowed in current lifecycle state", "state": "INIT", "hint": "Wait"}
        api.says("POST /v1/reboot", (409, hint))
        assert await api.callboard("reboot") == 6


async def test_a_reboot_that_does_not_come_back_is_a_failure(capsys, monkeypatch):
    monkeypatch.setattr(restarting, "WAIT_SECONDS", 0.2)
    replies = {"POST /v1/reboot": (202, {}), "GET /v1/readiness": states("ERROR")}
    async with scripted(replies) as api:
        assert await api.callboard("reboot") == 1
    assert "it is ERROR" in capsys.readouterr().err


@pytest.mark.parametrize(
    "command",
    [
        ["shutdown"],
        ["factory-reset"],
        ["backup", "restore", "a"],
        ["backup", "delete", "a"],
        ["users", "remove", "a"],
        ["endpoints", "remove", "a"],
        ["devices", "remove", "a"],
        ["write", "a", "speed", "1"],
        ["discovery", "remove", "a"],
    ],
)
async def test_what_cannot_be_undone_is_not_done_without_a_terminal_or_yes(command, monkeypatch, capsys):
    async with scripted() as api:
        monkeypatch.setattr("sys.stdin", io.StringIO("yes\n"))
        assert await api.callboard(*command) == 2
        assert not api.asked
    assert "--yes" in capsys.readouterr().err


async def test_factory_reset_and_shutdown(capsys):
    replies = {
        "POST /v1/factory-reset": {"message": "Factory reset complete.", "status": "factory-reset"},
        "GET /v1/readiness": states("INIT", "RUNNING"),
        "POST /v1/shutdown": (202, {"Data": "Shutdown scheduled", "Error": None}),
    }
    async with scripted(replies) as api:
        assert await api.callboard("factory-reset", "--yes", "--no-backup") == 0
        assert next(one for one in api.asked if one.method == "POST").body == {"backup": False}
        assert await api.callboard("shutdown", "--yes") == 0


# updates, memory, logs


async def test_updates(capsys):
    replies = {
        "POST /v1/update": (202, {"status": "update_triggered", "version": "1.2.3"}),
        "GET /v1/update/status": {"state": "failed", "current": "1.0", "target": "2.0", "history": []},
    }
    async with scripted(replies) as api:
        assert await api.callboard("update", "1.2.3", "--force") == 0
        assert api.last.body == {"version": "1.2.3", "force": True}
        assert await api.callboard("update", "--file", "/tmp/a.whl") == 0
        assert api.last.body == {"file": "/tmp/a.whl"}
        assert await api.callboard("update") == 2
        assert await api.callboard("update", "status") == 1
        assert "failed" in capsys.readouterr().out
        api.says("POST /v1/update", (503, {"error": "Agent updater not available"}))
        assert await api.callboard("update", "latest") == 6


async def test_an_update_is_waited_for_also_while_the_agent_is_away(capsys, monkeypatch):
    monkeypatch.setattr(update, "LOOK_SECONDS", 0.01)
    left = ["preparing", "preparing", None, "trial", "rolled_back", "completed"]

    async def status(request: web.Request) -> web.Response:
        state = left.pop(0)
        if state is None:
            request.transport.abort()
        return web.json_response({"state": state, "target": "1.2.3", "reason": "because", "history": []})

    replies = {
        "POST /v1/update": (202, {"status": "update_triggered", "version": "1.2.3"}),
        "GET /v1/update/status": status,
    }
    async with scripted(replies) as api:
        assert await api.callboard("update", "1.2.3", "--wait") == 1
        captured = capsys.readouterr()
        assert "because" in captured.out
        assert captured.err == "callboard: the update is preparing\ncallboard: the update is trial\n"
        assert await api.callboard("update", "1.2.3", "--wait", "--json") == 0
        assert json.loads(capsys.readouterr().out)["state"] == "completed"


async def test_the_status_of_an_agent_that_starts(capsys):
    starting = (503, {"error": "The agent is starting", "state": "INIT", "hint": "Wait"})
    health = {"overall": "healthy", "ready": False, "state": "INIT", "report": {"subsystems": []}}
    replies = {
        "GET /v1/health/report": health,
        "GET /v1/endpoints": starting,
        "GET /v1/buffer/status": starting,
    }
    async with scripted(replies) as api:
        assert await api.callboard("status") == 1
        assert "INIT" in capsys.readouterr().out
        assert await api.callboard("endpoints", "list") == 6
        assert capsys.readouterr() == ("", "callboard: The agent is starting. Wait\n")


async def test_memory(capsys):
    replies = {
        "GET /v1/memory": {
            "diagnostics": {"rss": 65_000_000, "leakSuspected": False, "leakPattern": "stable"},
            "restartPolicy": {"enabled": False},
        },
        "POST /v1/memory/trace": {"seconds": 1, "grew": [{"where": "a.py:1", "bytes": 10}]},
    }
    async with scripted(replies) as api:
        assert await api.callboard("memory") == 0
        assert "65.0 MB" in capsys.readouterr().out
        assert await api.callboard("memory", "trace", "--seconds", "1") == 0
        assert "a.py:1" in capsys.readouterr().out


async def test_logs_are_filtered_by_the_agent(capsys):
    entry = {
        "timestamp": unix_ms(),
        "level": "warn",
        "message": "slow\x1b[2J",
        "component": "x",
        "actor": "/agent",
    }
    async with scripted({"GET /v1/logs": {"logs": [entry], "total": 5}}) as api:
        command = ("logs", "-n", "3", "--level", "warn", "--since", "10m", "--text", "a&b", "--actor", "plc")
        assert await api.callboard(*command) == 0
        query = dict(api.last.query)
        assert abs(int(query.pop("since")) - (unix_ms() - 600_000)) < 10_000
        assert query == {"limit": "3", "level": "warn", "text": "a&b", "actor": "plc"}
        assert capsys.readouterr().out.endswith("  warn   /agent: slow [2J\n")
        assert await api.callboard("logs", "--json") == 0
        assert json.loads(capsys.readouterr().out)["total"] == 5
        assert await api.callboard("logs", "--since", "yesterday") == 2


async def test_a_followed_log_is_one_json_object_a_line_and_survives_the_agents_restart(tmp_path):
    begun = 0
    seen = []
    replies = {"GET /v1/logs": {"logs": [{"id": "log-50"}]}}

    async def stream(request: web.Request) -> web.StreamResponse:
        nonlocal begun
        begun += 1
        reply = web.StreamResponse(headers={"Content-Type": "text/event-stream"})
        await reply.prepare(request)
        await reply.write(b": here\n\n")
        seen.append((request.headers.get("Last-Event-ID"), request.query["limit"]))
        entry = {"timestamp": begun, "level": "info", "message": f"entry {begun}"}
        await reply.write(f"id: log-{100 - begun}\n".encode())
        await reply.write(b"data: " + json.dumps(entry).encode() + b"\n\n")
        if begun < 3:
            if begun == 2:
                replies["GET /v1/logs"]["logs"][0]["id"] = "log-500"
            request.transport.abort()
        else:
            await asyncio.sleep(60)
        return reply

    async with scripted(replies | {"GET /v1/logs/stream": stream}) as api:
        process = await asyncio.create_subprocess_exec(
            *callboard("logs", "-f", "--json", "--url", api.url),
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        )
        async with asyncio.timeout(20):
            lines = [await process.stdout.readline() for _ in range(3)]
        process.send_signal(2)
        assert await process.wait() == 130
        said = (await process.stderr.read()).decode()
    assert [json.loads(line)["message"] for line in lines] == ["entry 1", "entry 2", "entry 3"]
    # The second start counts from the beginning again; the third goes on.
    assert seen == [(None, "10"), (None, "1000"), ("log-98", "10")]
    assert "is gone" in said
    assert "the agent is back" in said
    assert "Traceback" not in said


# devices

PUMP = {"uuid": "u-1", "name": "pump", "protocol": "opcua", "identifier": "7", "enabled": True}


async def test_devices_are_listed(capsys):
    async with scripted({"GET /v1/devices": {"devices": [PUMP]}}) as api:
        assert await api.callboard("devices", "list", "--protocol", "opcua") == 0
        assert api.last.query == {"protocol": "opcua"}
    assert "pump" in capsys.readouterr().out


async def test_a_value_is_written_as_it_is_meant(capsys):
    written = {"deviceName": "pump", "register": "speed", "value": 7, "success": True, "verified": True}
    replies = {
        "GET /v1/devices": {"devices": [PUMP]},
        "POST /v1/adapters/opcua/devices/pump/write": written,
    }
    async with scripted(replies) as api:
        command = ("write", "pump", "speed", "--yes")
        assert await api.callboard(*command, "7", "--verify", "--unit", "l/s", "--priority", "8") == 0
        assert api.last.body == {
            "register": "speed",
            "value": 7,
            "unit": "l/s",
            "priority": 8,
            "verify": True,
        }
        assert "speed of pump is 7, verified" in capsys.readouterr().out
        for text, value in (("true", True), ("[1,2]", [1, 2]), ("on", "on"), ("NaN", "NaN"), ('"7"', "7")):
            assert await api.callboard(*command, text, "--protocol", "opcua") == 0
            assert api.last.body == {"register": "speed", "value": value}


async def test_a_device_that_is_not_meant_alone_is_not_written_to(capsys):
    replies = {"GET /v1/devices": {"devices": [PUMP, {**PUMP, "uuid": "u-2"}]}}
    async with scripted(replies) as api:
        assert await api.callboard("write", "pump", "speed", "7", "--yes") == 2
        assert "u-1 (opcua), u-2 (opcua)" in capsys.readouterr().err
        assert await api.callboard("devices", "remove", "valve", "--yes") == 5


async def test_a_device_is_removed_by_its_uuid():
    replies = {
        "GET /v1/devices": {"devices": [PUMP]},
        "DELETE /v1/devices/u-1": {"message": "Device removed"},
    }
    async with scripted(replies) as api:
        assert await api.callboard("devices", "remove", "pump", "--yes") == 0
        assert (api.last.method, api.last.path) == ("DELETE", "/v1/devices/u-1")


# diagnostics


async def test_diagnostics_hold_no_secret_and_say_what_is_missing(tmp_path, capsys):
    endpoint = {"name": "plc", "connection": {"host": "h", "password": "hunter2"}, "enabled": False}
    destination = {"name": "b", "config_json": {"url": "mqtt://u:hunter2@h", "token": "hunter2"}}
    replies = {
        "GET /v1/health/report": {"overall": "healthy", "ready": True, "state": "RUNNING"},
        "GET /v1/endpoints": {"endpoints": [endpoint]},
        "GET /v1/publish/destinations": {"publishers": [destination]},
        "GET /v1/logs": {"logs": []},
    }
    target = tmp_path / "a.tar.gz"
    async with scripted(replies) as api:
        common = ("diagnostics", "--data-dir", str(tmp_path / "data"))
        assert await api.callboard(*common, "--json") == 1
        found = json.loads(capsys.readouterr().out)
        assert await api.callboard(*common, "-o", str(target)) == 1
    assert "memory" in found["missing"]
    assert found["endpoints"]["endpoints"][0]["connection"]["host"] == "h"
    assert "hunter2" not in json.dumps(found)
    assert stat.S_IMODE(target.stat().st_mode) == 0o600
    with tarfile.open(target) as archive:
        names = archive.getnames()
        texts = [archive.extractfile(name).read() for name in names]
    assert "callboard-diagnostics/doctor.json" in names
    assert not any(b"hunter2" in text for text in texts)
    for text in texts:
        json.loads(text)


async def test_diagnostics_without_an_agent_have_what_the_doctor_finds(tmp_path, capsys):
    command = ["diagnostics", "--json", "--url", "http://127.0.0.1:1", "--data-dir", str(tmp_path / "data")]
    assert await asyncio.to_thread(main, command) == 1
    found = json.loads(capsys.readouterr().out)
    assert found["doctor"]
    assert "no answer" in found["missing"]["health"]
