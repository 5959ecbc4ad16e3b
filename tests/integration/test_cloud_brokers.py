"""Azure, AWS, GCP and Iotistica destinations against mosquitto."""

import asyncio
import base64
import hashlib
import hmac
import ssl
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, quote_plus

import gmqtt
import jwt
import msgspec
import pytest
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from gmqtt.mqtt.constants import MQTTv311
from mqtt_owner import until
from outgoing import Handed
from servers.certificates import Authority
from servers.login_relay import LoginRelay, SeenLogin
from servers.mosquitto import Mosquitto, free_port

from actors.connections.connection import Permanent, Transient
from actors.mqtt.broker import tls_context
from actors.publish.destinations import azure_iot, find, gcp_iot, token_clock
from actors.publish.destinations.driver import Driver, Identity, Listener
from actors.publish.messages import Cloud

UUID = "3f2b8c1e-90d4-4a57-8e61-0c2d7b9a4f10"
IDENTITY = Identity(UUID, "agent-1")
NOW = 1_700_000_000
KEY = base64.b64encode(b"a device key").decode()
CLIENT_ID = "projects/plant/locations/here/registries/all/devices/press-4"
REFUSED = "Connection refused: not authorised, check user name and password"


class Owner(Listener):
    """What a destination actor is to a driver."""

    def __init__(self, type_name: str, config: Any, identity: Identity = IDENTITY) -> None:
        self.seqs: list[int] = []
        self.rejections: list[tuple[list[int], str]] = []
        self.losses: list[str] = []
        self.expiries: list[float] = []
        self.driver: Driver = find(type_name).driver(config, identity, self)

    def send(self, seq: int, topic: str, payload: bytes) -> None:
        self.driver.send(Handed(seq, topic, payload))

    def delivered(self, seqs: list[int]) -> None:
        self.seqs += seqs

    def rejected(self, seqs: list[int], reason: str) -> None:
        self.rejections.append((seqs, reason))

    def lost(self, error: Transient | Permanent) -> None:
        self.losses.append(str(error))

    def expiring(self) -> None:
        self.expiries.append(time.time())


@asynccontextmanager
async def subscriber(
    port: int, username: str | None = None, password: str | None = None
) -> AsyncIterator[list[tuple[str, bytes]]]:
    """What arrives at the broker while this lasts: topics and payloads."""
    received: list[tuple[str, bytes]] = []
    client = gmqtt.Client("subscriber")
    if username is not None:
        client.set_auth_credentials(username, password)
    subscribed = asyncio.Event()
    client.on_subscribe = lambda *_: subscribed.set()
    client.on_message = lambda _, topic, payload, *__: received.append((topic, payload))
    await client.connect("127.0.0.1", port, version=MQTTv311)
    client.subscribe("#", qos=1)
    await subscribed.wait()
    try:
        yield received
    finally:
        await client.disconnect()


async def publish(owner: Owner, *messages: tuple[str, bytes]) -> None:
    """Through one connection, until all are acknowledged."""
    await owner.driver.connect()
    for seq, (topic, payload) in enumerate(messages):
        owner.send(seq, topic, payload)
    await until(lambda: len(owner.seqs) == len(messages))
    await owner.driver.close()
    assert (owner.losses, owner.rejections) == ([], [])


def sas(host: str, device_id: str, expires: int) -> str:
    """The token that a hub expects."""
    resource = quote_plus(f"{host}/devices/{device_id}")
    digest = hmac.new(base64.b64decode(KEY), f"{resource}\n{expires}".encode(), hashlib.sha256).digest()
    return f"SharedAccessSignature sr={resource}&sig={quote_plus(base64.b64encode(digest))}&se={expires}"


def azure(port: int, ca: str | None, **changes: Any) -> dict[str, Any]:
    given = {
        "hostName": "127.0.0.1",
        "port": port,
        "deviceId": "press-4",
        "ca": ca,
        "auth": {"type": "sas", "sharedAccessKey": KEY, "tokenTtlSeconds": 3600},
    }
    return given | changes


@pytest.fixture
def fixed_clock(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(token_clock, "unix_ms", lambda: 1000 * NOW)


@pytest.fixture
def hub(tmp_path: Path) -> Iterator[Mosquitto]:
    """Takes the one login that device press-4 has under the fixed clock."""
    username = "127.0.0.1/press-4/?api-version=2021-04-12"
    password = sas("127.0.0.1", "press-4", NOW + 3600)
    with Mosquitto(tmp_path, username=username, password=password, tls=True) as running:
        yield running


@pytest.fixture
def open_broker(tmp_path: Path) -> Iterator[Mosquitto]:
    with Mosquitto(tmp_path) as running:
        yield running


@pytest.mark.usefixtures("fixed_clock")
async def test_azure_takes_the_devices_token_and_its_topic(hub: Mosquitto) -> None:
    config = azure_iot.check(azure(hub.port, hub.ca_pem))
    login = azure_iot.login(config)
    async with subscriber(hub.plain_port, login.username, login.password) as received:
        await publish(Owner("azure-iot", config), ("line 1/modbus", b'{"a":1}'), ("raw", b"\x81\xa1a\x01"))
        await until(lambda: len(received) == 2)
    assert received == [
        (
            "devices/press-4/messages/events/?endpoint=line%201%2Fmodbus"
            "&%24.ct=application%2Fjson&%24.ce=utf-8",
            b'{"a":1}',
        ),
        (
            "devices/press-4/messages/events/?endpoint=raw&%24.ct=application%2Foctet-stream",
            b"\x81\xa1a\x01",
        ),
    ]


@pytest.mark.usefixtures("fixed_clock")
@pytest.mark.parametrize(
    "changes",
    [
        {"auth": {"sharedAccessKey": base64.b64encode(b"another key").decode()}},
        {"auth": {"sharedAccessKey": KEY, "tokenTtlSeconds": 3601}},
        {"deviceId": "press-5"},
    ],
)
async def test_azure_refuses_any_other_token_for_good(hub: Mosquitto, changes: dict[str, Any]) -> None:
    config = azure_iot.check(azure(hub.port, hub.ca_pem, **changes))
    with pytest.raises(Permanent, match=REFUSED):
        await Owner("azure-iot", config).driver.connect()
    tested = await azure_iot.test(config, IDENTITY)
    assert (tested.ok, tested.error) == (False, REFUSED)


@pytest.mark.usefixtures("fixed_clock")
async def test_azure_is_tested_with_the_credentials(hub: Mosquitto) -> None:
    tested = await azure_iot.test(azure_iot.check(azure(hub.port, hub.ca_pem)), IDENTITY)
    assert (tested.ok, tested.message) == (True, "Connected — 127.0.0.1/press-4")
    down = await azure_iot.test(azure_iot.check(azure(free_port(), hub.ca_pem)), IDENTITY)
    assert not down.ok
    assert down.error


async def test_azure_is_not_told_a_token_by_a_broker_that_cannot_be_verified(open_broker: Mosquitto) -> None:
    async with LoginRelay(open_broker.port) as relay:
        for ca in (None, Authority().pem):
            with pytest.raises(Permanent, match="is not trusted"):
                await Owner("azure-iot", azure_iot.check(azure(relay.port, ca))).driver.connect()
        assert relay.logins == []
        unverified = azure_iot.check(azure(relay.port, None, rejectUnauthorized=False))
        await publish(Owner("azure-iot", unverified))
        assert len(relay.logins) == 1


async def test_an_azure_token_is_renewed_before_it_expires(open_broker: Mosquitto) -> None:
    async with LoginRelay(open_broker.port) as relay:
        config = azure_iot.check(azure(relay.port, relay.ca_pem))
        owner = Owner("azure-iot", msgspec.structs.replace(config, token_seconds=2))
        await owner.driver.connect()
        owner.send(1, "a", b"{}")
        await until(lambda: owner.expiries)
        assert owner.seqs == [1]
        await owner.driver.close()
        await owner.driver.connect()
        owner.send(2, "a", b"{}")
        await until(lambda: owner.seqs == [1, 2])
        await owner.driver.close()

        first, second = (expiry_of(login) for login in relay.logins)
        assert owner.expiries[0] < first < second
        assert owner.losses == []
        assert len(owner.expiries) == 1


def expiry_of(login: SeenLogin) -> int:
    """That of a SAS token, which is checked."""
    assert login.client_id == "press-4"
    assert login.username == "127.0.0.1/press-4/?api-version=2021-04-12"
    assert login.password is not None
    [expires] = parse_qs(login.password.partition(" ")[2])["se"]
    assert login.password == sas("127.0.0.1", "press-4", int(expires))
    return int(expires)


async def test_azure_rejects_what_no_hub_takes_and_goes_on(open_broker: Mosquitto) -> None:
    async with LoginRelay(open_broker.port) as relay:
        owner = Owner("azure-iot", azure_iot.check(azure(relay.port, relay.ca_pem)))
        await owner.driver.connect()
        owner.send(1, "a", b"{" + b" " * 262_144)
        owner.send(2, "a", b"{" + b" " * 262_143)
        await until(lambda: owner.seqs and owner.rejections)
        await owner.driver.close()
        assert owner.seqs == [2]
        [(rejected, reason)] = owner.rejections
        assert rejected == [1]
        assert "262145" in reason


class Thing:
    """An AWS-like broker: certificates only, a device may publish below its own name."""

    def __init__(self, directory: Path) -> None:
        directory.mkdir(exist_ok=True)
        rights = directory / "rights"
        rights.write_text("topic read #\npattern write devices/%u/#\n")
        rights.chmod(0o600)
        self.broker = Mosquitto(
            directory,
            tls=True,
            client_certificates=True,
            options=("use_identity_as_username true", f"acl_file {rights}"),
        )
        assert self.broker.authority is not None
        self.authority = self.broker.authority

    def config_json(self, issuer: Authority | None = None, **changes: Any) -> dict[str, Any]:
        certificate, key = (issuer or self.authority).issue("press-4")
        auth = {"type": "mtls", "cert": certificate, "key": key, "ca": self.authority.pem}
        return {
            "endpoint": "127.0.0.1",
            "port": self.broker.port,
            "deviceId": "press-4",
            "auth": auth,
        } | changes


@pytest.fixture
def thing(tmp_path: Path) -> Iterator[Thing]:
    found = Thing(tmp_path / "thing")
    with found.broker:
        yield found


async def test_aws_knows_the_device_by_its_certificate(thing: Thing) -> None:
    aws = find("aws-iot")
    async with subscriber(thing.broker.plain_port) as received:
        owner = Owner("aws-iot", aws.check(thing.config_json()))
        await publish(owner, ("devices/press-4/modbus", b"\x00\xff"))
        await until(lambda: received)
    assert received == [("devices/press-4/modbus", b"\x00\xff")]
    tested = await aws.test(aws.check(thing.config_json()), IDENTITY)
    assert (tested.ok, tested.message) == (True, "Connected — 127.0.0.1/press-4")


@pytest.mark.parametrize(("device_id", "expected"), [("press-4", "press-4"), ("", UUID)])
async def test_aws_is_told_the_device_as_client_id(thing: Thing, device_id: str, expected: str) -> None:
    config = find("aws-iot").check(thing.config_json(deviceId=device_id))
    await publish(Owner("aws-iot", config))
    log = thing.broker._log.read_text()
    assert f" as {expected} (p2, c1, k60, u'press-4')" in log


async def test_aws_refuses_a_certificate_of_another_authority(thing: Thing) -> None:
    aws = find("aws-iot")
    config = aws.check(thing.config_json(issuer=Authority()))
    # In TLS 1.3 the broker looks at it after the client thinks that all is well.
    closed = f"127.0.0.1:{thing.broker.port} closed the connection"
    with pytest.raises((Permanent, Transient), match=closed):
        await Owner("aws-iot", config).driver.connect()
    tested = await aws.test(config, IDENTITY)
    assert not tested.ok
    assert tested.error is not None
    assert tested.error.startswith(closed)


async def test_aws_is_verified(thing: Thing) -> None:
    config_json = thing.config_json(rejectUnauthorized=False)
    config_json["auth"]["ca"] = None
    with pytest.raises(Permanent, match="is not trusted"):
        await Owner("aws-iot", find("aws-iot").check(config_json)).driver.connect()


async def test_port_443_is_asked_for_mqtt(tmp_path: Path) -> None:
    authority = Authority()
    certificate, key = authority.issue("press-4")
    auth = {"cert": certificate, "key": key, "ca": authority.pem}
    config = find("aws-iot").check({"endpoint": "127.0.0.1", "port": 443, "auth": auth})
    serving = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    serving.set_alpn_protocols(["http/1.1", "x-amzn-mqtt-ca"])
    file = tmp_path / "server.pem"
    file.write_text(certificate + key)
    serving.load_cert_chain(file)
    server = await asyncio.start_server(lambda _, writer: writer.close(), "127.0.0.1", 0, ssl=serving)
    async with server:
        port = server.sockets[0].getsockname()[1]
        _, writer = await asyncio.open_connection("127.0.0.1", port, ssl=tls_context(config.broker))
        chosen = writer.get_extra_info("ssl_object").selected_alpn_protocol()
        writer.close()
        await writer.wait_closed()
    assert chosen == "x-amzn-mqtt-ca"


def gcp(port: int, ca: str | None, auth: dict[str, Any]) -> dict[str, Any]:
    return {"endpoint": "127.0.0.1", "port": port, "clientId": CLIENT_ID, "ca": ca, "auth": auth}


@pytest.mark.parametrize(
    ("algorithm", "key"),
    [
        ("RS256", rsa.generate_private_key(65_537, 2048)),
        ("ES256", ec.generate_private_key(ec.SECP256R1())),
    ],
)
async def test_a_gcp_token_is_the_keys_and_renewed_before_it_expires(
    open_broker: Mosquitto, algorithm: str, key: rsa.RSAPrivateKey | ec.EllipticCurvePrivateKey
) -> None:
    pem = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()).decode()
    async with LoginRelay(open_broker.port) as relay, subscriber(open_broker.port) as received:
        config = gcp_iot.check(
            gcp(relay.port, relay.ca_pem, {"privateKey": pem, "algorithm": algorithm, "tokenTtlSeconds": 5})
        )
        assert isinstance(config.auth, gcp_iot.Signing)
        soon = msgspec.structs.replace(config.auth, token_seconds=2)
        owner = Owner("gcp-iot", msgspec.structs.replace(config, auth=soon))
        await owner.driver.connect()
        await until(lambda: owner.expiries)
        await owner.driver.close()
        await owner.driver.connect()
        owner.send(1, "/devices/press-4/events/modbus", b"{}")
        await until(lambda: owner.seqs and received)
        await owner.driver.close()

    assert received == [("/devices/press-4/events/modbus", b"{}")]
    issued = []
    for login in relay.logins:
        assert (login.client_id, login.username) == (CLIENT_ID, "unused")
        assert login.password is not None
        claims = jwt.decode(
            login.password,
            key.public_key(),
            [algorithm],
            audience="plant",
            options={"verify_exp": False, "require": ["aud", "iat", "exp"]},
        )
        assert claims["exp"] - claims["iat"] == 2
        issued.append(claims["iat"])
    assert len(issued) == 2
    assert issued[0] < issued[1]


async def test_gcp_takes_the_supplied_token_and_no_other(tmp_path: Path) -> None:
    secret = "a secret of 32 bytes or even more"
    token = jwt.encode({"aud": "plant", "exp": int(time.time()) + 3600}, secret, "HS256")
    other = jwt.encode({"aud": "plant", "exp": int(time.time()) + 7200}, secret, "HS256")
    with Mosquitto(tmp_path, username="unused", password=token, tls=True) as broker:
        right = gcp_iot.check(gcp(broker.port, broker.ca_pem, {"jwt": token}))
        await publish(Owner("gcp-iot", right), ("/devices/press-4/events/modbus", b"{}"))
        tested = await gcp_iot.test(right, IDENTITY)
        assert (tested.ok, tested.message) == (True, "Connected — 127.0.0.1/press-4")

        wrong = gcp_iot.check(gcp(broker.port, broker.ca_pem, {"jwt": other}))
        with pytest.raises(Permanent, match=REFUSED):
            await Owner("gcp-iot", wrong).driver.connect()
        tested = await gcp_iot.test(wrong, IDENTITY)
        assert (tested.ok, tested.error) == (False, REFUSED)


async def test_gcp_is_not_even_called_with_an_expired_token(open_broker: Mosquitto) -> None:
    token = jwt.encode({"exp": int(time.time()) - 1}, "a secret of 32 bytes or even more", "HS256")
    async with LoginRelay(open_broker.port) as relay:
        config = gcp_iot.check(gcp(relay.port, relay.ca_pem, {"jwt": token}))
        with pytest.raises(Permanent, match="the configured jwt has expired"):
            await Owner("gcp-iot", config).driver.connect()
        tested = await gcp_iot.test(config, IDENTITY)
        assert relay.logins == []
    assert not tested.ok
    assert tested.error is not None
    assert "expired" in tested.error


@pytest.fixture
def cloud_broker(tmp_path: Path) -> Iterator[Mosquitto]:
    with Mosquitto(tmp_path, username="agent", password="hush", tls=True) as running:
        yield running


def in_cloud(broker: Mosquitto, **changes: Any) -> Identity:
    given = {
        "broker_url": f"mqtts://127.0.0.1:{broker.port}",
        "client_id": f"device_{UUID}",
        "tenant": "0123456789ab",
        "agent": UUID,
        "username": "agent",
        "password": "hush",
        "ca": broker.ca_pem,
    }
    return Identity(UUID, "agent-1", Cloud(**(given | changes)))


async def test_iotistica_gets_everything_below_the_agents_own_root(cloud_broker: Mosquitto) -> None:
    async with subscriber(cloud_broker.plain_port, "agent", "hush") as received:
        owner = Owner("iotistica", None, in_cloud(cloud_broker))
        await publish(owner, ("endpoints/modbus", b"\x78\x9c"), ("events/drift", b"{}"))
        await until(lambda: len(received) == 2)
    root = f"i/ASNFZ4mr/a/{base64.urlsafe_b64encode(bytes.fromhex(UUID.replace('-', ''))).decode()[:22]}"
    assert received == [(f"{root}/endpoints/modbus", b"\x78\x9c"), (f"{root}/events/drift", b"{}")]
    assert f" as device_{UUID} (p2, c1, k60, u'agent')" in cloud_broker._log.read_text()


async def test_iotistica_verifies_the_broker_unless_told_otherwise(cloud_broker: Mosquitto) -> None:
    for ca in (None, Authority().pem):
        with pytest.raises(Permanent, match="is not trusted"):
            await Owner("iotistica", None, in_cloud(cloud_broker, ca=ca)).driver.connect()
    await publish(Owner("iotistica", None, in_cloud(cloud_broker, ca=None, verify_certificate=False)))


async def test_iotistica_is_tested_without_ending_the_running_connection(cloud_broker: Mosquitto) -> None:
    iotistica = find("iotistica")
    running = Owner("iotistica", None, in_cloud(cloud_broker))
    await running.driver.connect()
    tested = await iotistica.test(None, in_cloud(cloud_broker))
    assert (tested.ok, tested.message) == (True, f"Connected — 127.0.0.1:{cloud_broker.port}")
    tested = await iotistica.test(None, in_cloud(cloud_broker, password="wrong"))
    assert (tested.ok, tested.error) == (False, REFUSED)
    running.send(1, "endpoints/modbus", b"{}")
    await until(lambda: running.seqs == [1])
    assert running.losses == []
    await running.driver.close()
