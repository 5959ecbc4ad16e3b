import pytest

from actors.publish.destinations import cloud_topics
from actors.publish.destinations.driver import Identity
from actors.publish.messages import Cloud


@pytest.mark.parametrize(
    ("id", "short"),
    [
        ("00112233-4455-6677-8899-aabbccddeeff", "ABEiM0RVZneImaq7zN3u_w"),
        ("FFFFFFFF-FFFF-FFFF-FFFF-FFFFFFFFFFFF", "_____________________w"),
        ("0123456789ab", "ASNFZ4mr"),
        ("FBFFFFFFFFFF", "-_______"),
        ("0123456789a", "0123456789a"),
        ("0123456789abc", "0123456789abc"),
        ("00112233445566778899aabbccddeeff", "00112233445566778899aabbccddeeff"),
        ("tenant-1", "tenant-1"),
        ("", "_"),
        ("a/b+\n", "a_b__"),
    ],
)
def test_ids_are_short_in_topics(id: str, short: str) -> None:
    assert cloud_topics.short_id(id) == short


def test_the_root_names_tenant_and_agent() -> None:
    cloud = Cloud("mqtts://cloud", "client", "acme", "0123456789ab")
    assert cloud_topics.root(cloud) == "i/acme/a/ASNFZ4mr"
    assert cloud_topics.readings(Identity("u", "c", cloud)) == "i/acme/a/ASNFZ4mr/endpoints/{protocol}"


def test_while_not_provisioned_topics_are_local() -> None:
    assert cloud_topics.readings(Identity("agent-uuid", "c")) == "local/agent-uuid/{protocol}"
