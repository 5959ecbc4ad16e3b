import asyncio
import socket
import ssl
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path
from typing import Any

import gmqtt
import pytest
import uvloop
from gmqtt.mqtt.constants import MQTTv311
from servers.certificates import Authority
from servers.mosquitto import Mosquitto, free_port
from servers.scripted_broker import ScriptedBroker

from actors.publish import destinations
from actors.publish.destinations.driver import Permanent, Transient
from actors.publish.destinations.mqtt_config import check
from actors.publish.destinations.mqtt_driver import MqttDriver, _transport
from actors.publish.messages import DestinationTested


@pytest.fixture
def broker(tmp_path: Path) -> Iterator[Mosquitto]:
    with Mosquitto(tmp_path) as running:
        yield running


class Owner:
    """What a destination actor is to a driver: it takes the callbacks and keeps what they say."""

    def __init__(self, config_json: dict[str, Any], **options: Any) -> None:
        self.delivered: list[list[int]] = []
        self.lost: list[str] = []
        self.driver = MqttDriver(
            check(config_json), "agent-1", self.delivered.append, self.lost.append, **options
        )

    @property
    def seqs(self) -> list[int]:
        return [seq for seqs in self.delivered for seq in seqs]


def to_port(port: int, **config_json: Any) -> dict[str, Any]:
    return {"host": "127.0.0.1", "port": port, **config_json}


def tls_to(port: int, **config_json: Any) -> dict[str, Any]:
    return {"brokerUrl": f"mqtts://127.0.0.1:{port}", **config_json}


async def until(happened: Callable[[], Any], seconds: float = 10) -> None:
    async with asyncio.timeout(seconds):
        while True:
            if happened():
                return
            await asyncio.sleep(0.005)


async def subscriber(port: int, received: list[tuple[str, bytes, int]]) -> gmqtt.Client:
    client = gmqtt.Client("subscriber")
    subscribed = asyncio.Event()
    client.on_subscribe = lambda *_: subscribed.set()
    client.on_message = lambda _, topic, payload, qos, __: received.append((topic, payload, qos))
    await client.connect("127.0.0.1", port, version=MQTTv311)
    client.subscribe("#", qos=1)
    await subscribed.wait()
    return client


@pytest.fixture
async def received(broker: Mosquitto) -> AsyncIterator[list[tuple[str, bytes, int]]]:
    messages: list[tuple[str, bytes, int]] = []
    client = await subscriber(broker.port, messages)
    yield messages
    await client.disconnect()


async def test_payloads_arrive_at_qos_1_and_are_acknowledged(
    broker: Mosquitto, received: list[tuple[str, bytes, int]]
) -> None:
    owner = Owner(to_port(broker.port))
    await owner.driver.connect()
    owner.driver.send(7, "plant/é", b"\x00\xff")
    owner.driver.send(3, "plant/b", b"two")
    await until(lambda: len(owner.seqs) == 2)
    assert owner.seqs == [7, 3]
    await until(lambda: len(received) == 2)
    assert received == [("plant/é", b"\x00\xff", 1), ("plant/b", b"two", 1)]
    await owner.driver.close()
    assert owner.lost == []


async def test_5000_payloads_through_a_window_arrive_once_and_in_order(
    broker: Mosquitto, received: list[tuple[str, bytes, int]]
) -> None:
    owner = Owner(to_port(broker.port))
    await owner.driver.connect()
    delivered = 0
    for seq in range(5000):
        if seq - delivered >= 500:
            await until(lambda seen=delivered: len(owner.seqs) > seen)
            delivered = len(owner.seqs)
        owner.driver.send(seq, "plant", b"%d" % seq)
    await until(lambda: len(owner.seqs) == 5000, 20)
    assert owner.seqs == list(range(5000))
    await until(lambda: len(received) >= 5000, 20)
    assert [int(payload) for _, payload, _ in received] == list(range(5000))
    await owner.driver.close()


async def test_acknowledgements_of_one_read_are_told_in_one_call() -> None:
    async with ScriptedBroker() as broker:
        owner = Owner(to_port(broker.port))
        await owner.driver.connect()
        for seq in range(50):
            owner.driver.send(seq, "a", b"x")
        await until(lambda: len(broker.published) == 50)
        broker.acknowledge()
        await until(lambda: owner.delivered)
        assert owner.delivered == [list(range(50))]
        await owner.driver.close()


@pytest.mark.parametrize("ending", ["stop", "kill"])
async def test_a_broker_that_ends_is_told_once_and_not_connected_to_again(
    broker: Mosquitto, ending: str
) -> None:
    before = asyncio.all_tasks()
    owner = Owner(to_port(broker.port))
    await owner.driver.connect()
    await asyncio.to_thread(getattr(broker, ending))
    await until(lambda: owner.lost)
    assert owner.lost == [f"127.0.0.1:{broker.port} closed the connection"]
    # A library that reconnects does so from a task; none may be left, not even a sleeping one.
    await until(lambda: asyncio.all_tasks() <= before, 1)
    assert len(owner.lost) == 1
    await owner.driver.close()


async def test_nobody_connects_behind_the_owners_back() -> None:
    async with ScriptedBroker() as broker:
        owner = Owner(to_port(broker.port))
        await owner.driver.connect()
        assert owner.driver._client is not None
        owner.driver._client.set_config({"reconnect_delay": 0})
        broker.hang_up()
        await until(lambda: owner.lost)
        second = Owner(to_port(broker.port))
        await second.driver.connect()
        assert broker.connections == 2
        await second.driver.close()


async def test_after_a_loss_a_new_connect_publishes_again(broker: Mosquitto) -> None:
    owner = Owner(to_port(broker.port))
    await owner.driver.connect()
    await asyncio.to_thread(broker.stop)
    await until(lambda: owner.lost)
    with pytest.raises(Transient, match="Connection refused"):
        await owner.driver.connect()
    await asyncio.to_thread(broker.start)
    await owner.driver.connect()
    owner.driver.send(1, "plant", b"again")
    await until(lambda: owner.seqs)
    assert owner.delivered == [[1]]
    assert len(owner.lost) == 1
    await owner.driver.close()


async def test_sending_is_harmless_until_the_loss_is_told() -> None:
    async with ScriptedBroker() as broker:
        ended: list[str] = []
        driver = MqttDriver(check(to_port(broker.port)), "agent-1", ended.extend, ended.append)
        await driver.connect()
        broker.hang_up()
        while not ended:
            driver.send(1, "a", b"x")
            await asyncio.sleep(0)
        assert len(ended) == 1


async def test_acknowledgements_are_told_before_the_loss() -> None:
    async with ScriptedBroker() as broker:
        said: list[Any] = []
        driver = MqttDriver(check(to_port(broker.port)), "agent-1", said.append, said.append)
        await driver.connect()
        driver.send(5, "a", b"x")
        await until(lambda: broker.published)
        broker.acknowledge()
        broker.hang_up()
        await until(lambda: len(said) == 2)
        assert said[0] == [5]
        assert "closed" in said[1]


async def test_a_broker_that_falls_silent_is_given_up() -> None:
    async with ScriptedBroker() as broker:
        owner = Owner(to_port(broker.port), acknowledge_seconds=0.2)
        await owner.driver.connect()
        await asyncio.sleep(0.3)
        assert owner.lost == [], "an idle connection is not a silent one"
        owner.driver.send(1, "a", b"x")
        await until(lambda: owner.lost)
        assert owner.lost == ["no acknowledgement for 0.2 s"]
        broker.acknowledge()
        assert owner.delivered == []


async def test_an_idle_connection_to_a_dead_broker_ends_by_keepalive() -> None:
    async with ScriptedBroker() as broker:
        owner = Owner(to_port(broker.port, keepalive=1))
        await owner.driver.connect()
        await until(lambda: owner.lost)
        assert len(owner.lost) == 1


async def test_closing_does_not_wait_for_a_peer_that_takes_nothing() -> None:
    async with ScriptedBroker(reads=False) as broker:
        owner = Owner(to_port(broker.port))
        await owner.driver.connect()
        for seq in range(40):
            owner.driver.send(seq, "a", bytes(1_000_000))
        async with asyncio.timeout(5):
            await owner.driver.close()
        assert owner.lost == []


async def test_no_callback_comes_after_close() -> None:
    async with ScriptedBroker() as broker:
        owner = Owner(to_port(broker.port))
        await owner.driver.connect()
        owner.driver.send(1, "a", b"x")
        owner.driver.send(2, "a", b"x")
        await until(lambda: len(broker.published) == 2)
        broker.acknowledge()
        await owner.driver.close()
        told = list(owner.delivered)
        broker.hang_up()
        await owner.driver.close()
        assert (owner.delivered, owner.lost) == (told, [])


async def test_a_loss_just_before_close_is_not_told_after_it() -> None:
    async with ScriptedBroker() as broker:
        owner = Owner(to_port(broker.port))
        await owner.driver.connect()
        owner.driver._end("as if the connection had ended")
        await owner.driver.close()
        await asyncio.sleep(0)
        assert owner.lost == []


async def test_small_packets_are_not_held_back(broker: Mosquitto) -> None:
    owner = Owner(to_port(broker.port))
    await owner.driver.connect()
    assert owner.driver._client is not None
    transport = _transport(owner.driver._client)
    assert transport is not None
    assert transport.get_extra_info("socket").getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)
    await owner.driver.close()


async def test_credentials_are_sent(tmp_path: Path) -> None:
    with Mosquitto(tmp_path, username="üser", password="pässword") as broker:
        owner = Owner(to_port(broker.port, username="üser", password="pässword"))
        await owner.driver.connect()
        await owner.driver.close()


@pytest.mark.parametrize("credentials", [{}, {"username": "user"}, {"username": "user", "password": "wrong"}])
async def test_wrong_credentials_are_a_permanent_refusal(tmp_path: Path, credentials: dict[str, str]) -> None:
    before = asyncio.all_tasks()
    with Mosquitto(tmp_path, username="user", password="right") as broker:
        owner = Owner(to_port(broker.port, **credentials))
        with pytest.raises(Permanent, match="check user name and password"):
            await owner.driver.connect()
        await until(lambda: asyncio.all_tasks() <= before, 1)
        assert owner.lost == []


@pytest.mark.parametrize(
    ("code", "kind", "words"),
    [
        (1, Permanent, "MQTT 3.1.1"),
        (2, Permanent, "client id rejected"),
        (3, Transient, "broker unavailable"),
        (4, Permanent, "bad user name or password"),
        (5, Permanent, "not authorised"),
        (99, Transient, "Connection refused"),
    ],
)
async def test_refusals_are_told_apart(code: int, kind: type[Exception], words: str) -> None:
    before = asyncio.all_tasks()
    async with ScriptedBroker(code=code) as broker:
        owner = Owner(to_port(broker.port))
        with pytest.raises(kind, match=words):
            await owner.driver.connect()
    await until(lambda: asyncio.all_tasks() <= before, 1)
    assert broker.connections == 1


async def test_a_broker_that_does_not_answer_the_login_is_a_transient_failure() -> None:
    async with ScriptedBroker(code=None) as broker:
        owner = Owner(to_port(broker.port), connect_seconds=0.2)
        with pytest.raises(Transient, match=r"did not answer the MQTT login within 0\.2 s"):
            await owner.driver.connect()


async def test_a_server_that_hangs_up_is_a_transient_failure() -> None:
    server = await asyncio.start_server(lambda _, writer: writer.close(), "127.0.0.1", 0)
    async with server:
        owner = Owner(to_port(server.sockets[0].getsockname()[1]))
        with pytest.raises(Transient, match="closed the connection instead of logging in"):
            await owner.driver.connect()


async def test_nobody_listening_is_a_transient_failure() -> None:
    port = free_port()
    with pytest.raises(Transient) as failed:
        await Owner(to_port(port)).driver.connect()
    assert str(failed.value) == f"Connection refused (127.0.0.1:{port})"


async def test_a_name_that_does_not_resolve_is_a_transient_failure() -> None:
    with pytest.raises(Transient, match=r"no-such-host\.invalid:1883"):
        await Owner({"host": "no-such-host.invalid"}).driver.connect()


async def test_tls_with_the_right_authority_publishes(tmp_path: Path) -> None:
    with Mosquitto(tmp_path, tls=True) as broker:
        owner = Owner(tls_to(broker.port, ca=broker.ca_pem))
        await owner.driver.connect()
        owner.driver.send(1, "plant", b"x" * 100_000)
        await until(lambda: owner.seqs == [1])
        await asyncio.to_thread(broker.stop)
        await until(lambda: owner.lost)
        assert len(owner.lost) == 1


@pytest.mark.parametrize(
    ("other_ca", "hint"), [(True, "config_json.ca the authority"), (False, "set config_json.ca")]
)
async def test_an_untrusted_certificate_is_a_permanent_refusal(
    tmp_path: Path, other_ca: bool, hint: str
) -> None:
    with Mosquitto(tmp_path, tls=True) as broker:
        config = tls_to(broker.port, **({"ca": Authority("Somebody else").pem} if other_ca else {}))
        with pytest.raises(Permanent, match=hint):
            await Owner(config).driver.connect()


async def test_a_certificate_for_another_address_is_a_permanent_refusal(tmp_path: Path) -> None:
    authority = Authority()
    certificate, key = authority.issue()
    (tmp_path / "server.pem").write_text(certificate + key)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(tmp_path / "server.pem")
    server = await asyncio.start_server(lambda _, writer: writer.close(), "127.0.0.2", 0, ssl=context)
    async with server:
        url = f"mqtts://127.0.0.2:{server.sockets[0].getsockname()[1]}"
        with pytest.raises(Permanent, match="IP address mismatch") as refused:
            await Owner({"brokerUrl": url, "ca": authority.pem}).driver.connect()
        assert "config_json.ca" not in str(refused.value)


async def test_an_untrusted_certificate_is_accepted_on_demand(tmp_path: Path) -> None:
    with Mosquitto(tmp_path, tls=True) as broker:
        owner = Owner(tls_to(broker.port, rejectUnauthorized=False))
        await owner.driver.connect()
        await owner.driver.close()


async def test_a_client_certificate_identifies_the_agent(tmp_path: Path) -> None:
    with Mosquitto(tmp_path, tls=True, client_certificates=True) as broker:
        assert broker.authority is not None
        certificate, key = broker.authority.issue("agent")
        owner = Owner(tls_to(broker.port, ca=broker.ca_pem, cert=certificate, key=key))
        await owner.driver.connect()
        await owner.driver.close()
        with pytest.raises(Transient):
            await Owner(tls_to(broker.port, ca=broker.ca_pem)).driver.connect()


async def test_tls_to_a_port_without_tls_is_a_transient_failure(broker: Mosquitto) -> None:
    with pytest.raises(Transient, match=str(broker.port)):
        await Owner(tls_to(broker.port)).driver.connect()


def test_all_of_it_works_on_uvloop(tmp_path: Path) -> None:
    async def scenario() -> None:
        with Mosquitto(tmp_path, username="user", password="right", tls=True) as broker:
            common = {"username": "user", "ca": broker.ca_pem}
            with pytest.raises(Permanent, match="check user name"):
                await Owner(tls_to(broker.port, **common, password="wrong")).driver.connect()
            with pytest.raises(Permanent, match="not trusted"):
                await Owner(tls_to(broker.port, ca=Authority().pem)).driver.connect()
            with pytest.raises(Transient, match=r"^Connection refused \("):
                await Owner(tls_to(free_port())).driver.connect()
            owner = Owner(tls_to(broker.port, **common, password="right"))
            await owner.driver.connect()
            for seq in range(100):
                owner.driver.send(seq, "plant", b"x")
            await until(lambda: owner.seqs == list(range(100)))
            await asyncio.to_thread(broker.kill)
            await until(lambda: owner.lost)
            assert len(owner.lost) == 1
            await owner.driver.close()

    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(scenario())


async def test_the_connection_test_logs_in(tmp_path: Path) -> None:
    with Mosquitto(tmp_path, username="user", password="right") as broker:
        config = to_port(broker.port, username="user", password="right")
        assert await destinations.test("mqtt", config) == DestinationTested(
            True, message=f"TCP reachable at 127.0.0.1:{broker.port}"
        )
        refused = await destinations.test("mqtt", {**config, "password": "wrong"})
        assert refused == DestinationTested(
            False, error="Connection refused: not authorised, check user name and password"
        )


async def test_the_connection_test_does_not_end_the_running_connection(broker: Mosquitto) -> None:
    config = to_port(broker.port, clientId="press")
    owner = Owner(config)
    await owner.driver.connect()
    assert (await destinations.test("mqtt", config)).ok
    owner.driver.send(1, "plant", b"x")
    await until(lambda: owner.seqs == [1])
    assert owner.lost == []
    await owner.driver.close()


async def test_the_connection_test_answers_in_words() -> None:
    port = free_port()
    assert await destinations.test("mqtt", {}) == DestinationTested(False, error="Host is required")
    assert await destinations.test("mqtt", to_port(port)) == DestinationTested(
        False, error=f"Connection refused (127.0.0.1:{port})"
    )
    masked = await destinations.test("mqtt", to_port(port, username="u", password="********"))
    assert masked.error == "config_json.password is masked; send the secret itself"
    for name in ("aws-iot", "kafka"):
        assert await destinations.test(name, {}) == DestinationTested(
            False, error=f'Connection test not supported for type "{name}"'
        )
