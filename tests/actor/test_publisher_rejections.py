"""Payloads that a destination will never take, and what a destination says of itself."""

from time import monotonic
from typing import Any

import pytest
from publishing_rig import Rig, Sites
from publishing_system import numbers_of

from actors.connections import retry
from actors.publish import pace, quarantine, suspicion
from actors.publish.keeping import ForgetDeadLetters
from actors.publish.messages import (
    Cloud,
    DeadLettersListed,
    DeadLettersRemoved,
    DestinationsListed,
    JoinCloud,
    ListDeadLetters,
    ListDestinations,
    RemoveDeadLetters,
)


async def dead_letters(rig: Rig, id: int) -> list[int]:
    listed = await rig.ask(ListDeadLetters(id, 100), DeadLettersListed)
    assert listed.total == len(listed.dead_letters)
    return [number for letter in listed.dead_letters for number in numbers_of(letter.payload)]


async def test_a_rejected_payload_is_kept_with_its_reason_and_others_go_on(rig: Rig, sites: Sites) -> None:
    id = await rig.begin()
    site = sites["a"]
    site.acknowledging = False
    rig.poll(1, 2, 3)
    await rig.until(lambda: site.numbers == [1, 2, 3])

    site.drivers[0].reject(1, "temperature is not a number")
    site.acknowledging = True
    site.acknowledge()
    rig.poll(4)
    await rig.settle(id)

    report = await rig.reported(id, lambda report: report.rejected == 1)
    assert (report.delivered, report.rows) == (3, 0)
    assert (report.last_error, report.latest_error) == (None, "rejected: temperature is not a number")
    listed = await rig.ask(ListDeadLetters(id, 100), DeadLettersListed)
    (letter,) = listed.dead_letters
    assert (letter.topic, letter.reason) == ("plant", "temperature is not a number")
    assert numbers_of(letter.payload) == [1]
    assert site.numbers == [1, 2, 3, 4]


async def test_a_rejected_part_of_a_payload_is_kept_and_the_rest_is_delivered(rig: Rig, sites: Sites) -> None:
    id = await rig.begin()
    site = sites["a"]
    site.acknowledging = False
    rig.poll(1, 2)
    await rig.until(lambda: site.numbers == [1, 2])
    [driver] = site.drivers
    driver.listener.rejected_part(driver.unacknowledged[0], site.payloads[0], "of another type")
    driver.listener.rejected_part(99, b"of what is not in flight", "of another type")
    site.acknowledge()
    await rig.settle(id)

    report = await rig.reported(id, lambda report: report.rejected == 1 and report.delivered == 2)
    assert (report.rows, report.latest_error) == (0, "rejected: of another type")
    (letter,) = (await rig.ask(ListDeadLetters(id, 100), DeadLettersListed)).dead_letters
    assert (letter.topic, letter.reason, letter.payload) == ("plant", "of another type", site.payloads[0])


async def test_dead_letters_outlive_a_restart_and_can_be_removed(rig: Rig, sites: Sites) -> None:
    id = await rig.begin()
    site = sites["a"]
    site.acknowledging = False
    rig.poll(1, 2)
    await rig.until(lambda: site.numbers == [1, 2])
    site.drivers[0].reject(2, "no")
    await rig.reported(id, lambda report: report.rejected == 2)

    await rig.stop()
    await rig.start()
    await rig.reported(id, lambda report: report.rejected == 2)
    assert await dead_letters(rig, id) == [2, 1]
    site.acknowledging = True

    assert (await rig.ask(RemoveDeadLetters(id), DeadLettersRemoved)).removed == 2
    assert await dead_letters(rig, id) == []
    await rig.reported(id, lambda report: report.rejected == 0)


async def test_dead_letters_of_an_unknown_destination_are_refused(rig: Rig) -> None:
    for message in (ListDeadLetters(9, 1), RemoveDeadLetters(9)):
        refusal = await rig.refused(message)
        assert (refusal.kind, refusal.message) == ("not_found", "Destination not found: 9")


async def test_a_connection_whose_credentials_end_is_renewed_without_sending_twice(
    rig: Rig, sites: Sites
) -> None:
    id = await rig.begin()
    site = sites["a"]
    site.acknowledging = False
    rig.poll(1, 2)
    await rig.until(lambda: site.numbers == [1, 2])

    site.drivers[0].listener.expiring()
    rig.poll(3)
    await rig.until(lambda: rig.instance(id).draining)
    site.acknowledging = True
    site.acknowledge()
    await rig.until(lambda: len(site.drivers) == 2 and site.drivers[1].is_open)
    await rig.settle(id)
    assert site.numbers == [1, 2, 3]
    assert not site.drivers[0].is_open
    report = await rig.report(id)
    assert report.latest_error is None


async def test_credentials_are_renewed_though_subscriptions_change(rig: Rig, sites: Sites) -> None:
    id = await rig.begin()
    site = sites["a"]
    site.acknowledging = False
    rig.poll(1)
    await rig.until(lambda: site.numbers == [1])
    site.drivers[0].listener.expiring()
    await rig.until(lambda: rig.instance(id).draining)
    await rig.add_subscription(id, route_json={"topic": "more"})
    site.acknowledging = True
    site.acknowledge()
    await rig.until(lambda: len(site.drivers) == 2 and site.drivers[1].is_open)
    assert not site.drivers[0].is_open
    await rig.add_subscription(id, route_json={"topic": "most"})
    await rig.settle(id)
    assert len(site.drivers) == 2


async def test_a_destination_that_asks_to_be_left_alone_is(rig: Rig, sites: Sites) -> None:
    id = await rig.begin()
    site = sites["a"]
    assert retry.ByAbsence().delay(0, 0.0, permanent=False) < 0.1
    attempts = site.attempts
    site.drivers[0].end("too many requests", retry_after=0.6)
    await rig.until(lambda: not rig.instance(id).connected)
    began = rig.instance(id).down_since
    await rig.until(lambda: site.attempts > attempts)
    assert monotonic() - began >= 0.55


async def test_what_is_rejected_while_dead_letters_are_removed_is_counted(rig: Rig, sites: Sites) -> None:
    """That they were removed may come to the destination after the next one has been stored."""
    id = await rig.begin()
    site = sites["a"]
    site.acknowledging = False
    rig.poll(1)
    await rig.until(lambda: site.numbers == [1])
    site.drivers[0].reject(1, "no")
    await rig.reported(id, lambda report: report.rejected == 1)
    destination = rig.instance(id)
    cell: Any = rig.base.mailboxes[rig.destination(id).addressDetails]
    rig.base.deliver(rig.destination(id), ForgetDeadLetters(), rig.publisher)
    await rig.until(lambda: not cell.mailbox and not destination.is_asked("count"))
    assert destination.reporting.dead_letters == 1
    await rig.ask(RemoveDeadLetters(id), DeadLettersRemoved)
    await rig.reported(id, lambda report: report.rejected == 0)
    await rig.until(lambda: destination.reporting.dead_letters == 0)


async def test_lag_is_in_the_row_and_in_the_tree(rig: Rig, sites: Sites) -> None:
    id = await rig.begin()
    site = sites["a"]
    site.leave("power cut")
    rig.poll(1, 2)

    await rig.until(lambda: "2 payloads (" in (rig.health(id) or ""))
    health = rig.health(id)
    assert health is not None
    assert health.startswith("disconnected: ")
    assert health.endswith("bytes) wait, the oldest 1 s")
    listed = await rig.ask(ListDestinations(), DestinationsListed)
    status = listed.destinations[0].status
    assert (status.health, status.rows, status.rejected) == ("disconnected", 2, 0)
    assert status.bytes > 0
    assert status.oldest is not None
    assert status.lag_ms >= 1000

    site.come_back()
    await rig.settle(id)
    await rig.until(lambda: rig.health(id) == "connected")


async def test_joining_the_cloud_is_told_to_the_drivers(rig: Rig, sites: Sites) -> None:
    id = await rig.begin()
    cloud = Cloud("mqtts://cloud.example:8883", "device_1", "tenant", "agent")
    rig.base.tell(rig.publisher, JoinCloud(cloud))
    await rig.until(lambda: [driver.identity.cloud for driver in sites["a"].connected] == [cloud])
    rig.poll(1)
    await rig.settle(id)
    assert sites["a"].numbers == [1]


async def test_a_publisher_that_crashes_does_not_leave_the_cloud(rig: Rig, sites: Sites) -> None:
    id = await rig.begin()
    cloud = Cloud("mqtts://cloud.example:8883", "device_1", "tenant", "agent")
    rig.base.tell(rig.publisher, JoinCloud(cloud))
    await rig.until(lambda: [driver.identity.cloud for driver in sites["a"].connected] == [cloud])
    drivers = len(sites["a"].drivers)
    rig.base.crash(rig.base.mailboxes[rig.publisher.addressDetails], RuntimeError("boom"))
    await rig.change_destination(id, name="renamed")
    rig.poll(1)
    await rig.settle(id)
    assert len(sites["a"].drivers) == drivers


async def test_a_payload_over_which_connections_are_closed_is_given_up_and_the_others_go_on(
    rig: Rig, sites: Sites
) -> None:
    site = sites["a"]
    site.closes_over = {3, 5}
    id = await rig.begin()
    rig.poll(*range(1, 13))
    await rig.settle(id)
    assert sorted(set(site.numbers)) == [1, 2, 4, *range(6, 13)]
    assert await dead_letters(rig, id) == [5, 3]
    report = await rig.reported(id, lambda report: report.rejected == 2)
    assert report.latest_error == "rejected: whenever it is sent: a will not have that"


async def test_a_topic_of_which_everything_is_refused_is_rejected_at_once_and_does_not_delay_others(
    rig: Rig, sites: Sites
) -> None:
    site = sites["a"]
    site.closes_over = set(range(100, 200))
    id = await rig.begin(topics=["modbus/line-1/#"])
    await rig.add_subscription(id, topics=["modbus/bad/#"], route_json={"topic": "bad"})
    for number in range(50):
        rig.poll(number)
        rig.poll(100 + number, endpoint="bad")
    await rig.settle(id)
    assert list(dict.fromkeys(site.numbers)) == list(range(50))
    ends = site.attempts
    assert ends < quarantine.CONVICTIONS * 2 * (suspicion.ENDS + suspicion.STRIKES)
    assert sorted(await dead_letters(rig, id)) == list(range(100, 150))
    rig.poll(*range(150, 160), endpoint="bad")
    rig.poll(*range(50, 60))
    await rig.settle(id)
    assert site.attempts == ends
    assert list(dict.fromkeys(site.numbers)) == list(range(60))


async def test_a_payload_that_is_never_acknowledged_is_given_up_when_others_are(
    rig: Rig, sites: Sites
) -> None:
    site = sites["a"]
    site.acknowledging = False
    id = await rig.begin()
    rig.poll(1, 2, 3, 4)
    for _ in range(suspicion.STRIKES):
        await rig.until(lambda: site.connected and site.connected[0].unacknowledged[:1] == [1])
        driver = site.connected[0]
        rig.poll(5)
        await rig.until(lambda driver=driver: len(driver.unacknowledged) > 1)
        later = driver.unacknowledged.pop()
        driver.listener.delivered([later])
        driver.end("no acknowledgement for 20 s")
    await rig.until(lambda: site.connected)
    site.acknowledging = True
    site.acknowledge()
    rig.poll(6)
    await rig.settle(id)
    assert await dead_letters(rig, id) == [1]
    report = await rig.reported(id, lambda report: report.rejected == 1)
    assert report.latest_error == "rejected: whenever it is sent: no acknowledgement for 20 s"


async def test_a_connection_is_handed_a_few_payloads_until_it_has_acknowledged_some(
    rig: Rig, sites: Sites, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pace, "FIRST", 4)
    site = sites["a"]
    site.acknowledging = False
    id = await rig.begin()
    rig.poll(*range(60))
    sent = []
    for count in (4, 8, 16):
        await rig.until(lambda: site.drivers[-1].unacknowledged)
        sent.append(len(site.drivers[-1].unacknowledged))
        assert sent[-1] == count
        site.acknowledge()
    site.drivers[-1].end("cut")
    await rig.until(lambda: site.connected and site.connected[0].unacknowledged)
    assert len(site.connected[0].unacknowledged) == 4
    site.acknowledging = True
    site.acknowledge()
    await rig.settle(id)


async def test_a_destination_that_closes_every_connection_has_nothing_given_up(
    rig: Rig, sites: Sites
) -> None:
    site = sites["a"]
    site.closes_over = {99}
    id = await rig.begin()
    site.leaves_at_once = True
    site.drivers[0].end("trouble")
    rig.poll(1, 2)
    attempts = site.attempts
    await rig.until(lambda: site.attempts > attempts + 20)
    site.leaves_at_once = False
    await rig.settle(id)
    assert await dead_letters(rig, id) == []
    assert site.numbers[-2:] == [1, 2]
