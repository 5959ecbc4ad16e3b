"""A subscription: what a test sends it, and what its destination gets."""

import gc
import json
import weakref
import zlib
from typing import Any

import cbor2
import msgspec
import pytest
from puppets import SECONDS, SOON, Lives, Puppet, below, node, until
from thespian.actors import ActorAddress
from wall_clock import YEAR, WallClock

from actors.publish.subscription import Flush, Flushed, Publish, RunSubscription, Subscription
from actors.publish.subscription_route import SubscriptionRoute
from actors.publish.topics import Target
from actors.readings.batch import Batch, Insight, Point, Source
from actors.readings.messages import EventRaised
from actors.system.asyncio_base import AsyncioSystemBase
from storage.timestamps import unix_ms

UUID = "7d0f2c5e-0000-4000-8000-000000000001"
TARGET = Target("plant")


class NotingDestination(Puppet):
    def receiveMsg_Publish(self, message: Publish, sender: ActorAddress) -> None:
        self.told.append(message)


class Rig:
    """A subscription as the child of a destination."""

    def __init__(self, system: AsyncioSystemBase, start: RunSubscription) -> None:
        self.system = system
        self.instances: list[Puppet] = []
        self.owner = system.spawn(
            None,
            NotingDestination,
            "destination",
            Lives(self.instances, lambda puppet: puppet.spawn(Subscription, "subscription", start)),
            SOON,
        )
        self.subscription = below(self.owner, "subscription")

    def send(self, *messages: Any) -> None:
        for message in messages:
            self.system.tell(self.subscription, message)

    async def published(self) -> list[Publish]:
        """Everything until now, what was buffered included."""
        assert await self.system.ask(self.subscription, Flush(7), SECONDS) == Flushed(3, 7)
        await until(lambda: not node(self.system, self.owner).mailbox)
        return self.instances[0].told

    async def decoded(self) -> list[Any]:
        return [json.loads(payload) for publish in await self.published() for payload in publish.payloads]


async def running(system: AsyncioSystemBase, start: RunSubscription) -> Rig:
    rig = Rig(system, start)
    await until(lambda: rig.subscription.addressDetails in system.mailboxes)
    return rig


def start(target: Target = TARGET, **route: Any) -> RunSubscription:
    parts = {"topics": (), "topic": target.topic, "payload_format": "tags", "compression": "json"} | route
    return RunSubscription(3, SubscriptionRoute(**parts), target, UUID)


def source_of(endpoint: str = "line-1", *metrics: str) -> Source:
    names = metrics or ("oil_temp", "running", "parts")
    return Source(
        endpoint_uuid=f"uuid-of-{endpoint}",
        endpoint=endpoint,
        protocol="modbus",
        device_uuid=f"device-of-{endpoint}",
        device=f"press-of-{endpoint}",
        points=tuple(Point(name) for name in names),
        prefixes=(f"sensors/{endpoint}/",),
    )


SOURCE = source_of()


def poll(time: int, *values: Any, source: Source = SOURCE, codes: list[str | None] | None = None) -> Batch:
    return Batch(source, time, list(values or (1.5, True, 3)), codes)


def tags_of(payload: Any) -> list[tuple[str, Any]]:
    return [(tag["name"], tag.get("value", tag.get("error"))) for tag in payload["tags"]]


# Filters


@pytest.mark.parametrize(
    ("route", "wanted"),
    [
        ({}, [1, 2]),
        ({"include_devices": ("line-1",)}, [1]),
        ({"include_devices": ("press-of-line-2",)}, [2]),
        ({"exclude_devices": ("line-2",)}, [1]),
        ({"topics": ("sensors/line-2/#",)}, [2]),
        ({"topics": ("events/#",)}, []),
    ],
)
async def test_a_route_selects_devices(
    system: AsyncioSystemBase, route: dict[str, Any], wanted: list[int]
) -> None:
    rig = await running(system, start(**route))
    rig.send(poll(1), poll(2, source=source_of("line-2")))
    assert [payload["timestamp"] for payload in await rig.decoded()] == wanted


async def test_a_route_selects_metrics(system: AsyncioSystemBase) -> None:
    rig = await running(system, start(include_metrics=("oil_temp", "parts"), exclude_metrics=("parts",)))
    rig.send(poll(1), poll(2, 2.5, False, 4))
    assert [tags_of(payload) for payload in await rig.decoded()] == [[("oil_temp", 1.5)], [("oil_temp", 2.5)]]


@pytest.mark.parametrize(
    ("payload_format", "entries"), [("custom", "messages"), ("tags", "tags"), ("ecp", "tags")]
)
async def test_a_route_selects_qualities_in_every_format(
    system: AsyncioSystemBase, payload_format: str, entries: str
) -> None:
    rig = await running(system, start(payload_format=payload_format, qualities=("GOOD",)))
    rig.send(
        poll(1, 1.5, None, 3, codes=[None, "TIMEOUT", "STALE"]),
        poll(2, None, None, None, codes=["TIMEOUT"] * 3),
    )
    (payload,) = await rig.decoded()
    assert [entry["value"] for entry in payload[entries]] == [1.5]


async def test_a_poll_of_which_nothing_passes_publishes_nothing(system: AsyncioSystemBase) -> None:
    rig = await running(system, start(qualities=("UNCERTAIN",)))
    rig.send(poll(1), poll(2, None, None, None, codes=["TIMEOUT"] * 3))
    assert await rig.published() == []


async def test_a_poll_with_too_many_points_goes_as_several_messages(system: AsyncioSystemBase) -> None:
    rig = await running(system, start(max_points_per_message=2))
    rig.send(poll(1))
    (publish,) = await rig.published()
    assert [tags_of(json.loads(payload)) for payload in publish.payloads] == [
        [("oil_temp", 1.5), ("running", True)],
        [("parts", 3)],
    ]
    first, second = (json.loads(payload) for payload in publish.payloads)
    assert first["timestamp"] == second["timestamp"] == 1
    assert first["msgId"] != second["msgId"]


async def test_buffered_polls_are_divided_by_all_their_points(system: AsyncioSystemBase) -> None:
    rig = await running(system, start(payload_format="custom", buffer_size=3, max_points_per_message=6))
    rig.send(poll(1), poll(2), poll(3))
    assert [len(payload["messages"]) for payload in await rig.decoded()] == [6, 3]


async def test_buffered_tags_are_one_payload_per_poll(system: AsyncioSystemBase) -> None:
    rig = await running(system, start(buffer_size=2))
    rig.send(poll(1), poll(2))
    (publish,) = await rig.published()
    assert [json.loads(payload)["timestamp"] for payload in publish.payloads] == [1, 2]


async def test_each_endpoint_has_its_own_minimum_interval(system: AsyncioSystemBase) -> None:
    rig = await running(system, start(min_interval_ms=1000))
    other = source_of("line-2")
    rig.send(poll(0), poll(100, source=other), poll(500), poll(600, source=other))
    rig.send(poll(1001), poll(1100, source=other))
    assert [payload["timestamp"] for payload in await rig.decoded()] == [0, 100, 1001, 1100]


@pytest.mark.parametrize("jump", [3600, -3600, 10 * YEAR, -10 * YEAR, 5, -5])
async def test_a_clock_that_is_set_silences_no_subscription(
    system: AsyncioSystemBase, wall_clock: WallClock, jump: float
) -> None:
    """https://github.com/wazuh/wazuh/issues/38825, https://github.com/prometheus/prometheus/issues/8710"""
    rig = await running(system, start(min_interval_ms=7_200_000))
    rig.send(poll(unix_ms()))
    await rig.published()
    wall_clock.jump(jump)
    rig.send(poll(unix_ms()), poll(unix_ms() + 7_190_000), poll(unix_ms() + 7_200_000))
    assert len(await rig.decoded()) == 2
    wall_clock.jump(-jump)
    rig.send(poll(unix_ms() + 7_200_000), poll(unix_ms() + 14_400_000))
    assert len(await rig.decoded()) == 3


async def test_the_interval_comes_before_the_qualities(system: AsyncioSystemBase) -> None:
    rig = await running(system, start(min_interval_ms=1000, qualities=("GOOD",)))
    rig.send(poll(0, None, None, None, codes=["TIMEOUT"] * 3), poll(500), poll(1000))
    assert [payload["timestamp"] for payload in await rig.decoded()] == [1000]


async def test_only_polls_that_the_interval_lets_through_are_buffered(system: AsyncioSystemBase) -> None:
    rig = await running(system, start(payload_format="custom", min_interval_ms=1000, buffer_size=2))
    rig.send(poll(0), poll(500), poll(1000))
    assert [len(payload["messages"]) for payload in await rig.decoded()] == [6]


async def test_an_endpoint_that_changes_its_points_is_selected_anew(system: AsyncioSystemBase) -> None:
    rig = await running(system, start(include_metrics=("load",)))
    rig.send(poll(1), poll(2, 1, 2, source=source_of("line-1", "speed", "load")))
    assert [tags_of(payload) for payload in await rig.decoded()] == [[("load", 2)]]


async def test_a_changed_route_takes_effect_with_the_next_poll(system: AsyncioSystemBase) -> None:
    rig = await running(system, start(include_metrics=("parts",)))
    rig.send(poll(1))
    await rig.published()
    puppet = rig.instances[0]
    puppet.restate(rig.subscription, start(Target("other"), include_metrics=("running",)))
    rig.send(poll(2))
    assert [(publish.topic, len(publish.payloads)) for publish in await rig.published()] == [
        ("plant", 1),
        ("other", 1),
    ]
    assert tags_of((await rig.decoded())[1]) == [("running", True)]


# Formats and compressions


@pytest.mark.parametrize(
    ("compression", "decode"),
    [
        ("msgpack", msgspec.msgpack.decode),
        ("cbor", cbor2.loads),
        ("json+deflate", lambda payload: json.loads(zlib.decompress(payload))),
        ("msgpack+deflate", lambda payload: msgspec.msgpack.decode(zlib.decompress(payload))),
        ("cbor+deflate", lambda payload: cbor2.loads(zlib.decompress(payload))),
    ],
)
async def test_payloads_are_compressed_as_the_route_says(
    system: AsyncioSystemBase, compression: str, decode: Any
) -> None:
    rig = await running(system, start(compression=compression))
    text = "a text above the threshold " * 200
    rig.send(poll(1, text, True, 3))
    (publish,) = await rig.published()
    assert tags_of(decode(publish.payloads[0])) == [("oil_temp", text), ("running", True), ("parts", 3)]


async def test_what_the_detector_knows_is_published(system: AsyncioSystemBase) -> None:
    rig = await running(system, start(payload_format="custom"))
    rig.send(Batch(SOURCE, 1, [1.5, True, 3], insights=[None, Insight(anomaly_score=0.5), None]))
    (payload,) = await rig.decoded()
    assert [message.get("anomaly_score") for message in payload["messages"]] == [None, 0.5, None]


@pytest.mark.parametrize(
    ("route", "health"),
    [
        ({}, "tags to plant"),
        ({"payload_format": "custom", "compression": "msgpack+deflate"}, "custom msgpack+deflate to plant"),
    ],
)
async def test_it_says_what_it_publishes_and_where(
    system: AsyncioSystemBase, route: dict[str, Any], health: str
) -> None:
    rig = await running(system, start(**route))
    await rig.published()
    assert node(system, rig.subscription).health == health


# Topics


async def test_a_template_is_filled_for_each_source(system: AsyncioSystemBase) -> None:
    rig = await running(system, start(Target("plant/{protocol}/{name}/{device}", template=True)))
    rig.send(poll(1), poll(2, source=source_of("line/2")))
    assert [publish.topic for publish in await rig.published()] == [
        "plant/modbus/line-1/press-of-line-1",
        "plant/modbus/line_2/press-of-line_2",
    ]


# Events

DRIFT = EventRaised("events/drift/modbus", {"type": "new-field", "field": "oil_temp"})


async def test_an_event_is_published_with_a_message_id(system: AsyncioSystemBase) -> None:
    rig = await running(system, start(topics=("events/#",)))
    rig.send(DRIFT)
    (publish,) = await rig.published()
    body = json.loads(publish.payloads[0])
    assert body.pop("msgId").startswith(f"{UUID}-")
    assert (publish.topic, body) == ("plant", DRIFT.body)


async def test_an_event_is_compressed_as_readings_are(system: AsyncioSystemBase) -> None:
    rig = await running(system, start(compression="msgpack"))
    rig.send(DRIFT)
    (publish,) = await rig.published()
    assert msgspec.msgpack.decode(publish.payloads[0])["type"] == "new-field"


@pytest.mark.parametrize(
    ("target", "topic"),
    [
        (Target("plant/{protocol}", template=True), "plant/modbus"),
        (Target("plant/{protocol}", template=True, events_by_name=True), "events/drift/modbus"),
    ],
)
async def test_an_event_goes_to_the_target_or_to_its_own_topic(
    system: AsyncioSystemBase, target: Target, topic: str
) -> None:
    rig = await running(system, start(target))
    rig.send(DRIFT)
    assert [publish.topic for publish in await rig.published()] == [topic]


async def test_events_are_neither_throttled_nor_filtered_nor_buffered(system: AsyncioSystemBase) -> None:
    route = {"min_interval_ms": 1000, "qualities": ("BAD",), "include_devices": ("none",), "buffer_size": 10}
    rig = await running(system, start(**route))
    rig.send(DRIFT, DRIFT)
    await until(lambda: rig.instances and len(rig.instances[0].told) == 2)


async def test_a_format_that_is_a_destination_types_own_tells_no_events(system: AsyncioSystemBase) -> None:
    rig = await running(system, start(payload_format="line-protocol"))
    rig.send(DRIFT, poll(1))
    (publish,) = await rig.published()
    assert publish.payloads[0].startswith(b"device=press-of-line-1,")


# Memory


async def test_what_is_known_of_a_source_goes_with_it(system: AsyncioSystemBase) -> None:
    rig = await running(system, start(min_interval_ms=1000, max_points_per_message=2))
    sources = [source_of(f"line-{number}") for number in range(5)]
    gone = [weakref.ref(source) for source in sources]
    rig.send(*(poll(1, source=source) for source in sources))
    assert len(await rig.published()) == 5
    del sources
    gc.collect()
    assert [source() for source in gone] == [None] * 5
    cell: Any = system.mailboxes[rig.subscription.addressDetails]
    assert len(cell.instance.plans) == 0
