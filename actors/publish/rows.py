"""Stored destinations and subscriptions, and what clients see of them. Plain functions."""

import time
from typing import Any

import msgspec

from actors.publish import destinations
from actors.publish.destinations import Fallbacks
from actors.publish.destinations.masks import masked
from actors.publish.messages import DestinationRow, DestinationStatus, OutboxReport, SubscriptionRow
from actors.publish.outbox import Outbox
from actors.publish.routes import Route, check_subscription
from storage import timestamps
from storage.outbox import OutboxSummary
from storage.target_state import Row

LATE_MS = 1000
"""Age of an outbox's oldest payload from which on the tree speaks of it."""


class DestinationBody(msgspec.Struct, frozen=True):
    """What the target state keeps of a destination besides its name."""

    type: str
    config_json: dict[str, Any] | None
    enabled: bool


class SubscriptionBody(msgspec.Struct, frozen=True):
    """What the target state keeps of a subscription; its parent row is the destination."""

    topics: list[str]
    route_json: dict[str, Any] | None
    payload_format: str
    compression: str | None
    enabled: bool


def check_destination(
    type: str, config: dict[str, Any] | None, enabled: bool, fallbacks: Fallbacks
) -> DestinationBody:
    """What to store of a destination as the client sent it; raises `Refusal`."""
    found = destinations.find(type)
    found.check(destinations.effective(found, config, fallbacks))
    return DestinationBody(found.name, config, enabled)


def route_of(body: SubscriptionBody) -> Route:
    """What a subscription asks for; raises `Refusal`."""
    return check_subscription(body.topics, body.route_json, body.payload_format, body.compression)


def destination_row(row: Row, report: OutboxReport) -> DestinationRow:
    """A stored destination as the API shows it."""
    body = msgspec.convert(row.body, DestinationBody)
    config = body.config_json
    return DestinationRow(
        id=row.id,
        name=row.name or "",
        type=body.type,
        config_json=masked(config, destinations.find(body.type).secrets) if config else config,
        enabled=body.enabled,
        last_error=report.latest_error,
        last_error_at=timestamps.iso(report.latest_error_at),
        created_at=row.created_at,
        updated_at=row.updated_at,
        status=_status(body.enabled, report),
    )


def _status(enabled: bool, report: OutboxReport) -> DestinationStatus:
    health = "disconnected" if enabled else "disabled"
    return DestinationStatus(
        health="connected" if report.connected else health,
        rows=report.rows,
        bytes=report.bytes,
        oldest=timestamps.iso(report.oldest),
        lag_ms=age_ms(report.oldest),
        delivered=report.delivered,
        rejected=report.rejected,
        dropped_quota=report.dropped_quota,
        dropped_expired=report.dropped_expired,
    )


def age_ms(since: int | None) -> int:
    """Milliseconds since then (Unix ms); 0 for None and for a clock that was set back."""
    return 0 if since is None else max(0, int(time.time() * 1000) - since)


def lag(outbox: Outbox, dead_letters: int) -> str:
    """What to say of an outbox behind a destination's state; nothing when it keeps up."""
    words = ""
    late = age_ms(outbox.oldest)
    if late >= LATE_MS:
        words += f", {outbox.rows} payloads ({outbox.bytes} bytes) wait, the oldest {late / 1000:.0f} s"
    if dead_letters:
        words += f", {dead_letters} rejected"
    return words


def subscription_row(row: Row) -> SubscriptionRow:
    """A stored subscription as the API shows it."""
    assert row.parent_id is not None
    return SubscriptionRow(
        id=row.id,
        publish_destination_id=row.parent_id,
        created_at=row.created_at,
        updated_at=row.updated_at,
        **row.body,
    )


def found_report(id: int, name: str, found: OutboxSummary | None) -> OutboxReport:
    """The report of a destination that is not running: what an earlier run has left on disk."""
    return OutboxReport(
        destination_id=id,
        destination=name,
        connected=False,
        rows=found.rows if found else 0,
        bytes=found.bytes if found else 0,
        oldest=found.oldest if found else None,
        delivered=0,
        rejected=found.dead_letters if found else 0,
        dropped_quota=0,
        dropped_expired=0,
        last_flush_attempt=None,
        last_flush_success=None,
        last_error=None,
        latest_error=None,
        latest_error_at=None,
    )
