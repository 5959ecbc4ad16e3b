"""The URLs of MQTT brokers (spec 02 section 8.2)."""

from typing import NamedTuple
from urllib.parse import SplitResult, unquote, urlsplit

from actors.publish.destinations.broker import Broker
from actors.publish.destinations.fields import MAX_TEXT, check_host
from actors.system.failure import Refusal
from conf.schema import is_broken_text

PATH = "/mqtt"  # where the websocket of most brokers is; mosquitto's answers at any path

_PORTS = {"mqtt": 1883, "mqtts": 8883, "ws": 80, "wss": 443}


class Found(NamedTuple):
    """What a URL says; None where it does not."""

    broker: Broker
    username: str | None = None
    password: str | None = None


def read(url: str, field: str) -> Found:
    """Raises `Refusal` naming `field`, without repeating the URL: it may hold a password."""
    parts, port = _split(url if "://" in url else f"mqtt://{url}", field)
    if parts.scheme not in _PORTS:
        raise Refusal(f"Invalid scheme: {parts.scheme}. Supported: {', '.join(_PORTS)}", field)
    websocket = parts.scheme in ("ws", "wss")
    broker = Broker(
        host=_host(parts.hostname or "", field),
        port=_PORTS[parts.scheme] if port is None else port,
        tls=parts.scheme in ("mqtts", "wss"),
        websocket=websocket,
        path=_path(parts) if websocket else "/",
    )
    return Found(broker, _login(parts.username, field), _login(parts.password, field))


def _login(quoted: str | None, field: str) -> str | None:
    text = unquote(quoted or "")
    if is_broken_text(text) or len(text.encode()) > MAX_TEXT:
        raise Refusal(f"User name and password in the URL may have {MAX_TEXT} bytes without NUL", field)
    return text or None


def _path(parts: SplitResult) -> str:
    # A lone slash is how people and programs end a URL without a path.
    path = parts.path if parts.path not in ("", "/") else PATH
    return f"{path}?{parts.query}" if parts.query else path


def _split(url: str, field: str) -> tuple[SplitResult, int | None]:
    # The reason is dropped: it repeats part of the URL, which may be a password.
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError:
        raise Refusal("Not a valid broker URL", field) from None
    if port == 0:
        raise Refusal("The port must be from 1 to 65535", field)
    return parts, port


def _host(name: str, field: str) -> str:
    if not name:
        raise Refusal("Host is required", field)
    try:
        check_host(name)
    except ValueError:
        raise Refusal("Not a valid host name", field) from None
    return name
