"""Reading `config_json`. Everything raises `Refusal` naming the field as the client spelled it.

Forms send every field, so a blank one counts as absent. `path` is where `config` is found.
"""

from typing import Any

from actors.system.failure import Refusal

ROOT = "config_json"


def text(config: dict[str, Any], key: str, *, path: str = ROOT, strip: bool = True) -> str | None:
    """A text without NUL; None for an absent or blank one."""
    value = config.get(key)
    if value is None:
        return None
    if not isinstance(value, str) or "\0" in value:
        raise Refusal(f"{key} must be a string", f"{path}.{key}")
    return (value.strip() if strip else value) or None


def first_text(config: dict[str, Any], *keys: str, path: str = ROOT) -> str | None:
    """The text of the first of these keys that has one."""
    found = [text(config, key, path=path) for key in keys]
    return next((value for value in found if value is not None), None)


def pem(config: dict[str, Any], key: str, *, path: str = ROOT) -> str | None:
    """A PEM text; a literal `\\n` stands for a line end."""
    found = text(config, key, path=path)
    return found and found.replace("\\n", "\n")


def flag(config: dict[str, Any], key: str, default: bool, *, path: str = ROOT) -> bool:
    value = config.get(key)
    if value is None:
        return default
    if not isinstance(value, bool):
        raise Refusal(f"{key} must be true or false", f"{path}.{key}")
    return value


def integer(
    config: dict[str, Any], key: str, lowest: int, highest: int, default: int, *, path: str = ROOT
) -> int:
    """An integer, also one that a form sent as text."""
    value = config.get(key)
    if value is None or value == "":
        return default
    if isinstance(value, str) and value.isascii() and value.isdigit():
        value = int(value)
    if isinstance(value, bool) or not isinstance(value, int) or not lowest <= value <= highest:
        raise Refusal(f"{key} must be an integer from {lowest} to {highest}", f"{path}.{key}")
    return value


def section(config: dict[str, Any], key: str, *, path: str = ROOT) -> dict[str, Any]:
    """An object; empty when absent."""
    value = config.get(key)
    if value is None:
        return {}
    if not isinstance(value, dict):
        raise Refusal(f"{key} must be an object", f"{path}.{key}")
    return value


def host(name: str, field: str) -> str:
    """The host name itself."""
    try:
        name.encode("idna")
    except UnicodeError as error:
        raise Refusal("Not a valid host name", field) from error
    return name
