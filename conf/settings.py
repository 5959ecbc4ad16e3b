"""The one reader of configuration files and of the environment.

Later wins: `agent.toml` (shipped, every default), the user's TOML file, environment variables
(spec 06 section 12), overrides. Anything wrong is a `ConfigError`.
"""

import logging
import re
import shlex
import tomllib
from collections.abc import Iterator, Mapping
from importlib import resources
from pathlib import Path
from typing import Annotated, Any, ClassVar, Final, Literal

import msgspec
from msgspec import Meta

from conf import redaction
from conf.annotations import allowed, optional, reader, reads
from conf.environment import ENVIRONMENT
from conf.faults import words
from conf.fields import Host, listed, lower
from conf.secret_forms import secrets_in
from conf.texts import is_broken_text

logger = logging.getLogger(__name__)

Uuid = Annotated[
    str,
    Meta(pattern=r"^[0-9A-Fa-f]{8}(-[0-9A-Fa-f]{4}){3}-[0-9A-Fa-f]{12}\Z"),
    allowed("a UUID such as 3f2b8c1e-90d4-4a57-8e61-0c2d7b9a4f10"),
]
Text = Annotated[str, Meta(min_length=1), allowed("a non-empty text")]
File = Annotated[Path, allowed("a path")]
FileName = Annotated[str, Meta(pattern=r"^[^/\0]*[^/.\0][^/\0]*\Z"), allowed("the name of a file")]


def _words(value: Any) -> Any:
    """A list of words, also one that is a text as for a shell."""
    return shlex.split(value) if isinstance(value, str) else value


Command = Annotated[
    tuple[str, ...],
    allowed('a list of texts such as ["systemctl", "poweroff"]'),
    reads(_words),
]
Milliseconds = Annotated[int, Meta(ge=100, le=86_400_000)]
ScanInterval = Annotated[int, Meta(ge=60_000, le=2_592_000_000)]
Count = Annotated[int, Meta(ge=1, le=1_000_000_000)]
Bytes = Annotated[int, Meta(ge=1024, le=1_099_511_627_776)]
Port = Annotated[int, Meta(ge=1, le=65535)]
GoodHost = Annotated[
    str, Meta(pattern=r"^([0-9A-Za-z_-]+(\.[0-9A-Za-z_-]+)*\.?|\[[0-9A-Fa-f:.]+\])(:[0-9]{1,5})?\Z")
]
Password = Annotated[str, Meta(min_length=6, max_length=1024), allowed("a text of 6 to 1024 characters")]
Hosts = Annotated[
    tuple[GoodHost, ...],
    allowed("a list of host names such as edge-7.plant.example or edge-7.plant.example:8443"),
    reads(listed),
]
Listed = Annotated[
    tuple[Text, ...], allowed("a list of texts, or one text with commas between"), reads(listed)
]


class ConfigError(Exception):
    """Configuration that stops the start: one line naming the key, its value and what is allowed."""

    def __init__(self, message: str) -> None:
        super().__init__(" ".join(message.split()))


class Confidential(msgspec.Struct, frozen=True):
    """A table some of whose values, the `HIDDEN` ones, must not reach a log."""

    HIDDEN: ClassVar[tuple[str, ...]]

    def __repr__(self) -> str:
        """Every field but those."""
        names = (name for name in self.__struct_fields__ if name not in self.HIDDEN)
        shown = ", ".join(f"{name}={getattr(self, name)!r}" for name in names)
        return f"{type(self).__name__}({shown})"


class AgentSettings(msgspec.Struct, frozen=True):
    """Identity and logging; None is "not set"."""

    uuid: Uuid | None
    name: Text | None
    type: Text
    log_level: Annotated[Literal["debug", "info", "warn", "error"], reads(lower)]
    mac_address: Text | None
    os_version: Text | None


class ApiSettings(Confidential, frozen=True):
    """The HTTP API. `security_mode` is kept verbatim: an unknown one is the gateway's to refuse
    (spec 01 section 1.1)."""

    HIDDEN: ClassVar = ("key", "initial_admin_password")

    host: Host | None
    port: Annotated[int, Meta(ge=0, le=65535)]
    security_mode: Text
    enable_auth: bool
    key: Text | None
    require_session: bool
    initial_admin_password: Password | None
    allowed_hosts: Hosts
    tls_cert: File | None
    tls_key: File | None
    request_timeout_ms: Milliseconds
    max_connections: Annotated[int, Meta(ge=8, le=100_000)]
    max_connections_per_peer: Annotated[int, Meta(ge=1, le=100_000)]


class StorageSettings(msgspec.Struct, frozen=True):
    data_dir: File
    database: File | None
    log_dir: File | None
    busy_timeout_ms: Annotated[int, Meta(ge=0, le=600_000)]


class PublishSettings(msgspec.Struct, frozen=True):
    """Delivery; `max_bytes`, `max_rows`, `memory_bytes` and `window` are per destination, `max_disk_percent`
    is for all of them. `compression` is that of subscriptions that name none."""

    durability: Annotated[Literal["group", "strict"], reads(lower)]
    compression: Annotated[
        Literal["json", "msgpack", "json+deflate", "msgpack+deflate", "cbor", "cbor+deflate"], reads(lower)
    ]
    commit_interval_ms: Annotated[int, Meta(ge=20, le=10_000)]
    ttl_hours: Annotated[int, Meta(ge=1, le=87_600)]
    max_bytes: Bytes
    max_disk_percent: Annotated[int, Meta(ge=1, le=100)]
    max_rows: Count
    memory_bytes: Bytes
    window: Annotated[int, Meta(ge=1, le=65_535)]
    replay_per_second: Annotated[int, Meta(ge=0, le=1_000_000)]
    attempts_per_minute: Annotated[int, Meta(ge=0, le=600)]


class AzureIotSettings(Confidential, frozen=True):
    """What Azure destinations take that say nothing themselves (spec 02 section 8.4)."""

    HIDDEN: ClassVar = ("connection_string",)

    connection_string: Text | None
    token_ttl_seconds: Annotated[int, Meta(ge=5, le=31_536_000)]


class AwsIotSettings(Confidential, frozen=True):
    """What AWS destinations take that say nothing themselves (spec 02 section 8.5)."""

    HIDDEN: ClassVar = ("private_key",)

    endpoint: Text | None
    port: Port
    device_id: Text | None
    client_cert: Text | None
    private_key: Text | None
    ca_cert: Text | None
    topic_template: Text | None


class GcpIotSettings(Confidential, frozen=True):
    """What GCP destinations take that say nothing themselves (spec 02 section 8.6)."""

    HIDDEN: ClassVar = ("jwt", "password")

    endpoint: Text
    port: Port
    client_id: Text | None
    username: Text
    jwt: Text | None
    password: Text | None
    ca_cert: Text | None
    topic_template: Text | None


class MqttSettings(Confidential, frozen=True):
    """The broker of MQTT endpoints that name none (spec 03 section 5)."""

    HIDDEN: ClassVar = ("password",)

    broker_url: Text | None
    username: Text | None
    password: Text | None


class BacnetSettings(msgspec.Struct, frozen=True):
    """The agent's own end on BACnet/IP (spec 03 section 4)."""

    local_port: Port
    local_address: Text | None


class MosquittoSettings(msgspec.Struct, frozen=True):
    """The files of the agent's own broker, and how it is told to read them (spec 03 section 5); without
    `auth_dir` they are left alone."""

    auth_dir: File | None
    password_file: FileName
    acl_file: FileName
    pid_file: File | None
    reload_helper: File | None
    container: Annotated[str, Meta(pattern=r"^[0-9A-Za-z][0-9A-Za-z_.-]*\Z")] | None
    docker_socket: File


class EndpointsSettings(msgspec.Struct, frozen=True):
    """Reconnect backoff; min is at most max."""

    reconnect_min_ms: Milliseconds
    reconnect_max_ms: Milliseconds


class DiscoverySettings(msgspec.Struct, frozen=True):
    """When to look for devices unasked, and where to look when nobody says where (spec 03 section 8)."""

    first_boot: bool
    periodic: bool
    light_interval_ms: ScanInterval
    full_interval_ms: ScanInterval
    modbus_tcp_host: Host | None
    modbus_tcp_port: Port
    modbus_serial_port: Text | None
    modbus_baud_rate: Annotated[int, Meta(ge=300, le=4_000_000)]
    modbus_first_unit: Annotated[int, Meta(ge=1, le=247)]
    modbus_last_unit: Annotated[int, Meta(ge=1, le=247)]
    modbus_timeout_ms: Annotated[int, Meta(ge=50, le=60_000)]
    opcua_urls: Listed
    bacnet_enabled: bool
    bacnet_targets: Listed
    mqtt_roots: Listed
    mqtt_duration_ms: Annotated[int, Meta(ge=100, le=600_000)]
    mqtt_qos: Annotated[int, Meta(ge=0, le=2)]


class SnmpSettings(msgspec.Struct, frozen=True):
    """Where the traps of devices are received; 0: nowhere."""

    trap_port: Annotated[int, Meta(ge=0, le=65_535)]


class ActorsSettings(msgspec.Struct, frozen=True):
    mailbox_size: Annotated[int, Meta(ge=10, le=10_000_000)]


class HealthSettings(msgspec.Struct, frozen=True):
    check_interval_ms: Milliseconds


class PowerSettings(msgspec.Struct, frozen=True):
    """How the machine is shut down; an empty command: not at all."""

    shutdown_command: Command
    shutdown_timeout_ms: Milliseconds


class UpdateSettings(Confidential, frozen=True):
    """How the agent exchanges itself; `launcher` is the one that has started it."""

    HIDDEN: ClassVar = ("secret", "index_url")

    secret: Text | None
    index_url: Text | None
    wheels: File | None
    files: File | None
    min_free_mb: Annotated[int, Meta(ge=0, le=1_000_000)]
    min_interval_hours: Annotated[int, Meta(ge=0, le=8760)]
    install_timeout_ms: Milliseconds
    healthy_ms: Milliseconds
    trial_ms: Annotated[int, Meta(ge=1000, le=86_400_000)]
    launcher: File | None


class Settings(msgspec.Struct, frozen=True):
    """Everything configurable, one struct per table of `agent.toml`."""

    agent: AgentSettings
    api: ApiSettings
    storage: StorageSettings
    publish: PublishSettings
    azure_iot: AzureIotSettings
    aws_iot: AwsIotSettings
    gcp_iot: GcpIotSettings
    mqtt: MqttSettings
    bacnet: BacnetSettings
    mosquitto: MosquittoSettings
    endpoints: EndpointsSettings
    discovery: DiscoverySettings
    snmp: SnmpSettings
    actors: ActorsSettings
    health: HealthSettings
    power: PowerSettings
    update: UpdateSettings

    @property
    def database_path(self) -> Path:
        return self.storage.database or self.storage.data_dir / "agent.sqlite"


TABLES: Final[Mapping[str, Any]] = {table.name: table.type for table in msgspec.structs.fields(Settings)}
SECRETS: Final = frozenset(
    f"{table}.{name}"
    for table, struct in TABLES.items()
    if issubclass(struct, Confidential)
    for name in struct.HIDDEN
)
TYPES: Final[Mapping[str, Any]] = {
    f"{table}.{field.name}": field.type
    for table, struct in TABLES.items()
    for field in msgspec.structs.fields(struct)
}


def load(
    config_file: Path | None, environ: Mapping[str, str], overrides: Mapping[str, Any] | None = None
) -> Settings:
    """Read the settings; raises `ConfigError`.

    `overrides` maps dotted keys ("storage.data_dir") to values, typically from the command line;
    a value of None counts as not given.
    """
    shipped = _from_toml(resources.files("conf").joinpath("agent.toml").read_text("utf-8"), "agent.toml")
    values = dict(shipped)
    if environ.get("DEPLOYMENT_TYPE") == "docker":
        values["storage.data_dir"] = Path("/app/data")
    if config_file is not None:
        values |= _from_toml(_read(config_file), str(config_file))
    values |= _from_environment(environ, shipped["api.port"])
    values |= _from_overrides(overrides or {})
    settings = _assemble(values)
    redaction.keep("settings", _secrets(settings))
    _check_together(settings)
    return settings


def _secrets(settings: Settings) -> Iterator[str]:
    """The hidden values, and what URLs in others hold. Files may be named like what is in them."""
    for key in TYPES:
        table, _, name = key.partition(".")
        yield from secrets_in(getattr(getattr(settings, table), name), secret=key in SECRETS)


def _read(config_file: Path) -> str:
    try:
        return config_file.read_text("utf-8")
    except (OSError, UnicodeDecodeError) as error:
        reason = getattr(error, "strerror", None) or "not UTF-8 text"
        raise ConfigError(f"--config: {str(config_file)!r} cannot be read: {reason}") from error


def _from_toml(text: str, name: str) -> dict[str, Any]:
    try:
        document = tomllib.loads(text)
    except RecursionError as error:
        raise ConfigError(f"--config: {name!r} is not valid TOML: nested too deeply") from error
    except ValueError as error:  # of numbers with thousands of digits, too
        raise ConfigError(f"--config: {name!r} is not valid TOML: {error}") from error
    values = {}
    for table, content in document.items():
        if table not in TABLES:
            raise ConfigError(f"{table}: unknown table, expected one of {_listed(TABLES)}")
        known = TABLES[table].__struct_fields__
        if not isinstance(content, dict):
            raise ConfigError(f"{table}: is a table, expected [{table}] with the keys {_listed(known)}")
        for key, value in content.items():
            if key not in known:
                raise ConfigError(f"{table}.{key}: unknown key, [{table}] has {_listed(known)}")
            values[f"{table}.{key}"] = _accept(f"{table}.{key}", f"{table}.{key}", value, text=False)
    return values


def _from_environment(environ: Mapping[str, str], default_port: int) -> dict[str, Any]:
    values: dict[str, Any] = _compression_flags(environ)
    for variable, key in ENVIRONMENT.items():
        value = environ.get(variable, "")
        if not value:
            continue
        if key == "api.port" and not re.fullmatch(r"[+-]?[0-9]+", value):
            # Spec 01 section 1: the one value that falls back instead of stopping the start.
            logger.warning("%s: %s is not a number, using %d", variable, _shown(key, value), default_port)
            values[key] = default_port
            continue
        values[key] = _accept(variable, key, value, text=True)
    return values


def _compression_flags(environ: Mapping[str, str]) -> dict[str, Any]:
    """The two flags of the original, which `CALLBOARD_COMPRESSION` overrides (spec 02 section 6)."""
    packed = environ.get("USE_MSGPACK_POC") == "true"
    deflated = environ.get("USE_DEFLATE_COMPRESSION") == "true"
    if not packed and not deflated:
        return {}
    return {"publish.compression": ("msgpack" if packed else "json") + ("+deflate" if deflated else "")}


def _from_overrides(overrides: Mapping[str, Any]) -> dict[str, Any]:
    for key in overrides:
        if key not in TYPES:
            raise ConfigError(f"{key}: unknown key, expected one of {_listed(TYPES)}")
    return {key: _accept(key, key, value, text=True) for key, value in overrides.items() if value is not None}


def _accept(label: str, key: str, value: Any, *, text: bool) -> Any:
    """`value` as the type of `key`; `label` is what the error calls the key.

    With `text`, a string may spell a number or a truth value. An empty string is None where None is
    possible.
    """
    annotation = TYPES[key]
    if value == "" and optional(annotation):
        return None
    if is_broken_text(str(value) if isinstance(value, Path) else value):
        raise ConfigError(f"{label}: {_shown(key, value)} is not allowed, expected UTF-8 without NUL")
    try:
        read = reader(annotation)
        meant = read(value) if read else value
        return msgspec.convert(meant, annotation, strict=not text, dec_hook=_as_path)
    except (ValueError, msgspec.ValidationError) as error:
        raise ConfigError(
            f"{label}: {_shown(key, value)} is not allowed, expected {words(annotation)}"
        ) from error


def _as_path(_kind: type, value: Any) -> Path:
    if isinstance(value, Path):
        return value
    if not isinstance(value, str) or not value:
        raise msgspec.ValidationError("not a path")
    return Path(value)


def _assemble(values: Mapping[str, Any]) -> Settings:
    return Settings(
        **{
            table: struct(**{name: values[f"{table}.{name}"] for name in struct.__struct_fields__})
            for table, struct in TABLES.items()
        }
    )


def _check_together(settings: Settings) -> None:
    endpoints = settings.endpoints
    if endpoints.reconnect_min_ms > endpoints.reconnect_max_ms:
        raise ConfigError(
            f"endpoints.reconnect_min_ms: {endpoints.reconnect_min_ms} is not allowed, "
            f"expected at most endpoints.reconnect_max_ms ({endpoints.reconnect_max_ms})"
        )
    mosquitto = settings.mosquitto
    if mosquitto.password_file == mosquitto.acl_file:
        raise ConfigError(
            f"mosquitto.acl_file: {mosquitto.acl_file!r} is not allowed, expected another file than "
            "mosquitto.password_file"
        )
    discovery = settings.discovery
    if discovery.modbus_first_unit > discovery.modbus_last_unit:
        raise ConfigError(
            f"discovery.modbus_first_unit: {discovery.modbus_first_unit} is not allowed, "
            f"expected at most discovery.modbus_last_unit ({discovery.modbus_last_unit})"
        )
    pair = {"api.tls_cert": settings.api.tls_cert, "api.tls_key": settings.api.tls_key}
    missing = [name for name, file in pair.items() if file is None]
    if len(missing) == 1:
        raise ConfigError(f"{missing[0]}: is not set, expected a file: TLS takes a certificate and its key")
    update = settings.update
    if update.healthy_ms >= update.trial_ms:
        raise ConfigError(
            f"update.healthy_ms: {update.healthy_ms} is not allowed, expected less than update.trial_ms"
            f" ({update.trial_ms})"
        )


def _shown(key: str, value: Any) -> str:
    """The value on one line, short, and never a secret."""
    if key in SECRETS:
        return "the value (not shown)"
    text = repr(value)
    return text if len(text) <= 80 else f"{text[:77]}..."


def _listed(names: Any) -> str:
    return ", ".join(str(name) for name in names)
