"""The `connection` object of an SNMP endpoint (spec 03 section 6)."""

import re
from typing import Annotated, Any, Literal

import msgspec
from msgspec import Meta

from actors.system.checking import checked
from actors.system.failure import Refusal
from conf.annotations import allowed, reads
from conf.fields import Host, filled, kept, lower, one_line, trimmed
from conf.settings import Settings

Version = Literal["v1", "v2c", "v3"]
Level = Literal["noAuthNoPriv", "authNoPriv", "authPriv"]
AuthProtocol = Literal["md5", "sha", "sha224", "sha256", "sha384", "sha512"]
PrivProtocol = Literal["des", "aes", "aes192", "aes256", "aes192c", "aes256c"]

_VERSIONS = {"1": "v1", "2c": "v2c", "2": "v2c", "v2": "v2c", "3": "v3"}
_LEVELS = {level.lower(): level for level in ("noAuthNoPriv", "authNoPriv", "authPriv")}
_AUTH = {"sha1": "sha", "hmac-md5": "md5", "hmac-sha": "sha"}
_PRIV = {"aes128": "aes", "aes192cisco": "aes192c", "aes256cisco": "aes256c"}
_ENGINE = re.compile(r"(?:[0-9a-fA-F]{2}){5,32}")
_SHORTEST_KEY = 8
"""Characters (RFC 3414 section 11.2); agents refuse shorter ones."""


def read_version(value: Any) -> Any:
    word = lower(trimmed(str(value) if type(value) is int else value))
    return _VERSIONS.get(word, word) if isinstance(word, str) else word


def read_level(value: Any) -> Any:
    word = trimmed(value)
    return _LEVELS.get(word.lower(), word) if isinstance(word, str) else word


def read_auth(value: Any) -> Any:
    return _spelled(value, _AUTH, "sha")


def read_priv(value: Any) -> Any:
    return _spelled(value, _PRIV, "aes")


def _spelled(value: Any, known: dict[str, str], family: str) -> Any:
    """SHA-256 is sha256, AES-256-C is aes256c."""
    word = lower(trimmed(value))
    if not isinstance(word, str):
        return word
    plain = re.sub(r"[-_ ]", "", word) if word.startswith(family) else word
    return known.get(plain, plain)


def _engine(value: Any) -> Any:
    text = trimmed(value)
    if not isinstance(text, str):
        return text
    digits = text.removeprefix("0x").removeprefix("0X").replace(":", "")
    if _ENGINE.fullmatch(digits) is None:
        raise ValueError("must be 5 to 32 bytes in hexadecimal")
    return digits.lower()


Community = Annotated[str, Meta(max_length=255), reads(kept, one_line)]
Key = Annotated[str, Meta(max_length=255), reads(kept)]


class Given(msgspec.Struct, frozen=True, rename="camel"):
    """What clients send."""

    host: Annotated[Host, Meta(description="A host name or an address.")] | None = None
    port: Annotated[int, Meta(ge=1, le=65535)] = 161
    version: Annotated[Version, reads(read_version), allowed("v1, v2c or v3")] | None = None
    community: Community = "public"
    write_community: Community | None = None
    username: Annotated[str, Meta(max_length=32), reads(trimmed, one_line)] | None = None
    security_level: Annotated[Level, reads(read_level)] | None = None
    auth_protocol: Annotated[AuthProtocol, reads(read_auth)] | None = None
    auth_key: Key | None = None
    priv_protocol: Annotated[PrivProtocol, reads(read_priv)] | None = None
    priv_key: Key | None = None
    context_name: Annotated[str, Meta(max_length=255), reads(filled, one_line)] | None = None
    engine_id: Annotated[str, reads(_engine)] | None = None
    timeout: Annotated[int, Meta(ge=100, le=60_000)] = 5000
    retries: Annotated[int, Meta(ge=0, le=10)] = 1
    retry_delay: Annotated[int, Meta(ge=100, le=600_000)] = 5000
    max_oids: Annotated[int, Meta(ge=1, le=200)] = 20
    max_repetitions: Annotated[int, Meta(ge=1, le=500)] = 25
    trap_port: Annotated[int, Meta(ge=0, le=65535)] = 0


class Secret(msgspec.Struct, frozen=True):
    """A user of v3 as configured; keys are passwords."""

    name: str
    auth: AuthProtocol | None = None
    auth_key: str = ""
    priv: PrivProtocol | None = None
    priv_key: str = ""


class Connection(msgspec.Struct, frozen=True):
    """A checked connection."""

    host: str
    port: int
    version: Version
    community: str
    write_community: str | None
    user: Secret | None
    """With v3."""
    context: str
    engine: bytes | None
    """That the device must have."""
    timeout: float
    """Seconds."""
    attempts: int
    retry_delay: int
    """Milliseconds."""
    max_oids: int
    max_repetitions: int
    trap_port: int = 0
    """0: traps are not received."""

    @property
    def address(self) -> str:
        """For people and logs."""
        context = f":{self.context}" if self.context else ""
        return f"snmp:{self.version}:{self.host}:{self.port}{context}"


def read_connection(given: dict[str, Any]) -> Connection:
    """Check a connection as the client sent it. Raises `Refusal` naming `connection.<key>`."""
    found = checked(given, Given, "connection")
    if found.host is None:
        raise Refusal("host is required", "connection.host")
    version = found.version or ("v2c" if found.username is None else "v3")
    return Connection(
        host=found.host,
        port=found.port,
        version=version,
        community=found.community,
        write_community=found.write_community,
        user=read_user(found, version, "connection"),
        context=found.context_name or "",
        engine=None if found.engine_id is None else bytes.fromhex(found.engine_id),
        timeout=found.timeout / 1000,
        attempts=1 + found.retries,
        retry_delay=found.retry_delay,
        max_oids=found.max_oids,
        max_repetitions=found.max_repetitions,
        trap_port=found.trap_port,
    )


def completed(given: dict[str, Any], settings: Settings, agent_uuid: str) -> dict[str, Any]:
    """With the port for traps that files and environment say, where the connection says none."""
    if given.get("trapPort") is not None or not settings.snmp.trap_port:
        return given
    return {**given, "trapPort": settings.snmp.trap_port}


_OF_V3 = ("username", "authKey", "privKey", "contextName", "engineId")


def read_user(given: Any, version: Version, path: str) -> Secret | None:
    """Of a struct with the fields of `Given`. Raises `Refusal`."""
    values = {key: getattr(given, name, None) for key, name in zip(_OF_V3, _NAMES_OF_V3, strict=True)}
    if version != "v3":
        for key, value in values.items():
            if value is not None:
                raise Refusal(f"{key} means nothing with {version}: it needs version v3", f"{path}.{key}")
        return None
    if given.username is None:
        raise Refusal("username is required with v3", f"{path}.username")
    level = given.security_level or _level_of(given)
    auth: AuthProtocol | None = None
    priv: PrivProtocol | None = None
    if level != "noAuthNoPriv":
        _need_key(given.auth_key, "authKey", level, path)
        auth = given.auth_protocol or "sha"
    if level == "authPriv":
        _need_key(given.priv_key, "privKey", level, path)
        priv = given.priv_protocol or "aes"
    _refuse_superfluous(given, level, path)
    auth_key, priv_key = given.auth_key or "", given.priv_key or ""
    return Secret(given.username, auth, auth_key, priv, priv_key)


_NAMES_OF_V3 = ("username", "auth_key", "priv_key", "context_name", "engine_id")


def _level_of(given: Any) -> Level:
    if given.priv_key is not None or given.priv_protocol is not None:
        return "authPriv"
    return "noAuthNoPriv" if given.auth_key is None and given.auth_protocol is None else "authNoPriv"


def _need_key(key: str | None, name: str, level: Level, path: str) -> None:
    if key is None:
        raise Refusal(f"{name} is required with {level}", f"{path}.{name}")
    if len(key) < _SHORTEST_KEY:
        raise Refusal(f"{name} must be at least {_SHORTEST_KEY} characters", f"{path}.{name}")


def _refuse_superfluous(given: Any, level: Level, path: str) -> None:
    """Whoever gives a key believes that it is used."""
    if level == "noAuthNoPriv" and given.auth_key is not None:
        raise Refusal(f"authKey means nothing with {level}", f"{path}.authKey")
    if level != "authPriv" and given.priv_key is not None:
        raise Refusal(f"privKey means nothing with {level}", f"{path}.privKey")


def spelled_out(connection: Connection) -> dict[str, Any]:
    """What of it says who asks, as a client may send it."""
    if connection.user is None:
        return {"version": connection.version, "community": connection.community}
    user = connection.user
    found = {
        "version": connection.version,
        "username": user.name,
        "authProtocol": user.auth,
        "authKey": user.auth_key,
        "privProtocol": user.priv,
        "privKey": user.priv_key,
        "contextName": connection.context,
    }
    return {key: value for key, value in found.items() if value}
