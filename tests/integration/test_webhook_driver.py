import asyncio
import json
import ssl
import zlib
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import cbor2
import msgpack
import pytest
import uvloop
from posting_owner import WebhookOwner, document, until
from servers.black_hole import black_hole
from servers.certificates import Authority
from servers.mosquitto import free_port
from servers.names import named
from servers.slow_reader import SlowReader
from servers.webhook import PATH, SECRET, TOKEN, Reply, WebhookReceiver

from actors.connections.connection import Permanent, Transient
from actors.publish import destinations
from actors.publish.destinations.driver import Identity
from actors.publish.messages import DestinationTested

IDENTITY = Identity("agent", "connection")


@pytest.fixture
async def server() -> AsyncIterator[WebhookReceiver]:
    async with WebhookReceiver() as running:
        yield running


def seqs(server: WebhookReceiver) -> list[int]:
    return [document["seq"] for document in server.documents]


async def connected(server: WebhookReceiver, **config_json: Any) -> WebhookOwner:
    owner = WebhookOwner(server.config_json(**config_json))
    await owner.driver.connect()
    return owner


# What is sent


@pytest.mark.parametrize("method", ["POST", "PUT"])
async def test_a_payload_arrives_as_it_is_with_all_that_is_said_of_it(
    server: WebhookReceiver, method: str
) -> None:
    owner = await connected(server, method=method)
    owner.send(1, topic="hall 1/\u00e9")
    await until(lambda: owner.done == [1])
    (request,) = server.requests
    assert (request.method, request.topic, request.media_type) == (
        method,
        "hall 1/\u00e9",
        "application/json",
    )
    assert (request.body, request.encoding) == (document(1), "")
    await owner.driver.close()


async def test_every_format_arrives_as_what_it_is(server: WebhookReceiver) -> None:
    owner = await connected(server)
    document = {"seq": 1, "text": "x" * 5000}
    encodings = [json.dumps(document).encode(), msgpack.packb(document), cbor2.dumps(document)]
    for seq, encoded in enumerate([*encodings, *map(zlib.compress, encodings)]):
        owner.send_payload(seq, "plant", encoded)
    await until(lambda: len(owner.done) == 6)
    assert server.documents == [document] * 6
    assert [request.encoding for request in server.requests] == [""] * 3 + ["deflate"] * 3
    assert len({request.media_type for request in server.requests}) == 3
    await owner.driver.close()


async def test_a_header_that_is_given_stands(server: WebhookReceiver) -> None:
    headers = {"Authorization": TOKEN, "content-type": "application/json; charset=utf-8"}
    owner = await connected(server, headers=headers)
    owner.send(1)
    await until(lambda: owner.done == [1])
    await owner.driver.close()


async def test_several_payloads_of_a_topic_go_in_one_request() -> None:
    async with WebhookReceiver(batched=True) as server:
        owner = await connected(server, batch=100)
        owner.send(*range(30))
        owner.send(*range(30, 60), topic="other")
        owner.send_payload(60, "other", msgpack.packb({"seq": 60}))
        owner.send_payload(61, "other", zlib.compress(document(61, 5000)))
        owner.send(62, 63, topic="other")
        await until(lambda: len(owner.done) == 64)
        assert seqs(server) == owner.done == list(range(64))
        assert [len(request.documents) for request in server.requests] == [30, 30, 1, 1, 2]
        await owner.driver.close()


async def test_what_is_sent_again_has_the_same_key(server: WebhookReceiver) -> None:
    owner = await connected(server)
    for _ in range(2):
        owner.send(1)
        owner.send(1, topic="other")
    await until(lambda: len(owner.done) == 4)
    keys = [request.key for request in server.requests]
    assert (keys[:2], len({*keys})) == (keys[2:], 2)
    await owner.driver.close()


async def test_connecting_sends_nothing(server: WebhookReceiver) -> None:
    owner = await connected(server)
    await owner.driver.close()
    assert server.posts == 0


# Delivered or not


NOT_DELIVERED = [
    Reply(200, "<html>Log in, please</html>", {"Content-Type": "text/html"}),
    Reply(200, "Log in, please", {"Content-Type": "text/html; charset=utf-8"}),
    Reply(200, "\n<!-- portal --><!DOCTYPE html><p>", {"Content-Type": "text/plain"}),
    Reply(203, "transformed"),
    Reply(206, ""),
    Reply(302, "", {"Location": "/login"}),
    Reply(307, "", {"Location": "{PATH}"}),
    Reply(304, ""),
    Reply(500, ""),
    Reply(503, ""),
    Reply(511, "<html>"),
    Reply(400, "<html>400 Bad Request</html>", {"Content-Type": "text/html"}),
    Reply(418, ""),
]


@pytest.mark.parametrize("reply", NOT_DELIVERED)
async def test_only_an_expected_answer_is_delivery(server: WebhookReceiver, reply: Reply) -> None:
    owner = await connected(server)
    owner.send(0)
    await until(lambda: owner.done == [0])
    server.script = [reply]
    owner.send(1)
    await until(lambda: owner.losses)
    assert str(owner.losses[0]).startswith(f"HTTP {reply.status}: ")
    assert (owner.done, owner.dead) == ([0], [])
    await owner.driver.connect()
    owner.send(1)
    await until(lambda: owner.done == [0, 1])
    await owner.driver.close()


@pytest.mark.parametrize("status", [200, 201, 202, 204])
async def test_what_is_delivery_unless_said_otherwise(server: WebhookReceiver, status: int) -> None:
    owner = await connected(server)
    server.script = [Reply(status, "" if status == 204 else "ok")]
    owner.send(1)
    await until(lambda: owner.done == [1])
    await owner.driver.close()


async def test_what_is_expected_can_be_said(server: WebhookReceiver) -> None:
    page = {"Content-Type": "text/html"}
    server.options = Reply(200, "ok", page)
    owner = await connected(server, expect=[203], acceptHtml=True)
    server.script = [Reply(203, "ok", page), Reply(202)]
    owner.send(1, 2)
    await until(lambda: owner.losses)
    assert owner.done == [1]


@pytest.mark.parametrize("status", [401, 403, 404, 405, 407, 410, 415])
async def test_what_somebody_can_put_right_rejects_nothing(server: WebhookReceiver, status: int) -> None:
    owner = await connected(server)
    owner.send(0)
    await until(lambda: owner.done == [0])
    server.script = [Reply(status, "no")] * 2
    owner.send(1, 2)
    await until(lambda: owner.losses)
    (loss,) = owner.losses
    assert isinstance(loss, Permanent)
    assert (owner.done, owner.dead) == ([0], [])


@pytest.mark.parametrize("status", [408, 425, 429, 500, 502, 503, 504])
async def test_a_server_in_trouble_is_left_alone_for_as_long_as_it_asks(
    server: WebhookReceiver, status: int
) -> None:
    owner = await connected(server)
    server.script = [Reply(status, "busy", {"Retry-After": "7"})]
    owner.send(1)
    await until(lambda: owner.losses)
    (loss,) = owner.losses
    assert isinstance(loss, Transient)
    assert (loss.retry_after, owner.done, owner.dead) == (7.0, [], [])


async def test_secrets_are_in_no_error(server: WebhookReceiver) -> None:
    owner = await connected(server)
    server.script = [Reply(500, f"{TOKEN} {SECRET} 7")]
    owner.send(1)
    await until(lambda: owner.losses)
    assert str(owner.losses[0]) == "HTTP 500: ******** ******** 7"


# Refused payloads


@pytest.mark.parametrize("status", [400, 413, 422])
async def test_what_is_refused_among_others_that_are_taken_is_rejected(
    server: WebhookReceiver, status: int
) -> None:
    owner = await connected(server)
    owner.send(0)
    await until(lambda: owner.done == [0])
    server.script = [Reply(status, "no such device")]
    owner.send(1, 2)
    await until(lambda: owner.done == [0, 2])
    assert owner.refused == [([1], f"HTTP {status}: no such device")]
    await owner.driver.close()


async def test_refused_payloads_of_a_batch_are_found() -> None:
    async with WebhookReceiver(batched=True) as server:
        server.refuse = lambda document: "odd" if document["seq"] in (3, 40, 41) else None
        owner = await connected(server, batch=64)
        owner.send(*range(64))
        await until(lambda: len(owner.done) + len(owner.dead) == 64)
        assert (owner.dead, server.posts < 50) == ([3, 40, 41], True)
        assert sorted(seqs(server)) == owner.done
        await owner.driver.close()


async def test_the_first_of_all_is_rejected_when_a_later_one_is_taken(server: WebhookReceiver) -> None:
    owner = await connected(server)
    server.refuse = lambda document: "odd" if document["seq"] < 2 else None
    owner.send(0, 1, 2)
    await until(lambda: owner.done == [2] and owner.dead == [0, 1])
    await owner.driver.close()


async def test_a_server_that_refuses_everything_gets_nothing_rejected(server: WebhookReceiver) -> None:
    owner = await connected(server)
    server.refuse = lambda _: "wrong tenant"
    for attempt in range(1, 5):
        owner.send(*range(20 if attempt % 2 else 3))
        await until(lambda seen=attempt: len(owner.losses) == seen)
        await owner.driver.connect()
    assert {str(loss) for loss in owner.losses} == {"HTTP 422: wrong tenant"}
    assert all(isinstance(loss, Permanent) for loss in owner.losses)
    assert (owner.done, owner.dead) == ([], [])
    server.refuse = lambda _: None
    owner.send(*range(20))
    await until(lambda: owner.done == list(range(20)))
    await owner.driver.close()


async def test_a_server_that_begins_to_refuse_everything_gets_a_few_rejected_at_most(
    server: WebhookReceiver,
) -> None:
    owner = await connected(server)
    owner.send(*range(10))
    await until(lambda: len(owner.done) == 10)
    server.refuse = lambda _: "wrong tenant"
    owner.send(*range(10, 100))
    await until(lambda: owner.losses)
    assert owner.dead == [10, 11, 12, 13, 14]
    assert len(owner.done) == 10


async def test_a_body_that_is_too_large_is_halved() -> None:
    async with WebhookReceiver(batched=True) as server:
        server.max_body = 3000
        owner = await connected(server, batch=64)
        owner.send(*range(64), size=100)
        await until(lambda: len(owner.done) == 64)
        assert owner.dead == []
        owner.send(64, size=5000)
        owner.send(65)
        await until(lambda: owner.dead == [64] and 65 in owner.done)
        await owner.driver.close()


# Reaching it


@pytest.mark.parametrize("status", [200, 204, 400, 401, 403, 404, 405, 500, 501])
async def test_whatever_a_server_says_about_its_methods_it_is_there(
    server: WebhookReceiver, status: int
) -> None:
    server.options = Reply(status, "" if status == 204 else "whatever")
    owner = await connected(server)
    owner.send(1)
    await until(lambda: owner.done == [1])
    await owner.driver.close()


@pytest.mark.parametrize(
    "reply",
    [
        Reply(200, "<html>Log in</html>", {"Content-Type": "text/html"}),
        Reply(302, "", {"Location": "/login"}),
        Reply(503, "", {"Retry-After": "3"}),
        Reply(502, "<html>"),
    ],
)
async def test_what_stands_in_its_place_is_no_connection(server: WebhookReceiver, reply: Reply) -> None:
    server.options = reply
    with pytest.raises(Transient, match=f"HTTP {reply.status}"):
        await connected(server)
    assert server.posts == 0


async def test_a_server_that_is_away_is_a_transient_failure() -> None:
    url = f"http://127.0.0.1:{free_port()}/"
    with pytest.raises(Transient, match="Connection refused"):
        await WebhookOwner({"url": url}).driver.connect()


async def test_a_connection_that_the_server_closes_when_idle_costs_nothing(
    server: WebhookReceiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("actors.publish.destinations.posting.STALE", 0.0)
    owner = await connected(server)
    for seq in range(3):
        owner.send(seq)
        await until(lambda seq=seq: seq in owner.done)
        await server.stop()
        await server.start()
    assert (owner.done, owner.losses) == ([0, 1, 2], [])
    await owner.driver.close()


async def test_it_identifies_itself_and_verifies_the_server(tmp_path: Path) -> None:
    authority = Authority()
    certificate, key = authority.issue()
    (tmp_path / "server.pem").write_text(certificate + key)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(tmp_path / "server.pem")
    context.verify_mode = ssl.CERT_REQUIRED
    context.load_verify_locations(cadata=authority.pem)
    cert, key = authority.issue("press-4")
    async with WebhookReceiver(tls=context) as server:
        owner = await connected(server, ca=authority.pem, cert=cert, key=key)
        owner.send(1)
        await until(lambda: owner.done == [1])
        await owner.driver.close()
        with pytest.raises(Permanent, match="not trusted"):
            await connected(server, cert=cert, key=key)
        with pytest.raises(Transient):
            await connected(server, ca=authority.pem)


async def test_a_payload_of_which_bytes_move_is_not_given_up(server: WebhookReceiver) -> None:
    async with SlowReader(server.port, rate=60_000) as line:
        url = f"http://127.0.0.1:{line.port}{PATH}"
        owner = await connected(server, url=url, timeout=250)
        owner.send(1, size=100_000)
        await until(lambda: owner.done or owner.losses)
        assert (owner.done, owner.losses, line.accepted) == ([1], [], 1)
        await owner.driver.close()


# Elsewhere


async def outcome(config_json: dict[str, Any]) -> DestinationTested:
    return await destinations.test("webhook", config_json, {}, IDENTITY)


async def test_the_connection_test_says_what_is_there_and_sends_nothing(
    server: WebhookReceiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    where = f"127.0.0.1:{server.port}"
    assert await outcome(server.config_json()) == DestinationTested(
        True, message=f"Reached — {where} answers OPTIONS with 204"
    )
    server.options = Reply(302, "", {"Location": "/login"})
    assert (await outcome(server.config_json())).error == "HTTP 302: Found"
    assert (await outcome({})).error == "URL is required"
    await server.stop()
    assert (await outcome(server.config_json())).error == f"Connection refused ({where})"
    assert server.posts == 0


def test_all_of_it_works_on_uvloop() -> None:
    async def scenario() -> None:
        async with WebhookReceiver() as server:
            owner = await connected(server)
            owner.send(*range(50))
            await until(lambda: owner.done == list(range(50)))
            await server.stop()
            owner.send(50)
            await until(lambda: owner.losses)
            await owner.driver.close()

    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(scenario())


async def test_an_address_that_leads_nowhere_does_not_hide_the_one_that_works(
    server: WebhookReceiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    named(monkeypatch, {"plant": ["::1", "127.0.0.1"]})
    url = f"http://plant:{server.port}{PATH}"
    with black_hole("::1", server.port):
        async with asyncio.timeout(3):
            owner = await connected(server, url=url)
            owner.send(1)
            await until(lambda: owner.done == [1])
    await owner.driver.close()


@pytest.mark.parametrize("rude", [False, True])
async def test_an_address_at_which_nobody_answers_is_tried_last_from_then_on(
    server: WebhookReceiver, rude: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    named(monkeypatch, {"plant": ["127.0.0.2", "127.0.0.1"]})
    silent: list[asyncio.StreamWriter] = []

    def accepted(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        silent.append(writer)
        if rude:
            writer.close()

    nobody = await asyncio.start_server(accepted, "127.0.0.2", server.port)
    async with nobody:
        owner = WebhookOwner(server.config_json(url=f"http://plant:{server.port}{PATH}", timeout=200))
        with pytest.raises(Transient, match="closed|reset" if rude else "timed out"):
            await owner.driver.connect()
        await owner.driver.connect()
        owner.send(1)
        await until(lambda: owner.done == [1])
        await owner.driver.close()
        for writer in silent:
            writer.close()
