"""Messages of the publishing side. Requests are answered by the reply named beside them or by `Failed`."""

from typing import Any

import msgspec
from msgspec import UNSET, UnsetType

from storage.dead_letters import DeadLetter


class DestinationStatus(msgspec.Struct, frozen=True):
    """How a destination is doing: what it has not yet acknowledged, and what became of the rest.

    `health` is `connected`, `disconnected`, `disabled`, or `error` (it cannot run), `reason` why it is not
    connected, where that is known. `delivered` and the `dropped` count payloads since the start; `rejected`
    those in its dead-letter table. `oldest` is ISO-8601, `lag_ms` its age.
    """

    health: str
    rows: int
    bytes: int
    oldest: str | None
    lag_ms: int
    delivered: int
    rejected: int
    dropped_quota: int
    dropped_expired: int
    reason: str | UnsetType = UNSET


class DestinationRow(msgspec.Struct, frozen=True):
    """A destination as the API shows it (spec 01 section 8); secrets in `config_json` are masked."""

    id: int
    name: str
    type: str
    config_json: dict[str, Any] | None
    enabled: bool
    last_error: str | None
    last_error_at: str | None
    created_at: str
    updated_at: str
    status: DestinationStatus


class SubscriptionRow(msgspec.Struct, frozen=True, kw_only=True):
    """A subscription as the API shows it (spec 01 section 9); `last_error` is why it cannot run."""

    id: int
    publish_destination_id: int
    topics: list[str]
    route_json: dict[str, Any] | None
    payload_format: str
    compression: str | None
    enabled: bool
    created_at: str
    updated_at: str
    last_error: str | UnsetType = UNSET


class ListDestinations(msgspec.Struct, frozen=True):
    """To `publisher`; replies `DestinationsListed`, ordered by id."""

    include_disabled: bool = True


class DestinationsListed(msgspec.Struct, frozen=True):
    destinations: list[DestinationRow]


class AddDestination(msgspec.Struct, frozen=True):
    """To `publisher`; replies `DestinationChanged`. Values are as the client sent them."""

    name: str
    type: str
    config_json: dict[str, Any] | None = None
    enabled: bool = True


class ChangeDestination(msgspec.Struct, frozen=True):
    """To `publisher`; replies `DestinationChanged`; `config_json` is replaced whole, except that a
    masked secret sent back unchanged keeps the stored one."""

    id: int
    name: str | UnsetType = UNSET
    type: str | UnsetType = UNSET
    config_json: dict[str, Any] | UnsetType | None = UNSET
    enabled: bool | UnsetType = UNSET


class DestinationChanged(msgspec.Struct, frozen=True):
    destination: DestinationRow


class RemoveDestination(msgspec.Struct, frozen=True):
    """To `publisher`; replies `DestinationRemoved`; its subscriptions and outbox go with it."""

    id: int


class DestinationRemoved(msgspec.Struct, frozen=True):
    id: int


class TestDestination(msgspec.Struct, frozen=True):
    """To `publisher`; replies `DestinationTested`; nothing is stored."""

    __test__ = False

    type: str
    config_json: dict[str, Any] | None = None


class DestinationTested(msgspec.Struct, frozen=True):
    """`message` when ok, `error` when not."""

    ok: bool
    message: str | None = None
    error: str | None = None


class ListSubscriptions(msgspec.Struct, frozen=True):
    """To `publisher`; replies `SubscriptionsListed`, ordered by id."""

    publish_destination_id: int | None = None
    include_disabled: bool = True


class SubscriptionsListed(msgspec.Struct, frozen=True):
    subscriptions: list[SubscriptionRow]


class AddSubscription(msgspec.Struct, frozen=True):
    """To `publisher`; replies `SubscriptionChanged`. Values are as the client sent them."""

    publish_destination_id: int
    topics: list[str] = []
    route_json: dict[str, Any] | None = None
    payload_format: str = "custom"
    compression: str | None = None
    enabled: bool = True


class ChangeSubscription(msgspec.Struct, frozen=True):
    """To `publisher`; replies `SubscriptionChanged`; the merged result is validated as a whole."""

    id: int
    publish_destination_id: int | UnsetType = UNSET
    topics: list[str] | UnsetType = UNSET
    route_json: dict[str, Any] | UnsetType | None = UNSET
    payload_format: str | UnsetType = UNSET
    compression: str | UnsetType | None = UNSET
    enabled: bool | UnsetType = UNSET


class SubscriptionChanged(msgspec.Struct, frozen=True):
    subscription: SubscriptionRow


class RemoveSubscription(msgspec.Struct, frozen=True):
    """To `publisher`; replies `SubscriptionRemoved`."""

    id: int


class SubscriptionRemoved(msgspec.Struct, frozen=True):
    id: int


class ReportBuffers(msgspec.Struct, frozen=True):
    """To `publisher`; replies `BuffersReported`."""


class OutboxReport(msgspec.Struct, frozen=True):
    """One destination's outbox: what is not yet acknowledged, in memory or on disk. Times are Unix ms.

    `bytes` are those on disk, compressed ones as they are; of what is not there yet, those of payloads.
    `delivered` counts payloads acknowledged since the start, `rejected` those in the dead-letter table.
    `last_error` is what is wrong now, `latest_error` what went wrong last, rejections included."""

    destination_id: int
    destination: str
    connected: bool
    rows: int
    bytes: int
    oldest: int | None
    delivered: int
    rejected: int
    dropped_quota: int
    dropped_expired: int
    last_flush_attempt: int | None
    last_flush_success: int | None
    last_error: str | None
    latest_error: str | None
    latest_error_at: int | None


class BuffersReported(msgspec.Struct, frozen=True):
    outboxes: list[OutboxReport]


class ListDeadLetters(msgspec.Struct, frozen=True):
    """To `publisher`: the latest `limit` payloads that a destination will never take; replies
    `DeadLettersListed`."""

    destination_id: int
    limit: int


class DeadLettersListed(msgspec.Struct, frozen=True):
    """`total` counts all of them, also those beyond the limit."""

    dead_letters: list[DeadLetter]
    total: int


class RemoveDeadLetters(msgspec.Struct, frozen=True):
    """To `publisher`: all of a destination's; replies `DeadLettersRemoved`."""

    destination_id: int


class DeadLettersRemoved(msgspec.Struct, frozen=True):
    removed: int


class Cloud(msgspec.Struct, frozen=True):
    """What provisioning has agreed with the Iotistica cloud (spec 06 section 3, spec 02 sections 8.1
    and 9). `tenant` and `agent` are the ids in topics, as the cloud gave them; `ca`, `cert` and `key` are
    PEM texts."""

    broker_url: str
    client_id: str
    tenant: str
    agent: str
    username: str | None = None
    password: str | None = None
    ca: str | None = None
    cert: str | None = None
    key: str | None = None
    verify_certificate: bool = True
    keepalive: int = 60


class JoinCloud(msgspec.Struct, frozen=True):
    """To `publisher`: what provisioning has agreed, or None when the agent has left the cloud."""

    cloud: Cloud | None
