"""The URLs of MQTT brokers (spec 02 section 8.2)."""

from typing import Any, NamedTuple
from urllib.parse import SplitResult, unquote, urlsplit

from actors.mqtt.broker import Broker
from actors.mqtt.fields import MAX_TEXT
from actors.system.failure import Refusal
from conf.fields import one_line
from conf.hosts import host_name
from conf.texts import has_controls, is_broken_text

PATH = "/mqtt"  # where the websocket of most brokers is; mosquitto's answers at any path

_PORTS = {"mqtt": 1883, "mqtts": 8883, "ws": 80, "wss": 443}


class Found(NamedTuple):
    """What a URL says; None where it does not."""

    broker: Broker
    username: str | None = None
    password: str | None = None


def websocket_path(value: Any) -> Any:
    """The path of a websocket, perhaps with a query. Raises `ValueError`."""
    if isinstance(value, str) and "#" in value:
        raise ValueError("must be the path of a URL, without #: nothing would come of what follows it")
    return one_line(value)


def read(url: str, field: str) -> Found:
    """Raises `Refusal` naming `field`, without repeating the URL: it may hold a password."""
    parts, port = _split(url if "://" in url else f"mqtt://{url}", field)
    if parts.scheme not in _PORTS:
        raise Refusal(f"Invalid scheme: {parts.scheme}. Supported: {', '.join(_PORTS)}", field)
    websocket = parts.scheme in ("ws", "wss")
    if parts.fragment or (parts.query and not websocket):
        raise Refusal("The URL must not have a query or fragment: nothing would come of it", field)
    broker = Broker(
        host=_host(parts.hostname or "", field),
        port=_PORTS[parts.scheme] if port is None else port,
        tls=parts.scheme in ("mqtts", "wss"),
        websocket=websocket,
        path=_path(parts) if websocket else "/",
    )
    username, password = _login(parts.username, field), _login(parts.password, field)
    if has_controls(username or ""):
        raise Refusal("The user name in the URL must not hold control characters", field)
    return Found(broker, username, password)


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
    if has_controls(url):  # some of which the library would leave out
        raise Refusal("The URL must not hold line ends or other control characters", field)
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
        # RFC 6874: in a URL the sign before the zone of an IPv6 address is itself encoded.
        return host_name(name.replace("%25", "%", 1) if ":" in name else name)
    except ValueError as error:
        raise Refusal(f"The host in the URL {error}", field) from None
