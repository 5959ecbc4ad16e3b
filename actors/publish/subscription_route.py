"""What a subscription asks for, checked (spec 01 section 9, spec 02 section 4)."""

from typing import Annotated, Any

import msgspec
from msgspec import Meta

from actors.publish import formats
from actors.publish.formats.compression import COMPRESSIONS
from actors.readings.filters import check_filter, spelled
from actors.readings.interest import Interest
from actors.system.checking import checked
from actors.system.failure import Refusal
from conf.annotations import missing
from conf.fields import Flag, Strings, Text

EVENTS = "events/"
QUALITIES = ("GOOD", "BAD", "UNCERTAIN")


class SubscriptionRoute(msgspec.Struct, frozen=True):
    """A checked subscription.

    `topics` are filters as source topics are spelled. `topic` is trimmed; None when there is none.
    `buffer_size` batches of one device are published together, or fewer once the first has waited
    `buffer_time_ms` (0: no limit).
    `max_points_per_message` and `min_interval_ms` are off at 0; an empty tuple filters nothing.
    `qos` (0 or 1) and `retain` are for MQTT.
    `compression` None is the agent's own default.
    """

    topics: tuple[str, ...]
    topic: str | None
    payload_format: str
    compression: str | None
    include_devices: tuple[str, ...] = ()
    exclude_devices: tuple[str, ...] = ()
    include_metrics: tuple[str, ...] = ()
    exclude_metrics: tuple[str, ...] = ()
    qualities: tuple[str, ...] = ()
    min_interval_ms: int = 0
    max_points_per_message: int = 0
    buffer_size: int = 1
    buffer_time_ms: int = 60_000
    qos: int = 1
    retain: bool = False

    @property
    def interest(self) -> Interest:
        """What of it the router goes by."""
        return Interest(
            self.topics,
            self.include_devices,
            self.exclude_devices,
            self.include_metrics,
            self.exclude_metrics,
        )

    @property
    def events(self) -> tuple[str, ...]:
        """Only who asks for events by name gets them: they are not what other receivers expect."""
        return tuple(wanted for wanted in self.topics if wanted.startswith(EVENTS))


class RouteJson(msgspec.Struct, frozen=True, rename="camel"):
    """What clients send."""

    topic: Text | None = None
    include_devices: Strings = ()
    exclude_devices: Strings = ()
    include_metrics: Strings = ()
    exclude_metrics: Strings = ()
    qualities: Strings = ()
    min_interval_ms: Annotated[int, Meta(ge=0, le=60_000)] = 0
    max_points_per_message: Annotated[int, Meta(ge=0, le=1000)] = 0
    buffer_size: Annotated[int, Meta(ge=1, le=10_000)] = 1
    buffer_time_ms: Annotated[int, Meta(ge=0, le=60_000)] = 60_000
    qos: Annotated[int, Meta(ge=0, le=1)] = 1
    retain: Flag = False


class Given(msgspec.Struct, frozen=True):
    topics: Annotated[Strings, missing("topics must be an array of strings")]
    route_json: RouteJson


def check_subscription(
    filters: Any, route_json: Any, payload_format: Any, compression: Any
) -> SubscriptionRoute:
    """The route of a subscription as the client sent it; raises `Refusal`.

    Whether the destination can do with that topic is the destination type's to say.
    """
    if payload_format not in formats.NAMES:
        raise Refusal(f"Invalid payload_format: {payload_format}", "payload_format")
    given = checked({"topics": filters, "route_json": route_json}, Given)
    for index, quality in enumerate(given.route_json.qualities):
        if quality not in QUALITIES:
            field = f"route_json.qualities[{index}]"
            raise Refusal(f"{field} must be one of {', '.join(QUALITIES)}", field)
    chosen = formats.find(payload_format)
    if not chosen.json:
        _refuse_events(given.topics, payload_format)
    if chosen.addresses:
        _refuse_delivery(given.route_json, payload_format)
    return SubscriptionRoute(
        topics=tuple(
            spelled(check_filter(one, f"topics[{index}]")) for index, one in enumerate(given.topics)
        ),
        payload_format=payload_format,
        compression=_compression(compression, payload_format),
        **msgspec.structs.asdict(given.route_json),
    )


def _compression(compression: Any, payload_format: str) -> str | None:
    if compression is not None and compression not in COMPRESSIONS:
        supported = ", ".join(COMPRESSIONS)
        raise Refusal(f"Invalid compression: {compression}. Supported: {supported}", "compression")
    if compression not in (None, "json") and not formats.find(payload_format).json:
        raise Refusal(f"payload_format {payload_format} is not compressed", "compression")
    found: str | None = compression
    return found


def _refuse_delivery(given: RouteJson, payload_format: str) -> None:
    for key, value, own in (("qos", given.qos, 1), ("retain", given.retain, False)):
        if value != own:
            raise Refusal(f"route_json.{key} is not for payload_format {payload_format}", f"route_json.{key}")


def _refuse_events(filters: Strings, payload_format: str) -> None:
    for index, wanted in enumerate(filters):
        if wanted.startswith(EVENTS):
            raise Refusal(f"payload_format {payload_format} tells no events", f"topics[{index}]")
