"""Backups, restores and resets of a real agent."""

import json
import socket
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from servers.agent import AgentProcess
from servers.mosquitto import free_port

ENDPOINT = {
    "name": "plc",
    "protocol": "modbus",
    "connection": {"host": "127.0.0.1", "port": 1},
    "poll_interval": 60_000,
    "data_points": [{"name": "speed", "register": "holding:0"}],
}
SECRET = "s3cret-of-the-broker"
DESTINATION = {
    "name": "broker",
    "type": "mqtt",
    "config_json": {"host": "127.0.0.1", "port": free_port(), "username": "me", "password": SECRET},
}
PASSPHRASE = "correct horse battery"
DONE = {
    "message": "Factory reset complete. All data deleted. Only UUID preserved.",
    "status": "factory-reset",
}


def wait_for(predicate: Callable[[], Any], seconds: float = 15.0, pause: float = 0.02) -> Any:
    deadline = time.monotonic() + seconds
    while not (found := predicate()):
        assert time.monotonic() < deadline
        time.sleep(pause)
    return found


def restored(
    agent: AgentProcess, file: str, body: dict[str, Any] | None = None, **headers: str
) -> dict[str, Any]:
    """Restore and wait for the end of it; what the list says of it."""
    status, reply = agent.request("POST", f"/v1/backups/{file}/restore", body or {}, headers)
    assert (status, reply) == (202, {"status": "restoring", "file": file})

    def over() -> Any:
        if not agent.ready():
            return None
        status, reply = agent.request("GET", "/v1/backups")
        last = reply["last_restore"] if status == 200 else None
        return last if last is not None and last["ok"] is not None else None

    return wait_for(over)


def endpoint_names(agent: AgentProcess) -> list[str]:
    return [row["name"] for row in agent.get("/v1/endpoints")["endpoints"]]


@pytest.fixture
def fresh(tmp_path: Path) -> Iterator[AgentProcess]:
    """One of its own, for what changes it."""
    with AgentProcess(tmp_path / "data") as agent:
        yield agent
        assert agent.stop() == 0
    assert "Traceback" not in agent.log.read_text()


def test_from_making_to_restoring(fresh: AgentProcess) -> None:
    agent = fresh
    device = agent.get("/v1/device")
    agent.post("/v1/endpoints", ENDPOINT)
    agent.post("/v1/publish/destinations", DESTINATION)
    made = agent.post("/v1/backups", {})
    assert made["trigger"] == "manual"
    assert made["error"] is None
    assert made["has_key"] is False
    assert made["uuid"] == device["uuid"]
    assert agent.get("/v1/backups") == {"backups": [made], "last_restore": None}
    path = agent.data_dir / "backups" / made["file"]
    assert path.stat().st_size == made["size_bytes"]
    verified = {"file": made["file"], "ok": True, "problems": [], "needs_passphrase": False}
    assert agent.post(f"/v1/backups/{made['file']}/verify", {}) == verified

    agent.delete("/v1/endpoints")
    agent.post("/v1/endpoints", ENDPOINT | {"name": "newer"})
    last = restored(agent, made["file"])
    assert (last["what"], last["file"], last["ok"], last["error"]) == ("restore", made["file"], True, None)
    assert endpoint_names(agent) == ["plc"]
    assert agent.get("/v1/device") == device
    (before,) = (one for one in agent.get("/v1/backups")["backups"] if one["file"] != made["file"])
    assert before["trigger"] == "before-restore"

    restored(agent, before["file"])
    assert endpoint_names(agent) == ["newer"]
    assert agent.delete(f"/v1/backups/{made['file']}") == {"deleted": True}
    assert not path.exists()
    assert agent.request("DELETE", f"/v1/backups/{made['file']}")[0] == 404
    assert not [file for file in path.parent.iterdir() if file.name.startswith(".")]


def test_from_one_machine_to_another(fresh: AgentProcess, tmp_path: Path) -> None:
    agent = fresh
    with AgentProcess(tmp_path / "other") as other:
        other.post("/v1/endpoints", ENDPOINT | {"name": "theirs"})
        other.post("/v1/publish/destinations", DESTINATION)
        uuids = [one.get("/v1/device")["uuid"] for one in (agent, other)]
        made = other.post("/v1/backups", {"passphrase": PASSPHRASE})
        bare = other.post("/v1/backups", {})
        files = [download(other, one["file"])[1] for one in (made, bare)]
    assert SECRET.encode() not in files[0]
    assert (tmp_path / "other" / ".master.key").read_bytes() not in files[0]
    with_key, without = (upload(agent, file)[1] for file in files)
    assert with_key["trigger"] == without["trigger"] == "uploaded"
    assert [with_key[name] for name in ("created_at", "sha256", "has_key", "uuid")] == [
        made[name] for name in ("created_at", "sha256", "has_key", "uuid")
    ]
    agent.post("/v1/endpoints", ENDPOINT | {"name": "ours"})

    def refused(file: str, body: dict[str, Any]) -> tuple[int, str]:
        status, reply = agent.request("POST", f"/v1/backups/{file}/restore", body)
        assert endpoint_names(agent) == ["ours"]
        return status, reply.get("message") or reply["error"]

    assert refused(without["file"], {})[0] == 409
    assert "master key" in refused(without["file"], {})[1]
    assert refused(with_key["file"], {})[0] == 400
    for _ in range(3):
        assert refused(with_key["file"], {"passphrase": "wrong-passphrase"})[0] == 400
    assert refused(with_key["file"], {"passphrase": PASSPHRASE})[0] == 429
    wait_for(lambda: refused_no_more(agent, with_key["file"]))
    wait_for(lambda: agent.ready() and agent.get("/v1/backups")["last_restore"]["ok"])
    assert endpoint_names(agent) == ["theirs"]
    assert agent.get("/v1/device")["uuid"] == uuids[0]
    assert "cannot be read" not in agent.log.read_text()
    agent.stop()
    agent.start()
    assert endpoint_names(agent) == ["theirs"]
    assert agent.get("/v1/publish/destinations")["publishers"][0]["name"] == "broker"


def refused_no_more(agent: AgentProcess, file: str) -> bool:
    status, _ = agent.request("POST", f"/v1/backups/{file}/restore", {"passphrase": PASSPHRASE})
    assert status in (202, 429)
    return status == 202


def test_a_factory_reset_is_answered_when_it_is_done(fresh: AgentProcess) -> None:
    agent = fresh
    device = agent.get("/v1/device")
    agent.post("/v1/endpoints", ENDPOINT)
    agent.post("/v1/publish/destinations", DESTINATION)
    key = (agent.data_dir / ".master.key").read_bytes()
    assert agent.request("POST", "/v1/factory-reset", {}) == (200, DONE)
    assert agent.ready()
    assert endpoint_names(agent) == []
    assert agent.get("/v1/publish/destinations")["publishers"] == []
    after = agent.get("/v1/device")
    assert after["uuid"] == device["uuid"]
    assert after["createdAt"] > device["createdAt"]
    assert (agent.data_dir / ".master.key").read_bytes() == key
    listed = agent.get("/v1/backups")
    (before,) = listed["backups"]
    assert before["trigger"] == "before-reset"
    assert (listed["last_restore"]["what"], listed["last_restore"]["ok"]) == ("factory-reset", True)

    assert agent.request("POST", "/v1/factory-reset", {"backup": False}) == (200, DONE)
    assert agent.get("/v1/backups")["backups"] == [before]
    restored(agent, before["file"])
    assert endpoint_names(agent) == ["plc"]


def test_the_api_answers_throughout_a_reset(fresh: AgentProcess) -> None:
    agent = fresh
    with socket.create_connection(("127.0.0.1", agent.port), 5) as waiting:
        body = b"{}"
        head = f"POST /v1/factory-reset HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: {len(body)}\r\n\r\n"
        waiting.sendall(head.encode() + body)
        waiting.setblocking(False)
        seen = set()
        answer = b""
        while not answer.endswith(b"}"):
            status, reply = agent.request("GET", "/v1/endpoints")
            seen.add(status)
            assert status == 200 or (status == 503 and "state" in reply), reply
            try:
                answer += waiting.recv(65536)
            except BlockingIOError:
                continue
    assert json.loads(answer.split(b"\r\n\r\n")[1]) == DONE
    assert seen <= {200, 503}
    assert endpoint_names(agent) == []


MARKS = (": the agent restarts", "lifecycle: STOPPING", "lifecycle: STOPPED", "lifecycle: INIT", ": done")
"""What the log says on the way, in this order."""


@pytest.mark.timeout(60)
@pytest.mark.parametrize("what", ["restore", "factory-reset"])
def test_killed_in_the_middle_it_starts_with_the_one_or_the_other(tmp_path: Path, what: str) -> None:
    """Where exactly, chance has a say in; each statement of the transaction is tried in test_restoring."""
    agent = AgentProcess(tmp_path / "data")
    with agent:
        agent.post("/v1/endpoints", ENDPOINT | {"name": "old"})
        made = agent.post("/v1/backups", {})
        path = "/v1/factory-reset" if what == "factory-reset" else f"/v1/backups/{made['file']}/restore"
        for mark in MARKS:
            agent.delete("/v1/endpoints")
            agent.post("/v1/endpoints", ENDPOINT | {"name": "newer"})
            logged = agent.log.stat().st_size
            with socket.create_connection(("127.0.0.1", agent.port), 5) as asking:
                head = f"POST {path} HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: 0\r\n\r\n"
                asking.sendall(head.encode())
                said_so = lambda logged=logged, mark=mark: mark in agent.log.read_text()[logged:]  # noqa: E731
                wait_for(said_so, pause=0.001)
                agent.kill()
            agent.start()
            found = endpoint_names(agent)
            last = wait_for(lambda: _settled(agent))
            assert last["what"] == what
            assert found == ((["old"] if what == "restore" else []) if last["ok"] else ["newer"])
            assert last["ok"] or last["error"] == "the agent ended before it was done; nothing was changed"
            assert not [one for one in agent.get("/v1/backups")["backups"] if one["error"]]
            assert not [one.name for one in (agent.data_dir / "backups").glob(".*")]
        assert agent.stop() == 0


def test_after_a_reset_the_first_administrator_is_there_again(tmp_path: Path) -> None:
    with AgentProcess(tmp_path / "data", INITIAL_ADMIN_PASSWORD="first-password-of-all") as agent:
        signed_in = {"username": "admin", "password": "first-password-of-all"}
        status, headers, _ = _sign_in(agent, signed_in)
        assert status == 200
        cookie = headers["set-cookie"].partition(";")[0]
        body = {"current_password": signed_in["password"], "new_password": "another-password"}
        status, reply = agent.request("POST", "/v1/auth/password", body, {"Cookie": cookie})
        assert status == 200, reply
        _, headers, _ = _sign_in(agent, signed_in | {"password": "another-password"})
        cookie = headers["set-cookie"].partition(";")[0]
        assert raw(agent, "GET", "/v1/admin/users", Cookie=cookie)[0] == 200
        assert agent.request("POST", "/v1/factory-reset", {}, {"Cookie": cookie}) == (200, DONE)
        assert raw(agent, "GET", "/v1/admin/users", Cookie=cookie)[0] == 401
        assert _sign_in(agent, signed_in)[0] == 200
        assert agent.stop() == 0


def _sign_in(agent: AgentProcess, body: dict[str, str]) -> tuple[int, dict[str, str], bytes]:
    return raw(agent, "POST", "/v1/auth/login", json.dumps(body).encode(), Content_Type="application/json")


def _settled(agent: AgentProcess) -> Any:
    last = agent.get("/v1/backups")["last_restore"]
    return "none" if last is None else (last if last["ok"] is not None else None)


# Files over HTTP


def download(agent: AgentProcess, file: str, **headers: str) -> tuple[dict[str, str], bytes]:
    return raw(agent, "GET", f"/v1/backups/{file}", b"", **headers)[1:]


def upload(agent: AgentProcess, content: bytes) -> tuple[int, Any]:
    return agent.request("POST", "/v1/backups/upload", content, {"Content-Type": "application/vnd.sqlite3"})


def raw(
    agent: AgentProcess, method: str, path: str, body: bytes = b"", **headers: str
) -> tuple[int, dict[str, str], bytes]:
    from http.client import HTTPConnection

    connection = HTTPConnection("127.0.0.1", agent.port, timeout=10)
    connection.request(method, path, body or None, {name.replace("_", "-"): v for name, v in headers.items()})
    reply = connection.getresponse()
    found = reply.status, {name.lower(): value for name, value in reply.getheaders()}, reply.read()
    connection.close()
    return found


def test_a_download_is_the_file(agent: AgentProcess) -> None:
    made = agent.post("/v1/backups", {})
    content = (agent.data_dir / "backups" / made["file"]).read_bytes()
    headers, body = download(agent, made["file"])
    assert body == content
    assert headers["content-type"] == "application/vnd.sqlite3"
    assert headers["content-disposition"] == f'attachment; filename="{made["file"]}"'
    assert headers["content-length"] == str(len(content))
    assert headers["cache-control"] == "no-store"
    status, headers, body = raw(agent, "GET", f"/v1/backups/{made['file']}", Range="bytes=100-199")
    assert (status, body) == (206, content[100:200])
    status, headers, body = raw(agent, "HEAD", f"/v1/backups/{made['file']}")
    assert (status, headers["content-length"], body) == (200, str(len(content)), b"")


@pytest.mark.parametrize(
    "name",
    [
        "nothing",
        "..%2f.master.key",
        "%2e%2e/.master.key",
        "..%2Fagent.sqlite",
        "last-restore.json",
        "callboard-20260101T000000Z-1.sqlite",
        "callboard-20260101T000000Z-1.sqlite%00",
        "%2fetc%2fpasswd",
    ],
)
def test_no_path_leads_out_of_the_folder(agent: AgentProcess, name: str) -> None:
    for method, path in (
        ("GET", f"/v1/backups/{name}"),
        ("DELETE", f"/v1/backups/{name}"),
        ("POST", f"/v1/backups/{name}/verify"),
        ("POST", f"/v1/backups/{name}/restore"),
    ):
        status, _, body = raw(agent, method, path)
        assert status in (400, 404, 405), (method, path, status, body)
        assert "error" in json.loads(body)


def test_what_is_no_backup_is_refused_and_leaves_nothing(agent: AgentProcess) -> None:
    for content in (b"", b"nothing", b"SQLite format 3\0" + bytes(9000)):
        status, reply = upload(agent, content)
        assert status == 400, reply
        assert reply["error"] == "Bad request"
    assert [one for one in (agent.data_dir / "backups").iterdir() if one.name.startswith(".")] == []


def test_an_upload_that_breaks_off_leaves_nothing(agent: AgentProcess) -> None:
    with socket.create_connection(("127.0.0.1", agent.port), 5) as sending:
        sending.sendall(
            b"POST /v1/backups/upload HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: 5000000\r\n\r\n"
            + bytes(2_000_000)
        )
        folder = agent.data_dir / "backups"
        wait_for(lambda: folder.exists() and [one for one in folder.glob(".*") if one.stat().st_size])
    wait_for(lambda: not list(folder.glob(".*")))


def test_a_large_upload_is_not_in_memory(agent: AgentProcess) -> None:
    """More than all bodies together may have in memory, and it is taken to its end, and judged."""
    import psutil

    process = psutil.Process(agent.pid)
    before = process.memory_info().rss
    size, chunk = 150 * 1024 * 1024, bytes(1024 * 1024)
    with socket.create_connection(("127.0.0.1", agent.port), 20) as sending:
        head = f"POST /v1/backups/upload HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: {size}\r\n\r\n"
        sending.sendall(head.encode())
        most = 0
        for _ in range(size // len(chunk)):
            sending.sendall(chunk)
            most = max(most, process.memory_info().rss)
        answer = sending.recv(65536)
    assert b" 400 " in answer.split(b"\r\n")[0]
    assert most - before < 24 * 1024 * 1024


def test_what_is_said_to_be_too_large_is_refused_before_it_comes(agent: AgentProcess) -> None:
    with socket.create_connection(("127.0.0.1", agent.port), 5) as sending:
        sending.sendall(
            b"POST /v1/backups/upload HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: 99999999999\r\n\r\n"
        )
        assert b" 413 " in sending.recv(65536).split(b"\r\n")[0]


def test_passphrases_are_long_enough_and_in_no_log(fresh: AgentProcess) -> None:
    agent = fresh
    status, reply = agent.request("POST", "/v1/backups", {"passphrase": "short"})
    assert (status, reply["field"]) == (400, "passphrase")
    made = agent.post("/v1/backups", {"passphrase": PASSPHRASE})
    assert made["has_key"]
    agent.request("POST", f"/v1/backups/{made['file']}/restore", {"passphrase": "wrong-wrong-wrong"})
    text = agent.log.read_text()
    assert PASSPHRASE not in text
    assert "wrong-wrong-wrong" not in text


# The schedule


def test_the_schedule_is_changed_and_kept(fresh: AgentProcess) -> None:
    agent = fresh
    assert agent.get("/v1/backups/schedule") == {
        "enabled": False,
        "interval_hours": 24,
        "keep_count": 7,
        "last_run_at": None,
        "next_run_at": None,
        "last_error": None,
    }
    for field, value in (
        ("interval_hours", 0),
        ("interval_hours", 8761),
        ("keep_count", 0),
        ("keep_count", 101),
    ):
        status, reply = agent.request("PATCH", "/v1/backups/schedule", {field: value})
        assert (status, reply["field"]) == (400, field)
    changed = agent.patch("/v1/backups/schedule", {"enabled": True, "keep_count": 3})
    assert (changed["enabled"], changed["interval_hours"], changed["keep_count"]) == (True, 24, 3)
    assert changed["next_run_at"] is not None
    agent.stop()
    agent.start()
    again = agent.get("/v1/backups/schedule")
    assert (again["enabled"], again["keep_count"]) == (True, 3)


def test_nobody_becomes_administrator_by_a_backup(tmp_path: Path) -> None:
    """Where no session is asked for anybody may upload a backup, and restore it."""
    first = {"username": "admin", "password": "first-password-of-all"}
    forged = {"username": "admin", "password": "password-of-mallory"}
    with AgentProcess(tmp_path / "theirs" / "data", INITIAL_ADMIN_PASSWORD="password-of-mallory") as theirs:
        assert _sign_in(theirs, forged)[0] == 200  # there is a first user by now
        made = theirs.post("/v1/backups", {"passphrase": "swordfish"})
        _, content = download(theirs, made["file"])
    with AgentProcess(tmp_path / "data", INITIAL_ADMIN_PASSWORD=first["password"]) as agent:
        file = upload(agent, content)[1]["file"]
        body = {"passphrase": "swordfish"}
        assert restored(agent, file, body, Cookie="admin_session=" + "0" * 64)["ok"]
        assert (_sign_in(agent, first)[0], _sign_in(agent, forged)[0]) == (200, 401)
        _, headers, _ = _sign_in(agent, first)
        cookie = headers["set-cookie"].partition(";")[0]
        change = {"current_password": first["password"], "new_password": "another-password"}
        assert agent.request("POST", "/v1/auth/password", change, {"Cookie": cookie})[0] == 200
        assert restored(agent, file, body, Cookie=cookie)["ok"]
        assert (_sign_in(agent, first)[0], _sign_in(agent, forged)[0]) == (401, 200)
        assert agent.stop() == 0
