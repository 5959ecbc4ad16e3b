"""How the body of a row is stored: JSON, encrypted, bound to the kind and uuid of the row."""

from typing import Any

import msgspec

from conf import redaction
from conf.secret_forms import may_hold, secrets_in
from storage.secrets import Secrets, Undecipherable


class BadBody(Exception):
    """It cannot be read; the text goes on after the row's name: "cannot be decrypted: ..."."""


def seal(secrets: Secrets, kind: str, uuid: str, body: dict[str, Any]) -> bytes:
    plain = msgspec.json.encode(body)
    _hold(kind, uuid, plain, body)
    return secrets.encrypt(plain, _context(kind, uuid))


def unseal(secrets: Secrets, kind: str, uuid: str, sealed: Any) -> dict[str, Any]:
    """Raises `BadBody`; `sealed` is whatever the column holds."""
    if not isinstance(sealed, bytes):
        raise BadBody("cannot be read: it holds no encrypted body")
    try:
        plain = secrets.decrypt(sealed, _context(kind, uuid))
    except Undecipherable as error:
        raise BadBody(f"cannot be decrypted: {error}") from error
    try:
        body = msgspec.json.decode(plain, type=dict[str, Any])
    except (msgspec.MsgspecError, UnicodeError) as error:
        raise BadBody(f"cannot be parsed: {error}") from error
    _hold(kind, uuid, plain, body)
    return body


def let_go(kind: str, uuid: str) -> None:
    """The row is no more."""
    redaction.keep((kind, uuid), ())


def _hold(kind: str, uuid: str, plain: bytes, body: dict[str, Any]) -> None:
    """What it holds of secrets is to appear in no text from now on."""
    redaction.keep((kind, uuid), secrets_in(body) if may_hold(plain) else ())


def _context(kind: str, uuid: str) -> bytes:
    return f"target_state:{kind}:{uuid}".encode()
