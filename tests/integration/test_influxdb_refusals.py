"""What InfluxDB says of points that it does not take, in its versions' words, and what becomes of them."""

import json
import time
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import pytest
from line_protocol_parser import parse_line
from posting_owner import MS, SOON, InfluxOwner, connected, until
from servers.influxdb import InfluxDB, Point, Refusals, Reply
from servers.influxdb1 import InfluxDB1

from actors.connections.connection import Transient
from actors.publish.destinations import refused_fields


@pytest.fixture
def server() -> Iterator[InfluxDB]:
    with InfluxDB() as running:
        yield running


@pytest.fixture
async def real(tmp_path: Path) -> AsyncIterator[InfluxDB1]:
    async with InfluxDB1(tmp_path, values_per_tag=3) as running:
        yield running


def fields(points: list[Point]) -> list[dict[str, Any]]:
    return [point.fields for point in points]


def told(part: bytes) -> dict[str, Any]:
    return dict(parse_line(f"m,{part.decode()}")["fields"])


def mended(server: InfluxDB, owner: InfluxOwner, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its fields have no type any more, and the owner tries them again."""
    server.forget_types()
    monkeypatch.setattr(refused_fields, "REST", 0.0)
    for known in owner.driver._refused._known.values():
        known.try_at = 0.0


# A field of another type


@pytest.mark.parametrize("refusals", Refusals, ids=lambda each: each.name)
async def test_the_other_fields_of_a_poll_are_written_and_the_named_one_is_told_once(
    server: InfluxDB, refusals: Refusals
) -> None:
    server.refusals = refusals
    owner = await connected(server)
    owner.send_fields(0, b"a=1,b=2,c=3")
    await until(lambda: owner.done == [0])
    owner.send_fields(1, b'a=1,b="odd",c=3')
    owner.send_fields(2, b'a=4,b="odd again",c=5')
    owner.send_fields(3, b"a=6,b=7,c=8")
    await until(lambda: owner.done == [0, 1, 2, 3])
    assert fields(server.points)[-3:] == [{"a": 1, "c": 3}, {"a": 4, "c": 5}, {"a": 6, "b": 7, "c": 8}]
    [(seq, part, reason)] = owner.parts
    assert (seq, told(part)) == (1, {"b": "odd"})
    assert part.endswith(b" %d" % (MS + 1))
    assert "type" in reason
    assert owner.refused == owner.losses == []
    before = len(server.writes)
    for seq in range(4, 50):
        owner.send_fields(seq, b'a=1,b="odd",c=3')
        await until(lambda seq=seq: seq in owner.done)
    assert len(server.writes) == before + 46, "what is known costs no refused request"
    assert len(owner.parts) == 1
    await owner.driver.close()


@pytest.mark.parametrize("refusals", Refusals, ids=lambda each: each.name)
async def test_several_fields_of_several_measurements_are_found_each(
    server: InfluxDB, refusals: Refusals
) -> None:
    server.refusals = refusals
    owner = await connected(server)
    for topic in ("hall 1,x", "hall 2"):
        owner.send_fields(0, b"good=1,bad\\ 1=2,bad\\,2=3", topic)
    await until(lambda: len(owner.done) == 2)
    for seq in range(10, 110):
        topic = "hall 1,x" if seq % 2 else "hall 2"
        owner.send_fields(seq, b'good=1,bad\\ 1="x",bad\\,2=true', topic, device=f"d{seq}")
    await until(lambda: len(owner.done) == 102)
    assert owner.refused == owner.losses == []
    assert {frozenset(each) for each in fields(server.points)[2:]} == {frozenset({"good"})}
    assert len({(point.tags["device"], point.measurement) for point in server.points[2:]}) == 100
    assert {name for _, part, _ in owner.parts for name in told(part)} == {"bad 1", "bad,2"}
    await owner.driver.close()


async def test_a_point_of_which_nothing_is_left_is_rejected_whole(server: InfluxDB) -> None:
    owner = await connected(server)
    owner.send_fields(0, b"a=1")
    await until(lambda: owner.done == [0])
    owner.send_fields(1, b"a=true")
    await until(lambda: owner.dead == [1])
    before = len(server.requests)
    owner.send_fields(2, b"a=true")
    owner.send_fields(3, b"a=5")
    await until(lambda: owner.done == [0, 3] and owner.dead == [1, 2])
    assert len(server.requests) == before + 1
    assert owner.parts == owner.losses == []
    await owner.driver.close()


async def test_a_mended_field_comes_back(
    server: InfluxDB, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO")
    owner = await connected(server)
    owner.send_fields(0, b"a=1,b=2")
    await until(lambda: owner.done == [0])
    for seq in (1, 2):
        owner.send_fields(seq, b"a=1,b=true")
        await until(lambda seq=seq: seq in owner.done)
    assert fields(server.points)[-1] == {"a": 1}
    mended(server, owner, monkeypatch)
    for seq in (3, 4):
        owner.send_fields(seq, b"a=1,b=true")
        await until(lambda seq=seq: seq in owner.done)
    assert fields(server.points)[-2:] == [{"a": 1, "b": True}] * 2
    assert "takes field b of line1 again; 2 values were left out" in caplog.text
    assert len(owner.parts) == 1
    await owner.driver.close()


async def test_a_field_that_is_tried_again_in_vain_costs_one_request_and_is_not_told_again(
    server: InfluxDB, monkeypatch: pytest.MonkeyPatch
) -> None:
    owner = await connected(server)
    owner.send_fields(0, b"a=1,b=2")
    await until(lambda: owner.done == [0])
    owner.send_fields(1, b"a=1,b=true")
    await until(lambda: owner.done == [0, 1])
    for known in owner.driver._refused._known.values():
        known.try_at = 0.0
    before = len(server.writes)
    owner.send_fields(2, b"a=2,b=true")
    owner.send_fields(3, b"a=3,b=true")
    await until(lambda: owner.done == [0, 1, 2, 3])
    assert len(server.writes) == before + 2
    owner.send_fields(4, b"a=4,b=true")
    await until(lambda: 4 in owner.done)
    assert len(server.writes) == before + 3
    assert (len(owner.parts), owner.refused) == (1, [])
    await owner.driver.close()


async def test_what_is_known_of_fields_outlives_the_connection(server: InfluxDB) -> None:
    owner = await connected(server)
    owner.send_fields(0, b"a=1,b=2")
    await until(lambda: owner.done == [0])
    owner.send_fields(1, b"a=1,b=true")
    await until(lambda: owner.done == [0, 1])
    server.script = [Reply(503)]
    owner.send_fields(2, b"a=2")
    await until(lambda: owner.losses)
    await owner.driver.connect()
    before = len(server.writes)
    owner.send_fields(2, b"a=2,b=true")
    await until(lambda: 2 in owner.done)
    assert (len(server.writes), len(owner.parts)) == (before + 1, 1)
    await owner.driver.close()


async def test_a_connection_lost_before_the_rest_was_written_tells_of_the_field_later(
    server: InfluxDB,
) -> None:
    owner = await connected(server)
    owner.send_fields(0, b"a=1,b=2")
    await until(lambda: owner.done == [0])
    conflict = (
        'partial write: field type conflict: input field "b" on measurement "line1" is type boolean, '
        "already exists as type float dropped=1"
    )
    server.script = [
        Reply(422, json.dumps({"code": "unprocessable entity", "message": conflict})),
        Reply(503),
    ]
    owner.send_fields(1, b"a=1,b=true")
    await until(lambda: owner.losses)
    assert owner.parts == []
    await owner.driver.connect()
    owner.send_fields(1, b"a=1,b=true")
    await until(lambda: owner.done == [0, 1])
    assert [told(part) for _, part, _ in owner.parts] == [{"b": True}]
    await owner.driver.close()


async def test_a_conflict_about_something_else_is_searched_for(server: InfluxDB) -> None:
    """A server that names what was not sent: the point is found by halving and rejected."""
    strange = 'input field "zz" on measurement "mm" is type string, already exists as type float'
    owner = await connected(server)
    server.refuse_line = lambda point: strange if point.fields["n"] == 3 else None
    owner.send(*range(8))
    await until(lambda: len(owner.done) == 7 and owner.dead)
    assert owner.dead == [3]
    await owner.driver.close()


# Whatever else is wrong with points


REASONS = [
    "points beyond retention policy",
    'max-values-per-tag limit exceeded (3/3): measurement="m" tag="d" value="9"',
    "max-series-per-database limit exceeded: (1000)",
    "string field value too long: 70000 > 65536",
]


@pytest.mark.parametrize("status", [201, 400, 422, 500, 503])
@pytest.mark.parametrize("words", REASONS)
async def test_an_answer_about_content_is_about_content_whatever_its_status(
    server: InfluxDB, status: int, words: str
) -> None:
    server.partial_status = status
    server.refuse_line = lambda point: words if point.fields["n"] in (3, 4) else None
    owner = await connected(server)
    owner.send(*range(20))
    await until(lambda: len(owner.done) + len(owner.dead) == 20)
    assert owner.dead == [3, 4]
    assert owner.losses == []
    await owner.driver.close()


@pytest.mark.parametrize(
    "reply",
    [
        Reply(500, '{"code":"internal error","message":"unexpected error writing points: timeout"}'),
        Reply(500, '{"error":"partial write"}'),
        Reply(503, '{"error":"hinted handoff queue not empty"}'),
        Reply(400, "<html><head><title>400 Bad Request</title></head></html>"),
        Reply(407, "Proxy Authentication Required"),
        Reply(405, '{"code":"method not allowed"}'),
        Reply(409, "Conflict"),
        Reply(511, "<html>log in to the network</html>"),
    ],
)
async def test_other_answers_reject_nothing(server: InfluxDB, reply: Reply) -> None:
    owner = await connected(server)
    server.script = [reply] * 10
    owner.send(1)
    await until(lambda: owner.losses)
    assert isinstance(owner.losses[0], Transient)
    assert owner.done == owner.dead == owner.parts == []


async def test_a_refused_series_holds_the_others_up_once(server: InfluxDB) -> None:
    owner = await connected(server)
    server.refuse_line = lambda point: "no such devices" if point.tags["device"] == "odd" else None

    async def poll(first: int) -> int:
        before = len(server.requests)
        for seq in range(first, first + 64):
            owner.send_fields(seq, b"n=1", device="odd" if seq % 64 == 33 else f"d{seq % 64}")
        await until(lambda: len(owner.done) + len(owner.dead) == first + 64)
        return len(server.requests) - before

    assert await poll(0) > 6
    assert await poll(64) == 2
    assert owner.dead == [33, 97]
    server.refuse_line = lambda _: None
    assert await poll(128) == 2
    assert await poll(192) == 1
    await owner.driver.close()


# A real one


@pytest.mark.parametrize("gzip", [False, True])
async def test_a_real_server_gets_all_that_it_can_take(real: InfluxDB1, gzip: bool) -> None:
    owner = InfluxOwner(real.config_json(gzip=gzip, **SOON))
    await owner.driver.connect()
    owner.send_fields(0, b"a=1,b=2,c=3")
    await until(lambda: owner.done == [0])
    owner.send_fields(1, b'a=true,b="x",c=3')
    owner.send_fields(2, b"a=5,b=6,c=true")
    for seq in range(3, 60):
        owner.send_fields(seq, b'a=1,b="x",c=3', device=f"d{seq % 5}")
    await until(lambda: len(owner.done) + len(owner.dead) == 60)
    rows = await real.query("SELECT a, b, c FROM line1 WHERE device = 'press'")
    assert rows == [[MS, 1, 2, 3], [MS + 1, None, None, 3], [MS + 2, 5, 6, None]]
    # It takes three values of a tag: press and two others.
    assert len(await real.query("SELECT a FROM line1")) == 60 - len(owner.dead) - 1
    assert {seq % 5 for seq in owner.dead} < {0, 1, 2, 3, 4}
    assert all("max-values-per-tag" in reason for _, reason in owner.refused)
    parts = {name: value for _, part, _ in owner.parts for name, value in told(part).items()}
    assert parts == {"a": True, "b": "x", "c": True}
    assert owner.losses == []
    before = real.requests
    for seq in range(60, 80):
        owner.send_fields(seq, b'a=1,b="x",c=3', device=f"d{seq % 5}")
    await until(lambda: len(owner.done) + len(owner.dead) == 80)
    assert real.requests - before <= 4
    await owner.driver.close()


async def test_a_real_server_is_spared_what_is_too_long_for_it(tmp_path: Path) -> None:
    async with InfluxDB1(tmp_path, max_body=200_000) as real:
        owner = InfluxOwner(real.config_json(**SOON))
        await owner.driver.connect()
        odd = {3: b"good=1,%b=3" % (b"x" * 70_000), 7: b's="%b"' % (b"y" * 250_000)}
        for seq in range(10):
            owner.send_fields(seq, odd.get(seq, b"n=1"), device="d" * 66_000 if seq == 8 else "d")
        await until(lambda: len(owner.done) + len(owner.dead) == 10)
        assert sorted(owner.dead) == [3, 7, 8]
        assert len(await real.query("SELECT n FROM line1")) == 7
        await owner.driver.close()


async def test_a_real_server_keeps_integers(real: InfluxDB1) -> None:
    owner = InfluxOwner(real.config_json(fieldTypes={"parts": "integer", "on": "boolean"}, **SOON))
    await owner.driver.connect()
    owner.send_fields(0, b"parts=9007199254740993,on=1,temp=5")
    await until(lambda: owner.done == [0])
    assert sorted(await real.query("SHOW FIELD KEYS")) == [
        ["on", "boolean"],
        ["parts", "integer"],
        ["temp", "float"],
    ]
    assert await real.query("SELECT parts, temp FROM line1") == [[MS, 9007199254740993, 5]]
    await owner.driver.close()


async def test_what_a_real_server_finds_too_old_is_rejected_and_the_rest_written(real: InfluxDB1) -> None:
    await real.query("ALTER RETENTION POLICY autogen ON plant DURATION 2h SHARD DURATION 1h")
    now = int(time.time() * 1000)
    owner = InfluxOwner(real.config_json(**SOON))
    await owner.driver.connect()
    for seq in range(40):
        owner.send_payload(seq, "line1", b"device=d n=%d %d" % (seq, MS + seq if seq % 4 == 3 else now + seq))
    await until(lambda: len(owner.done) + len(owner.dead) == 40)
    assert sorted(owner.dead) == [seq for seq in range(40) if seq % 4 == 3]
    assert {reason.partition(" dropped=")[0] for _, reason in owner.refused} == {
        "HTTP 400: partial write: points beyond retention policy"
    }
    assert [row[1] for row in await real.query("SELECT n FROM line1")] == sorted(owner.done)
    await owner.driver.close()
