"""Whatever is published, a search tells what an endpoint would take, and one topic costs no other."""

from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from actors.endpoints.discovering import Found, Known
from actors.endpoints.protocols import find
from actors.endpoints.protocols.mqtt import scanning
from actors.endpoints.protocols.mqtt.discovery import plan
from actors.endpoints.protocols.mqtt.sampling import Sampler, Topic
from conf.settings import load

_LEVELS = (
    *(
        "a",
        "b",
        "temperature",
        "tele",
        "stat",
        "SENSOR",
        "STATE",
        "LWT",
        "shellies",
        "homeassistant",
        "sensor",
    ),
    *("config", "homie", "$homie", "zigbee2mqtt", "bridge", "devices", "spBv1.0", "NBIRTH", "events", "\x01"),
)
_PAYLOADS = (
    *(b"21.5", b"NaN", b"1e999", b"ON", b"", b"null", b"[]", b"{}", b"[null]", b"\xff\xfe", b'"x"', b"true"),
    *(b'{"value": null}', b'{"Temperature": 1, "TempUnit": null}', b'{"a": {"b": 1}, "a.b": 2}', b'{"": 1}'),
    *(
        b'[{"ieee_address": 1}]',
        b'{"msgId": 5, "metrics": null}',
        b'{"\\u0000": 1}',
        b'{"name": [], "value": 1}',
    ),
)


def devices(published: dict[str, list[bytes]]) -> list[Found]:
    settings = load(None, {"MQTT_BROKER_URL": "mqtt://broker.example"})
    search = plan({"topics": "#"}, Known(settings), "overrides.mqtt")
    assert search is not None
    assert search.sample is not None
    sampler = Sampler(1000)
    for name, payloads in published.items():
        sampler.topics[name] = Topic(name, count=len(payloads), live=1, samples=payloads)
    made = scanning._devices(sampler, search, search.sample, True)
    return [found for found in made if found is not None]


def test_a_topic_that_was_cleared_by_a_null_costs_no_other():
    found = devices({"boiler/state": [b'{"level": 1}', b"null"], "pump/state": [b'{"speed": 2}']})

    assert {one.identity for one in found} == {"mqtt:boiler", "mqtt:pump"}


@given(
    st.dictionaries(
        st.lists(st.sampled_from(_LEVELS), min_size=1, max_size=5).map("/".join),
        st.lists(st.sampled_from(_PAYLOADS), min_size=1, max_size=3),
        max_size=8,
    )
)
def test_an_endpoint_takes_whatever_is_proposed(published: dict[str, list[bytes]]):
    for found in devices({name: those for name, those in published.items() if not name.startswith("$")}):
        connection: dict[str, Any] = {"host": "broker.example", **found.connection}
        find("mqtt").accept(connection, [dict(point) for point in found.data_points])
