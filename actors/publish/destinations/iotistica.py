"""Destination `iotistica`: the cloud's own broker, which provisioning says (spec 02 sections 8.1 and 9)."""

import secrets
from functools import partial
from typing import Any

import msgspec

from actors.connections.connection import Permanent
from actors.mqtt.broker import Broker, Login, check_pems
from actors.mqtt.fields import limited
from actors.mqtt.topics import MAX_BYTES
from actors.publish.destinations import cloud_topics, mqtt_config
from actors.publish.destinations.driver import DestinationType, Driver, Identity, Listener, Outgoing
from actors.publish.destinations.fields import ROOT
from actors.publish.destinations.mqtt_session import Addressed
from actors.publish.messages import Cloud, DestinationTested
from actors.publish.topics import Target
from actors.system.checking import checked
from actors.system.failure import Refusal
from conf.fields import Unused, one_line

TARGET = Target(
    "endpoints/{protocol}",
    template=True,
    events_by_name=True,
    max_bytes=MAX_BYTES - cloud_topics.MAX_ROOT - 1,
)
NOT_PROVISIONED = (
    "not provisioned: which broker to publish to is agreed with the Iotistica cloud, by POST /v1/provision"
)


class Given(msgspec.Struct, frozen=True):
    """What clients send: nothing of which anything comes, for provisioning says everything."""

    provider: Unused = None  # as in `external.Config`


class Unprovisioned(Driver):
    """Stands in until the agent is provisioned; what is to be published waits."""

    async def connect(self) -> None:
        raise Permanent(NOT_PROVISIONED)

    def send(self, message: Outgoing) -> None:
        raise AssertionError("never connected")

    async def close(self) -> None: ...


def check(config_json: dict[str, Any]) -> None:
    """Nothing of it is used: everything comes from provisioning."""
    checked(config_json, Given, ROOT)


def target(_config: None, _topic: str | None, _identity: Identity) -> Target:
    """Relative, so that what is stored before the agent is provisioned finds its way later."""
    return TARGET


def address(_config: None, identity: Identity, topic: str, _payload: bytes) -> str:
    """Below the agent's root, once that is known."""
    return topic if identity.cloud is None else f"{cloud_topics.root(identity.cloud)}/{topic}"


def driver(_config: None, identity: Identity, listener: Listener) -> Driver:
    """Raises `Refusal` when what provisioning said is unusable."""
    if identity.cloud is None:
        return Unprovisioned()
    from actors.publish.destinations.mqtt_driver import MqttDriver

    broker, login = _connection(identity.cloud)
    session = Addressed(partial(address, None, identity))
    return MqttDriver(broker, lambda: login, listener, session=session)


async def test(_config: None, identity: Identity) -> DestinationTested:
    if identity.cloud is None:
        return DestinationTested(False, error=NOT_PROVISIONED)
    from actors.publish.destinations.mqtt_driver import try_connect

    try:
        broker, login = _connection(identity.cloud)
    except Refusal as refusal:
        return DestinationTested(False, error=refusal.message)
    # Another client id: a broker would end the running connection that has the same.
    other = msgspec.structs.replace(login, client_id=f"{login.client_id}-test-{secrets.token_hex(4)}")
    return await try_connect(broker, lambda: other, f"Connected — {broker.host}:{broker.port}")


def _connection(cloud: Cloud) -> tuple[Broker, Login]:
    """Unlike the original's, the broker is verified also when no authority is given (spec 07 B)."""
    found = mqtt_config.check({"brokerUrl": cloud.broker_url})
    broker = msgspec.structs.replace(
        found.broker,
        ca=cloud.ca,
        cert=cloud.cert,
        key=cloud.key,
        reject_unauthorized=cloud.verify_certificate,
        keepalive=cloud.keepalive,
    )
    check_pems(broker, "cloud")
    for name in ("client_id", "username"):
        _check_line(getattr(cloud, name), f"cloud.{name}")
    login = Login(cloud.client_id, cloud.username or found.username, cloud.password or found.password)
    return broker, login


def _check_line(text: str | None, field: str) -> None:
    """Raises `Refusal` for what brokers end the connection over."""
    try:
        limited(one_line(text))
    except ValueError as error:
        raise Refusal(f"{field} {error}", field) from error


DESTINATION = DestinationType(
    name="iotistica",
    check=check,
    target=target,
    driver=driver,
    test=test,
    secrets=(),
    schema=Given,
    address=address,
)
