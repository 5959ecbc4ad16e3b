"""Stored destinations and subscriptions, and what clients see of them. Plain functions."""

from contextlib import suppress
from typing import Any

import msgspec
from msgspec import UNSET

from actors.publish import destinations
from actors.publish.destinations import Fallbacks
from actors.publish.destinations.masks import masked
from actors.publish.messages import DestinationRow, DestinationStatus, OutboxReport, SubscriptionRow
from actors.publish.outbox import Outbox
from actors.publish.subscription_route import RouteJson, SubscriptionRoute, check_subscription
from actors.state.rows import Kept
from actors.system.checking import tell_unknown
from actors.system.failure import Refusal
from storage import timestamps
from storage.outbox import OutboxSummary

SWITCHED_OFF = "publishing is switched off (features.enableDevicePublish)"

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


def route_of(body: SubscriptionBody) -> SubscriptionRoute:
    """What a subscription asks for; raises `Refusal`."""
    return check_subscription(body.topics, body.route_json, body.payload_format, body.compression)


def tell_unknown_in_destination(kept: Kept[DestinationBody]) -> None:
    """Log the keys of a stored destination that its type does not know, if there is that type."""
    if kept.body is not None:
        with suppress(Refusal):
            found = destinations.find(kept.body.type)
            found.tell_unknown(f"destination {kept.row.name}", kept.body.config_json)


def tell_unknown_in_subscription(kept: Kept[SubscriptionBody]) -> None:
    """Log the keys of a stored subscription that are not known."""
    if kept.body is not None:
        tell_unknown(f"subscription {kept.row.id}", (kept.body.route_json, RouteJson, "route_json"))


def destination_row(
    kept: Kept[DestinationBody], report: OutboxReport, error: str | None = None, publishing: bool = True
) -> DestinationRow:
    """A stored destination as the API shows it; `error` is why it cannot run. None does without
    `publishing`."""
    row, body = kept.row, kept.body
    type_name = body.type if body else str(row.body.get("type", "unknown"))
    enabled = body.enabled if body else row.body.get("enabled") is True
    return DestinationRow(
        id=row.id,
        name=row.name or "",
        type=type_name,
        config_json=_shown(body) if body else None,
        enabled=enabled,
        last_error=error or report.latest_error,
        last_error_at=None if error else timestamps.iso(report.latest_error_at),
        created_at=row.created_at,
        updated_at=row.updated_at,
        status=_status(enabled, report, error, publishing),
    )


def _shown(body: DestinationBody) -> dict[str, Any] | None:
    """Its configuration with secrets masked; nothing of one whose secrets are not known."""
    try:
        secrets = destinations.find(body.type).secrets
    except Refusal:
        return None
    return masked(body.config_json, secrets) if body.config_json else body.config_json


def _status(enabled: bool, report: OutboxReport, error: str | None, publishing: bool) -> DestinationStatus:
    health = "error" if error else "disconnected" if enabled and publishing else "disabled"
    switched_off = SWITCHED_OFF if enabled and not publishing else None
    reason = None if report.connected else error or switched_off or report.last_error
    return DestinationStatus(
        health="connected" if report.connected else health,
        reason=reason or UNSET,
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
    return 0 if since is None else max(0, timestamps.unix_ms() - since)


def lag(outbox: Outbox, dead_letters: int) -> str:
    """What to say of an outbox behind a destination's state; nothing when it keeps up."""
    words = ""
    late = age_ms(outbox.oldest)
    if late >= LATE_MS:
        words += f", {outbox.rows} payloads ({outbox.bytes} bytes) wait, the oldest {late / 1000:.0f} s"
    if dead_letters:
        words += f", {dead_letters} rejected"
    return words


def subscription_row(kept: Kept[SubscriptionBody], error: str | None = None) -> SubscriptionRow:
    """A stored subscription as the API shows it; `error` is why it cannot run."""
    row = kept.row
    body = kept.body or SubscriptionBody([], None, "unknown", None, row.body.get("enabled") is True)
    return SubscriptionRow(
        id=row.id,
        publish_destination_id=row.parent_id or 0,
        created_at=row.created_at,
        updated_at=row.updated_at,
        last_error=error or UNSET,
        **msgspec.structs.asdict(body),
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


def continued(report: OutboxReport, before: OutboxReport) -> OutboxReport:
    """The report of a destination, the one before being known: an actor that has restarted knows nothing of
    its earlier life's errors."""
    if report.latest_error is not None:
        return report
    return msgspec.structs.replace(
        report, latest_error=before.latest_error, latest_error_at=before.latest_error_at
    )
