"""Devices of endpoints, as the keeper knows them, and as an endpoint does."""

from typing import Any

from msgspec.structs import replace

from actors.endpoints.devices import Devices
from storage.devices import Device, uuid_of


def device(uuid: str, endpoint_id: int, name: str, **changes: Any) -> Device:
    return replace(Device(uuid, endpoint_id, name, "mqtt", True, uuid, None, "then", "then"), **changes)


def test_the_first_device_of_an_endpoint_is_its_own():
    devices = Devices()
    own, pump = device("u1", 1, "plc"), device("u2", 1, "pump")
    for one in (own, pump, device("u3", 2, "other")):
        devices.put(one)
    assert (devices.own(1), devices.of(1)) == (own, [own, pump])
    assert devices.own(3) is None
    assert devices.of(3) == []
    devices.put(replace(own, enabled=False))
    assert devices.own(1) == replace(own, enabled=False)
    assert len(devices) == 3


def test_further_devices_are_found_by_name_as_they_are_called_now():
    devices = Devices()
    devices.put(device("u1", 1, "plc"))
    devices.put(device("u2", 1, "pump"))
    devices.put(device("u4", 2, "pump"))
    devices.put(device("u5", 2, "pump"))
    assert [one.uuid for one in devices.named("pump")] == ["u2", "u5"]
    devices.put(device("u2", 1, "inlet"))
    assert [one.uuid for one in devices.named("pump")] == ["u5"]
    assert [one.uuid for one in devices.named("inlet")] == ["u2"]
    assert devices.named("plc") == []


def test_what_is_dropped_is_nowhere_any_more():
    devices = Devices()
    for uuid, name in (("u1", "plc"), ("u2", "pump"), ("u3", "tank")):
        devices.put(device(uuid, 1, name))
    devices.drop("u2")
    devices.drop("u2")
    devices.drop("u1")  # an own one goes with its endpoint
    assert [one.uuid for one in devices.of(1)] == ["u1", "u3"]
    assert (devices.of_uuid("u2"), devices.named("pump")) == (None, [])
    devices.drop_endpoint(1)
    devices.drop_endpoint(1)
    assert (list(devices), devices.of(1), devices.named("tank")) == ([], [], [])


def test_a_uuid_that_is_made_is_the_same_in_every_life():
    assert uuid_of("e", "7") == uuid_of("e", "7")
    assert len({uuid_of("e", "7"), uuid_of("e", "8"), uuid_of("f", "7")}) == 3
