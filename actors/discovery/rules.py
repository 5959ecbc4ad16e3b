"""What a rule says, checked. Plain."""

from itertools import zip_longest
from typing import Any, Final

import msgspec

from actors.discovery.planning import plan
from actors.discovery.schedule import DEFAULT_S, LEAST_S, MOST_S
from actors.endpoints import protocols
from actors.endpoints.adopting import read_template
from actors.endpoints.discovering import Known
from actors.state.names import check_name
from actors.system.failure import Refusal
from conf.redaction import MASK
from conf.settings import Settings

MOST: Final = 256
"""Rules."""


class RuleBody(msgspec.Struct, frozen=True, kw_only=True):
    """What is stored of a rule, encrypted. `protocol` None: all that have something to look for."""

    name: str
    protocol: str | None
    enabled: bool = True
    interval_seconds: int = DEFAULT_S
    auto_enable: bool = False
    params_json: dict[str, Any] | None = None
    target_json: dict[str, Any] | None = None

    def __repr__(self) -> str:
        """Options hold secrets."""
        return f"RuleBody({self.name!r})"


def check(body: RuleBody, settings: Settings) -> None:
    """Raises `Refusal` naming the field. Of a protocol that is not available here, its options are looked at
    when it is."""
    check_name(body.name)
    if not LEAST_S <= body.interval_seconds <= MOST_S:
        raise Refusal(
            f"interval_seconds must be {LEAST_S} to {MOST_S}, not {body.interval_seconds}", "interval_seconds"
        )
    assert body.protocol is not None
    if not body.protocol.strip():
        raise Refusal("protocol is required", "protocol")
    known = protocols.look_up(body.protocol)
    if known.protocol is not None and known.unavailable is None:
        if known.protocol.discovery is None:
            raise Refusal(f"Protocol {body.protocol} cannot look for devices", "protocol", "unsupported")
        plan(body.protocol, body.params_json or {}, Known(settings), "params_json")
    read_template(body.target_json, body.protocol, "target_json")


def fault(body: RuleBody) -> str | None:
    """Why a stored rule cannot run here."""
    if body.protocol is None:
        return None
    try:
        known = protocols.look_up(body.protocol)
    except Refusal as refusal:
        return refusal.message
    if known.protocol is None or known.unavailable is not None:
        return f"Protocol {body.protocol} is not available: {known.unavailable}"
    if known.protocol.discovery is None:
        return f"Protocol {body.protocol} cannot look for devices"
    return None


def unmasked(before: Any, given: Any) -> Any:
    """What clients send back as it was shown to them stands for what is in its place."""
    if given == MASK:
        return given if before is None else before
    if isinstance(given, dict):
        known = before if isinstance(before, dict) else {}
        return {key: unmasked(known.get(key), value) for key, value in given.items()}
    if isinstance(given, list) and isinstance(before, list):
        return [unmasked(old, new) for old, new in zip_longest(before, given)][: len(given)]
    return given
