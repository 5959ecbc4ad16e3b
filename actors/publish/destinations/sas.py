"""Devices of Azure IoT Hub: their names, connection strings and passwords, shared access signatures
(spec 02 section 8.4)."""

import hmac
import re
from base64 import b64encode
from typing import Any
from urllib.parse import quote

from conf.hosts import host_name

_DEVICE_ID = re.compile(r"[A-Za-z0-9.%_*?!(),:=@$'-]{1,128}")


def signature(resource: str, key: bytes, expires: int) -> str:
    """The password for `resource` (`<host>/devices/<id>`), good until the Unix second `expires`."""
    encoded = quote(resource, safe="")
    digest = hmac.digest(key, f"{encoded}\n{expires}".encode(), "sha256")
    return f"SharedAccessSignature sr={encoded}&sig={quote(b64encode(digest), safe='')}&se={expires}"


def device_id(value: Any) -> Any:
    if isinstance(value, str) and not _DEVICE_ID.fullmatch(value):
        raise ValueError("is not one that IoT Hub allows")
    return value


def parts(text: Any) -> Any:
    """The parts of a connection string by their names in lower case."""
    if not isinstance(text, str):
        raise ValueError
    pairs = (part.partition("=") for part in text.split(";"))
    found = {name.strip().lower(): value.strip() for name, _, value in pairs}
    try:
        found["hostname"] = host_name(found["hostname"])
        device_id(found["deviceid"])
        usable = bool(found["hostname"] and found["sharedaccesskey"])
    except (KeyError, ValueError):
        usable = False
    if not usable:
        # The text itself is not shown: it holds the key.
        raise ValueError("must be that of a device: HostName=...;DeviceId=...;SharedAccessKey=...")
    return found
