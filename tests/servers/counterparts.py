"""For every destination type the other end: a server, the relay in front of it, and what has arrived."""

import asyncio
import base64
import functools
import hashlib
import hmac
import time
from abc import ABC, abstractmethod
from collections import deque
from contextlib import AsyncExitStack
from pathlib import Path
from types import TracebackType
from typing import Any, ClassVar, Self
from urllib.parse import parse_qs, quote_plus

import gmqtt
import jwt
import msgspec
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from gmqtt.mqtt.constants import MQTTv311

from actors.publish.messages import Cloud
from servers import sparkplug_host
from servers.certificates import Authority
from servers.influxdb import InfluxDB, Point
from servers.login_relay import LoginRelay, SeenLogin
from servers.mosquitto import Mosquitto
from servers.relay import Relay
from servers.webhook import PATH, WebhookReceiver

Reading = tuple[str, int]
"""Endpoint, and the value of its metric `seq`."""

TOKEN_SECONDS = 5
_BROKER_WINDOW = 20
"""How many messages mosquitto sends a subscriber before they are acknowledged."""


class Counterpart(ABC):
    """A server in `directory`, behind `relay`; `detour` is another relay to the same.

    A destination of `type` gets there with `config_json`, or, where provisioning says where, with
    `cloud`; both can be made with credentials that the server refuses.
    """

    type: ClassVar[str]
    name: ClassVar[str] = ""
    """Of another one of the same type."""
    payload_format: ClassVar[str] = "tags"
    route_json: ClassVar[dict[str, Any]] = {"topic": "plant"}
    spoilt_text: ClassVar[str] = ""
    """As metric `text` in a reading it has that rejected."""
    spoilt_topic: ClassVar[str | None] = None
    """Where no text of a reading has it rejected: as the topic of a payload."""
    rejection: ClassVar[str]
    """Words of the reason."""
    poison_text: ClassVar[str] = "p" * 40_000
    """As metric `text` in a reading it has the server end every connection over it, or fail."""
    replaces: ClassVar[bool] = False
    """A reading that it gets again replaces itself."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.impatient = False
        """Where a destination can be told for how long to wait for anything, it is a second."""
        self.relay: Relay
        self.detour: Relay
        self._stack = AsyncExitStack()

    def config_json(self, relay: Relay, right: bool = True) -> dict[str, Any] | None:
        return None

    def cloud(self, relay: Relay, right: bool = True) -> Cloud | None:
        return None

    @property
    @abstractmethod
    def received(self) -> list[Reading]:
        """In the order of arrival, repetitions included."""

    @abstractmethod
    async def _run(self, stack: AsyncExitStack) -> int:
        """Start the server; returns the port where clients connect."""

    @abstractmethod
    async def stop(self) -> None:
        """The server goes down; what it has acknowledged it keeps."""

    @abstractmethod
    async def start(self) -> None: ...

    async def __aenter__(self) -> Self:
        async with AsyncExitStack() as stack:
            port = await self._run(stack)
            self.relay = await stack.enter_async_context(Relay(port))
            self.detour = await stack.enter_async_context(Relay(port))
            self._stack = stack.pop_all()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._stack.aclose()


class Subscriber:
    """Gets everything from a broker, which keeps it from `pause` to `resume`, over a restart too."""

    def __init__(self, port: int, username: str | None, password: str | None) -> None:
        self.readings: list[Reading] = []
        self._port = port
        self._client = gmqtt.Client("subscriber", clean_session=False)
        if username is not None:
            self._client.set_auth_credentials(username, password)
        self._subscribed = asyncio.Event()
        self._client.on_subscribe = lambda *_: self._subscribed.set()
        self._client.on_message = self._take
        self._latest: deque[bytes] = deque(maxlen=_BROKER_WINDOW)

    async def resume(self) -> None:
        await self._client.connect("127.0.0.1", self._port, version=MQTTv311)
        await self._subscribe()

    async def pause(self) -> None:
        # The answer comes after the broker has got our acknowledgements: it has nothing to repeat.
        await self._subscribe()
        await self._client.disconnect()

    async def _subscribe(self) -> None:
        self._subscribed.clear()
        self._client.subscribe("#", qos=1)
        await self._subscribed.wait()

    def _take(
        self, _client: object, _topic: str, payload: bytes, _qos: int, properties: dict[str, Any]
    ) -> None:
        # The broker may go down before it has our acknowledgement; the flag is for its own repetitions,
        # not for the publisher's.
        if not (properties["dup"] and payload in self._latest):
            self._latest.append(payload)
            self.readings.append(reading_in(payload))


class Listener(Subscriber):
    """What a Sparkplug host makes of it."""

    def __init__(self, port: int, username: str | None, password: str | None) -> None:
        super().__init__(port, username, password)
        self.host = sparkplug_host.Host()

    def _take(
        self, _client: object, topic: str, payload: bytes, qos: int, properties: dict[str, Any]
    ) -> None:
        before = len(self.host.seen)
        self.host.take(topic, payload, qos, bool(properties["retain"]))
        data = [one for one in self.host.seen[before:] if not one.birth and one.metric == "seq"]
        self.readings += [(one.device, one.value) for one in data]


def reading_in(payload: bytes) -> Reading:
    """That in a payload of format `tags`, or in one that becomes a Sparkplug node's."""
    return reading_of(msgspec.json.decode(payload))


def reading_of(decoded: dict[str, Any]) -> Reading:
    if "names" in decoded:
        return decoded["device"], decoded["values"][decoded["names"].index("seq")]
    found = {tag["name"]: tag["value"] for tag in decoded["tags"]}
    return decoded["node"], found["seq"]


class BrokerCounterpart(Counterpart):
    """mosquitto, with a subscriber at its plain port."""

    access: ClassVar[dict[str, Any]] = {}
    """How the broker is accessed, in the words of `Mosquitto`."""

    def __init__(self, directory: Path, options: tuple[str, ...] = ()) -> None:
        super().__init__(directory)
        kept = ("persistence true", f"persistence_location {directory}/", "max_packet_size 30000")
        self.broker = Mosquitto(directory, options=(*kept, *options), **self.access)
        username, password = self.access.get("username"), self.access.get("password")
        self.subscriber = Subscriber(self.broker.plain_port, username, password)

    @property
    def received(self) -> list[Reading]:
        return self.subscriber.readings

    async def _run(self, stack: AsyncExitStack) -> int:
        await asyncio.to_thread(stack.enter_context, self.broker)
        await self.subscriber.resume()
        stack.push_async_callback(self.subscriber.pause)
        return self.broker.port

    async def stop(self) -> None:
        await self.subscriber.pause()
        await asyncio.to_thread(self.broker.stop)

    async def start(self) -> None:
        await asyncio.to_thread(self.broker.start)
        await self.subscriber.resume()


class MqttBroker(BrokerCounterpart):
    type = "mqtt"
    access = {"username": "agent", "password": "hush"}
    spoilt_text = "x" * 50_000
    rejection = "50000 is the most allowed"

    def config_json(self, relay: Relay, right: bool = True) -> dict[str, Any]:
        return {
            "host": "127.0.0.1",
            "port": relay.port,
            "username": "agent",
            "password": "hush" if right else "wrong",
            "maxPayloadBytes": 50_000,
        }


class SparkplugHost(MqttBroker):
    """The same, as a node that a host listens to, which nothing may confuse."""

    name = "mqtt as a Sparkplug node"
    payload_format = "sparkplug"
    route_json = {"topic": None}

    def __init__(self, directory: Path) -> None:
        super().__init__(directory, options=("queue_qos0_messages true",))
        self.subscriber = Listener(self.broker.plain_port, self.access["username"], self.access["password"])

    def config_json(self, relay: Relay, right: bool = True) -> dict[str, Any]:
        node = {"groupId": sparkplug_host.GROUP, "edgeNodeId": sparkplug_host.NODE}
        return super().config_json(relay, right) | {"sparkplug": node}

    @property
    def received(self) -> list[Reading]:
        assert isinstance(self.subscriber, Listener)
        assert self.subscriber.host.faults == []
        return super().received


class IotisticaCloud(BrokerCounterpart):
    type = "iotistica"
    access = {"username": "agent", "password": "hush", "tls": True}
    spoilt_topic = "pump\t7"
    rejection = "it contains control characters"

    def cloud(self, relay: Relay, right: bool = True) -> Cloud:
        return Cloud(
            broker_url=f"mqtts://127.0.0.1:{relay.port}",
            client_id="device_1",
            tenant="0123456789ab",
            agent="ba9876543210",
            username="agent",
            password="hush" if right else "wrong",
            ca=self.broker.ca_pem,
        )


class AwsIotCore(BrokerCounterpart):
    type = "aws-iot"
    access = {"tls": True, "client_certificates": True}
    spoilt_text = "x" * 131_072
    rejection = "131072 is the most allowed"

    def config_json(self, relay: Relay, right: bool = True) -> dict[str, Any]:
        assert self.broker.authority is not None
        certificate, key = (self.broker.authority if right else Authority()).issue("press-4")
        return {
            "endpoint": "127.0.0.1",
            "port": relay.port,
            "deviceId": "press-4",
            "auth": {"cert": certificate, "key": key, "ca": self.broker.ca_pem},
        }


class TokenCounterpart(BrokerCounterpart):
    """In front of the broker `gate` looks at the tokens, and ends connections whose tokens do."""

    gate: LoginRelay

    async def _run(self, stack: AsyncExitStack) -> int:
        port = await super()._run(stack)
        self.gate = await stack.enter_async_context(LoginRelay(port, self._lifetime))
        return self.gate.port

    @abstractmethod
    def _lifetime(self, login: SeenLogin) -> float:
        """Seconds that the token is good for; 0 when it is not the device's."""


class AzureIotHub(TokenCounterpart):
    type = "azure-iot"
    spoilt_text = "x" * 262_144
    rejection = "262144 is the most allowed"

    _KEY = b"the key of press-4"

    def config_json(self, relay: Relay, right: bool = True) -> dict[str, Any]:
        key = base64.b64encode(self._KEY if right else b"another key").decode()
        return {
            "connectionString": f"HostName=127.0.0.1;DeviceId=press-4;SharedAccessKey={key}",
            "port": relay.port,
            "ca": self.gate.ca_pem,
            "auth": {"tokenTtlSeconds": TOKEN_SECONDS},
        }

    def _lifetime(self, login: SeenLogin) -> float:
        assert (login.client_id, login.username) == ("press-4", "127.0.0.1/press-4/?api-version=2021-04-12")
        assert login.password is not None
        [expires] = parse_qs(login.password.partition(" ")[2])["se"]
        resource = quote_plus("127.0.0.1/devices/press-4")
        digest = hmac.new(self._KEY, f"{resource}\n{expires}".encode(), hashlib.sha256).digest()
        signature = quote_plus(base64.b64encode(digest))
        right = login.password == f"SharedAccessSignature sr={resource}&sig={signature}&se={expires}"
        return int(expires) - right_time() if right else 0.0


class GcpBroker(TokenCounterpart):
    type = "gcp-iot"
    route_json = {"topic": None}
    spoilt_topic = "pump\t7"
    rejection = "it contains control characters"

    def config_json(self, relay: Relay, right: bool = True) -> dict[str, Any]:
        return {
            "endpoint": "127.0.0.1",
            "port": relay.port,
            "clientId": "projects/plant/locations/here/registries/all/devices/press-4",
            "topicTemplate": "/devices/{deviceId}/events/{name}",
            "ca": self.gate.ca_pem,
            "auth": {
                "privateKey": _pem(_private_key("press-4" if right else "press-5")),
                "tokenTtlSeconds": TOKEN_SECONDS,
            },
        }

    def _lifetime(self, login: SeenLogin) -> float:
        key = _private_key("press-4").public_key()
        required = {"require": ["aud", "iat", "exp"]}
        try:
            claims = jwt.decode(
                login.password or "", key, algorithms=["RS256"], audience="plant", options=required
            )
        except jwt.PyJWTError:
            return 0.0
        expires: int = claims["exp"]
        return expires - right_time()


def right_time() -> float:
    """The Unix time, whatever a test has made of the agent's clock."""
    return time.clock_gettime(time.CLOCK_REALTIME)


@functools.cache
def _private_key(_of: str) -> rsa.RSAPrivateKey:
    return rsa.generate_private_key(65_537, 2048)


def _pem(key: rsa.RSAPrivateKey) -> str:
    return key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()).decode()


class InfluxCounterpart(Counterpart):
    type = "influxdb"
    spoilt_text = "this server takes no texts"
    rejection = "no texts here"
    poison_text = "this server fails over it"
    replaces = True

    def __init__(self, directory: Path) -> None:
        super().__init__(directory)
        self.server = InfluxDB()
        self.server.refuse_line = self._refused

    def _refused(self, point: Point) -> str | None:
        if point.fields.get("text") == self.poison_text:
            raise RuntimeError(self.poison_text)
        return "no texts here" if "text" in point.fields else None

    def config_json(self, relay: Relay, right: bool = True) -> dict[str, Any]:
        token = self.server.token if right else "wrong"
        url = f"http://127.0.0.1:{relay.port}"
        patience = {"timeout": 1000} if self.impatient else {}
        return self.server.config_json(url=url, token=token, batchSize=20, flushInterval=5, **patience)

    @property
    def received(self) -> list[Reading]:
        return [(point.tags["endpoint"], int(point.fields["seq"])) for point in self.server.points]

    async def _run(self, stack: AsyncExitStack) -> int:
        await asyncio.to_thread(stack.enter_context, self.server)
        return self.server.port

    async def stop(self) -> None:
        await asyncio.to_thread(self.server.stop)

    async def start(self) -> None:
        await asyncio.to_thread(self.server.start)


class WebhookCounterpart(Counterpart):
    type = "webhook"
    spoilt_text = "this server takes no texts"
    rejection = "no texts here"
    poison_text = "this server fails over it"

    def __init__(self, directory: Path) -> None:
        super().__init__(directory)
        self.server = WebhookReceiver(batched=True)
        self.server.refuse = self._refused

    def _refused(self, document: dict[str, Any]) -> str | None:
        text = {tag["name"]: tag.get("value") for tag in document["tags"]}.get("text")
        if text == self.poison_text:
            raise RuntimeError(self.poison_text)
        return None if text is None else "no texts here"

    def config_json(self, relay: Relay, right: bool = True) -> dict[str, Any]:
        url = f"http://127.0.0.1:{relay.port}{PATH}"
        patience = {"timeout": 1000} if self.impatient else {}
        refused = {} if right else {"headers": {"Authorization": "Bearer wrong"}}
        return self.server.config_json(url=url, **refused, **patience)

    @property
    def received(self) -> list[Reading]:
        return [reading_of(document) for document in self.server.documents]

    async def _run(self, stack: AsyncExitStack) -> int:
        await stack.enter_async_context(self.server)
        return self.server.port

    async def stop(self) -> None:
        await self.server.stop()

    async def start(self) -> None:
        await self.server.start()


COUNTERPARTS: dict[str, type[Counterpart]] = {
    each.name or each.type: each
    for each in (
        IotisticaCloud,
        MqttBroker,
        SparkplugHost,
        InfluxCounterpart,
        WebhookCounterpart,
        AzureIotHub,
        AwsIotCore,
        GcpBroker,
    )
}
