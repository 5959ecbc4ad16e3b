"""The same over TCP, TLS, a websocket, and a websocket over TLS."""

import asyncio
import gc
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
import uvloop
from aiohttp import web
from mqtt_owner import Owner, subscriber, until
from mqtt_schemes import SCHEMES, SECURE, mosquitto, to
from servers.certificates import Authority
from servers.mosquitto import Mosquitto, free_port
from servers.scripted_broker import ScriptedBroker

from actors.connections.connection import Permanent, Transient
from actors.mqtt.websocket import WebSocketTransport
from actors.publish.destinations import mqtt
from actors.publish.destinations.driver import Identity
from actors.publish.messages import DestinationTested

IDENTITY = Identity("agent-uuid", "agent-1")


@pytest.mark.parametrize("scheme", SCHEMES)
async def test_payloads_arrive_once_and_in_order(tmp_path: Path, scheme: str) -> None:
    with mosquitto(tmp_path, scheme) as broker:
        received: list[tuple[str, bytes, int]] = []
        listener = await subscriber(broker.plain_port, received)
        owner = Owner(to(broker, scheme))
        await owner.driver.connect()
        for seq in range(2000):
            owner.send(seq, "plant/é", b"%d" % seq)
        await until(lambda: owner.seqs == list(range(2000)))
        await until(lambda: len(received) >= 2000)
        assert received == [("plant/é", b"%d" % seq, 1) for seq in range(2000)]
        await owner.driver.close()
        await listener.disconnect()
        assert owner.losses == []


@pytest.mark.parametrize("scheme", SCHEMES)
async def test_a_large_payload_arrives_whole(tmp_path: Path, scheme: str) -> None:
    with mosquitto(tmp_path, scheme) as broker:
        received: list[tuple[str, bytes, int]] = []
        listener = await subscriber(broker.plain_port, received)
        owner = Owner(to(broker, scheme))
        await owner.driver.connect()
        payload = bytes(range(256)) * 8_000
        owner.send(1, "plant", payload)
        owner.send(2, "plant", b"small")
        await until(lambda: owner.seqs == [1, 2])
        await until(lambda: len(received) == 2)
        assert [each[1] for each in received] == [payload, b"small"]
        await owner.driver.close()
        await listener.disconnect()


@pytest.mark.parametrize("scheme", SCHEMES)
@pytest.mark.parametrize("ending", ["stop", "kill"])
async def test_a_broker_that_ends_is_told_and_connected_to_again(
    tmp_path: Path, scheme: str, ending: str
) -> None:
    before = asyncio.all_tasks()
    with mosquitto(tmp_path, scheme) as broker:
        owner = Owner(to(broker, scheme))
        await owner.driver.connect()
        await asyncio.to_thread(getattr(broker, ending))
        await until(lambda: owner.losses)
        assert owner.losses == [f"127.0.0.1:{broker.port} closed the connection"]
        with pytest.raises(Transient) as failed:
            await owner.driver.connect()
        assert str(failed.value) == f"Connection refused (127.0.0.1:{broker.port})"
        await asyncio.to_thread(broker.start)
        await owner.driver.connect()
        owner.send(1, "plant", b"again")
        await until(lambda: owner.seqs == [1])
        await owner.driver.close()
        assert len(owner.losses) == 1
    await until(lambda: asyncio.all_tasks() <= before, 1)
    gc.collect()  # an unclosed session or socket warns here


@pytest.mark.parametrize("scheme", SCHEMES)
async def test_passwords_are_right_or_refused(tmp_path: Path, scheme: str) -> None:
    before = asyncio.all_tasks()
    with mosquitto(tmp_path, scheme, username="üser", password="right") as broker:
        owner = Owner(to(broker, scheme, username="üser", password="right"))
        await owner.driver.connect()
        await owner.driver.close()
        for wrong in ({}, {"username": "üser", "password": "wrong"}):
            with pytest.raises(Permanent, match="check user name and password"):
                await Owner(to(broker, scheme, **wrong)).driver.connect()
    await until(lambda: asyncio.all_tasks() <= before, 1)
    gc.collect()


@pytest.mark.parametrize("scheme", SCHEMES)
async def test_a_broker_may_refuse_a_client_by_its_id(tmp_path: Path, scheme: str) -> None:
    with mosquitto(tmp_path, scheme, options=("clientid_prefixes press-",)) as broker:
        await _connects(to(broker, scheme, clientId="press-4"))
        with pytest.raises(Permanent, match="Connection refused"):
            await _connects(to(broker, scheme, clientId="oven-4"))


@pytest.mark.parametrize("scheme", SECURE)
async def test_a_client_certificate_identifies_the_agent(tmp_path: Path, scheme: str) -> None:
    options = ("use_identity_as_username true",)
    with mosquitto(tmp_path, scheme, client_certificates=True, options=options) as broker:
        assert broker.authority is not None
        certificate, key = broker.authority.issue("agent")
        await _connects(to(broker, scheme, cert=certificate, key=key))
        escaped = {"cert": certificate.replace("\n", "\\n"), "key": key.replace("\n", "\\n")}
        await _connects(to(broker, scheme, **escaped))
        with pytest.raises(Transient):
            await _connects(to(broker, scheme))
        certificate, key = Authority("Somebody else").issue("agent")
        with pytest.raises(Transient):
            await _connects(to(broker, scheme, cert=certificate, key=key))
    gc.collect()


@pytest.mark.parametrize("scheme", SECURE)
async def test_an_untrusted_certificate_is_a_permanent_refusal(tmp_path: Path, scheme: str) -> None:
    with mosquitto(tmp_path, scheme) as broker:
        other = Authority("Somebody else").pem
        with pytest.raises(Permanent, match=r"configured ca the authority"):
            await _connects(to(broker, scheme, ca=other))
        with pytest.raises(Permanent, match=r"configure its ca"):
            await _connects(to(broker, scheme, ca=None))
        await _connects(to(broker, scheme, ca=None, rejectUnauthorized=False))
    gc.collect()


@pytest.mark.parametrize("scheme", SECURE)
async def test_tls_to_a_port_without_tls_is_a_transient_failure(tmp_path: Path, scheme: str) -> None:
    with mosquitto(tmp_path, scheme) as broker, pytest.raises(Transient, match=str(broker.plain_port)):
        await _connects({"brokerUrl": f"{scheme}://127.0.0.1:{broker.plain_port}"})
    gc.collect()


@pytest.mark.parametrize("scheme", SCHEMES)
async def test_too_large_payloads_are_rejected_and_the_others_go_through(tmp_path: Path, scheme: str) -> None:
    with mosquitto(tmp_path, scheme, options=("message_size_limit 1000",)) as broker:
        owner = Owner(to(broker, scheme, maxPayloadBytes=1000))
        await owner.driver.connect()
        for seq, size in enumerate((10, 1001, 1000)):
            owner.send(seq, "plant", bytes(size))
        await until(lambda: owner.seqs == [0, 2])
        reason = "The payload has 1001 bytes; 1000 is the most allowed"
        assert owner.all("rejected") == [([1], reason)]
        assert owner.losses == []
        await owner.driver.close()


@pytest.mark.parametrize("scheme", SCHEMES)
async def test_the_connection_test_logs_in(tmp_path: Path, scheme: str) -> None:
    with mosquitto(tmp_path, scheme, username="user", password="right") as broker:
        good = to(broker, scheme, username="user", password="right", clientId="press")
        running = Owner(good)
        await running.driver.connect()
        reachable = DestinationTested(True, message=f"TCP reachable at 127.0.0.1:{broker.port}")
        assert await mqtt.test(mqtt.check(good), IDENTITY) == reachable
        assert await mqtt.test(mqtt.check({**good, "password": "wrong"}), IDENTITY) == DestinationTested(
            False, error="Connection refused: not authorised, check user name and password"
        )
        running.send(1, "plant", b"x")
        await until(lambda: running.seqs == [1])
        assert running.losses == [], "a test does not end the running connection of that name"
        await running.driver.close()


@pytest.mark.parametrize("scheme", SCHEMES)
async def test_the_connection_test_answers_in_words(scheme: str) -> None:
    port = free_port()
    config = mqtt.check({"brokerUrl": f"{scheme}://127.0.0.1:{port}"})
    assert await mqtt.test(config, IDENTITY) == DestinationTested(
        False, error=f"Connection refused (127.0.0.1:{port})"
    )


async def test_a_topic_that_mosquitto_denies_is_acknowledged_all_the_same(tmp_path: Path) -> None:
    """MQTT 3.1.1 has no negative acknowledgement (section 3.3.5): who publishes cannot know."""
    acl = tmp_path / "acl"
    acl.write_text("topic readwrite allowed/#\n")
    with Mosquitto(tmp_path, options=(f"acl_file {acl}",)) as broker:
        received: list[tuple[str, bytes, int]] = []
        listener = await subscriber(broker.port, received)
        for seq, topic in enumerate(("denied/a", "allowed/a")):
            owner = Owner(to(broker, "mqtt"))
            await owner.driver.connect()
            owner.send(seq, topic, b"x")
            await until(lambda owner=owner, seq=seq: owner.seqs == [seq])
            await owner.driver.close()
        await until(lambda: received)
        assert received == [("allowed/a", b"x", 1)]
        await listener.disconnect()


def test_websockets_work_on_uvloop(tmp_path: Path) -> None:
    async def scenario() -> None:
        with mosquitto(tmp_path, "wss", username="user", password="right") as broker:
            config = to(broker, "wss", username="user", password="right")
            with pytest.raises(Permanent, match="check user name"):
                await _connects({**config, "password": "wrong"})
            with pytest.raises(Permanent, match="not trusted"):
                await _connects({**config, "ca": Authority().pem})
            with pytest.raises(Transient, match=r"^Connection refused \("):
                await _connects({"brokerUrl": f"wss://127.0.0.1:{free_port()}"})
            owner = Owner(config)
            await owner.driver.connect()
            for seq in range(100):
                owner.send(seq, "plant", b"x" * 10_000)
            await until(lambda: owner.seqs == list(range(100)))
            await asyncio.to_thread(broker.kill)
            await until(lambda: owner.losses)
            await owner.driver.close()
            assert len(owner.losses) == 1
        gc.collect()

    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(scenario())


async def _connects(config_json: dict[str, Any]) -> None:
    owner = Owner(config_json)
    await owner.driver.connect()
    await owner.driver.close()
    assert owner.told == []


# A websocket server that does what mosquitto does not: a fake, in front of the scripted broker.


class Front:
    """At any path the websocket of an MQTT broker, in binary frames of `frame` bytes at most."""

    def __init__(self, broker_port: int, frame: int = 1 << 20) -> None:
        self.broker_port = broker_port
        self.frame = frame
        self.asked: list[web.Request] = []
        self.sockets: list[web.WebSocketResponse] = []

    async def answer(self, request: web.Request) -> web.StreamResponse:
        self.asked.append(request)
        socket = web.WebSocketResponse(protocols=["mqtt"])
        await socket.prepare(request)
        self.sockets.append(socket)
        reader, writer = await asyncio.open_connection("127.0.0.1", self.broker_port)
        back = asyncio.create_task(self._back(reader, socket))
        async for message in socket:
            assert isinstance(message.data, bytes), "MQTT wants binary frames"
            writer.write(message.data)
        back.cancel()
        writer.close()
        return socket

    async def _back(self, reader: asyncio.StreamReader, socket: web.WebSocketResponse) -> None:
        while data := await reader.read(self.frame):
            await socket.send_bytes(data)
        await socket.close()


@asynccontextmanager
async def serving(handler: Callable[[web.Request], Awaitable[web.StreamResponse]]) -> AsyncIterator[int]:
    application = web.Application()
    application.router.add_get("/{path:.*}", handler)
    runner = web.AppRunner(application, shutdown_timeout=0.1)
    await runner.setup()
    port = free_port()
    await web.TCPSite(runner, "127.0.0.1", port).start()
    try:
        yield port
    finally:
        await runner.cleanup()


@asynccontextmanager
async def front(**options: Any) -> AsyncIterator[tuple[int, Front, ScriptedBroker]]:
    async with ScriptedBroker(**options) as broker:
        found = Front(broker.port)
        async with serving(found.answer) as port:
            yield port, found, broker


def ws_to(port: int, url_path: str = "", **config_json: Any) -> dict[str, Any]:
    return {"brokerUrl": f"ws://127.0.0.1:{port}{url_path}", **config_json}


@pytest.mark.parametrize(
    ("url_path", "config_json", "asked"),
    [
        ("", {}, "/mqtt"),
        ("/", {}, "/mqtt"),
        ("/broker/ws?token=a%20b", {}, "/broker/ws?token=a%20b"),
        ("/?token=a", {}, "/mqtt?token=a"),
        ("", {"path": "ws"}, "/ws"),
        ("/mqtt", {"path": "/"}, "/"),
        ("", {"path": "/werk é/ X-Evil: 1"}, "/werk%20%C3%A9/%20X-Evil:%201"),
    ],
)
async def test_the_path_of_the_websocket_is_as_configured(
    url_path: str, config_json: dict[str, Any], asked: str
) -> None:
    async with front() as (port, found, _):
        await _connects(ws_to(port, url_path, **config_json))
        request = found.asked[0]
        assert request.raw_path == asked
        assert request.headers["Sec-WebSocket-Protocol"] == "mqtt"
        assert "X-Evil" not in request.headers
        assert "Authorization" not in request.headers


async def test_frames_need_not_be_packets() -> None:
    async with front() as (port, found, broker):
        found.frame = 1
        owner = Owner(ws_to(port))
        await owner.driver.connect()
        for seq in range(300):
            owner.send(seq, "a", b"x")
        await until(lambda: len(broker.published) == 300)
        broker.acknowledge()
        await until(lambda: owner.seqs == list(range(300)))
        await owner.driver.close()


async def test_what_is_still_to_be_written_goes_before_the_goodbye() -> None:
    async with front() as (port, found, broker):
        owner = Owner(ws_to(port))
        await owner.driver.connect()
        for seq in range(100):
            owner.send(seq, "a", bytes(100_000))
        await owner.driver.close()
        await until(lambda: len(broker.published) == 100)
        assert found.sockets[0].close_code == 1000


async def test_a_websocket_that_the_broker_closes_is_a_loss() -> None:
    async with front() as (port, found, _):
        owner = Owner(ws_to(port))
        await owner.driver.connect()
        closing = asyncio.create_task(found.sockets[0].close(code=1001))
        await until(lambda: owner.losses)
        assert owner.losses == [f"127.0.0.1:{port} closed the connection"]
        await closing


async def test_a_text_frame_is_the_end() -> None:
    async with front() as (port, found, _):
        owner = Owner(ws_to(port))
        await owner.driver.connect()
        await found.sockets[0].send_str("hello")
        await until(lambda: owner.losses)


async def test_a_broker_that_falls_silent_behind_its_websocket_is_given_up() -> None:
    async with front() as (port, _, broker):
        owner = Owner(ws_to(port), acknowledge_seconds=0.2)
        await owner.driver.connect()
        owner.send(1, "a", b"x")
        await until(lambda: owner.losses)
        assert owner.losses == ["no acknowledgement for 0.2 s"]
        assert len(broker.published) == 1


async def test_an_idle_websocket_to_a_dead_broker_ends_by_keepalive() -> None:
    async with front() as (port, _, _broker):
        owner = Owner(ws_to(port, keepalive=1))
        await owner.driver.connect()
        await until(lambda: owner.losses)
        assert len(owner.losses) == 1


@pytest.mark.parametrize("loss", [False, True])
async def test_a_peer_that_takes_nothing_holds_nothing_up(loss: bool) -> None:
    before = asyncio.all_tasks()
    taken: list[int] = []

    async def swallow(request: web.Request) -> web.StreamResponse:
        socket = web.WebSocketResponse(protocols=["mqtt"])
        await socket.prepare(request)
        await socket.receive()
        await socket.send_bytes(b"\x20\x02\x00\x00")
        assert request.transport is not None
        request.transport.pause_reading()  # type: ignore[attr-defined]
        taken.append(1)
        await asyncio.Event().wait()
        return socket

    async with serving(swallow) as port:
        owner = Owner(ws_to(port), acknowledge_seconds=0.4 if loss else 20)
        await owner.driver.connect()
        await until(lambda: taken)
        assert owner.driver._link is not None
        transport = owner.driver._link._transport
        assert isinstance(transport, WebSocketTransport)
        for seq in range(40):
            owner.send(seq, "a", bytes(1_000_000))
        await asyncio.sleep(0.05)
        if loss:
            await until(lambda: owner.losses)
        async with asyncio.timeout(5):
            await owner.driver.close()
        assert owner.losses == (["no acknowledgement for 0.4 s"] if loss else [])
        await until(transport._running.done, 1)
    await until(lambda: asyncio.all_tasks() <= before, 1)
    gc.collect()


@pytest.mark.parametrize(
    ("status", "kind"),
    [(401, Permanent), (404, Permanent), (200, Permanent), (429, Transient), (503, Transient)],
)
async def test_http_refusals_are_told_apart(status: int, kind: type[Exception]) -> None:
    async def refuse(_: web.Request) -> web.StreamResponse:
        return web.Response(status=status)

    async with serving(refuse) as port:
        with pytest.raises(kind) as refused:
            await _connects(ws_to(port))
        assert str(refused.value) == f"127.0.0.1:{port} refused the websocket: HTTP {status}"
    gc.collect()


async def test_redirections_are_not_followed() -> None:
    async with front() as (elsewhere, found, _):

        async def redirect(_: web.Request) -> web.StreamResponse:
            raise web.HTTPFound(f"http://127.0.0.1:{elsewhere}/mqtt")

        async with serving(redirect) as port:
            with pytest.raises(Permanent, match=f"127.0.0.1:{port} refused the websocket: HTTP 302"):
                await _connects(ws_to(port))
        assert found.asked == []
    gc.collect()


async def test_a_proxy_of_the_environment_is_not_used(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("http_proxy", "https_proxy", "ws_proxy", "all_proxy", "HTTP_PROXY", "WS_PROXY", "ALL_PROXY"):
        monkeypatch.setenv(name, f"http://127.0.0.1:{free_port()}")
    monkeypatch.delenv("no_proxy", raising=False)
    monkeypatch.delenv("NO_PROXY", raising=False)
    async with front() as (port, _, _broker):
        await _connects(ws_to(port))


async def test_a_server_that_does_not_answer_the_handshake_is_not_called_unreachable() -> None:
    ended = asyncio.Event()

    async def silence(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read()
        writer.close()
        ended.set()

    server = await asyncio.start_server(silence, "127.0.0.1", 0)
    async with server:
        port = server.sockets[0].getsockname()[1]
        with pytest.raises(Transient, match="did not answer the MQTT login within"):
            await Owner(ws_to(port), connect_seconds=0.2).driver.connect()
        await ended.wait()


async def test_a_server_that_hangs_up_is_a_transient_failure() -> None:
    server = await asyncio.start_server(lambda _, writer: writer.close(), "127.0.0.1", 0)
    async with server:
        with pytest.raises(Transient, match="closed the connection"):
            await _connects(ws_to(server.sockets[0].getsockname()[1]))


async def test_a_server_that_speaks_no_http_is_a_transient_failure() -> None:
    async def nonsense(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"SSH-2.0-OpenSSH_9.2\r\n\r\n")
        writer.close()

    server = await asyncio.start_server(nonsense, "127.0.0.1", 0)
    async with server:
        with pytest.raises(Transient, match="does not answer as a websocket does"):
            await _connects(ws_to(server.sockets[0].getsockname()[1]))


async def test_a_websocket_has_the_options_of_its_socket() -> None:
    async with front() as (port, _, _broker):
        owner = Owner(ws_to(port))
        await owner.driver.connect()
        assert owner.driver._link is not None
        transport = owner.driver._link._transport
        assert transport is not None
        assert transport.get_extra_info("peername") == ("127.0.0.1", port)
        await owner.driver.close()
