"""The rules that settings make: a scan when the agent is new, and light and full ones again and again."""

from typing import Final

import msgspec
from thespian.actors import ActorAddress

from actors.discovery.rule import RunRule
from actors.discovery.rules import RuleBody
from conf.settings import Settings
from storage.discovery import OWN

OWNER: Final = "agent"
"""In whose name they make endpoints: what a light scan has found, a full one may remove."""
FIRST_BOOT, LIGHT, FULL = OWN


class Unasked(msgspec.Struct, frozen=True):
    """`wanted` is the switch of the runtime settings; intervals are ms."""

    wanted: bool
    light_interval_ms: int
    full_interval_ms: int


def unasked_rules(
    unasked: Unasked, settings: Settings, store: ActorAddress, endpoints: ActorAddress
) -> list[RunRule]:
    """A light scan looks who is there; a full one reads what it finds, and removes what is gone. All of them
    look for whatever has something to look for, and what they find is saved, not enabled."""
    if not unasked.wanted:
        return []

    def rule(name: str, title: str, interval_ms: int) -> RunRule:
        return RunRule(
            uuid=name,
            body=RuleBody(name=title, protocol=None, interval_seconds=max(60, interval_ms // 1000)),
            scheduled=True,
            store=store,
            endpoints=endpoints,
            settings=settings,
            owner=OWNER,
            once=name == FIRST_BOOT,
            validate=name != LIGHT,
            prune=name == FULL,
            trigger="first_boot" if name == FIRST_BOOT else "scheduled",
        )

    found = []
    if settings.discovery.first_boot:
        found.append(rule(FIRST_BOOT, "first boot", 60_000))
    if settings.discovery.periodic:
        found.append(rule(LIGHT, "light scan", unasked.light_interval_ms))
        found.append(rule(FULL, "full scan", unasked.full_interval_ms))
    return found
