"""The `connection` object of an MQTT endpoint (spec 03 section 5)."""

import re
from datetime import UTC, tzinfo
from hashlib import sha256
from typing import Annotated, Any, Literal
from urllib.parse import urlsplit
from zoneinfo import ZoneInfo

import msgspec
from msgspec import Meta

from actors.endpoints.discovering import At
from actors.mqtt import broker_url
from actors.mqtt.broker import V5, V311, Broker, check_pems, version, with_what_is_said
from actors.mqtt.broker_url import websocket_path
from actors.mqtt.fields import Limited, Port, limited
from actors.system.checking import checked
from actors.system.failure import Refusal
from conf.annotations import allowed, also, reads, spelled
from conf.fields import NUMERAL, Flag, Host, Line, Pem, Text, filled, kept, one_line, trimmed
from conf.settings import Settings
from conf.tables import MqttSettings

from . import paths, patterns
from .patterns import Pattern

ROOT = "connection"
MAX_PAYLOAD = 1_048_576
MAX_METRICS = 10_000
MAX_DEVICES = 1000
KEEPALIVE = 30
EVERYTHING = "#"
STATUS = "device/{device}/status"
DEVICE_KEYS = ("deviceId", "device_id", "device_uuid")
TIME_KEYS = ("timestamp", "ts", "time")

_UNUSUAL = {
    "protocolVersion": ("5", "5.0"),
    "cleanSession": ("true", "1"),
    "rejectUnauthorized": ("false", "0"),
}
_HASH = re.compile(r"\$(6|7)\$[0-9$]{0,12}[A-Za-z0-9+/=]{1,256}\$[A-Za-z0-9+/=]{1,256}", re.ASCII)


def path(value: Any) -> Any:
    """A path into JSON, or `false` for none. Raises `ValueError`."""
    if isinstance(value, str):
        paths.parse(value)
    return value


def _no_true(value: Any) -> Any:
    if value is True:
        raise ValueError
    return value


def pattern(value: Any) -> Any:
    """A topic filter, perhaps with names for levels. Raises `ValueError`."""
    if isinstance(value, str):
        patterns.parse(value)
    return value


def _listed(value: Any) -> Any:
    return [value] if isinstance(value, str) else value


def _patterns(value: Any) -> Any:
    for each in value if isinstance(value, list | tuple) else ():
        pattern(each)
    return value


def _units(value: Any) -> Any:
    for each in value.values() if isinstance(value, dict) else ():
        one_line(each)
    return value


def _group(value: Any) -> Any:
    if isinstance(value, str) and any(sign in value for sign in "/+#"):
        raise ValueError("must not hold /, + or #")
    return value


def _zone(value: Any) -> Any:
    if isinstance(value, str):
        try:
            ZoneInfo(value)
        except (ValueError, OSError, KeyError) as error:
            raise ValueError("must be the name of a time zone such as Europe/Berlin") from error
    return value


def _hash(value: Any) -> Any:
    if isinstance(value, str) and _HASH.fullmatch(value) is None:
        raise ValueError("must be a line of mosquitto's password file, such as $7$101$<salt>$<hash>")
    return value


TopicFilter = Annotated[str, reads(trimmed, pattern), allowed("a topic or a topic filter")]
JsonPath = Annotated[str, reads(trimmed, path), allowed("a path into JSON such as motor.temperature")]
PathOrNone = Annotated[
    str | bool,
    reads(trimmed, path, _no_true),
    allowed("a path into JSON such as motor.temperature, or false"),
]
Units = Annotated[dict[str, str], reads(filled, _units), allowed("an object of units by metric")]
Decimals = Annotated[int, Meta(ge=0, le=15), NUMERAL]
Precisions = Annotated[dict[str, Decimals], reads(filled), allowed("an object of decimals by metric")]
StatusFilter = Annotated[
    str | tuple[str, ...],
    reads(filled, _listed, _patterns),
    allowed("a topic such as device/{device}/status, or an array of them"),
]
Words = Annotated[str | tuple[str, ...], reads(filled, _listed), allowed("a text or an array of texts")]


class Account(msgspec.Struct, frozen=True, rename="camel"):
    """What the device itself logs in with at the agent's own broker (spec 08 section 4); a line of its
    password file, never a password."""

    username: Limited | None = None
    password_file_hash: Annotated[str, reads(trimmed, one_line, _hash)] | None = None
    access: Annotated[int, Meta(ge=1, le=3), NUMERAL] = 2


class Auth(msgspec.Struct, frozen=True):
    mqtt: Account | None = None


class Given(msgspec.Struct, frozen=True, rename="camel"):
    """What clients send."""

    broker_url: Annotated[Text, also("url")] | None = None
    host: Host | None = None
    port: Port | None = None
    path: Annotated[str, reads(trimmed, websocket_path)] | None = None
    username: Limited | None = None
    password: Annotated[str, reads(kept, limited)] | None = None
    client_id: Limited | None = None
    ca: Pem | None = None
    cert: Pem | None = None
    key: Pem | None = None
    reject_unauthorized: Flag = True
    keepalive: Annotated[int, Meta(ge=1, le=65_535), NUMERAL] = KEEPALIVE
    timeout: Annotated[int, Meta(ge=100, le=30_000), NUMERAL] = 10_000
    protocol_version: Annotated[int, reads(trimmed, version), allowed("3.1.1 or 5")] = V311
    topic: TopicFilter | None = None
    qos: Annotated[int, Meta(ge=0, le=1), NUMERAL] = 1
    group: Annotated[str, reads(trimmed, one_line, _group)] | None = None
    format: Annotated[Literal["auto", "json", "text", "cbor", "msgpack", "sparkplug"], reads(trimmed)] = (
        "auto"
    )
    device_id: Line | None = None
    device_id_field: PathOrNone | None = None
    timestamp_field: PathOrNone | None = None
    time_zone: Annotated[str, reads(trimmed, _zone)] = "UTC"
    auto_metrics: Flag | None = None
    allow_array_metrics: Flag = False
    default_units: Units = {}
    default_precisions: Precisions = {}
    status_topic: Annotated[StatusFilter, also("statusTopics")] | None = None
    status_field: PathOrNone | None = None
    status_online: Words = ()
    status_offline: Words = ()
    silent_after_ms: Annotated[int, Meta(ge=1000, le=604_800_000), NUMERAL] | None = None
    max_payload_bytes: Annotated[int, Meta(ge=1, le=MAX_PAYLOAD), NUMERAL] = MAX_PAYLOAD
    max_metrics: Annotated[int, Meta(ge=1, le=MAX_METRICS), NUMERAL] = 1000
    max_devices: Annotated[int, Meta(ge=1, le=MAX_DEVICES), NUMERAL] = 500
    ack_after_persist: Flag = False
    clean_session: Flag = False
    writable: Flag = False
    auth: Auth | None = None


class Status(msgspec.Struct, frozen=True):
    """Topics that say whether a device is there, and how. `given`: the client named them; else they are the
    usual ones, which a broker may refuse."""

    topics: tuple[Pattern, ...] = (patterns.parse(STATUS),)
    field: paths.Path | None = None
    online: frozenset[str] = frozenset()
    offline: frozenset[str] = frozenset()
    given: bool = False


class Reading(msgspec.Struct, frozen=True):
    """How payloads are read where a data point says nothing else. `device` is the own one's name in topics
    and payloads; a path of None: the usual keys, of (): none."""

    codec: str = "auto"
    device: str | None = None
    device_path: paths.Path | None = None
    time_path: paths.Path | None = None
    zone: tzinfo = UTC
    automatic: bool | None = None
    arrays: bool = False
    units: dict[str, str] = {}
    precisions: dict[str, int] = {}
    status: Status = Status()
    max_payload: int = MAX_PAYLOAD
    max_metrics: int = 1000
    max_devices: int = 500


class Connection(msgspec.Struct, frozen=True):
    """A checked connection. `topic` None: the data points say what to subscribe to."""

    broker: Broker
    username: str | None = None
    password: str | None = None
    client_id: str | None = None
    topic: Pattern | None = None
    qos: int = 1
    group: str | None = None
    reading: Reading = Reading()
    silent_after: float | None = None
    ack_after_persist: bool = False
    clean: bool = False
    timeout: float = 10.0
    """Seconds, of connecting and of each answer."""
    sparkplug: bool = False
    writable: bool = False
    """Whether metrics of Sparkplug may be written."""

    @property
    def address(self) -> str:
        scheme = ("ws" if self.broker.websocket else "mqtt") + ("s" if self.broker.tls else "")
        host = f"[{self.broker.host}]" if ":" in self.broker.host else self.broker.host
        return f"{scheme}://{host}:{self.broker.port}"

    @property
    def at(self) -> At:
        return At(self.broker.host, self.broker.port)

    @property
    def identifier(self) -> str:
        return self.reading.device or (EVERYTHING if self.topic is None else self.topic.text)


def completed(given: dict[str, Any], settings: Settings, agent_uuid: str) -> dict[str, Any]:
    """With the broker of files and environment where the connection names none. Then its user name and
    password are its device's at that broker, and the agent logs in with its own, if it has one: they go to no
    other broker."""
    given = _with_broker(given, settings.mqtt)
    return given if given.get("clientId") else {**given, "clientId": _client_id(given, agent_uuid)}


def _client_id(given: dict[str, Any], agent_uuid: str) -> str:
    """One for each connection that endpoints do not share (`session.identity`): at a broker, who logs in by
    the id of another takes its connection away."""
    who = [given.get("username") or _user_in(given) or "", given.get("cert") or ""]
    who += [f"{key}={given[key]}" for key in ("ca", "path") if given.get(key)]
    who += [key for key, unusual in _UNUSUAL.items() if str(given.get(key)).strip().lower() in unusual]
    if not any(who):
        return f"agent-{agent_uuid}"
    return f"agent-{agent_uuid}-{sha256(repr(who).encode(errors='replace')).hexdigest()[:8]}"


def _user_in(given: dict[str, Any]) -> str | None:
    try:
        return urlsplit(str(given.get("brokerUrl") or given.get("url") or "")).username
    except ValueError:
        return None  # it is refused later


def _with_broker(given: dict[str, Any], broker: MqttSettings) -> dict[str, Any]:
    own = any(given.get(key) not in (None, "") for key in ("brokerUrl", "url", "host"))
    if own or broker.broker_url is None:
        return given
    found = {**given, "brokerUrl": broker.broker_url}
    if broker.username is not None:
        found |= {"username": broker.username, "password": broker.password}
    return found


def read_connection(given: dict[str, Any]) -> Connection:
    """Check a connection as the client sent it. Raises `Refusal` naming `connection.<key>`."""
    found = checked(given, Given, ROOT)
    if found.broker_url is not None:
        key = spelled(given, Given, "brokerUrl")
        place = broker_url.read(found.broker_url, f"{ROOT}.{key}")
        if found.host is not None:
            raise Refusal(f"host and {key} both say where the broker is", f"{ROOT}.host")
        if found.port not in (None, place.broker.port):
            raise Refusal(f"port contradicts {key}", f"{ROOT}.port")
    elif found.host is not None:
        port = found.port or (8883 if found.ca is not None or found.cert is not None else 1883)
        tls = found.ca is not None or found.cert is not None or port == 8883
        place = broker_url.Found(Broker(found.host, port, tls=tls))
    else:
        raise Refusal(
            "brokerUrl or host is required: the agent has no broker of its own", f"{ROOT}.brokerUrl"
        )
    connection = Connection(
        broker=with_what_is_said(place.broker, found),
        username=found.username or place.username,
        password=found.password or place.password,
        client_id=found.client_id,
        topic=None if found.topic is None else patterns.parse(found.topic),
        qos=found.qos,
        group=found.group,
        reading=_reading(found),
        silent_after=None if found.silent_after_ms is None else found.silent_after_ms / 1000,
        ack_after_persist=found.ack_after_persist,
        clean=found.clean_session,
        timeout=found.timeout / 1000,
        sparkplug=found.format == "sparkplug",
        writable=found.writable,
    )
    _check_together(connection, found)
    return connection


def _reading(given: Given) -> Reading:
    return Reading(
        codec="auto" if given.format == "sparkplug" else given.format,
        device=given.device_id,
        device_path=path_of(given.device_id_field),
        time_path=path_of(given.timestamp_field),
        zone=UTC if given.time_zone == "UTC" else ZoneInfo(given.time_zone),
        automatic=given.auto_metrics,
        arrays=given.allow_array_metrics,
        units=given.default_units,
        precisions=given.default_precisions,
        status=_status(given),
        max_payload=given.max_payload_bytes,
        max_metrics=given.max_metrics,
        max_devices=given.max_devices,
    )


def path_of(said: str | bool | None) -> paths.Path | None:
    """None: nothing is said; () where there is to be none."""
    if said is None:
        return None
    return paths.parse(said) if isinstance(said, str) else ()


def _status(given: Given) -> Status:
    said = given.status_topic
    return Status(
        topics=Status().topics if said is None else tuple(patterns.parse(each) for each in said),
        field=path_of(given.status_field),
        online=frozenset(word.strip().lower() for word in given.status_online),
        offline=frozenset(word.strip().lower() for word in given.status_offline),
        given=said is not None,
    )


def _check_together(connection: Connection, given: Given) -> None:
    broker = connection.broker
    if connection.writable and not connection.sparkplug:
        raise Refusal("writable is of Sparkplug; data points have a writeTopic", f"{ROOT}.writable")
    if connection.password and not connection.username:
        raise Refusal("A password needs a username", f"{ROOT}.username")
    if (broker.cert is None) != (broker.key is None):
        absent = "cert" if broker.cert is None else "key"
        raise Refusal("cert and key belong together", f"{ROOT}.{absent}")
    for key, pem in (("ca", broker.ca), ("cert", broker.cert)):
        if pem is not None and not broker.tls:
            secure = "a wss" if broker.websocket else "an mqtts"
            raise Refusal(f"{key} has no effect without TLS; use {secure}:// URL", f"{ROOT}.{key}")
    if connection.ack_after_persist and connection.qos == 0:
        raise Refusal("ackAfterPersist needs qos 1", f"{ROOT}.ackAfterPersist")
    if connection.ack_after_persist and connection.clean:
        raise Refusal("ackAfterPersist needs a session that the broker keeps", f"{ROOT}.cleanSession")
    both = connection.reading.status.online & connection.reading.status.offline
    if both:
        raise Refusal(f"{min(both)} says both online and offline", f"{ROOT}.statusOffline")
    if given.auth is not None and given.auth.mqtt is not None:
        account = given.auth.mqtt
        if account.password_file_hash is not None and account.username is None:
            raise Refusal("passwordFileHash needs a username", f"{ROOT}.auth.mqtt.username")
    check_pems(broker, ROOT)


__all__ = ["V5", "Connection", "Given", "Reading", "Status", "completed", "read_connection"]
