"""Secrets of `config_json` as clients see them."""

from typing import Any

from actors.system.failure import Refusal
from actors.system.masks import in_url
from conf.redaction import MASK


def masked(config: dict[str, Any], secrets: tuple[str, ...]) -> dict[str, Any]:
    """A copy to show: every non-empty secret, all that an object under a secret's key holds, and the password
    and the query inside a URL are `********`."""
    return {key: _masked(key, value, secrets) for key, value in config.items()}


def _masked(key: str, value: Any, secrets: tuple[str, ...]) -> Any:
    if isinstance(value, dict):
        return masked(value, (*secrets, *value) if key in secrets else secrets)
    if key in secrets:
        return MASK if value not in (None, "") else value
    hidden = in_url(key, value)
    return f"{hidden[1]}{MASK}{hidden[3]}" if hidden and hidden[2] else value


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
        inside = (*secrets, *value) if key in secrets else secrets
        return unmasked(value, stored if isinstance(stored, dict) else {}, inside, path)
    if key in secrets:
        if value != MASK:
            return value
        if stored in (None, "", MASK):
            raise Refusal(f"{path} is masked; send the secret itself", path)
        return stored
    hidden = in_url(key, value)
    if not hidden or hidden[2] != MASK:
        return value
    known = in_url(key, stored)
    if not known or not known[2]:
        what = "password" if hidden[3] else "query"
        raise Refusal(f"The {what} in {path} is masked; send the {what} itself", path)
    return f"{hidden[1]}{known[2]}{hidden[3]}"
