from typing import Any

import msgspec
import pytest

from actors.connections.connection import Permanent, Transient
from actors.mqtt.topics import unpublishable
from actors.publish.destinations import find
from actors.publish.destinations.driver import Driver, Identity, Listener
from actors.publish.destinations.iotistica import check, target
from actors.publish.destinations.iotistica import test as try_out
from actors.publish.messages import Cloud
from actors.publish.topics import fill
from actors.system.failure import Refusal

AGENT = "3f2b8c1e-90d4-4a57-8e61-0c2d7b9a4f10"
CLOUD = Cloud("mqtts://127.0.0.1:8883", f"device_{AGENT}", "0123456789ab", AGENT)
ALONE = Identity(AGENT, "agent-1")
PROVISIONED = Identity(AGENT, "agent-1", CLOUD)


class Nobody(Listener):
    def delivered(self, seqs: list[int]) -> None: ...

    def rejected(self, seqs: list[int], reason: str) -> None: ...

    def lost(self, error: Transient | Permanent) -> None: ...

    def expiring(self) -> None: ...


def driver(identity: Identity) -> Driver:
    return find("iotistica").driver(check({}), identity, Nobody())


@pytest.mark.parametrize("config_json", [{}, {"brokerUrl": 5}, {"anything": None}])
def test_configuration_says_nothing(config_json: dict[str, Any]) -> None:
    check(config_json)


@pytest.mark.parametrize("topic", [None, "ignored", "wild/#"])
@pytest.mark.parametrize("identity", [ALONE, PROVISIONED])
def test_topics_are_the_clouds_own_whatever_a_subscription_says(
    topic: str | None, identity: Identity
) -> None:
    found = target(check({}), topic, identity)
    assert fill(found, "modbus", "line-1", "press-4") == "endpoints/modbus"
    assert found.events_by_name


async def test_an_agent_without_a_cloud_says_where_the_broker_comes_from() -> None:
    waiting = driver(ALONE)
    with pytest.raises(Permanent, match=r"^not provisioned: .*POST /v1/provision"):
        await waiting.connect()
    await waiting.close()
    tested = await try_out(check({}), ALONE)
    assert not tested.ok
    assert tested.error is not None
    assert tested.error.startswith("not provisioned")


async def test_a_broker_that_cannot_be_one_is_refused() -> None:
    identity = msgspec.structs.replace(
        PROVISIONED, cloud=msgspec.structs.replace(CLOUD, broker_url="http://cloud")
    )
    with pytest.raises(Refusal, match="Invalid scheme: http"):
        driver(identity)
    tested = await try_out(check({}), identity)
    assert not tested.ok
    assert tested.error is not None
    assert tested.error.startswith("Invalid scheme: http")


@pytest.mark.parametrize("text", ["device\t1", "device\ud800", "d" * 65_536])
@pytest.mark.parametrize("field", ["client_id", "username"])
def test_a_login_that_brokers_close_the_connection_over_is_refused(field: str, text: str) -> None:
    cloud = msgspec.structs.replace(CLOUD, **{field: text})
    with pytest.raises(Refusal) as refused:
        driver(Identity(AGENT, "agent-1", cloud))
    assert refused.value.field == f"cloud.{field}"


def test_ids_of_any_kind_make_a_topic_that_brokers_take() -> None:
    cloud = msgspec.structs.replace(CLOUD, tenant="a/b\n+", agent="x" * 70_000)
    found = find("iotistica")
    filled = fill(found.target(None, None, PROVISIONED), "p" * 70_000)
    topic = found.address(None, Identity(AGENT, "agent-1", cloud), filled, b"")
    assert unpublishable(topic) is None
    assert topic.startswith("i/a_b__/a/xxx")
    assert topic.count("/") == 5
