"""Secrets in every field of the configuration that may hold one, and a search for them through all that the
agent says and writes: replies, log, tree, metrics, files of the log, backups, every byte of the database."""

import json
import secrets
import sqlite3
import threading
import time
from base64 import b64encode, urlsafe_b64encode
from collections.abc import Callable, Iterator
from http.client import HTTPConnection
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import quote, quote_plus

import pytest
from servers.agent import AgentProcess
from servers.certificates import Authority
from servers.field import on_a_thread
from servers.mosquitto import Mosquitto, free_port
from servers.rude_device import rude_device

from actors.publish import destinations
from conf.environment import ENVIRONMENT
from conf.secret_forms import secrets_in
from conf.settings import SECRETS

pytestmark = pytest.mark.timeout(120)

PATIENCE = 20.0


class Planted:
    """Secrets by where they were put. Some have characters that are escaped or encoded somewhere."""

    def __init__(self) -> None:
        self.by_place: dict[str, str] = {}
        cert, key = Authority().issue()
        self.cert = cert
        self.key = key
        for number, line in enumerate(key.splitlines()):
            if not line.startswith("-----") and len(line) > 16:
                self.by_place[f"private key, line {number}"] = line

    def text(self, place: str, odd: str = "") -> str:
        self.by_place[place] = f"Plant{odd}{secrets.token_hex(8)}"
        return self.by_place[place]

    def base64(self, place: str) -> str:
        self.by_place[place] = b64encode(secrets.token_bytes(24)).decode()
        return self.by_place[place]

    def found_in(self, data: bytes) -> dict[str, str]:
        """What of them is in there, and how it is spelled."""
        return {
            place: how
            for place, secret in self.by_place.items()
            for how, form in spelled(secret).items()
            if form in data
        }


def spelled(secret: str) -> dict[str, bytes]:
    plain = secret.encode()
    forms = {
        "as it is": plain,
        "as JSON": json.dumps(secret)[1:-1].encode(),
        "escaped": repr(secret)[1:-1].encode(),
        "in a URL": quote(secret, safe="").encode(),
        "in a form": quote_plus(secret).encode(),
        "in hex": plain.hex().encode(),
        "as UTF-16": secret.encode("utf-16-le"),
    }
    for before in range(3):
        for encode in (b64encode, urlsafe_b64encode):
            encoded = encode(bytes(before) + plain).decode()
            core = encoded[-(-before * 8 // 6) : (before + len(plain)) * 8 // 6]
            forms[f"{encode.__name__} after {before}"] = core.encode()
    return forms


class Echo(BaseHTTPRequestHandler):
    """Refuses everything, and says all that it was told, as some servers do."""

    def do_POST(self) -> None:
        self.rfile.read(int(self.headers.get("Content-Length") or 0))
        basic = b64encode(f"user:{self.headers.get('Authorization', '')}".encode()).decode()
        told = f"refused {self.path} with {dict(self.headers)!r} {quote(str(self.headers))} {basic}".encode()
        self.send_response(400)
        self.send_header("Content-Type", "text/plain")
        self.send_header("Content-Length", str(len(told)))
        self.end_headers()
        self.wfile.write(told)

    do_GET = do_PUT = do_POST  # noqa: N815 - the library's names

    def log_message(self, *args: object) -> None:
        """Nobody reads it."""


@pytest.fixture(scope="module")
def echo() -> Iterator[int]:
    with ThreadingHTTPServer(("127.0.0.1", 0), Echo) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield server.server_port
        server.shutdown()


@pytest.fixture(scope="module")
def planted() -> Planted:
    return Planted()


def environment(planted: Planted) -> dict[str, str]:
    """Every secret of files and environment that there is."""
    values = {
        "azure_iot.connection_string": "HostName=h.example;DeviceId=d;SharedAccessKey="
        + planted.base64("azure_iot.connection_string"),
        "aws_iot.private_key": planted.key,
    }
    variables = {key: variable for variable, key in ENVIRONMENT.items() if key in SECRETS}
    assert variables.keys() == SECRETS, (
        "a secret that no environment variable sets has to be planted in a file"
    )
    hidden = {variable: values.get(key) or planted.text(key) for key, variable in variables.items()}
    index = f"https://u:{planted.text('index', 'p_')}@127.0.0.1:{free_port()}/simple"
    return hidden | {"CALLBOARD_UPDATE_INDEX_URL": index}


def mqtt_connections(planted: Planted, broker: int) -> dict[str, dict[str, Any]]:
    text = planted.text
    hashed = f"$7$101$c2FsdA==${planted.base64('mqtt account')}"
    return {
        "hall-url": {"brokerUrl": f"mqtt://user:{text('mqtt endpoint url', 'p-_')}@127.0.0.1:{broker}"},
        "hall-password": {
            "host": "127.0.0.1",
            "port": broker,
            "username": "u",
            "password": text("mqtt endpoint", 'é"\\ '),
            "auth": {"mqtt": {"username": "device", "passwordFileHash": hashed}},
        },
        "hall-tls": {
            "brokerUrl": f"mqtts://127.0.0.1:{broker}",
            "cert": planted.cert,
            "key": planted.key,
            "username": "u",
            "password": text("mqtts endpoint", "%/+"),
        },
    }


def configurations(planted: Planted, echo: int, broker: int) -> dict[str, tuple[str, dict[str, Any]]]:
    """Of each type of destinations at least one, with all of its secrets."""
    text, base64 = planted.text, planted.base64
    away = {"port": free_port()}
    return {
        "mqtt-url": ("mqtt", {"brokerUrl": f"mqtt://user:{text('mqtt url', 'p-_')}@127.0.0.1:{broker}"}),
        "mqtt-password": (
            "mqtt", {"host": "127.0.0.1", "port": broker, "username": "u", "password": text("mqtt", 'é"\\ ')}
        ),
        "mqtt-tls": (
            "mqtt",
            {"brokerUrl": f"mqtts://127.0.0.1:{broker}", "cert": planted.cert, "key": planted.key,
             "username": "u", "password": text("mqtts", "%/+")},
        ),
        "influx": (
            "influxdb",
            {"url": f"http://127.0.0.1:{echo}", "token": text("influx", "=="), "org": "o", "bucket": "b"},
        ),
        "webhook": (
            "webhook",
            {"url": f"http://127.0.0.1:{echo}/x?sig={text('webhook query')}",
             "headers": {"Authorization": f"Bearer {text('webhook header')}", "X-Short": text("webhook own")},
             "hmac": {"secret": text("webhook hmac", "&<é")}},
        ),
        "webhook-tls": (
            "webhook",
            {"url": f"https://127.0.0.1:{echo}/", "cert": planted.cert, "key": planted.key},
        ),
        "azure": (
            "azure-iot",
            {"hostName": "127.0.0.1", "deviceId": "d", **away,
             "auth": {"sharedAccessKey": base64("azure key")}},
        ),
        "azure-string": (
            "azure-iot",
            {"connectionString": "HostName=127.0.0.1;DeviceId=d;SharedAccessKey=" + base64("azure string"),
             **away, "auth": {}},
        ),
        "aws": (
            "aws-iot", {"endpoint": "127.0.0.1", **away, "auth": {"cert": planted.cert, "key": planted.key}}
        ),
        "gcp-key": (
            "gcp-iot",
            {"endpoint": "127.0.0.1", **away, "clientId": "projects/p/locations/l/registries/r/devices/d",
             "auth": {"privateKey": planted.key, "algorithm": "ES256"}},
        ),
        "gcp-jwt": (
            "gcp-iot",
            {"endpoint": "127.0.0.1", **away, "clientId": "projects/p/locations/l/registries/r/devices/d",
             "auth": {"jwt": text("gcp jwt", ".a.")}},
        ),
    }  # fmt: skip


def test_every_secret_of_every_type_is_known_by_its_name(planted):
    """What is not found here would not be masked in the log."""
    for name in destinations.TYPES:
        for key in destinations.find(name).secrets:
            value = {"X-Own": "planted-in-here"} if key == "headers" else "planted-in-here"
            assert list(secrets_in({key: value})) == ["planted-in-here"], (name, key)


def test_all_types_are_planted(planted):
    configs = configurations(Planted(), 1, 1)
    for name in destinations.TYPES:
        given = [json.dumps(config) for kind, config in configs.values() if kind == name]
        for key in destinations.find(name).secrets:
            assert any(f'"{key}"' in one for one in given), (name, key)


@pytest.fixture(scope="module")
def agent(
    tmp_path_factory: pytest.TempPathFactory, planted: Planted, echo: int
) -> Iterator[tuple[AgentProcess, int]]:
    folder = tmp_path_factory.mktemp("planted")
    variables = environment(planted) | {"LOG_LEVEL": "debug", "API_SECURITY_MODE": "API_KEY"}
    with (
        Mosquitto(folder / "broker", username="somebody", password="else") as broker,
        AgentProcess(folder / "data", **variables) as agent,
    ):
        yield agent, broker.port
        assert agent.stop() == 0


class Asking:
    """Every request, with every credential; `said` is all that came back."""

    def __init__(self, agent: AgentProcess, planted: Planted) -> None:
        self.agent = agent
        self.said: dict[str, bytes] = {}
        self.headers = {"X-Api-Key": planted.by_place["api.key"]}

    def ask(self, method: str, path: str, body: Any = None, wanted: int | None = None) -> Any:
        status, reply, content_type = self._ask(method, path, body)
        assert status < 500 or status in (501, 503), (method, path, reply[:500])
        assert wanted is None or status == wanted, (method, path, status, reply[:500])
        return json.loads(reply) if "json" in content_type else reply

    def _ask(self, method: str, path: str, body: Any) -> tuple[int, bytes, str]:
        connection = HTTPConnection("127.0.0.1", self.agent.port, timeout=30)
        data = None if body is None else json.dumps(body).encode()
        connection.request(method, path, data, {"Content-Type": "application/json", **self.headers})
        reply = connection.getresponse()
        if reply.headers.get_content_type() == "text/event-stream":
            connection.sock.settimeout(0.3)
            content = _begin_of(reply)
        else:
            content = reply.read()
        cookie = reply.headers.get("Set-Cookie", "")
        connection.close()
        told = bytes(reply.headers) if not cookie else b""
        self.said[f"{method} {path} {len(self.said)}"] = b"%d %b\n%b" % (reply.status, told, content)
        if cookie:
            self.headers = self.headers | {"Cookie": cookie.partition(";")[0]}
        return reply.status, content, reply.headers.get_content_type()


def _begin_of(reply: Any) -> bytes:
    content, until = b"", time.monotonic() + 0.5
    try:
        while time.monotonic() < until and (line := reply.readline()):
            content += line
    except TimeoutError:
        pass
    return content


def until(happened: Callable[[], Any]) -> None:
    deadline = time.monotonic() + PATIENCE
    while not happened():
        assert time.monotonic() < deadline, happened()
        time.sleep(0.05)


def look(ask: Callable[..., Any], options: dict[str, Any], secret: str) -> None:
    """For devices, with these options and others that are refused, now and by rules."""
    bad = {**options, "password": secret}
    ask("POST", "/v1/discover", {"protocols": ["modbus"], "overrides": {"modbus": options}}, 200)
    ask("POST", "/v1/discover", {"protocols": ["modbus"], "overrides": {"modbus": bad}}, 400)
    rule = {"name": "hall", "protocol": "modbus", "params_json": options, "enabled": False}
    uuid = ask("POST", "/v1/discovery-rules", rule, 201)["uuid"]
    ask("POST", "/v1/discovery-rules", {**rule, "name": "bad", "params_json": json.dumps(bad)}, 400)
    ask("POST", "/v1/discovery-rules", {**rule, "name": "bad", "target_json": {"token": secret}})
    ask("PATCH", f"/v1/discovery-rules/{uuid}", {"name": "yard"}, 200)
    ask("POST", f"/v1/discovery-rules/{uuid}/run", None, 200)
    ask("GET", f"/v1/discovery-rules/{uuid}/runs", None, 200)
    ask("GET", "/v1/discovery-rules", None, 200)
    ask("GET", "/v1/discovery-runs", None, 200)
    ask("GET", "/v1/discovery-runs/stream", None, 200)


def snmp_connections(planted: Planted) -> dict[str, dict[str, Any]]:
    """Of agents that nobody is."""
    text, away = planted.text, {"host": "127.0.0.1", "port": 9, "timeout": 100}
    return {
        "snmp-2c": {**away, "community": text("community"), "writeCommunity": text("write community", "/")},
        "snmp-3": {**away, "username": "u", "authKey": text("authKey", "ß"), "privKey": text("privKey", " ")},
    }


def plant(asking: Asking, planted: Planted, echo: int, broker: int, plc: int) -> None:
    """Endpoints, destinations, users: stored, refused, tried out, and used."""
    ask, text = asking.ask, planted.text
    password = planted.by_place["api.initial_admin_password"]
    ask("POST", "/v1/auth/login", {"username": "admin", "password": text("wrong password")}, 401)
    ask("POST", "/v1/auth/login", {"username": "admin", "password": password}, 200)
    planted.by_place["session"] = asking.headers["Cookie"].partition("=")[2]
    new = text("admin's own")
    ask("POST", "/v1/auth/password", {"current_password": password, "new_password": new}, 200)
    ask("POST", "/v1/admin/users", {"username": "viewer", "password": text("a user's", "ü'")}, 201)
    ask("POST", "/v1/admin/users", {"username": "admin", "password": text("a double user's")}, 409)
    ask("PATCH", "/v1/admin/users/viewer", {"password": text("a user's new one"), "role": "operator"})
    ask("PATCH", "/v1/settings", {"logging": {"level": "debug", "enableFilePersistence": True}}, 200)
    points = [{"name": "p", "register": "holding:1", "type": "uint16"}]
    for name, connection in {
        "plc": {"host": "127.0.0.1", "port": plc},
        "plc-tls": {
            "host": "127.0.0.1",
            "port": plc,
            "type": "tls",
            "cert": planted.cert,
            "key": planted.key,
        },
    }.items():
        body = {"name": name, "protocol": "modbus", "connection": connection, "data_points": points}
        ask("POST", "/v1/endpoints", {**body, "poll_interval": 50}, 201)
        bad = {**connection, "password": text(f"{name} password"), "token": text(f"{name} token", "ß\\")}
        ask("POST", "/v1/endpoints", {**body, "name": f"{name}-bad", "connection": bad})
        ask("POST", "/v1/endpoints/test", body, 200)
        ask("POST", f"/v1/endpoints/{name}/test", None, 200)
        ask("POST", "/v1/endpoints/test", {**body, "connection": bad}, 400)
        look(ask, {**connection, "unitId": 1, "timeout": 100}, text(f"{name} look", "é"))
    for name, connection in mqtt_connections(planted, broker).items():
        point = {"topic": "a/b", "metric": "m", "writeTopic": "a/b/set"}
        body = {"name": name, "protocol": "mqtt", "connection": connection, "data_points": [point]}
        ask("POST", "/v1/endpoints", {**body, "poll_interval": 50}, 201)
        ask("POST", "/v1/endpoints/test", body, 200)
        bad = {**connection, "pasword": text(f"{name} slip"), "topic": "a/#/b"}
        ask("POST", "/v1/endpoints", {**body, "name": f"{name}-bad", "connection": bad}, 400)
    for name, connection in snmp_connections(planted).items():
        body = {"name": name, "protocol": "snmp", "connection": connection}
        body["data_points"] = [{"name": "up", "oid": "1.3.6.1.2.1.1.3.0"}]
        ask("POST", "/v1/endpoints", {**body, "poll_interval": 50}, 201)
        bad = {**connection, "comunity": text(f"{name} slip")}
        ask("POST", "/v1/endpoints", {**body, "name": f"{name}-bad", "connection": bad}, 400)
    for name, (kind, config) in configurations(planted, echo, broker).items():
        ask("POST", "/v1/publish/destinations/test", {"type": kind, "config_json": config})
        body = {"name": name, "type": kind, "config_json": config, "enabled": True}
        row = ask("POST", "/v1/publish/destinations", body, 201)
        id = row.get("id") or row["destination"]["id"]
        route = {"publish_destination_id": id, "topics": ["#"], "route_json": {"topic": "t"}}
        ask("POST", "/v1/publish/subscriptions", {**route, "payload_format": "custom"})
        slip = {**config, "pasword": text(f"{name} slip")}
        ask("POST", "/v1/publish/destinations", {**body, "name": "slip", "config_json": slip}, 400)
        ask("PATCH", f"/v1/publish/destinations/{id}", {"type": "x", "config_json": config}, 400)


def ask_all(asking: Asking) -> None:
    """Every GET that there is, with and without what it takes."""
    document = asking.ask("GET", "/v1/openapi.json")
    (uuid, *_) = [one["uuid"] for one in asking.ask("GET", "/v1/endpoints")["endpoints"]]
    known = {"protocol": "modbus", "name": "plc", "username": "admin", "uuid": uuid, "device": "plc"}
    for path, methods in document["paths"].items():
        if "get" not in methods:
            continue
        for id in ("1", "2", "3", "4", "5") if "{id}" in path else ("1",):
            filled = path.replace("{id}", id)
            for name, value in known.items():
                filled = filled.replace(f"{{{name}}}", value)
            while "{" in filled:
                filled = filled[: filled.index("{")] + "plc" + filled[filled.index("}") + 1 :]
            asking.ask("GET", filled)
    for path in ("/v1/actors?format=text", "/v1/logs?limit=1000", "/v1/logs/stream?limit=1000", "/metrics"):
        asking.ask("GET", path, wanted=200)


def test_none_is_in_anything_that_the_agent_says_or_writes(agent, planted, echo):
    agent, broker = agent
    asking = Asking(agent, planted)
    with on_a_thread(rude_device()) as plc:
        plant(asking, planted, echo, broker, plc.port)
        until(lambda: asking.ask("GET", "/v1/buffer/status") and _letters(asking))
        ask_all(asking)
        _back_up(asking, planted)
        _control(asking, planted)
        asking.headers.pop("Cookie")
        ask_all(asking)
    saying = asking.said | {"the terminal": agent.log.read_bytes()}
    saying |= {str(path): path.read_bytes() for path in files(agent.data_dir)}
    assert any("-wal" in name for name in saying)
    assert any(name.endswith(".log") and "callboard-" in name for name in saying)
    leaks = {name: found for name, data in saying.items() if (found := planted.found_in(data))}
    assert leaks == {}


def _control(asking: Asking, planted: Planted) -> None:
    """What would end or change the agent is refused here, for it is installed as no wheel is."""
    signed = {"version": "9.9.9", "signature": planted.text("a signature")}
    asking.ask("POST", "/v1/update", signed)
    asking.ask("POST", "/v1/update", {"version": "9.9.9"})
    asking.ask("POST", "/v1/shutdown", {})


def _letters(asking: Asking) -> bool:
    """Whether a server has told the agent what it was sent, and the agent has kept that."""
    shown = asking.ask("GET", "/v1/publish/destinations")
    echoed = [one["last_error"] or "" for one in shown["publishers"] if one["name"] in ("webhook", "influx")]
    return all("refused /" in error for error in echoed)


def _back_up(asking: Asking, planted: Planted) -> None:
    body = {"passphrase": planted.text("a passphrase", "ö ")}
    asking.ask("POST", "/v1/backups", body, 201)
    asking.ask("POST", "/v1/backups", {}, 201)
    made = asking.ask("GET", "/v1/backups", wanted=200)["backups"]
    assert len(made) >= 2
    for one in made:
        assert len(asking.ask("GET", f"/v1/backups/{one['file']}", wanted=200)) == one["size_bytes"]
        asking.ask("POST", f"/v1/backups/{one['file']}/verify", {}, 200)


def files(folder: Path) -> list[Path]:
    """All but the key, which is one."""
    return [path for path in folder.rglob("*") if path.is_file() and path.name != ".master.key"]


def test_what_the_master_key_holds_is_nowhere_else(agent, planted):
    agent, _ = agent
    key = (agent.data_dir / ".master.key").read_bytes()
    for path in files(agent.data_dir):
        data = path.read_bytes()
        assert key not in data, path
        assert key.hex().encode() not in data, path
        assert b64encode(key).rstrip(b"=") not in data, path


def test_the_search_finds_what_is_there(tmp_path):
    """Else the test above would prove nothing."""
    planted = Planted()
    secret = planted.text("here", 'é"\\ %')
    for form in spelled(secret).values():
        assert "here" in planted.found_in(b"before " + form + b" after")
    database = sqlite3.connect(tmp_path / "x.sqlite")
    database.execute("PRAGMA journal_mode = WAL")
    database.execute("CREATE TABLE t (v)")
    database.execute("INSERT INTO t VALUES (?)", [secret])
    database.commit()
    found = [path.name for path in tmp_path.iterdir() if planted.found_in(path.read_bytes())]
    database.close()
    assert found == ["x.sqlite-wal"]
