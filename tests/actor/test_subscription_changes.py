"""A subscription and devices that tell what has changed."""

import gc
import json
import weakref
from time import monotonic
from typing import Any

import msgspec
import pytest
from puppets import until
from test_subscription import Rig, running, start

from actors.publish.topics import Target
from actors.readings.batch import Batch, Point, Source
from actors.readings.messages import SourceEnded
from actors.system.asyncio_base import AsyncioSystemBase
from storage.timestamps import unix_ms

BY_DEVICE = Target("plant/{name}/{device}", template=True)


def device(name: str = "press", *points: str) -> Source:
    """All are of one endpoint."""
    return Source(
        endpoint_uuid="uuid-of-cell",
        endpoint="cell",
        protocol="opcua",
        device_uuid=f"uuid-of-{name}",
        device=name,
        points=tuple(Point(point) for point in points or ("speed", "load", "heat")),
        prefixes=("sensors/cell/",),
        pushed=True,
    )


PRESS = device()


def changed(readings: dict[int, Any], source: Source = PRESS, at: int = 5, **parts: Any) -> Batch:
    return Batch(source, at, list(readings.values()), indices=list(readings), encoded={}, **parts)


def tags_of(payload: Any) -> dict[str, Any]:
    return {tag["name"]: tag.get("value", tag.get("error")) for tag in payload["tags"]}


async def told(rig: Rig) -> list[dict[str, Any]]:
    return [tags_of(payload) for payload in await rig.decoded()]


async def heard(rig: Rig) -> list[dict[str, Any]]:
    """Until now, without asking for what is held back."""
    publishes = rig.instances[0].told
    return [tags_of(json.loads(payload)) for publish in publishes for payload in publish.payloads]


async def test_what_has_changed_is_published_alone_and_with_its_own_time(system: AsyncioSystemBase) -> None:
    rig = await running(system, start())
    rig.send(changed({1: 7, 0: 8}, times=[4, 3]))
    assert [(one["timestamp"], tags_of(one)) for one in await rig.decoded()] == [
        (3, {"speed": 8}),
        (4, {"load": 7}),
    ]


async def test_devices_of_an_endpoint_have_buffers_and_topics_of_their_own(system: AsyncioSystemBase) -> None:
    rig = await running(system, start(BY_DEVICE, payload_format="custom", buffer_size=3))
    pump = device("pump")
    for number in range(3):
        rig.send(changed({0: number}), changed({1: number}, pump))
    published = await rig.published()
    assert [(publish.topic, len(publish.payloads)) for publish in published] == [
        ("plant/cell/press", 1),
        ("plant/cell/pump", 1),
    ]
    assert [
        [message["value"] for message in json.loads(publish.payloads[0])["messages"]] for publish in published
    ] == [[0, 1, 2]] * 2


async def test_a_device_that_ends_takes_nothing_of_another_along(system: AsyncioSystemBase) -> None:
    rig = await running(system, start(buffer_size=10, buffer_time_ms=0))
    pump = device("pump")
    rig.send(changed({0: 1}), changed({0: 2}, pump), SourceEnded(pump))
    await until(lambda: rig.instances and rig.instances[0].told)
    assert await heard(rig) == [{"speed": 2}]
    assert await told(rig) == [{"speed": 2}, {"speed": 1}]


async def test_buffered_readings_outlast_a_source_that_grows(system: AsyncioSystemBase) -> None:
    rig = await running(system, start(payload_format="custom", buffer_size=10))
    rig.send(changed({0: 1}), changed({3: 2}, device("press", "speed", "load", "heat", "new")))
    payloads = await rig.decoded()
    assert [(one["metric"], one["value"]) for payload in payloads for one in payload["messages"]] == [
        ("speed", 1),
        ("new", 2),
    ]


@pytest.mark.parametrize("grown", [False, True])
async def test_the_last_reading_within_the_interval_goes_when_that_is_over(
    system: AsyncioSystemBase, grown: bool
) -> None:
    rig = await running(system, start(min_interval_ms=400))
    began, now = monotonic(), unix_ms()
    rig.send(changed({0: 1}, at=now))
    rig.send(*(changed({0: number, 1: 9}, at=now + number) for number in range(2, 6)))
    if grown:
        rig.send(changed({0: 6}, device("press", "speed", "load", "heat", "new"), at=now + 9))
    await until(lambda: len(rig.instances[0].told) >= 3)
    assert monotonic() - began > 0.3
    assert await heard(rig) == [{"speed": 1}, {"load": 9}, {"speed": 6 if grown else 5, "load": 9}] or grown
    assert (await told(rig))[-1]["speed"] == (6 if grown else 5)


async def test_what_is_held_back_goes_when_the_device_or_the_subscription_ends(
    system: AsyncioSystemBase,
) -> None:
    rig = await running(system, start(min_interval_ms=60_000))
    rig.send(changed({0: 1}), changed({0: 2}), changed({0: 3}), SourceEnded(PRESS))
    await until(lambda: rig.instances and len(rig.instances[0].told) == 2)
    rig.send(changed({0: 4}), changed({0: 5}))
    assert await told(rig) == [{"speed": 1}, {"speed": 3}, {"speed": 4}, {"speed": 5}]


async def test_a_bad_quality_is_held_back_like_any_reading(system: AsyncioSystemBase) -> None:
    rig = await running(system, start(min_interval_ms=60_000))
    rig.send(changed({0: 1}), changed({0: 2}))
    rig.send(Batch(PRESS, 9, [None] * 3, ["DEVICE_OFFLINE"] * 3, {}))
    assert await told(rig) == [
        {"speed": 1},
        {"load": "DEVICE_OFFLINE", "heat": "DEVICE_OFFLINE"},
        {"speed": "DEVICE_OFFLINE"},
    ]


async def test_nothing_of_a_device_is_kept_when_it_has_ended(system: AsyncioSystemBase) -> None:
    rig = await running(system, start(min_interval_ms=60_000, buffer_size=5))
    sources = [device(f"press-{number}") for number in range(3)]
    gone = [weakref.ref(source) for source in sources]
    for source in sources:
        rig.send(changed({0: 1}, source), changed({0: 2}, source), SourceEnded(source))
    assert len(await rig.published()) == 3
    cell: Any = system.mailboxes[rig.subscription.addressDetails]
    assert not cell.instance.throttles
    assert not cell.instance.buffers
    del sources, source
    gc.collect()
    assert [source() for source in gone] == [None] * 3


async def test_a_device_that_has_another_name_has_ended_under_the_one_before(
    system: AsyncioSystemBase,
) -> None:
    rig = await running(system, start(payload_format="sparkplug", buffer_size=5))
    renamed = msgspec.structs.replace(PRESS, device="press 2")
    grown = msgspec.structs.replace(renamed, points=(*renamed.points, Point("new")))
    for source in (PRESS, renamed, grown):
        rig.send(changed({0: 1}, source))
    payloads = [payload for publish in await rig.published() for payload in publish.payloads]
    told = [(one["device"], one.get("ended", False)) for one in map(json.loads, payloads)]
    press, other = "press-uuid-of-", "press 2-uuid-of-"
    assert told == [(press, False), (press, True), (other, False), (other, False)]


async def test_equal_subscriptions_share_the_payload_of_some_points(system: AsyncioSystemBase) -> None:
    rig = await running(system, start(min_interval_ms=1000))
    batch = changed({0: 1, 2: 3})
    rig.send(batch)
    (publish,) = await rig.published()
    assert publish.payloads[0] in batch.encoded.values()
    assert msgspec.structs.replace(batch, encoded={}) != batch
