"""What is under way to one BACnet station, and what it is known to be able to do."""

import asyncio

from actors.endpoints.protocols.bacnet.capability import Capability
from actors.endpoints.protocols.bacnet.codec import Batch, key_of
from actors.endpoints.protocols.bacnet.peer import OURS, Peer
from actors.endpoints.protocols.bacnet.points import Ref
from actors.endpoints.protocols.bacnet.station import Station, packet, unconfirmed, unpack

STATION = Station("10.0.0.5", 47808)


def groups(count: int) -> list[tuple[Ref, ...]]:
    return [(Ref(0, number), Ref(0, number, 111)) for number in range(count)]


# Requests


async def test_numbers_of_requests_are_ours_and_differ_while_any_is_waited_for() -> None:
    peer = Peer(STATION)
    numbers = [peer.begin(0.0)[0] for _ in range(128)]
    assert set(numbers) == set(range(OURS, 256))


async def test_a_number_whose_answer_never_came_is_the_last_to_be_used_again() -> None:
    peer = Peer(STATION)
    lost, _ = peer.begin(0.0)
    peer.expire(lost)
    peer.end(lost)
    for _ in range(300):
        number, _ = peer.begin(1.0)
        assert number != lost
        peer.answer(number, b"\x30")
        peer.end(number)
    assert lost in {peer.begin(100.0)[0] for _ in range(128)}


async def test_an_answer_is_taken_once() -> None:
    peer = Peer(STATION)
    number, reply = peer.begin(0.0)
    assert peer.answer(number, b"first")
    assert not peer.answer(number, b"second")
    assert await reply == b"first"
    peer.end(number)
    assert not peer.answer(number, b"third")


async def test_nobody_has_a_turn_beyond_the_bound_and_who_gives_up_keeps_nobody_waiting() -> None:
    peer = Peer(STATION)
    await peer.turn(2)
    await peer.turn(2)
    third, fourth = (asyncio.ensure_future(peer.turn(2)) for _ in range(2))
    await asyncio.sleep(0)
    assert not third.done()
    third.cancel()
    await asyncio.sleep(0)
    peer.done()
    await fourth
    peer.done()
    peer.done()
    assert peer.idle


async def test_a_turn_that_came_just_when_its_owner_was_cancelled_is_given_on() -> None:
    peer = Peer(STATION)
    await peer.turn(1)
    waiting = asyncio.ensure_future(peer.turn(1))
    await asyncio.sleep(0)
    peer.done()
    waiting.cancel()
    await asyncio.gather(waiting, return_exceptions=True)
    assert peer.idle
    async with asyncio.timeout(1):
        await peer.turn(1)


async def test_who_was_silent_is_asked_one_thing_at_a_time() -> None:
    peer = Peer(STATION)
    number, _ = peer.begin(0.0)
    peer.expire(number)
    peer.end(number)
    await peer.turn(5)
    second = asyncio.ensure_future(peer.turn(5))
    await asyncio.sleep(0)
    assert not second.done()
    peer.done()
    await second


# Packets


def test_packets_come_out_as_they_went_in() -> None:
    for station in (
        STATION,
        Station("10.0.0.5", 47808, 7, b"\x05"),
        Station("10.0.0.5", 1, 65_534, bytes(6)),
    ):
        data = packet(station, b"\x30\x80\x0c", expects_reply=True)
        assert data[:2] == b"\x81\x0a"
        assert int.from_bytes(data[2:4], "big") == len(data)
    answer = b"\x81\x0a\x00\x0d\x01\x08\x00\x07\x01\x05\x30\x80\x0c"
    assert unpack(answer, "10.0.0.5", 47808) == (Station("10.0.0.5", 47808, 7, b"\x05"), 10)
    assert unpack(b"\x81\x0a\x00\x09\x01\x00\x30\x80\x0c", *STATION[:2]) == (STATION, 6)


def test_what_is_no_unicast_to_a_station_is_the_librarys() -> None:
    for data in (
        b"\x81\x0b\x00\x08\x01\x00\x10\x08",  # broadcast
        b"\x81\x0a\x00\x09\x01\x80\x30\x80\x0c",  # of the network layer
        b"\x81\x0a\x00\x0a\x01\x00\x30\x80\x0c",  # of another length than it says
        b"\x81\x0a\x00\x09\x02\x00\x30\x80\x0c",  # of another version
        b"\x81\x0a\x00\x0b\x01\x08\x00\x07\x09\x30\x80",  # of an address that is cut off
        b"\x81\x0a\x00\x0d\x01\x08\xff\xff\x01\x05\x30\x80\x0c",  # from everywhere
        b"",
    ):
        assert unpack(data, "10.0.0.5", 47808) is None


def test_what_networks_are_full_of_is_known_by_its_service() -> None:
    who_is, i_am = b"\x10\x08", b"\x10\x00\xc4\x02\x00\x03\xe9"
    for apdu, service in ((who_is, 8), (i_am, 0), (b"\x30\x01\x0c", None)):
        for head in (
            b"\x81\x0a\x00\x00\x01\x00",  # unicast
            b"\x81\x0b\x00\x00\x01\x20\xff\xff\x00\xff",  # to everybody
            b"\x81\x0b\x00\x00\x01\x08\x00\x07\x01\x05",  # from behind a router
            b"\x81\x0b\x00\x00\x01\x28\xff\xff\x00\x00\x07\x01\x05\xff",  # both
            b"\x81\x04\x00\x00\x0a\x00\x00\x05\xba\xc0\x01\x00",  # by a BBMD
        ):
            assert unconfirmed(head + apdu) == service
    for other in (b"", b"\x81", b"\x81\x0a\x00\x00\x01\x80\x10", b"\x81\x00\x00\x06\x00\x00", bytes(9)):
        assert unconfirmed(other) is None


# What fits


def test_requests_and_answers_fit_what_the_device_takes() -> None:
    for octets in (50, 128, 206, 480, 1024, 1476, 5000):
        capability = Capability(octets)
        plan = list(capability.batches(groups(200)))
        assert sum(len(batch) for batch in plan) == 400
        for batch in plan:
            answer = 3 + len({ref.instance for ref in batch}) * 7 + len(batch) // 2 * (4 + 5 + 4 + 3)
            assert answer <= min(octets, 1476)
            assert len(Batch(batch).request) + 3 <= min(octets, 1476)


def test_an_object_stays_together_and_what_spoils_others_is_alone() -> None:
    capability = Capability()
    capability.spoils(key_of(Ref(0, 1)))
    plan = list(capability.batches(groups(3)))
    assert plan == [(Ref(0, 1),), (*groups(1)[0], Ref(0, 1, 111), *groups(3)[2])]


def test_what_was_too_much_bounds_the_next_plan() -> None:
    capability = Capability()
    before = capability.version
    capability.too_much(40, said=True)
    assert capability.version > before
    assert all(len(batch) <= 20 for batch in capability.batches(groups(100)))


def test_silence_is_doubted_after_some_time_and_what_was_said_after_a_day() -> None:
    capability = Capability()
    capability.too_much(40, said=True)
    capability.too_much(8, said=False)
    assert capability.most == 4
    capability._doubted_since -= 601
    capability.look()
    assert capability.most == 20
    capability.knows_no_multiple()
    capability._since -= 86_401
    capability.look()
    assert capability.most is None
    assert capability.multiple
