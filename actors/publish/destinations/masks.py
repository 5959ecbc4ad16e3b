"""Secrets of `config_json` as clients see them."""

import re
from typing import Any

from actors.system.failure import Refusal

MASK = "********"

# user:password@ in front of a host, with or without a scheme; a password may hold an @.
_URL = re.compile(r"((?:[a-z][a-z0-9+.-]*://)?[^/:@]*:)([^/]*)(@.*)", re.IGNORECASE | re.DOTALL)


def masked(config: dict[str, Any], secrets: tuple[str, ...]) -> dict[str, Any]:
    """A copy to show: every non-empty secret, and the password inside a URL, is `********`."""
    return {key: _masked(key, value, secrets) for key, value in config.items()}


def _masked(key: str, value: Any, secrets: tuple[str, ...]) -> Any:
    if isinstance(value, dict):
        return masked(value, secrets)
    if key in secrets:
        return MASK if value not in (None, "") else value
    password = _url_password(key, value)
    return f"{password[1]}{MASK}{password[3]}" if password and password[2] else value


def unmasked(
    new: dict[str, Any], stored: dict[str, Any], secrets: tuple[str, ...], path: str = "config_json"
) -> dict[str, Any]:
    """A copy to store: a secret that came back masked keeps the stored one.

    Raises `Refusal` naming the field when there is no stored one.
    """
    return {
        key: _unmasked(value, stored.get(key), key, secrets, f"{path}.{key}") for key, value in new.items()
    }


def _unmasked(value: Any, stored: Any, key: str, secrets: tuple[str, ...], path: str) -> Any:
    if isinstance(value, dict):
        return unmasked(value, stored if isinstance(stored, dict) else {}, secrets, path)
    if key in secrets:
        if value != MASK:
            return value
        if stored in (None, "", MASK):
            raise Refusal(f"{path} is masked; send the secret itself", path)
        return stored
    password = _url_password(key, value)
    if not password or password[2] != MASK:
        return value
    known = _url_password(key, stored)
    if not known:
        raise Refusal(f"The password in {path} is masked; send the password itself", path)
    return f"{password[1]}{known[2]}{password[3]}"


def _url_password(key: str, value: Any) -> re.Match[str] | None:
    """Groups: up to the password, the password, from the @ on."""
    if not isinstance(value, str) or not key.lower().endswith("url"):
        return None
    return _URL.fullmatch(value)
