"""Masking what may leave the house: the agent masks what it knows to be a secret; this looks once more."""

import re
from typing import Any

from api.masking import masked
from conf.redaction import MASK

_URL_USER = re.compile(r"://[^\s\"'<>]*@")
_PAIR = re.compile(
    r"\b((?:shared_?access_?key|shared_?secret|pass(?:word|wd|phrase)|secret|token|api_?key)[\"']?\s*[=:]\s*)"
    r"[\"']?[^\s;,&\"'}]+",
    re.IGNORECASE,
)
_BEARER = re.compile(r"\b(Bearer|Basic|Token)\s+[A-Za-z0-9._~+/=-]{8,}")
_PEM = re.compile(r"-----BEGIN [A-Z ]*PRIVATE KEY-----.*?(-----END [A-Z ]*PRIVATE KEY-----|\Z)", re.DOTALL)


def safe(found: dict[str, Any]) -> dict[str, Any]:
    """A copy without values under secrets' names, and without what looks like a secret inside any text."""
    copied: dict[str, Any] = _without(masked(found))
    return copied


def _without(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _without(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_without(item) for item in value]
    return safe_text(value) if isinstance(value, str) else value


def safe_text(text: str) -> str:
    """Rather too much is masked than too little."""
    text = _PEM.sub(MASK, text)
    text = _URL_USER.sub(f"://{MASK}@", text)
    text = _BEARER.sub(rf"\1 {MASK}", text)
    return _PAIR.sub(rf"\g<1>{MASK}", text)
