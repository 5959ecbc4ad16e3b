"""The tables of the configuration, and what their settings may be."""

import shlex
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal

import msgspec
from msgspec import Meta

from conf.annotations import allowed, reads
from conf.fields import Host, listed, lower

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
