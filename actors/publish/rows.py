"""Stored destinations and subscriptions, and what clients see of them. Plain functions."""

from typing import Any

import msgspec

from actors.publish import destinations
from actors.publish.messages import OutboxReport, SubscriptionRow
from actors.publish.routes import Route, check_subscription
from storage.outbox import OutboxSummary
from storage.target_state import Row


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


def check_destination(type: str, config: dict[str, Any] | None, enabled: bool) -> DestinationBody:
    """What to store of a destination as the client sent it; raises `Refusal`."""
    found = destinations.find(type)
    found.check(config or {})
    return DestinationBody(found.name, config, enabled)


def route_of(body: SubscriptionBody, type: str) -> Route:
    """What a subscription to a destination of that type asks for; raises `Refusal`."""
    return check_subscription(body.topics, body.route_json, body.payload_format, body.compression, type)


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
        dropped_quota=0,
        dropped_expired=0,
        last_flush_attempt=None,
        last_flush_success=None,
        last_error=None,
    )
