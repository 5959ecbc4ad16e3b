"""What the doctor finds wrong with a folder, a database, a key, a configuration and an address."""

import hashlib
import os
import resource
import socket
import sqlite3
import ssl
import threading
import time
from contextlib import closing
from pathlib import Path

import pytest
from servers.certificates import Authority

from api.cli.doctor import configuration, data_directory, database, libraries, machine, network
from api.cli.doctor.findings import Finding, found_by, ok, overall, problem, warning
from api.cli.doctor.network import Place
from storage import target_state
from storage.database import open_database
from storage.lock import Lock


def states(findings) -> list[str]:
    return [finding.state for finding in findings]


def only(findings) -> Finding:
    (finding,) = findings
    return finding


def look_of(folder: Path) -> dict[str, tuple[str, int, int]]:
    """Content, mode and inode of every file but the index of a log, which every reader writes to."""
    return {
        str(file): (hashlib.sha256(file.read_bytes()).hexdigest(), file.stat().st_mode, file.stat().st_ino)
        for file in sorted(folder.rglob("*"))
        if file.is_file() and not file.name.endswith("-shm")
    }


@pytest.fixture
def data(tmp_path) -> Path:
    """A folder with a database in it."""
    folder = tmp_path / "data"
    stored = open_database(folder / "agent.sqlite")
    connection = {"host": "127.0.0.1", "port": 1}
    body = {"protocol": "modbus", "connection": connection, "enabled": True}
    target_state.insert(stored, "endpoint", "plc", body)
    stored.close()
    return folder


def test_the_worst_finding_counts():
    assert overall([]) == "ok"
    assert overall([ok("a", ""), warning("a", "", ""), ok("a", "")]) == "warning"
    assert overall([problem("a", "", ""), warning("a", "", "")]) == "problem"


def test_a_check_that_fails_is_a_finding():
    def check():
        yield ok("a", "first")
        raise RuntimeError("of its own")

    assert states(found_by("a", check)) == ["ok", "warning"]


# the folder


def test_a_folder_that_is_well(data):
    before = look_of(data)
    found = [
        *data_directory.check_directory(data),
        *data_directory.check_key(data, data / "agent.sqlite"),
        *data_directory.check_lock(data),
        *database.check_database(data / "agent.sqlite", in_use=False),
        *database.check_last_write(data / "agent.sqlite"),
    ]
    assert overall(found) == "ok", found
    assert look_of(data) == before
    assert sorted(one.name for one in data.iterdir()) == sorted(Path(one).name for one in before)


def test_a_folder_that_is_not_there(tmp_path):
    assert only(data_directory.check_directory(tmp_path / "none")).state == "warning"
    assert not (tmp_path / "none").exists()
    (tmp_path / "file").write_text("")
    assert only(data_directory.check_directory(tmp_path / "file")).state == "problem"


def test_a_folder_that_everybody_can_write_to(data):
    data.chmod(0o777)
    assert "chmod o-w" in (only(data_directory.check_directory(data)).do or "")


def test_keys(data):
    key = data / ".master.key"
    key.chmod(0o644)
    assert "chmod 600" in (only(data_directory.check_key(data, data / "agent.sqlite")).do or "")
    key.write_bytes(b"short")
    assert only(data_directory.check_key(data, data / "agent.sqlite")).state == "problem"
    key.unlink()
    assert only(data_directory.check_key(data, data / "agent.sqlite")).state == "problem"
    assert not list(data_directory.check_key(data, data / "none"))


def test_who_holds_the_lock_is_seen_without_locking(data):
    assert data_directory.holder(data) is None
    lock = Lock(data / "agent.lock")
    assert data_directory.holder(data) == os.getpid()
    assert f"process {os.getpid()}" in only(data_directory.check_lock(data)).says
    lock.release()
    assert data_directory.holder(data) is None


def test_space(data, monkeypatch):
    assert only(data_directory.check_space(data / "not" / "yet")).check == "disk"
    real = os.statvfs(data)
    few = os.statvfs_result((*real[:4], 10, 5, 1000, 20, *real[8:]))
    monkeypatch.setattr(os, "statvfs", lambda path: few)
    assert states(data_directory.check_space(data)) == ["problem", "warning"]


# the database


def test_a_damaged_database(data):
    file = data / "agent.sqlite"
    raw = bytearray(file.read_bytes())
    raw[4096:12_288] = os.urandom(8192)
    file.write_bytes(raw)
    found = list(database.check_database(file, in_use=False))
    assert overall(found) == "problem"
    assert "backup" in (next(one for one in found if one.state == "problem").do or "")


@pytest.mark.parametrize("content", [b"", b"not a database, but long enough to be read as one" * 20])
def test_a_file_that_is_no_database_is_no_crash(tmp_path, content):
    file = tmp_path / "agent.sqlite"
    file.write_bytes(content)
    before = look_of(tmp_path)
    list(found_by("database", lambda: database.check_database(file, in_use=False)))
    assert look_of(tmp_path) == before


def test_a_database_in_use_is_read_with_its_log_and_a_killed_ones_is_left_as_it_is(data):
    stored = open_database(data / "agent.sqlite")
    target_state.insert(stored, "endpoint", "second", {"protocol": "modbus", "connection": {}})
    before = look_of(data)
    found = list(database.check_database(data / "agent.sqlite", in_use=True))
    assert overall(found) == "ok", found
    assert look_of(data) == before
    copied = data.with_name("killed")
    copied.mkdir()
    for name in ("agent.sqlite", "agent.sqlite-wal", ".master.key"):  # without its index
        (copied / name).write_bytes((data / name).read_bytes())
    stored.close()
    before = look_of(copied)
    assert overall(database.check_database(copied / "agent.sqlite", in_use=False)) == "ok"
    assert look_of(copied) == before
    assert not (copied / "agent.sqlite-shm").exists()


def test_a_database_of_a_newer_version(data):
    with closing(sqlite3.connect(data / "agent.sqlite")) as connection, connection:
        connection.execute(
            "INSERT INTO _sqlite_migrations (migration_set, name, applied_at)"
            " SELECT migration_set, '9999_future', applied_at FROM _sqlite_migrations LIMIT 1"
        )
    found = [
        one for one in database.check_database(data / "agent.sqlite", in_use=False) if one.check == "schema"
    ]
    assert only(found).state == "problem"
    assert "9999_future" in found[0].says


def test_a_check_that_would_take_long_ends(data, monkeypatch):
    monkeypatch.setattr(database, "LOOK_SECONDS", -1.0)
    monkeypatch.setattr("storage.reading_only.STEPS", 1)
    began = time.monotonic()
    found = list(database.check_database(data / "agent.sqlite", in_use=False))
    assert time.monotonic() - began < 1
    assert found[0].state == "warning"


def test_a_clock_that_was_set_back(data):
    file = data / "agent.sqlite"
    later = time.time() + 86_400
    os.utime(file, (later, later))
    assert only(database.check_last_write(file)).state == "problem"


# the machine


def test_a_clock_that_started_anew(monkeypatch):
    monkeypatch.setattr(machine, "unix_ms", lambda: 86_400_000)
    assert only(machine.check_clock()).state == "problem"


@pytest.mark.parametrize(("kept", "state"), [(True, ["ok"]), (False, ["warning"]), (None, [])])
def test_a_clock_that_somebody_keeps_right_or_nobody(monkeypatch, kept, state):
    monkeypatch.setattr(machine, "_is_synchronised", lambda: kept)
    assert states(machine.check_clock()) == state


def test_the_kernel_says_whether_the_clock_is_kept_right():
    assert machine._is_synchronised() in (True, False, None)


def test_few_descriptors(monkeypatch):
    monkeypatch.setattr(resource, "getrlimit", lambda which: (256, 1024))
    assert only(machine.check_descriptors(None)).state == "warning"
    assert only(machine.check_descriptors(os.getpid())).check == "descriptors"


def test_a_group_with_little_memory_that_has_killed(monkeypatch, tmp_path):
    (tmp_path / "memory.max").write_text("67108864\n")
    (tmp_path / "memory.events").write_text("low 0\nhigh 0\nmax 3\noom 2\noom_kill 2\n")
    monkeypatch.setattr(machine, "_control_group", lambda: tmp_path)
    assert states(machine.check_memory()) == ["warning", "warning"]
    (tmp_path / "memory.max").write_text("max\n")
    (tmp_path / "memory.events").write_text("nonsense")
    assert states(machine.check_memory()) == ["ok"]


def test_units(monkeypatch):
    failed = {"ActiveState": "failed", "SubState": "failed", "Result": "watchdog", "NRestarts": "9"}
    assert states(machine._service(failed)) == ["problem", "warning"]
    well = {"ActiveState": "active", "SubState": "running", "UnitFileState": "enabled", "WatchdogUSec": "30s"}
    assert states(machine._service(well)) == ["ok"]
    assert states(machine._service(well | {"UnitFileState": "disabled", "WatchdogUSec": "0"})) == [
        "warning",
        "warning",
    ]


def test_libraries(monkeypatch):
    assert overall(libraries.check_libraries()) == "ok"
    required = [
        "msgspec>=0.20",
        "no-such-library>=1",
        'amqtt<1; extra == "demo"',
        'old; python_version < "3.0"',
    ]
    monkeypatch.setattr(libraries.metadata, "requires", lambda name: required)
    found = list(libraries.check_libraries())
    assert [one.says.split()[0] for one in found if one.state == "problem"] == ["no-such-library"]


# the configuration


@pytest.fixture
def environment(monkeypatch):
    for name in list(os.environ):
        if name.startswith(("DEVICE_API", "API_", "ENABLE_AUTH", "CALLBOARD_")):
            monkeypatch.delenv(name)
    return monkeypatch


@pytest.mark.parametrize(
    ("variables", "worst", "says"),
    [
        ({}, "ok", ""),
        ({"API_SECURITY_MODE": "NONSENSE"}, "problem", "every request is refused"),
        ({"API_SECURITY_MODE": "OPEN"}, "warning", "may do everything"),
        ({"API_SECURITY_MODE": "LOCAL_NETWORK"}, "warning", "may do everything"),
        ({"API_SECURITY_MODE": "API_KEY"}, "problem", "there is none"),
        ({"API_SECURITY_MODE": "API_KEY", "API_KEY": "short"}, "warning", "can be guessed"),
        ({"API_SECURITY_MODE": "API_KEY", "API_KEY": "x" * 32}, "warning", "without TLS"),
        ({"API_SECURITY_MODE": "API_KEY", "API_KEY": "x" * 32, "DEVICE_API_HOST": "127.0.0.1"}, "ok", ""),
        ({"DEVICE_API_HOST": "0.0.0.0"}, "warning", "LOCALHOST_ONLY"),
        ({"CALLBOARD_DURABILTY": "strict"}, "warning", "CALLBOARD_DURABILTY is not read"),
        ({"LOG_LEVEL": "loud"}, "problem", "LOG_LEVEL"),
    ],
)
def test_configurations(environment, variables, worst, says):
    for name, value in variables.items():
        environment.setenv(name, value)
    settings, found = configuration.loaded(None, None)
    assert overall(found) == worst, found
    assert says in " ".join(one.says for one in found if one.state == worst)
    assert (settings is None) == ("LOG_LEVEL" in variables)
    assert "x" * 32 not in repr(found)


@pytest.mark.parametrize(("until", "state"), [(90, "ok"), (3, "warning"), (-0.5, "problem")])
def test_certificates(environment, tmp_path, until, state):
    certificate, key = Authority().issue(valid_until=until)
    for name, text in (("API_TLS_CERT", certificate), ("API_TLS_KEY", key)):
        file = tmp_path / name
        file.write_text(text)
        environment.setenv(name, str(file))
    _, found = configuration.loaded(None, None)
    assert only(one for one in found if one.check == "certificate").state == state
    (tmp_path / "API_TLS_KEY").write_text("no key")
    _, found = configuration.loaded(None, None)
    assert only(one for one in found if one.check == "certificate").state == "problem"


def test_a_file_with_an_unknown_key(environment, tmp_path):
    file = tmp_path / "a.toml"
    file.write_text("[api]\nprot = 1\n")
    settings, found = configuration.loaded(file, None)
    assert settings is None
    assert "api.prot: unknown key" in only(found).says


# the network


def test_ports():
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        assert "ss -ltnp" in (only(network.check_port("127.0.0.1", port)).do or "")
    assert only(network.check_port("127.0.0.1", port)).state == "ok"
    assert only(network.check_port("127.0.0.1", 0)).state == "ok"
    assert "DEVICE_API_HOST" in (only(network.check_port("192.0.2.1", 48484)).do or "")


@pytest.mark.parametrize(
    ("kind", "body", "place"),
    [
        ("modbus", {"host": "10.0.0.1"}, Place("10.0.0.1", 502)),
        ("modbus", {"host": "10.0.0.1", "port": "1502"}, Place("10.0.0.1", 1502)),
        ("modbus", {"port": "/dev/ttyUSB0"}, Place(device="/dev/ttyUSB0")),
        ("modbus", {"serialPort": "/dev/ttyS1", "host": ""}, Place(device="/dev/ttyS1")),
        ("modbus", {"host": "10.0.0.1", "transport": "udp"}, None),
        ("opcua", {"endpointUrl": "opc.tcp://plc/path"}, Place("plc", 4840)),
        ("mqtt", {"brokerUrl": "mqtts://u:p@b"}, Place("b", 8883, True)),
        ("mqtt", {"host": "b"}, Place("b", 1883)),
        ("influxdb", {"url": "http://i:8086/x"}, Place("i", 8086)),
        ("webhook", {"url": "https://w/hook"}, Place("w", 443, True)),
        ("azure-iot", {"connectionString": "HostName=a;DeviceId=d"}, Place("a", 8883, True)),
        ("aws-iot", {"endpoint": "e"}, Place("e", 8883, True)),
        ("mqtt", {}, None),
        ("mqtt", {"brokerUrl": "mqtt://["}, None),
        ("mqtt", {"host": 7, "port": []}, None),
    ],
)
def test_where_something_is(kind, body, place):
    assert network.place_of(kind, body) == place


def test_what_can_be_reached_and_what_cannot(tmp_path, monkeypatch):
    monkeypatch.setattr(network, "REACH_SECONDS", 0.3)
    received = []
    with socket.create_server(("127.0.0.1", 0)) as device:
        port = device.getsockname()[1]

        def serve():
            talk, _ = device.accept()
            with talk:
                received.append(talk.recv(10))

        thread = threading.Thread(target=serve)
        thread.start()
        (found,) = network.check_places("devices", [("plc", Place("127.0.0.1", port))])
        thread.join()
    assert found.state == "ok"
    assert received == [b""]  # a device is told nothing
    places = [
        ("gone", Place("127.0.0.1", port)),
        ("unknown", Place("no-such-host.invalid", 1)),
        ("cable", Place(device=str(tmp_path / "ttyUSB0"))),
        ("null", Place(device=str(tmp_path))),
        ("no name", Place("x" * 70 + ".example", 1)),
    ]
    assert states(network.check_places("devices", places)) == ["problem"] * 5
    assert states(network.check_places("devices", [("serial", Place(device="/dev/null"))])) == ["ok"]


def test_a_server_without_tls_where_there_should_be(monkeypatch):
    monkeypatch.setattr(network, "REACH_SECONDS", 2.0)
    with socket.create_server(("127.0.0.1", 0)) as server:

        def serve():
            talk, _ = server.accept()
            with talk:
                talk.recv(1000)
                talk.sendall(b"HTTP/1.1 400 Bad Request\r\n\r\n")

        thread = threading.Thread(target=serve)
        thread.start()
        (found,) = network.check_places(
            "destinations", [("b", Place("127.0.0.1", server.getsockname()[1], True))]
        )
        thread.join()
    assert found.state == "warning"
    assert ssl  # the module is what refuses it


def test_hundreds_of_dead_addresses_are_tried_at_once(monkeypatch):
    monkeypatch.setattr(network.socket, "create_connection", _slow)
    began = time.monotonic()
    places = [(str(number), Place("192.0.2.1", 502)) for number in range(64)]
    assert states(network.check_places("devices", places)) == ["problem"] * 64
    assert time.monotonic() - began < 2


def test_a_name_server_that_is_away_holds_nobody_up(monkeypatch):
    monkeypatch.setattr(network, "REACH_SECONDS", -0.8)
    waits = threading.Event()

    def resolve(*arguments):
        waits.wait(20)
        raise OSError("given up")

    monkeypatch.setattr(network.socket, "create_connection", resolve)
    began = time.monotonic()
    found = list(network.check_places("devices", [("a", Place("a", 1)), ("null", Place(device="/dev/null"))]))
    assert time.monotonic() - began < 2
    waits.set()
    assert states(found) == ["ok", "problem"]
    assert "1 more" in found[1].says


def _slow(*arguments):
    time.sleep(0.1)
    raise TimeoutError
