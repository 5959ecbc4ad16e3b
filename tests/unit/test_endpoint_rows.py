"""What the keeper of endpoints knows, and what endpoints share."""

import gc
from typing import Any

import msgspec
import pytest
from msgspec import Raw
from thespian.actors import ActorAddress

from actors.endpoints import protocols, shared
from actors.endpoints.protocol import CheckedEndpoint
from actors.endpoints.rows import EndpointRows, row_of
from actors.system.failure import Refusal
from storage.devices import Device
from storage.endpoints import Body, Packed, pack
from storage.target_state import Row

KEEPER = ActorAddress("/agent/endpoints")
POINTS = Raw(b'[{"name":"speed","register":"holding:0"}]')
HOST = Raw(b'{"host":"10.0.0.1"}')


def device(id: int) -> Device:
    return Device(f"device-{id}", id, f"plc-{id}", "modbus", True, "1", None, "then", "then")


def row(id: int, name: str | None = None, **changes: Any) -> Any:
    body = msgspec.structs.replace(Body("modbus", HOST, 1000, True, POINTS), **changes)
    packed = Packed(id, f"uuid-{id}", name or f"plc-{id}", "then", "then", body)
    return row_of(packed, device(id), KEEPER)


def stored(body: dict[str, Any]) -> Row:
    return Row(1, "endpoint", "uuid-1", "plc-1", None, body, "then", "then")


# Rows


def test_a_row_is_found_by_id_uuid_and_name():
    rows = EndpointRows()
    rows.put(row(1))
    rows.put(row(2, name="uuid-1"))
    assert rows.of_uuid("uuid-1") is rows.of(1)
    assert rows.named("uuid-1") is rows.of(2)
    assert (rows.of(3), rows.of_uuid("nobody"), rows.named("nobody")) == (None, None, None)


def test_a_changed_row_takes_the_place_of_the_one_before():
    rows = EndpointRows()
    for id in (1, 2):
        rows.put(row(id))
    rows.put(row(1, enabled=False))
    assert [one.id for one in rows] == [1, 2]
    assert rows.running("modbus") == [rows.of(2)]
    rows.drop(2)
    assert (rows.protocols(), [one.id for one in rows], rows.named("plc-2")) == ([], [1], None)


def test_a_row_that_cannot_run_says_why_until_it_is_dropped():
    rows = EndpointRows()
    broken = row(1, poll_interval=0)
    rows.put(broken)
    assert (broken.address, broken.connection) == (None, Raw(b"{}"))
    assert rows.errors == {"plc-1": "its stored poll_interval is 0 ms"}
    rows.drop(1)
    assert rows.errors == {}


# Packing


def test_equal_data_points_are_kept_once():
    body = {"protocol": "modbus", "connection": {"host": "h"}, "poll_interval": 5, "enabled": True}
    points = [{"name": "speed"}]
    one, other = (pack(stored(body | {"data_points": points, "connection": {"n": n}})) for n in (1, 2))
    assert one.body is not None
    assert other.body is not None
    assert one.body.data_points is other.body.data_points
    assert msgspec.json.decode(one.body.data_points) == points
    assert (bytes(one.body.connection), bytes(other.body.connection)) == (b'{"n":1}', b'{"n":2}')
    assert bytes(one.body.metadata) == b"null"


@pytest.mark.parametrize(
    "changes", [{"connection": 5}, {"data_points": [1]}, {"metadata": []}, {"enabled": 1}]
)
def test_a_body_of_another_shape_is_not_understood(changes):
    body = {"protocol": "modbus", "connection": {}, "poll_interval": 5, "enabled": True}
    packed = pack(stored(body | changes))
    assert packed.body is None
    assert packed.error is not None
    assert f"$.{next(iter(changes))}" in packed.error


# Checked points


def test_equal_data_points_are_checked_once_and_forgotten_with_their_last_user():
    modbus = protocols.find("modbus")
    given: list[int] = []

    def check(connection: dict[str, Any], data_points: Any) -> CheckedEndpoint:
        given.append(len(data_points))
        return modbus.check(connection, data_points)

    protocol = msgspec.structs.replace(modbus, name="counted", check=check)
    before = len(shared._known)
    one, points = shared.check("a", protocol, HOST, POINTS)
    other, same = shared.check("b", protocol, Raw(b'{"host":"10.0.0.2"}'), POINTS)
    assert given == [1, 0]
    assert same is points
    assert one.points is other.points is points.checked
    assert (one.connection.host, other.connection.host) == ("10.0.0.1", "10.0.0.2")
    assert [point.name for point in points.shown] == ["speed"]
    del one, other, points, same
    gc.collect()
    assert len(shared._known) == before


def test_what_is_refused_is_refused_each_time():
    modbus = protocols.find("modbus")
    for _ in range(2):
        with pytest.raises(Refusal):
            shared.check("a", modbus, HOST, Raw(b'[{"name":"speed"}]'))
    with pytest.raises(Refusal):
        shared.check("a", modbus, Raw(b"{}"), POINTS)
