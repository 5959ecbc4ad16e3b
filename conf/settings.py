"""The one reader of configuration files and of the environment.

Later wins: `agent.toml` (shipped, every default), the user's TOML file, environment variables
(spec 06 section 12), overrides. Anything wrong is a `ConfigError`.
"""

import logging
import re
import tomllib
from collections.abc import Iterator, Mapping
from importlib import resources
from pathlib import Path
from typing import Any, Final

import msgspec

from conf import redaction
from conf.annotations import optional, reader
from conf.environment import ENVIRONMENT
from conf.faults import words
from conf.secret_forms import secrets_in
from conf.tables import (
    ActorsSettings,
    AgentSettings,
    ApiSettings,
    AwsIotSettings,
    AzureIotSettings,
    BacnetSettings,
    Confidential,
    DiscoverySettings,
    EndpointsSettings,
    GcpIotSettings,
    HealthSettings,
    MosquittoSettings,
    MqttSettings,
    PowerSettings,
    PublishSettings,
    SnmpSettings,
    StorageSettings,
    UpdateSettings,
)
from conf.texts import is_broken_text

logger = logging.getLogger(__name__)


class ConfigError(Exception):
    """Configuration that stops the start: one line naming the key, its value and what is allowed."""

    def __init__(self, message: str) -> None:
        super().__init__(" ".join(message.split()))


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
