import re
from pathlib import Path
from typing import Any

import pytest

from actors.publish.formats.compression import COMPRESSIONS
from conf import redaction
from conf import settings as module
from conf.environment import ENVIRONMENT
from conf.settings import SECRETS, TABLES, TYPES, ConfigError, Settings, load

HOSTS = "a list of host names such as edge-7.plant.example or edge-7.plant.example:8443"
UUID = "3f2b8c1e-90d4-4a57-8e61-0c2d7b9a4f10"

VARIABLES: list[tuple[str, str, object]] = [
    ("DEVICE_UUID", UUID, UUID),
    ("DEVICE_NAME", "null", "null"),
    ("DEVICE_TYPE", "gateway", "gateway"),
    ("LOG_LEVEL", "WARN", "warn"),
    ("MAC_ADDRESS", "00:11:22:33:44:55", "00:11:22:33:44:55"),
    ("OS_VERSION", "12", "12"),
    ("DEVICE_API_HOST", "::1", "::1"),
    ("DEVICE_API_PORT", "8080", 8080),
    ("API_SECURITY_MODE", "Something-Else", "Something-Else"),
    ("ENABLE_AUTH", "true", True),
    ("API_KEY", "s3cret", "s3cret"),
    ("API_REQUIRE_SESSION", "true", True),
    ("INITIAL_ADMIN_PASSWORD", "hunter2", "hunter2"),
    ("API_TLS_CERT", "/etc/callboard/cert.pem", Path("/etc/callboard/cert.pem")),
    ("API_TLS_KEY", "/etc/callboard/key.pem", Path("/etc/callboard/key.pem")),
    ("API_ALLOWED_HOSTS", "a.example, b:8443,", ("a.example", "b:8443")),
    ("DATA_DIR", "/srv/agent", Path("/srv/agent")),
    ("DATABASE_PATH", "/srv/db.sqlite", Path("/srv/db.sqlite")),
    ("LOG_DIR", "/var/log/callboard", Path("/var/log/callboard")),
    ("SQLITE_BUSY_TIMEOUT_MS", "0", 0),
    ("CALLBOARD_DURABILITY", "strict", "strict"),
    ("CALLBOARD_COMPRESSION", "msgpack+deflate", "msgpack+deflate"),
    ("CALLBOARD_MAX_DISK_PERCENT", "20", 20),
    ("AZURE_IOTHUB_CONNECTION_STRING", "HostName=a", "HostName=a"),
    ("AZURE_SAS_TOKEN_TTL_SECONDS", "600", 600),
    ("AWS_IOT_ENDPOINT", "aws.example", "aws.example"),
    ("AWS_IOT_PORT", "443", 443),
    ("AWS_IOT_DEVICE_ID", "press-4", "press-4"),
    ("AWS_IOT_CLIENT_CERT", "a\\nb", "a\\nb"),
    ("AWS_IOT_PRIVATE_KEY", "a\nb", "a\nb"),
    ("AWS_IOT_CA_CERT", "ca", "ca"),
    ("AWS_IOT_PUBLISH_TOPIC_TEMPLATE", "plant/{endpoint}", "plant/{endpoint}"),
    ("GCP_MQTT_ENDPOINT", "gcp.example", "gcp.example"),
    ("GCP_MQTT_PORT", "8884", 8884),
    ("GCP_MQTT_CLIENT_ID", "projects/p/devices/d", "projects/p/devices/d"),
    ("GCP_MQTT_USERNAME", "me", "me"),
    ("GCP_MQTT_JWT", "a.b.c", "a.b.c"),
    ("GCP_MQTT_PASSWORD", "d.e.f", "d.e.f"),
    ("GCP_MQTT_CA_CERT", "ca", "ca"),
    ("GCP_MQTT_PUBLISH_TOPIC_TEMPLATE", "plant/{endpoint}", "plant/{endpoint}"),
    ("BACNET_LOCAL_PORT", "47810", 47810),
    ("BACNET_LOCAL_ADDRESS", "10.0.0.5/24", "10.0.0.5/24"),
    ("BACNET_ENABLED", "false", False),
    ("BACNET_DISCOVERY_TARGETS", "10.0.1.0/24,10.0.2.5-9", ("10.0.1.0/24", "10.0.2.5-9")),
    ("MQTT_BROKER_URL", "mqtt://broker:1883", "mqtt://broker:1883"),
    ("MQTT_USERNAME", "me", "me"),
    ("MQTT_PASSWORD", "m-4711", "m-4711"),
    ("CALLBOARD_SNMP_TRAP_PORT", "1162", 1162),
    ("MQTT_AUTH_DIR", "/etc/mosquitto/auth", Path("/etc/mosquitto/auth")),
    ("ENABLE_FIRST_BOOT_DISCOVERY", "true", True),
    ("ENABLE_PERIODIC_DISCOVERY", "true", True),
    ("DISCOVERY_LIGHT_INTERVAL_MS", "600000", 600_000),
    ("DISCOVERY_FULL_INTERVAL_MS", "7200000", 7_200_000),
    ("MODBUS_TCP_HOST", "10.0.1.100", "10.0.1.100"),
    ("MODBUS_TCP_PORT", "1502", 1502),
    ("MODBUS_SERIAL_PORT", "/dev/ttyUSB0", "/dev/ttyUSB0"),
    ("MODBUS_BAUD_RATE", "19200", 19200),
    ("MODBUS_SLAVE_RANGE_START", "2", 2),
    ("MODBUS_SLAVE_RANGE_END", "247", 247),
    ("MODBUS_TIMEOUT", "500", 500),
    ("OPCUA_DISCOVERY_URLS", "opc.tcp://a:4840, opc.tcp://b", ("opc.tcp://a:4840", "opc.tcp://b")),
    ("BACNET_ENABLED", "false", False),
    ("BACNET_DISCOVERY_TARGETS", "10.0.1.0/24,10.0.2.5-9", ("10.0.1.0/24", "10.0.2.5-9")),
    ("MQTT_DISCOVERY_ROOTS", "plant/#", ("plant/#",)),
    ("MQTT_DISCOVERY_DURATION_MS", "2000", 2000),
    ("MQTT_DISCOVERY_QOS", "1", 1),
    ("HEALTH_CHECK_INTERVAL_MS", "500", 500),
    ("CALLBOARD_SHUTDOWN_COMMAND", "systemctl 'power off'", ("systemctl", "power off")),
    ("UPDATE_COMMAND_SECRET", "hunter2", "hunter2"),
    ("CALLBOARD_UPDATE_INDEX_URL", "https://packages.example/simple", "https://packages.example/simple"),
    ("CALLBOARD_UPDATE_WHEELS", "/srv/wheels", Path("/srv/wheels")),
    ("CALLBOARD_LAUNCHER", "/opt/callboard/bin/callboard", Path("/opt/callboard/bin/callboard")),
]

PAIRS = {"API_TLS_CERT": {"API_TLS_KEY": "/k"}, "API_TLS_KEY": {"API_TLS_CERT": "/c"}}
"""What some of them cannot be set without."""


@pytest.fixture
def user_file(tmp_path: Path) -> Any:
    def write(text: str) -> Path:
        path = tmp_path / "mine.toml"
        path.write_text(text)
        return path

    return write


def value_of(settings: Settings, key: str) -> Any:
    table, name = key.split(".")
    return getattr(getattr(settings, table), name)


def error_of(
    config_file: Path | None, environ: dict[str, str], overrides: dict[str, Any] | None = None
) -> str:
    with pytest.raises(ConfigError) as caught:
        load(config_file, environ, overrides)
    message = str(caught.value)
    assert "\n" not in message
    return message


def test_defaults_are_those_of_the_specification() -> None:
    settings = load(None, {})

    assert settings.api.port == 48484
    assert settings.api.host is None
    assert settings.api.security_mode == "LOCALHOST_ONLY"
    assert settings.api.enable_auth is False
    assert settings.agent.type == "standalone"
    assert settings.agent.uuid is None
    assert settings.storage.busy_timeout_ms == 15000
    assert settings.database_path == Path("data/agent.sqlite")
    assert settings.publish.ttl_hours == 72
    assert settings.health.check_interval_ms == 30000


def test_shipped_file_has_every_setting_once_with_a_comment_naming_its_variable() -> None:
    text = Path(module.__file__).with_name("agent.toml").read_text()
    variables = {key: name for name, key in ENVIRONMENT.items()}
    blocks = dict(re.findall(r"^\[(\w+)\]\n(.*?)(?=^\[|\Z)", text, re.MULTILINE | re.DOTALL))
    assert list(blocks) == list(TABLES)

    for key in TYPES:
        table, name = key.split(".")
        found = re.findall(rf"^{name} = .*?# .*?(?=^\w|\Z)", blocks[table], re.MULTILINE | re.DOTALL)
        assert len(found) == 1, key
        assert re.findall(r"\[([A-Z_]+)\]", found[0]) == ([variables[key]] if key in variables else []), key


def test_later_sources_win(user_file: Any) -> None:
    path = user_file("[api]\nport = 1111\n[agent]\nname = 'from-file'\ntype = 'from-file'\n")
    environ = {"DEVICE_API_PORT": "2222", "DEVICE_NAME": "from-environment"}

    settings = load(path, environ, {"api.port": 3333})

    assert settings.api.port == 3333
    assert settings.agent.name == "from-environment"
    assert settings.agent.type == "from-file"
    assert settings.agent.log_level == "info"


def test_secrets_appear_in_no_text_from_then_on():
    load(None, {"API_KEY": "k-4711-of-the-api", "GCP_MQTT_PASSWORD": "p-4711-of-gcp"})
    assert redaction.clean("k-4711-of-the-api, p-4711-of-gcp") == f"{redaction.MASK}, {redaction.MASK}"
    load(None, {"LOG_DIR": "/srv/key/secret-token"})
    assert redaction.clean("/srv/key/secret-token") == "/srv/key/secret-token"


@pytest.mark.parametrize(("variable", "text", "value"), VARIABLES)
def test_environment_variable_sets_its_key(variable: str, text: str, value: object) -> None:
    assert value_of(load(None, PAIRS.get(variable, {}) | {variable: text}), ENVIRONMENT[variable]) == value


@pytest.mark.parametrize(("given", "missing"), [("API_TLS_CERT", "tls_key"), ("API_TLS_KEY", "tls_cert")])
def test_tls_takes_two_files(given: str, missing: str) -> None:
    assert error_of(None, {given: "/a"}) == (
        f"api.{missing}: is not set, expected a file: TLS takes a certificate and its key"
    )


def test_every_environment_variable_has_been_tried() -> None:
    assert {variable for variable, _, _ in VARIABLES} == set(ENVIRONMENT)


@pytest.mark.parametrize(
    ("environ", "compression"),
    [
        ({"USE_MSGPACK_POC": "true"}, "msgpack"),
        ({"USE_DEFLATE_COMPRESSION": "true"}, "json+deflate"),
        ({"USE_MSGPACK_POC": "true", "USE_DEFLATE_COMPRESSION": "true"}, "msgpack+deflate"),
        ({"USE_MSGPACK_POC": "false", "USE_DEFLATE_COMPRESSION": ""}, "cbor"),
        ({"USE_MSGPACK_POC": "true", "CALLBOARD_COMPRESSION": "JSON"}, "json"),
    ],
)
def test_flags_of_the_original_choose_the_compression(
    user_file: Any, environ: dict[str, str], compression: str
) -> None:
    path = user_file("[publish]\ncompression = 'cbor'")
    assert load(path, environ).publish.compression == compression


def test_every_compression_there_is_can_be_the_default() -> None:
    assert {load(None, {"CALLBOARD_COMPRESSION": name}).publish.compression for name in COMPRESSIONS} == set(
        COMPRESSIONS
    )
    assert load(None, {}).publish.compression == "json"


def test_empty_environment_variable_counts_as_absent() -> None:
    assert load(None, dict.fromkeys(ENVIRONMENT, "")) == load(None, {})


def test_empty_string_in_the_file_unsets() -> None:
    assert load(None, {}, {"agent.name": ""}).agent.name is None


def test_override_of_none_counts_as_absent() -> None:
    assert load(None, {"DATA_DIR": "/a"}, {"storage.data_dir": None}).storage.data_dir == Path("/a")


def test_overrides_take_paths_and_text() -> None:
    settings = load(None, {}, {"storage.data_dir": Path("/b"), "api.port": "0"})
    assert settings.storage.data_dir == Path("/b")
    assert settings.api.port == 0


def test_docker_changes_the_default_data_folder_only(user_file: Any) -> None:
    docker = {"DEPLOYMENT_TYPE": "docker"}
    assert load(None, docker).database_path == Path("/app/data/agent.sqlite")
    assert load(None, {"DEPLOYMENT_TYPE": "systemd"}).storage.data_dir == Path("data")
    assert load(user_file("[storage]\ndata_dir = '/mine'"), docker).storage.data_dir == Path("/mine")
    assert load(None, docker | {"DATA_DIR": "/env"}).storage.data_dir == Path("/env")


def test_database_path_wins_over_the_data_folder() -> None:
    assert load(None, {"DATA_DIR": "/a", "DATABASE_PATH": "/b/c.db"}).database_path == Path("/b/c.db")


@pytest.mark.parametrize("text", ["abc", "80 80", "8080.5", "\t"])
def test_port_that_is_not_a_number_falls_back_to_the_default_with_a_warning(
    user_file: Any, text: str, caplog: pytest.LogCaptureFixture
) -> None:
    assert load(user_file("[api]\nport = 1"), {"DEVICE_API_PORT": text}).api.port == 48484
    assert "DEVICE_API_PORT" in caplog.text


@pytest.mark.parametrize("text", ["70000", "-1", "9" * 30])
def test_port_that_is_a_number_out_of_range_is_an_error(text: str) -> None:
    message = error_of(None, {"DEVICE_API_PORT": text})
    assert message == f"DEVICE_API_PORT: '{text}' is not allowed, expected an integer from 0 to 65535"


@pytest.mark.parametrize(
    ("variable", "text", "allowed"),
    [
        ("DEVICE_UUID", "not-a-uuid", "a UUID such as 3f2b8c1e-90d4-4a57-8e61-0c2d7b9a4f10"),
        ("DEVICE_UUID", UUID + "\n", "a UUID such as 3f2b8c1e-90d4-4a57-8e61-0c2d7b9a4f10"),
        ("LOG_LEVEL", "loud", "one of debug, info, warn, error"),
        ("ENABLE_AUTH", "maybe", "true or false"),
        ("SQLITE_BUSY_TIMEOUT_MS", "1.5", "an integer from 0 to 600000"),
        ("CALLBOARD_DURABILITY", "none", "one of group, strict"),
        (
            "CALLBOARD_COMPRESSION",
            "gzip",
            "one of json, msgpack, json+deflate, msgpack+deflate, cbor, cbor+deflate",
        ),
        ("CALLBOARD_MAX_DISK_PERCENT", "0", "an integer from 1 to 100"),
        ("AZURE_SAS_TOKEN_TTL_SECONDS", "0", "an integer from 5 to 31536000"),
        ("API_ALLOWED_HOSTS", "http://a.example", HOSTS),
        ("AWS_IOT_PORT", "0", "an integer from 1 to 65535"),
        ("GCP_MQTT_PORT", "mqtt", "an integer from 1 to 65535"),
        ("HEALTH_CHECK_INTERVAL_MS", "soon", "an integer from 100 to 86400000"),
        (
            "CALLBOARD_SHUTDOWN_COMMAND",
            "sh -c 'unfinished",
            'a list of texts such as ["systemctl", "poweroff"]',
        ),
        ("DEVICE_NAME", "K\udcfchlhaus", "UTF-8 without NUL"),
        ("DATABASE_PATH", "/data/K\udcfchlhaus.sqlite", "UTF-8 without NUL"),
    ],
)
def test_bad_environment_variable_is_named_with_what_is_allowed(
    variable: str, text: str, allowed: str
) -> None:
    assert error_of(None, {variable: text}) == f"{variable}: {text!r} is not allowed, expected {allowed}"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (
            "[publish]\ncommit_interval_ms = 5",
            "publish.commit_interval_ms: 5 is not allowed, expected an integer from 20 to 10000",
        ),
        ("[api]\nport = '1'", "api.port: '1' is not allowed, expected an integer from 0 to 65535"),
        ("[api]\nport = true", "api.port: True is not allowed, expected an integer from 0 to 65535"),
        ("[api]\nenable_auth = 1", "api.enable_auth: 1 is not allowed, expected true or false"),
        (
            "[api]\nallowed_hosts = ['a.example, b.example']",
            f"api.allowed_hosts: ['a.example, b.example'] is not allowed, expected {HOSTS}",
        ),
        ("[api]\nallowed_hosts = ['*']", f"api.allowed_hosts: ['*'] is not allowed, expected {HOSTS}"),
        (
            "[api]\nhost = 'edge-7:80'",
            "api.host: 'edge-7:80' is not allowed, expected a host name or an address",
        ),
        ("[agent]\ntype = ''", "agent.type: '' is not allowed, expected a non-empty text"),
        ("[storage]\ndata_dir = 5", "storage.data_dir: 5 is not allowed, expected a path"),
        ("[storage]\ndata_dir = ''", "storage.data_dir: '' is not allowed, expected a path"),
        (
            "[endpoints]\nreconnect_min_ms = 90000",
            "endpoints.reconnect_min_ms: 90000 is not allowed, "
            "expected at most endpoints.reconnect_max_ms (60000)",
        ),
        (
            "[health]\ninterval = 5",
            "health.interval: unknown key, [health] has check_interval_ms",
        ),
        (
            "[apii]\nport = 5",
            "apii: unknown table, expected one of agent, api, storage, publish, azure_iot, aws_iot, gcp_iot, "
            "mqtt, bacnet, mosquitto, endpoints, discovery, snmp, actors, health, power, update",
        ),
        ('[agent]\nname = "a\\u0000"', "agent.name: 'a\\x00' is not allowed, expected UTF-8 without NUL"),
        ("health = 5", "health: is a table, expected [health] with the keys check_interval_ms"),
    ],
)
def test_bad_file_is_one_line_naming_the_key(user_file: Any, text: str, message: str) -> None:
    assert error_of(user_file(text), {}) == message


@pytest.mark.parametrize("value", ["[" * 5000, "9" * 5000], ids=["brackets", "digits"])
def test_file_that_the_parser_cannot_take_is_one_line_too(user_file: Any, value: str) -> None:
    assert "is not valid TOML: " in error_of(user_file(f"[api]\nport = {value}"), {})


def test_override_that_is_no_text_is_an_error() -> None:
    with pytest.raises(ConfigError, match=r"storage\.data_dir: .* expected UTF-8 without NUL"):
        load(None, {}, {"storage.data_dir": Path("/data/K\udcfchlhaus")})


def test_long_values_are_shortened() -> None:
    assert len(error_of(None, {"LOG_LEVEL": "x" * 5000})) < 200


def test_unreadable_files_are_named(tmp_path: Path, user_file: Any) -> None:
    missing = tmp_path / "missing.toml"
    assert error_of(missing, {}) == f"--config: '{missing}' cannot be read: No such file or directory"
    assert "is not valid TOML" in error_of(user_file("[api\n"), {})
    binary = tmp_path / "binary.toml"
    binary.write_bytes(b"\xff\xfe")
    assert "cannot be read: not UTF-8 text" in error_of(binary, {})


def test_unknown_override_is_an_error() -> None:
    assert error_of(None, {}, {"api.prot": 1}).startswith("api.prot: unknown key, expected one of")


def test_secrets_are_those_that_their_names_suggest() -> None:
    telling = re.compile(r"\.(key|connection_string|private_key|jwt|(.*_)?password|token|secret|index_url)$")
    assert {key for key in TYPES if telling.search(key)} == SECRETS


@pytest.mark.parametrize("key", sorted(SECRETS))
def test_secrets_are_never_shown(user_file: Any, key: str) -> None:
    table, name = key.split(".")
    message = error_of(user_file(f"[{table}]\n{name} = ['hunter2']"), {})
    assert message.startswith(f"{key}: the value (not shown) is not allowed, expected a ")
    assert "hunter2" not in error_of(user_file(f"[{table}]\n{name}y = 'hunter2'"), {})
    settings = load(None, {}, {key: "hunter2"})
    assert value_of(settings, key) == "hunter2"
    assert "hunter2" not in repr(settings)


def test_what_is_no_secret_is_shown() -> None:
    shown = repr(load(None, {"AWS_IOT_ENDPOINT": "aws.example"}))
    assert "AwsIotSettings(endpoint='aws.example', port=8883" in shown
    assert "ApiSettings(host=None" in shown
