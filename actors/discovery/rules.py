"""What a rule says, checked. Plain."""

from typing import Any, Final

import msgspec

from actors.discovery.planning import plan
from actors.discovery.schedule import DEFAULT_S, LEAST_S, MOST_S
from actors.endpoints import protocols
from actors.endpoints.adopting import read_template
from actors.endpoints.discovering import Known
from actors.state.names import check_name
from actors.system.failure import Refusal
from actors.system.masks import refuse_masks
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
    refuse_masks(body.params_json, "params_json")
    refuse_masks((body.target_json or {}).get("connection"), "target_json.connection")
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
