import asyncio
import contextlib
import ssl
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from pathlib import Path
from typing import Any

import pytest
import uvloop
from posting_owner import MS, SOON, InfluxOwner, connected, numbers, until
from servers.certificates import Authority
from servers.influxdb import BUCKET, ORG, READ_ONLY_TOKEN, TOKEN, InfluxDB, Point, Reply
from servers.mosquitto import free_port
from servers.victoria_metrics import VictoriaMetrics

from actors.connections.connection import Permanent, Transient
from actors.publish import destinations, formats
from actors.publish.destinations.driver import Identity
from actors.publish.formats import MessageIds
from actors.publish.messages import DestinationTested
from actors.readings.batch import Batch, Source
from actors.readings.batch import Point as DataPoint

IDENTITY = Identity("agent", "connection")


@pytest.fixture
def server() -> Iterator[InfluxDB]:
    with InfluxDB() as running:
        yield running


# What is written


@pytest.mark.parametrize(
    ("precision", "ns"),
    [
        ("ms", 1741083325004000000),
        ("us", 1741083325004000000),
        ("ns", 1741083325004000000),
        ("s", 1741083325000000000),
    ],
)
async def test_a_point_arrives_with_its_own_time(server: InfluxDB, precision: str, ns: int) -> None:
    owner = await connected(server, precision=precision)
    owner.send_payload(5, "hall 1,line=2", b'device=press\\ 4,protocol=modbus f=61.4,g=true,h="a b" %d' % MS)
    await until(lambda: owner.batches)
    assert owner.batches == [[5]]
    tags, fields = {"device": "press 4", "protocol": "modbus"}, {"f": 61.4, "g": True, "h": "a b"}
    assert server.points == [Point("hall 1,line=2", tags, fields, ns)]
    (request,) = server.writes
    assert request.query == {"org": ORG, "bucket": BUCKET, "precision": precision}
    await owner.driver.close()


async def test_a_point_without_tags_arrives(server: InfluxDB) -> None:
    owner = await connected(server)
    owner.send_payload(1, "line1", b" f=1.5 %d" % MS)
    await until(lambda: owner.batches)
    assert server.points == [Point("line1", {}, {"f": 1.5}, MS * 1_000_000)]
    await owner.driver.close()


async def test_connecting_leaves_no_point_behind(server: InfluxDB) -> None:
    owner = await connected(server)
    await owner.driver.close()
    assert server.points == []
    assert [request.lines for request in server.requests] == [[]]


async def test_a_server_that_wants_points_in_a_write_is_connected_to(server: InfluxDB) -> None:
    server.empty = False
    owner = await connected(server)
    owner.send(1)
    await until(lambda: owner.done == [1])
    await owner.driver.close()


async def test_the_url_may_have_a_path(server: InfluxDB) -> None:
    owner = InfluxOwner(server.config_json(url=f"{server.url}/db/"))
    with pytest.raises(Permanent, match="not found"):
        await owner.driver.connect()
    assert server.requests[0].path == "/db/api/v2/write"


async def test_a_payload_of_another_format_is_rejected(server: InfluxDB) -> None:
    owner = await connected(server)
    owner.send_payload(1, "line1", b'{"timestamp":1741083325004,"tags":[]}')
    owner.send_payload(2, "line1", b'{"name": 17}')
    owner.send_payload(3, "line1", b"")
    owner.send(4)
    await until(lambda: owner.done == [4])
    assert owner.refused == [([seq], "The payload is not line protocol") for seq in (1, 2, 3)]
    await owner.driver.close()


# Batches


async def test_what_comes_together_goes_in_one_request(server: InfluxDB) -> None:
    owner = await connected(server)
    owner.send(*range(300))
    await until(lambda: len(owner.done) == 300)
    assert owner.batches == [list(range(300))]
    assert numbers(server.points) == list(range(300))
    await owner.driver.close()


async def test_a_full_batch_does_not_wait(server: InfluxDB) -> None:
    owner = await connected(server, batchSize=10, flushInterval=60_000)
    assert owner.driver.window == 20
    owner.send(*range(25))
    await until(lambda: len(owner.done) == 20)
    assert [len(request.lines) for request in server.writes] == [10, 10]
    owner.send(*range(25, 30))
    await until(lambda: len(owner.done) == 30)
    assert numbers(server.points) == list(range(30))
    await owner.driver.close()


async def test_one_point_waits_for_others_as_long_as_configured(server: InfluxDB) -> None:
    owner = await connected(server, flushInterval=150)
    began = time.monotonic()
    owner.send(1)
    await until(lambda: owner.done)
    assert time.monotonic() - began >= 0.149
    await owner.driver.close()


async def test_one_request_at_a_time_and_what_arrives_meanwhile_goes_together(server: InfluxDB) -> None:
    owner = await connected(server)
    with server.hold():
        owner.send(0)
        await until(lambda: len(server.writes) == 1)
        for seq in range(1, 200):
            owner.send(seq)
            await asyncio.sleep(0)
        assert len(server.writes) == 1
        assert owner.done == []
    await until(lambda: len(owner.done) == 200)
    assert [len(request.lines) for request in server.writes] == [1, 199]
    assert owner.done == list(range(200))
    await owner.driver.close()


async def test_5000_points_through_a_window_arrive_once_and_in_order(server: InfluxDB) -> None:
    owner = await connected(server, batchSize=200)
    window = owner.driver.window
    assert window == 400
    for seq in range(5000):
        if seq - len(owner.done) >= window:
            await until(lambda limit=seq: limit - len(owner.done) < window)
        owner.send(seq)
    await until(lambda: len(owner.done) == 5000)
    assert numbers(server.points) == list(range(5000))
    assert len(server.writes) <= 30
    await owner.driver.close()


async def test_a_body_of_megabytes_is_written_piece_by_piece(server: InfluxDB) -> None:
    """aiohttp warns of bodies that are not."""
    owner = await connected(server, batchSize=3000)
    for seq in range(3000):
        owner.send_fields(seq, b'n=%d,s="%b"' % (seq, b"x" * 500))
    await until(lambda: len(owner.done) == 3000 or owner.losses)
    assert (numbers(server.points), owner.losses) == (list(range(3000)), [])
    await owner.driver.close()


# Refused points


async def test_offending_points_are_found_and_the_others_are_written(server: InfluxDB) -> None:
    owner = await connected(server)
    server.refuse_line = lambda point: "too old" if point.fields["n"] in (7, 500, 501) else None
    owner.send(*range(1000))
    await until(lambda: len(owner.done) + len(owner.dead) == 1000)
    assert owner.dead == [7, 500, 501]
    assert owner.done == [seq for seq in range(1000) if seq not in (7, 500, 501)]
    reasons = {reason.partition(" dropped=")[0] for _, reason in owner.refused}
    assert reasons == {"HTTP 422: failure writing points to database: partial write: too old"}
    assert {*numbers(server.points)} == {*owner.done}
    assert len(server.writes) < 60
    assert owner.losses == []
    await owner.driver.close()


async def test_a_field_that_changes_its_type_is_rejected_alone(server: InfluxDB) -> None:
    owner = await connected(server)
    owner.send_payload(1, "line1", b"device=a f=1.5 %d" % MS)
    owner.send_payload(2, "line1", b"device=b f=true %d" % MS)
    owner.send_payload(3, "line1", b"device=c f=2.5 %d" % MS)
    await until(lambda: len(owner.done) == 2 and owner.dead)
    assert owner.done == [1, 3]
    ((seqs, reason),) = owner.refused
    assert seqs == [2]
    assert reason.startswith("HTTP 422: failure writing points to database: partial write: field type confl")
    assert len(reason) <= 130
    await owner.driver.close()


async def test_a_line_that_cannot_be_parsed_does_not_take_others_with_it(server: InfluxDB) -> None:
    owner = await connected(server)
    owner.send(1, 2, 3)
    owner.send_payload(4, "line1", b"device= n=1 %d" % MS)
    owner.send(5)
    await until(lambda: len(owner.done) == 4 and owner.dead)
    assert (owner.done, owner.dead) == ([1, 2, 3, 5], [4])
    assert "HTTP 400: unable to parse" in owner.refused[0][1]
    await owner.driver.close()


async def test_points_that_are_all_refused_cost_few_requests_when_the_server_counts_them(
    server: InfluxDB,
) -> None:
    owner = await connected(server)
    server.refuse_line = lambda _: "points beyond retention policy"
    owner.send(*range(500))
    await until(lambda: len(owner.dead) == 500)
    # The one without lines asks whether access is the trouble.
    assert len(server.requests) == 3
    assert owner.done == []
    await owner.driver.close()


async def test_a_body_that_is_too_large_is_halved_and_later_ones_are_smaller(server: InfluxDB) -> None:
    owner = await connected(server, batchSize=64)
    server.max_body = 20 * 50
    owner.send(*range(64))
    await until(lambda: len(owner.done) == 64)
    assert numbers(server.points) == list(range(64))
    before = len(server.writes)
    owner.send(*range(64, 128))
    await until(lambda: len(owner.done) == 128)
    sizes = [len(request.lines) for request in server.writes[before:]]
    assert sizes[0] < 32
    assert sum(sizes) - 64 < 32, "at most one of them was too large again"
    assert owner.refused == []
    await owner.driver.close()


async def test_a_point_that_is_too_large_on_its_own_is_rejected(server: InfluxDB) -> None:
    owner = await connected(server)
    server.max_body = 200
    owner.send(1)
    owner.send_payload(2, "line1", b'device=a s="%b" %d' % (b"x" * 300, MS))
    owner.send(3)
    await until(lambda: len(owner.done) == 2 and owner.dead)
    assert owner.dead == [2]
    assert owner.refused[0][1] == "HTTP 413: unable to read data: points batch is too large"
    await owner.driver.close()


async def test_nothing_is_rejected_when_access_is_the_trouble(server: InfluxDB) -> None:
    """A proxy may refuse a token with 400."""
    owner = await connected(server)
    server.script = [Reply(400, "no such user")] * 3
    owner.send(1, 2)
    await until(lambda: owner.losses)
    assert (owner.refused, owner.done) == ([], [])
    assert isinstance(owner.losses[0], Transient)
    assert str(owner.losses[0]) == "HTTP 400: no such user"


# Trouble with the access


ACCESS = [
    ({"token": "wrong"}, "Invalid or missing token"),
    ({"token": READ_ONLY_TOKEN}, "Token lacks write permission for this bucket"),
    ({"org": "other"}, f'Org "other" or bucket "{BUCKET}" not found'),
    ({"bucket": "other"}, f'Org "{ORG}" or bucket "other" not found'),
]


@pytest.mark.parametrize(("config_json", "words"), ACCESS)
async def test_wrong_access_is_a_permanent_refusal(
    server: InfluxDB, config_json: dict[str, str], words: str
) -> None:
    owner = InfluxOwner(server.config_json(**config_json))
    with pytest.raises(Permanent) as refused:
        await owner.driver.connect()
    assert str(refused.value) == words


async def test_access_withdrawn_while_running_ends_the_connection_and_keeps_the_points(
    server: InfluxDB,
) -> None:
    owner = await connected(server)
    server.token = "another"
    owner.send(1, 2)
    await until(lambda: owner.losses)
    assert isinstance(owner.losses[0], Permanent)
    assert str(owner.losses[0]) == "Invalid or missing token"
    assert (owner.done, owner.refused) == ([], [])
    server.token = TOKEN
    await owner.driver.connect()
    owner.send(1, 2)
    await until(lambda: owner.done == [1, 2])
    assert len(owner.losses) == 1
    await owner.driver.close()


# Trouble with the server


def in_seconds(seconds: float) -> str:
    return format_datetime(datetime.now(UTC) + timedelta(seconds=seconds), usegmt=True)


@pytest.mark.parametrize("status", [408, 429, 500, 503])
async def test_a_server_in_trouble_is_left_alone_for_as_long_as_it_asks(
    server: InfluxDB, status: int
) -> None:
    owner = await connected(server)
    server.script = [Reply(status, "busy\n now", {"Retry-After": "7"})]
    owner.send(1)
    await until(lambda: owner.losses)
    (loss,) = owner.losses
    assert isinstance(loss, Transient)
    assert (str(loss), loss.retry_after) == (f"HTTP {status}: busy now", 7.0)
    assert (owner.done, owner.refused) == ([], [])


@pytest.mark.parametrize(
    ("header", "least", "most"),
    [
        ("0", 0, 0),
        ("in 120 s", 60, 120),
        ("in -120 s", 0, 0),
        ("Tue, 04 Mar 2070 10:15:25 -0000", 3600, 3600),
        ("99999999", 3600, 3600),
        ("soon", 0, 0),
        ("-5", 0, 0),
        ("1.5", 0, 0),
        ("²", 0, 0),
    ],
)
async def test_retry_after_is_seconds_or_a_date(
    server: InfluxDB, header: str, least: float, most: float
) -> None:
    if header.startswith("in "):
        header = in_seconds(float(header.split()[1]))
    server.script = [Reply(429, headers={"Retry-After": header})]
    owner = InfluxOwner(server.config_json())
    with pytest.raises(Transient) as refused:
        await owner.driver.connect()
    assert least <= refused.value.retry_after <= most


@pytest.mark.parametrize("status", [301, 307, 308])
async def test_a_redirect_is_not_followed(server: InfluxDB, status: int) -> None:
    with InfluxDB() as other:
        server.script = [Reply(status, "", {"Location": f"{other.url}/api/v2/write"})]
        with pytest.raises(Transient, match=f"HTTP {status}: "):
            await InfluxOwner(server.config_json()).driver.connect()
        assert other.requests == []


async def test_an_answer_that_is_not_of_influxdb_is_no_connection(server: InfluxDB) -> None:
    server.script = [Reply(200, "<html>\n  Log in, please " + "x" * 200)]
    with pytest.raises(Transient) as refused:
        await InfluxOwner(server.config_json()).driver.connect()
    assert str(refused.value) == "HTTP 200: " + ("<html> Log in, please " + "x" * 200)[:120]


async def test_what_something_else_took_in_the_servers_place_is_not_delivered(server: InfluxDB) -> None:
    owner = await connected(server, **SOON)
    server.script = [Reply(200, "<html>Log in, please</html>")]
    owner.send(1)
    await until(lambda: owner.losses or owner.done)
    assert [str(loss) for loss in owner.losses] == ["HTTP 200: <html>Log in, please</html>"]
    assert owner.done == owner.dead == []


async def test_the_token_is_never_in_an_error(server: InfluxDB) -> None:
    server.script = [Reply(500, f"Authorization: Token {TOKEN}")]
    with pytest.raises(Transient) as refused:
        await InfluxOwner(server.config_json()).driver.connect()
    assert str(refused.value) == "HTTP 500: Authorization: Token ********"


async def test_a_proxy_of_the_environment_is_not_used(
    server: InfluxDB, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("http_proxy", "HTTP_PROXY", "ALL_PROXY"):
        monkeypatch.setenv(name, f"http://127.0.0.1:{free_port()}")
    monkeypatch.delenv("no_proxy", raising=False)
    monkeypatch.delenv("NO_PROXY", raising=False)
    owner = await connected(server)
    await owner.driver.close()


async def test_a_server_that_does_not_answer_in_time_is_given_up(server: InfluxDB) -> None:
    owner = await connected(server, timeout=150)
    with server.hold():
        owner.send(1)
        await until(lambda: owner.losses)
        assert str(owner.losses[0]) == "Connection timed out"
        assert owner.done == []
        with pytest.raises(Transient, match=r"^Connection timed out$"):
            await owner.driver.connect()
    await owner.driver.connect()
    owner.send(1)
    await until(lambda: owner.done == [1])
    await owner.driver.close()


async def test_a_batch_that_takes_too_long_over_a_slow_line_gets_through_in_parts() -> None:
    sizes: list[int] = []
    serving: set[asyncio.StreamWriter] = set()

    async def serve(requests: asyncio.StreamReader, replies: asyncio.StreamWriter) -> None:
        serving.add(replies)
        with contextlib.suppress(asyncio.IncompleteReadError, ConnectionError):
            while True:
                head = (await requests.readuntil(b"\r\n\r\n")).lower()
                length = int(head.partition(b"content-length: ")[2].split()[0])
                sizes.append((await requests.readexactly(length)).count(b"device"))
                await asyncio.sleep(0.05 * sizes[-1])
                replies.write(b"HTTP/1.1 204 No Content\r\n\r\n")
        replies.close()
        with contextlib.suppress(ConnectionError):
            await replies.wait_closed()
        serving.discard(replies)

    slow = await asyncio.start_server(serve, "127.0.0.1", 0)
    url = f"http://127.0.0.1:{slow.sockets[0].getsockname()[1]}"
    owner = InfluxOwner({"url": url, "token": "t", "org": "o", "bucket": "b", "timeout": 300, **SOON})
    for attempt in range(1, 4):
        await owner.driver.connect()
        owner.send(*range(16))
        await until(lambda seen=attempt: len(owner.losses) == seen or len(owner.done) == 16)
        if owner.done:
            break
    assert owner.done == list(range(16))
    assert sizes == [0, 16, 0, 8, 0, 4, 4, 4, 4]
    await owner.driver.close()
    slow.close()
    await until(lambda: not serving)


async def test_a_server_that_goes_down_and_comes_back(server: InfluxDB) -> None:
    owner = await connected(server)
    owner.send(1)
    await until(lambda: owner.done == [1])
    await asyncio.to_thread(server.stop)
    owner.send(2, 3)
    await until(lambda: owner.losses)
    assert isinstance(owner.losses[0], Transient)
    assert f"127.0.0.1:{server.port}" in str(owner.losses[0])
    with pytest.raises(Transient) as refused:
        await owner.driver.connect()
    assert str(refused.value) == f"Connection refused (127.0.0.1:{server.port})"
    await asyncio.to_thread(server.start)
    await owner.driver.connect()
    owner.send(2, 3)
    await until(lambda: owner.done == [1, 2, 3])
    assert numbers(server.points) == [1, 2, 3]
    assert len(owner.losses) == 1
    await owner.driver.close()


async def test_a_server_that_goes_down_with_a_request_under_way_ends_the_connection(
    server: InfluxDB,
) -> None:
    owner = await connected(server)
    with server.hold():
        owner.send(1)
        await until(lambda: server.writes)
        await asyncio.to_thread(server.stop)
        await until(lambda: owner.losses)
    assert isinstance(owner.losses[0], Transient)
    assert owner.done == []


async def test_sending_is_harmless_until_the_loss_is_told(server: InfluxDB) -> None:
    owner = await connected(server, flushInterval=0)
    await asyncio.to_thread(server.stop)
    seq = 0
    while not owner.losses:
        owner.send(seq := seq + 1)
        await asyncio.sleep(0)
    assert len(owner.losses) == 1


async def test_what_is_left_of_a_lost_connection_is_not_written_by_the_next(server: InfluxDB) -> None:
    owner = await connected(server, batchSize=1)
    server.script = [Reply(503)]
    owner.send(1, 2)
    await until(lambda: owner.losses)
    await owner.driver.connect()
    owner.send(3)
    await until(lambda: owner.done)
    assert (owner.done, numbers(server.points)) == ([3], [3])
    await owner.driver.close()


async def test_something_else_than_http_is_a_transient_failure() -> None:
    async def answer(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"220 mail.example ESMTP\r\n\r\n")
        writer.close()
        await writer.wait_closed()

    listening = await asyncio.start_server(answer, "127.0.0.1", 0)
    async with listening:
        port = listening.sockets[0].getsockname()[1]
        owner = InfluxOwner({"url": f"http://127.0.0.1:{port}", "org": "o", "bucket": "b", "token": "t"})
        with pytest.raises(Transient, match=f"127.0.0.1:{port}"):
            await owner.driver.connect()


async def test_a_name_that_does_not_resolve_is_a_transient_failure() -> None:
    owner = InfluxOwner({"url": "http://no-such-host.invalid", "org": "o", "bucket": "b", "token": "t"})
    with pytest.raises(Transient, match=r"no-such-host\.invalid:80"):
        await owner.driver.connect()


# Closing


async def test_closing_waits_for_the_request_under_way(server: InfluxDB) -> None:
    owner = await connected(server)
    with server.hold():
        owner.send(1)
        await until(lambda: server.writes)
        closing = asyncio.create_task(owner.driver.close())
        await asyncio.sleep(0)
        assert not closing.done()
    await closing
    assert owner.done == [1]


async def test_closing_does_not_wait_long_and_nothing_is_told_after_it(server: InfluxDB) -> None:
    before = asyncio.all_tasks()
    owner = await connected(server)
    with server.hold():
        owner.send(1)
        await until(lambda: server.writes)
        async with asyncio.timeout(3):
            await owner.driver.close()
        assert asyncio.all_tasks() <= before
    await until(lambda: server.points)
    assert (owner.done, owner.refused, owner.losses) == ([], [], [])


async def test_no_loss_is_told_once_it_is_being_closed(server: InfluxDB) -> None:
    owner = await connected(server)
    with server.hold():
        owner.send(1)
        await until(lambda: server.writes)
        closing = asyncio.create_task(owner.driver.close())
        await asyncio.sleep(0)
        server.script = [Reply(503)]
    await closing
    assert (owner.done, owner.losses) == ([], [])


async def test_the_search_for_an_offending_point_ends_with_the_connection(server: InfluxDB) -> None:
    owner = await connected(server)
    server.refuse_line = lambda point: "too old" if point.fields["n"] == 3 else None
    with server.hold():
        owner.send(1, 2, 3, 4)
        await until(lambda: server.writes)
        closing = asyncio.create_task(owner.driver.close())
        await asyncio.sleep(0)
    await closing
    assert len(server.requests) == 2
    assert (owner.done, owner.refused, owner.losses) == ([], [], [])


async def test_an_idle_connection_is_closed_at_once_and_twice_is_harmless(server: InfluxDB) -> None:
    owner = await connected(server)
    began = time.monotonic()
    await owner.driver.close()
    await owner.driver.close()
    assert time.monotonic() - began < 0.5
    await InfluxOwner(server.config_json()).driver.close()


async def test_an_attempt_that_is_closed_makes_no_connection(server: InfluxDB) -> None:
    before = asyncio.all_tasks()
    owner = InfluxOwner(server.config_json())
    with server.hold():
        attempt = asyncio.create_task(owner.driver.connect())
        await until(lambda: server.requests)
        await owner.driver.close()
    with pytest.raises(Transient, match="closed"):
        await attempt
    await until(lambda: asyncio.all_tasks() <= before)


# TLS


@pytest.fixture
def secure(tmp_path: Path) -> Iterator[tuple[InfluxDB, Authority]]:
    authority = Authority()
    certificate, key = authority.issue()
    (tmp_path / "server.pem").write_text(certificate + key)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(tmp_path / "server.pem")
    with InfluxDB(tls=context) as running:
        yield running, authority


async def test_a_server_is_verified_by_the_given_authority(secure: tuple[InfluxDB, Authority]) -> None:
    server, authority = secure
    owner = await connected(server, ca=authority.pem)
    owner.send(1)
    await until(lambda: owner.done == [1])
    await owner.driver.close()


@pytest.mark.parametrize("other_ca", [False, True])
async def test_an_untrusted_certificate_is_a_permanent_refusal(
    secure: tuple[InfluxDB, Authority], other_ca: bool
) -> None:
    server, _ = secure
    ca = Authority("Somebody else").pem if other_ca else None
    with pytest.raises(Permanent, match=rf"certificate of 127\.0\.0\.1:{server.port} is not trusted"):
        await InfluxOwner(server.config_json(ca=ca)).driver.connect()
    assert server.requests == []


async def test_an_untrusted_certificate_is_accepted_on_demand(secure: tuple[InfluxDB, Authority]) -> None:
    server, _ = secure
    owner = await connected(server, rejectUnauthorized=False)
    await owner.driver.close()


# The connection test


async def outcome(config_json: dict[str, Any]) -> DestinationTested:
    return await destinations.test("influxdb", config_json, {}, IDENTITY)


async def test_the_connection_test_says_where_it_got_and_leaves_no_point(server: InfluxDB) -> None:
    assert await outcome(server.config_json()) == DestinationTested(
        True, message=f"Connected — {ORG}/{BUCKET}"
    )
    assert server.points == []
    assert server.writes == []


@pytest.mark.parametrize(("config_json", "words"), ACCESS)
async def test_the_connection_test_says_what_is_wrong_with_the_access(
    server: InfluxDB, config_json: dict[str, str], words: str
) -> None:
    assert await outcome(server.config_json(**config_json)) == DestinationTested(False, error=words)


async def test_the_connection_test_answers_in_words(server: InfluxDB) -> None:
    assert (await outcome({})).error == "URL is required"
    server.script = [Reply(503, '{"code":"unavailable","message":"x"}')]
    assert (await outcome(server.config_json())).error == 'HTTP 503: {"code":"unavailable","message":"x"}'
    with server.hold():
        assert (await outcome(server.config_json(timeout=100))).error == "Connection timed out"
    await asyncio.to_thread(server.stop)
    assert (await outcome(server.config_json())).error == f"Connection refused (127.0.0.1:{server.port})"


async def test_the_connection_test_ends_by_itself(server: InfluxDB, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("actors.publish.destinations.posting.TEST_SECONDS", 0.2)
    with server.hold():
        assert (await outcome(server.config_json())).error == "Connection timed out"


# Elsewhere


def test_all_of_it_works_on_uvloop(secure: tuple[InfluxDB, Authority]) -> None:
    server, authority = secure

    async def scenario() -> None:
        with pytest.raises(Permanent, match="not trusted"):
            await InfluxOwner(server.config_json()).driver.connect()
        owner = await connected(server, ca=authority.pem)
        owner.send(*range(100))
        await until(lambda: owner.done == list(range(100)))
        await asyncio.to_thread(server.stop)
        owner.send(100)
        await until(lambda: owner.losses)
        with pytest.raises(Transient, match=r"^Connection refused \("):
            await owner.driver.connect()
        await owner.driver.close()

    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(scenario())


@pytest.mark.parametrize("gzip", [False, True])
@pytest.mark.parametrize(("precision", "granularity"), [("ms", 1), ("s", 1000), ("us", 1), ("ns", 1)])
async def test_another_database_understands_the_points(
    tmp_path: Path, precision: str, granularity: int, gzip: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("actors.publish.destinations.gzip_bodies.SMALLEST", 1)
    points = (DataPoint("oil temp"), DataPoint("running"), DataPoint("bad"), DataPoint("a,b=c"))
    source = Source("e", "line 1,a=b", "modbus", "d", r"press\4 °C", points, ())
    times = [MS, MS + 1500, MS + 3001]
    with VictoriaMetrics(tmp_path) as database:
        owner = InfluxOwner(
            {
                "url": database.url,
                "org": "o",
                "bucket": "b",
                "token": "t",
                "precision": precision,
                "gzip": gzip,
                **SOON,
            }
        )
        await owner.driver.connect()
        for seq, ms in enumerate(times):
            batch = Batch(source, ms, [60.5 + seq, True, None, seq], [None, None, "TIMEOUT", None])
            line = formats.encode("line-protocol", "json", [(batch, None)], MessageIds("agent"))
            assert line is not None
            owner.send_payload(seq, "hall 1", line)
        await until(lambda: owner.done == [0, 1, 2])
        await owner.driver.close()
        series = {labels.pop("__name__"): (labels, *rest) for labels, *rest in database.series()}
    labels = {"device": r"press\4 °C", "endpoint": "line 1,a=b", "protocol": "modbus"}
    told = [ms // granularity * granularity for ms in times]
    assert series == {
        "hall 1_oil temp": (labels, [60.5, 61.5, 62.5], told),
        "hall 1_running": (labels, [1, 1, 1], told),
        "hall 1_a,b=c": (labels, [0, 1, 2], told),
    }


# Types of fields


async def test_fields_have_the_types_declared_and_what_does_not_fit_is_left_out(server: InfluxDB) -> None:
    types = {"parts": "integer", "is_*": "boolean", "code": "string", "temp": "float"}
    owner = await connected(server, fieldTypes=types)
    owner.send_fields(1, b'parts=412,is_on=1,code=7,temp=61,other="x"')
    owner.send_fields(2, b'parts=412.5,is_on=true,code="A",temp=61.5')
    owner.send_fields(3, b"parts=413.5,is_on=0")
    owner.send_fields(4, b"parts=414.5")
    owner.send_fields(5, b"parts=415.0")
    await until(lambda: owner.done == [1, 2, 3, 5] and owner.dead == [4])
    assert [point.fields for point in server.points] == [
        {"parts": 412, "is_on": True, "code": "7", "temp": 61.0, "other": "x"},
        {"is_on": True, "code": "A", "temp": 61.5},
        {"is_on": False},
        {"parts": 415},
    ]
    assert {type(point.fields.get("parts")) for point in server.points} == {int, type(None)}
    assert owner.parts == [(2, b"device=press parts=412.5 %d" % (MS + 2), WHY)]
    assert owner.refused == [([4], WHY)]
    await owner.driver.close()


WHY = "parts is declared integer and does not fit"


async def test_a_declared_type_that_the_server_has_otherwise_is_a_conflict_like_any(server: InfluxDB) -> None:
    owner = await connected(server)
    owner.send_fields(1, b"parts=1,n=1")
    await until(lambda: owner.done == [1])
    await owner.driver.close()
    owner = await connected(server, fieldTypes={"parts": "integer"})
    for seq in (2, 3):
        owner.send_fields(seq, b"parts=2,n=2")
        await until(lambda seq=seq: seq in owner.done)
    assert [point.fields for point in server.points][1:] == [{"n": 2}] * 2
    [(seq, part, reason)] = owner.parts
    assert (seq, part) == (2, b"device=press parts=2i %d" % (MS + 2))
    assert "field type conflict" in reason
    await owner.driver.close()


# Gzip


async def test_bodies_are_packed_on_demand(server: InfluxDB) -> None:
    owner = await connected(server, gzip=True)
    owner.send(*range(500))
    await until(lambda: len(owner.done) == 500)
    assert numbers(server.points) == list(range(500))
    assert server.packed == 1
    owner.send(500)
    await until(lambda: len(owner.done) == 501)
    assert server.packed == 1, "a small one is not worth it"
    await owner.driver.close()
    owner = await connected(server)
    owner.send(*range(500))
    await until(lambda: len(owner.done) == 500)
    assert server.packed == 1
    await owner.driver.close()


@pytest.mark.parametrize("status", [400, 415, 422, 501])
async def test_a_server_that_refuses_gzip_gets_points_as_they_are(
    server: InfluxDB, status: int, caplog: pytest.LogCaptureFixture
) -> None:
    server.gzip_refusal = status
    owner = await connected(server, gzip=True)
    for first in range(0, 500, 100):
        owner.send(*range(first, first + 100))
        await until(lambda first=first: len(owner.done) == first + 100)
    assert len(server.writes) == 5 + 1
    assert numbers(server.points) == list(range(500))
    assert caplog.text.count("does not take gzip") == 1
    assert owner.losses == owner.refused == []
    await owner.driver.close()


async def test_a_refused_point_does_not_end_gzip(server: InfluxDB) -> None:
    owner = await connected(server, gzip=True)
    server.refuse_line = lambda point: "too old" if point.fields["n"] == 7 else None
    owner.send(*range(200))
    await until(lambda: len(owner.done) == 199)
    assert owner.dead == [7]
    packed = server.packed
    owner.send(*range(200, 300))
    await until(lambda: len(owner.done) == 299)
    assert server.packed == packed + 1
    await owner.driver.close()


async def test_a_server_in_trouble_is_not_one_that_refuses_gzip(server: InfluxDB) -> None:
    owner = await connected(server, gzip=True)
    for status in (500, 503):
        server.script = [Reply(status)]
        owner.send(*range(100))
        losses = len(owner.losses)
        await until(lambda seen=losses: len(owner.losses) > seen)
        await owner.driver.connect()
    owner.send(*range(100))
    await until(lambda: len(owner.done) == 100)
    assert all("Content-Encoding" in request.headers for request in server.writes)
    await owner.driver.close()


async def test_a_large_body_is_packed_off_the_loop(server: InfluxDB) -> None:
    owner = await connected(server, gzip=True, batchSize=5000)
    owner.send(*range(5000))
    await until(lambda: len(owner.done) == 5000)
    assert numbers(server.points) == list(range(5000))
    await owner.driver.close()
