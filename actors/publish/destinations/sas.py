"""Shared access signatures, the passwords of Azure IoT Hub (spec 02 section 8.4)."""

import hmac
from base64 import b64encode
from urllib.parse import quote


def signature(resource: str, key: bytes, expires: int) -> str:
    """The password for `resource` (`<host>/devices/<id>`), good until the Unix second `expires`."""
    encoded = quote(resource, safe="")
    digest = hmac.digest(key, f"{encoded}\n{expires}".encode(), "sha256")
    return f"SharedAccessSignature sr={encoded}&sig={quote(b64encode(digest), safe='')}&se={expires}"
