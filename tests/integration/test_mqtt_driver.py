import asyncio
import re
import socket
import ssl
import threading
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest
import uvloop
from mqtt_owner import Owner, subscriber, tls_to, to_port, until
from servers.certificates import Authority
from servers.mosquitto import Mosquitto, free_port
from servers.scripted_broker import ScriptedBroker

from actors.connections import tls
from actors.connections.connection import Permanent, Transient
from actors.mqtt import client_id, way
from actors.mqtt.broker import Broker, Login, tls_context
from actors.publish.destinations import mqtt_driver
from actors.publish.destinations.driver import Outgoing
from actors.publish.destinations.mqtt_session import Session


@pytest.fixture
def broker(tmp_path: Path) -> Iterator[Mosquitto]:
    with Mosquitto(tmp_path) as running:
        yield running


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
    owner.send(7, "plant/é", b"\x00\xff")
    owner.send(3, "plant/b", b"two")
    await until(lambda: len(owner.seqs) == 2)
    assert owner.seqs == [7, 3]
    await until(lambda: len(received) == 2)
    assert received == [("plant/é", b"\x00\xff", 1), ("plant/b", b"two", 1)]
    await owner.driver.close()
    assert owner.losses == []


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
        owner.send(seq, "plant", b"%d" % seq)
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
            owner.send(seq, "a", b"x")
        await until(lambda: len(broker.published) == 50)
        broker.acknowledge()
        await until(lambda: owner.all("delivered"))
        assert owner.all("delivered") == [list(range(50))]
        await owner.driver.close()


@pytest.mark.parametrize("ending", ["stop", "kill"])
async def test_a_broker_that_ends_is_told_once_and_not_connected_to_again(
    broker: Mosquitto, ending: str
) -> None:
    before = asyncio.all_tasks()
    owner = Owner(to_port(broker.port))
    await owner.driver.connect()
    await asyncio.to_thread(getattr(broker, ending))
    await until(lambda: owner.losses)
    assert owner.losses == [f"127.0.0.1:{broker.port} closed the connection"]
    # A library that reconnects does so from a task; none may be left, not even a sleeping one.
    await until(lambda: asyncio.all_tasks() <= before, 1)
    assert len(owner.losses) == 1
    await owner.driver.close()


async def test_nobody_connects_behind_the_owners_back() -> None:
    async with ScriptedBroker() as broker:
        owner = Owner(to_port(broker.port))
        await owner.driver.connect()
        broker.hang_up()
        await until(lambda: owner.losses)
        second = Owner(to_port(broker.port))
        await second.driver.connect()
        assert broker.connections == 2
        await second.driver.close()


async def test_after_a_loss_a_new_connect_publishes_again(broker: Mosquitto) -> None:
    owner = Owner(to_port(broker.port))
    await owner.driver.connect()
    await asyncio.to_thread(broker.stop)
    await until(lambda: owner.losses)
    with pytest.raises(Transient, match="Connection refused"):
        await owner.driver.connect()
    await asyncio.to_thread(broker.start)
    await owner.driver.connect()
    owner.send(1, "plant", b"again")
    await until(lambda: owner.seqs)
    assert owner.all("delivered") == [[1]]
    assert len(owner.losses) == 1
    await owner.driver.close()


async def test_sending_is_harmless_until_the_loss_is_told() -> None:
    async with ScriptedBroker() as broker:
        owner = Owner(to_port(broker.port))
        await owner.driver.connect()
        broker.hang_up()
        while not owner.told:
            owner.send(1, "a", b"x")
            await asyncio.sleep(0)
        assert [kind for kind, _ in owner.told] == ["lost"]


async def test_acknowledgements_are_told_before_the_loss() -> None:
    async with ScriptedBroker() as broker:
        owner = Owner(to_port(broker.port))
        await owner.driver.connect()
        owner.send(5, "a", b"x")
        await until(lambda: broker.published)
        broker.acknowledge()
        broker.hang_up()
        await until(lambda: owner.losses)
        assert [kind for kind, _ in owner.told] == ["delivered", "lost"]


async def test_a_broker_that_falls_silent_is_given_up() -> None:
    async with ScriptedBroker() as broker:
        owner = Owner(to_port(broker.port), acknowledge_seconds=0.2)
        await owner.driver.connect()
        await asyncio.sleep(0.3)
        assert owner.losses == [], "an idle connection is not a silent one"
        owner.send(1, "a", b"x")
        await until(lambda: owner.losses)
        assert owner.losses == ["no acknowledgement for 0.2 s"]
        broker.acknowledge()
        assert owner.all("delivered") == []


async def test_a_broker_that_acknowledges_one_by_one_over_a_slow_line_is_not_given_up() -> None:
    async with ScriptedBroker() as broker:
        owner = Owner(to_port(broker.port), acknowledge_seconds=0.4)
        await owner.driver.connect()
        for seq in range(8):
            owner.send(seq, "a", b"x")
        await until(lambda: len(broker.published) == 8)
        for _ in range(8):
            await asyncio.sleep(0.15)
            broker.acknowledge(1)
        await until(lambda: owner.seqs == list(range(8)) or owner.losses)
        assert owner.losses == []
        await owner.driver.close()


async def test_a_broker_that_leaves_one_payload_out_is_given_up_though_it_acknowledges_others() -> None:
    async with ScriptedBroker() as broker:
        owner = Owner(to_port(broker.port), acknowledge_seconds=0.3)
        await owner.driver.connect()
        owner.send(0, "a", b"x")
        await until(lambda: broker.published)
        broker.published.clear()
        for seq in range(1, 100):
            owner.send(seq, "a", b"x")
            await until(lambda: broker.published or owner.losses)
            if owner.losses:
                break
            broker.acknowledge()
            await asyncio.sleep(0.05)
        assert owner.losses == ["no acknowledgement for 0.3 s"]
        assert 0 not in owner.seqs


async def test_a_payload_that_takes_longer_to_send_than_silence_may_last_arrives() -> None:
    async with ScriptedBroker(slow=True) as broker:
        owner = Owner(to_port(broker.port), acknowledge_seconds=0.6)
        await owner.driver.connect()
        owner.send(1, "a", bytes(1_000_000))
        began = asyncio.get_running_loop().time()
        await until(lambda: broker.published or owner.losses)
        assert owner.losses == []
        assert asyncio.get_running_loop().time() - began > 1.0, "the line was not slow"
        broker.acknowledge()
        await until(lambda: owner.seqs == [1])
        await owner.driver.close()


async def test_an_idle_connection_to_a_dead_broker_ends_by_keepalive() -> None:
    async with ScriptedBroker() as broker:
        owner = Owner(to_port(broker.port, keepalive=1))
        await owner.driver.connect()
        await until(lambda: owner.losses)
        assert len(owner.losses) == 1


async def test_closing_does_not_wait_for_a_peer_that_takes_nothing() -> None:
    async with ScriptedBroker(reads=False) as broker:
        owner = Owner(to_port(broker.port))
        await owner.driver.connect()
        for seq in range(40):
            owner.send(seq, "a", bytes(1_000_000))
        async with asyncio.timeout(5):
            await owner.driver.close()
        assert owner.losses == []


async def test_no_callback_comes_after_close() -> None:
    async with ScriptedBroker() as broker:
        owner = Owner(to_port(broker.port))
        await owner.driver.connect()
        owner.send(1, "a", b"x")
        owner.send(2, "a", b"x")
        await until(lambda: len(broker.published) == 2)
        broker.acknowledge()
        await owner.driver.close()
        told = list(owner.all("delivered"))
        broker.hang_up()
        await owner.driver.close()
        assert (owner.all("delivered"), owner.losses) == (told, [])


async def test_a_loss_just_before_close_is_not_told_after_it() -> None:
    async with ScriptedBroker() as broker:
        owner = Owner(to_port(broker.port))
        await owner.driver.connect()
        owner.driver._end("as if the connection had ended")
        await owner.driver.close()
        await asyncio.sleep(0)
        assert owner.losses == []


async def test_small_packets_are_not_held_back(broker: Mosquitto) -> None:
    owner = Owner(to_port(broker.port))
    await owner.driver.connect()
    assert owner.driver._link is not None
    transport = owner.driver._link._transport
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
        assert owner.losses == []


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


@pytest.mark.parametrize(
    ("other_ca", "hint"), [(True, "is the configured ca the authority"), (False, "configure its ca")]
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
        assert "configure" not in str(refused.value)


async def test_an_untrusted_certificate_is_accepted_on_demand(tmp_path: Path) -> None:
    with Mosquitto(tmp_path, tls=True) as broker:
        owner = Owner(tls_to(broker.port, rejectUnauthorized=False))
        await owner.driver.connect()
        await owner.driver.close()


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
                owner.send(seq, "plant", b"x")
            await until(lambda: owner.seqs == list(range(100)))
            await asyncio.to_thread(broker.kill)
            await until(lambda: owner.losses)
            assert len(owner.losses) == 1
            await owner.driver.close()

    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(scenario())


async def test_what_a_broker_would_hang_up_over_is_rejected_and_the_others_go_through(
    broker: Mosquitto, received: list[tuple[str, bytes, int]]
) -> None:
    owner = Owner(to_port(broker.port, maxPayloadBytes=5))
    await owner.driver.connect()
    topics = ["", "a/+", "#", "pump\t7", "a\ud800b", "a" * 65_536, "é" * 32_768]
    for seq, topic in enumerate(topics):
        owner.send(seq, topic, b"x")
    owner.send(100, "plant", b"123456")
    assert owner.told == [], "not from within send"
    owner.send(101, "\ud7ff" + "é" * 32_766, b"12345")
    await until(lambda: owner.seqs == [101])
    rejected = owner.all("rejected")
    assert [seqs for seqs, _ in rejected] == [[0], [1], [2], [3], [4], [5], [6], [100]]
    no_topic = "Not a topic that can be published to: "
    assert rejected[1][1] == f"{no_topic}a/+ (wildcards cannot be published to)"
    assert rejected[5][1] == rejected[6][1] == f"{no_topic}it is longer than 65535 bytes"
    assert rejected[7][1] == "The payload has 6 bytes; 5 is the most allowed"
    assert owner.losses == []
    await until(lambda: len(received) == 1)
    await owner.driver.close()


async def test_rejections_are_told_before_the_loss() -> None:
    async with ScriptedBroker() as broker:
        owner = Owner(to_port(broker.port))
        await owner.driver.connect()
        owner.send(1, "#", b"x")
        owner.driver._end("as if the connection had ended")
        await until(lambda: owner.losses)
        assert [kind for kind, _ in owner.told] == ["rejected", "lost"]


async def test_topic_and_payload_on_the_wire_may_be_others(
    broker: Mosquitto, received: list[tuple[str, bytes, int]]
) -> None:
    class Counting(Session):
        def outgoing(self, message: Outgoing) -> tuple[str, bytes]:
            return f"{message.topic}/{len(message.payload)}", message.payload * 2

    owner = Owner(to_port(broker.port), session=Counting())
    await owner.driver.connect()
    owner.send(1, "plant", b"four")
    await until(lambda: received)
    assert received == [("plant/4", b"fourfour", 1)]
    await owner.driver.close()


async def test_credentials_that_end_are_told_of_once_per_connection() -> None:
    async with ScriptedBroker() as broker:
        owner = Owner(to_port(broker.port), lambda: Login("agent-1", renew_after=0.05))
        for connections in (1, 2):
            await owner.driver.connect()
            assert len(owner.all("expiring")) < connections
            await until(lambda seen=connections: len(owner.all("expiring")) == seen)
            await owner.driver.close()
        assert owner.losses == []


@pytest.mark.parametrize("ending", ["close", "loss"])
async def test_an_ended_connection_expires_no_more(ending: str) -> None:
    async with ScriptedBroker() as broker:
        owner = Owner(to_port(broker.port), lambda: Login("agent-1", renew_after=0.1))
        await owner.driver.connect()
        if ending == "loss":
            broker.hang_up()
            await until(lambda: owner.losses)
        else:
            await owner.driver.close()
        await asyncio.sleep(0.2)
        assert owner.all("expiring") == []


async def test_a_login_is_made_for_each_connection(tmp_path: Path) -> None:
    passwords = iter(["wrong", "right", "wrong again"])
    with Mosquitto(tmp_path, username="user", password="right") as broker:
        owner = Owner(to_port(broker.port), lambda: Login("agent-1", "user", next(passwords)))
        with pytest.raises(Permanent):
            await owner.driver.connect()
        await owner.driver.connect()
        await owner.driver.close()
        with pytest.raises(Permanent):
            await owner.driver.connect()


async def test_a_login_that_cannot_be_made_touches_no_network() -> None:
    def login() -> Login:
        raise Permanent("no key")

    async with ScriptedBroker() as broker:
        with pytest.raises(Permanent, match="no key"):
            await Owner(to_port(broker.port), login).driver.connect()
        assert broker.connections == 0


async def test_three_quick_losses_in_a_row_change_the_client_id() -> None:
    async with ScriptedBroker() as broker:
        owner = Owner(to_port(broker.port), may_rename=True)
        for losses in range(1, 6):
            await owner.driver.connect()
            broker.hang_up()
            await until(lambda seen=losses: len(owner.losses) == seen)
        first, fourth = broker.client_ids[0], broker.client_ids[3]
        assert broker.client_ids == [first] * 3 + [fourth] * 2
        assert first == "agent-1"
        assert re.fullmatch("agent-1-[0-9a-f]{8}", fourth)


async def test_a_longer_connection_in_between_keeps_the_client_id(monkeypatch: pytest.MonkeyPatch) -> None:
    now = [0.0]
    monkeypatch.setattr(mqtt_driver, "_now", lambda: now[0])
    async with ScriptedBroker() as broker:
        owner = Owner(to_port(broker.port), may_rename=True)
        for losses, lasted in enumerate([2.9, 2.9, 3.1, 2.9, 2.9, 2.9, 2.9], 1):
            await owner.driver.connect()
            now[0] += lasted
            broker.hang_up()
            await until(lambda seen=losses: len(owner.losses) == seen)
        assert broker.client_ids[:6] == ["agent-1"] * 6
        assert broker.client_ids[6] != "agent-1"


async def test_a_client_id_stays_where_it_is_the_identity() -> None:
    async with ScriptedBroker() as broker:
        owner = Owner(to_port(broker.port))
        for losses in range(1, 5):
            await owner.driver.connect()
            broker.hang_up()
            await until(lambda seen=losses: len(owner.losses) == seen)
        assert broker.client_ids == ["agent-1"] * 4


async def test_a_changed_client_id_that_is_hung_up_on_without_a_word_is_given_up() -> None:
    async with ScriptedBroker() as broker:
        owner = Owner(to_port(broker.port), may_rename=True, connect_seconds=0.5)
        await lose_quickly(owner, broker, 3)
        broker.code = None
        with pytest.raises(Transient):
            await owner.driver.connect()
        broker.code = 0
        await owner.driver.connect()
        assert broker.client_ids[3] != "agent-1"
        assert broker.client_ids[4] == "agent-1"
        await owner.driver.close()


async def test_a_changed_client_id_that_fares_no_better_is_given_up() -> None:
    async with ScriptedBroker() as broker:
        owner = Owner(to_port(broker.port), may_rename=True)
        await lose_quickly(owner, broker, 9)
        own = [client_id == "agent-1" for client_id in broker.client_ids]
        assert own == [True] * 3 + [False] * 3 + [True] * 3


async def lose_quickly(owner: Owner, broker: ScriptedBroker, times: int) -> None:
    for losses in range(1, times + 1):
        await owner.driver.connect()
        broker.hang_up()
        await until(lambda seen=losses: len(owner.losses) == seen)


async def test_a_changed_client_id_that_is_refused_is_given_up() -> None:
    async with ScriptedBroker() as broker:
        owner = Owner(to_port(broker.port), may_rename=True)
        for losses in range(1, 4):
            await owner.driver.connect()
            broker.hang_up()
            await until(lambda seen=losses: len(owner.losses) == seen)
        broker.code = 2
        with pytest.raises(Permanent, match="client id rejected"):
            await owner.driver.connect()
        broker.code = 0
        await owner.driver.connect()
        assert broker.client_ids[3] != "agent-1"
        assert broker.client_ids[4] == "agent-1"
        await owner.driver.close()


async def test_another_client_with_the_same_id_is_recognised_and_given_time(
    broker: Mosquitto, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(client_id, "SHORT_SPAN", 0.0)
    owner, other = Owner(to_port(broker.port)), Owner(to_port(broker.port))
    for number in range(8):
        await owner.driver.connect()
        owner.send(number, "plant", b"x")
        await until(lambda number=number: number in owner.seqs)
        await other.driver.connect()
        await until(lambda number=number: len(owner.losses) == number + 1)
    closed = f"127.0.0.1:{broker.port} closed the connection"
    question = f"{closed}; is another client using this client id (agent-1)?"
    assert owner.losses == [closed] * 5 + [question] * 3
    assert owner.pauses == [0.0] * 5 + [10.0, 20.0, 30.0]
    await other.driver.close()


async def test_logins_and_tls_contexts_are_made_off_the_loop(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    threads: dict[str, threading.Thread] = {}

    def login() -> Login:
        threads["login"] = threading.current_thread()
        return Login("agent-1")

    def context(broker: Broker) -> ssl.SSLContext:
        threads["context"] = threading.current_thread()
        return tls_context(broker)

    monkeypatch.setattr(way, "tls_context", context)
    with Mosquitto(tmp_path, tls=True) as running:
        owner = Owner(tls_to(running.port, ca=running.ca_pem), login)
        await owner.driver.connect()
        await owner.driver.close()
    assert threads.keys() == {"login", "context"}
    assert threading.current_thread() not in threads.values()


async def test_a_system_without_files_in_memory_is_a_permanent_trouble(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    authority = Authority()
    cert, key = authority.issue("agent-1")
    owner = Owner(tls_to(free_port(), ca=authority.pem, cert=cert, key=key))
    monkeypatch.setattr(tls, "DESCRIPTORS", "/nowhere")
    with pytest.raises(Permanent, match="A private key cannot be loaded on this system"):
        await owner.driver.connect()
