"""Configuration first, environment as fallback (spec 02 sections 8.4 to 8.6)."""

from typing import Any

from conf.settings import Settings
from conf.tables import AwsIotSettings, AzureIotSettings, GcpIotSettings

# Giving one of a pair is deciding against the other: a device's own key does not go with the connection
# string of another device.
_EITHER_OR = (("hostName", "connectionString"), ("privateKey", "jwt"))


def fallbacks(settings: Settings) -> dict[str, dict[str, Any]]:
    """By destination type, what `config_json` means where it says nothing; nothing in it is checked."""
    found = {
        "azure-iot": _azure(settings.azure_iot),
        "aws-iot": _aws(settings.aws_iot),
        "gcp-iot": _gcp(settings.gcp_iot),
    }
    return {type_name: _given(config) for type_name, config in found.items()}


def merged(config: dict[str, Any], fallback: dict[str, Any]) -> dict[str, Any]:
    """`config` with the values of `fallback` where it has none, at any depth; a null or a blank text is
    none. Of two keys that stand for one another (`hostName` and `connectionString`, `privateKey` and
    `jwt`) the one in `config` keeps the other of `fallback` out."""
    own = {key: value for key, value in config.items() if not _blank(value)}
    result = {**config, **_without_rivals(fallback, own), **own}
    for key, value in own.items():
        if isinstance(value, dict) and isinstance(fallback.get(key), dict):
            result[key] = merged(value, fallback[key])
    return result


def _blank(value: Any) -> bool:
    return value is None or (isinstance(value, str) and not value.strip())


def _without_rivals(fallback: dict[str, Any], own: dict[str, Any]) -> dict[str, Any]:
    rivals = {b for pair in _EITHER_OR for a, b in (pair, pair[::-1]) if a in own}
    return {key: value for key, value in fallback.items() if key not in rivals}


def _given(config: dict[str, Any]) -> dict[str, Any]:
    """Without what is not set."""
    given = {key: _given(value) if isinstance(value, dict) else value for key, value in config.items()}
    return {key: value for key, value in given.items() if value not in (None, {})}


def _azure(settings: AzureIotSettings) -> dict[str, Any]:
    return {
        "connectionString": settings.connection_string,
        "auth": {"tokenTtlSeconds": settings.token_ttl_seconds},
    }


def _aws(settings: AwsIotSettings) -> dict[str, Any]:
    return {
        "endpoint": settings.endpoint,
        "port": settings.port,
        "deviceId": settings.device_id,
        "topicTemplate": settings.topic_template,
        "auth": {"cert": settings.client_cert, "key": settings.private_key, "ca": settings.ca_cert},
    }


def _gcp(settings: GcpIotSettings) -> dict[str, Any]:
    return {
        "endpoint": settings.endpoint,
        "port": settings.port,
        "clientId": settings.client_id,
        "username": settings.username,
        "topicTemplate": settings.topic_template,
        "auth": {"jwt": settings.jwt or settings.password},
        "ca": settings.ca_cert,
    }
