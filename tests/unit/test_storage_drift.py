from typing import Any

import pytest
from msgspec import UNSET
from wall_clock import YEAR, WallClock

from storage import drift, endpoints, target_state
from storage.database import Database
from storage.drift import EVENTS, OUTPUT, DriftEvent, StoredBaseline
from storage.errors import Unreadable


def event(number: int, **changes: Any) -> DriftEvent:
    fields = {
        "drift_type": "new-field",
        "severity": "warning",
        "protocol": "modbus",
        "device": "press",
        "device_uuid": "uuid-1",
        "field": f"reading:f{number}",
        "detected_at": "2026-01-31T23:59:59.123Z",
    }
    return DriftEvent(**(fields | changes))


def bodies(database: Database, protocol: str = "modbus") -> dict[str, bytes]:
    return {row.device_uuid: row.body for row in drift.load(database, protocol)}


# Baselines


def test_baselines_are_replaced_by_device(database: Database) -> None:
    drift.save(database, "modbus", [StoredBaseline("a", "press", b"1"), StoredBaseline("b", "saw", b"2")])
    drift.save(database, "modbus", [StoredBaseline("a", "new press", b"3")])
    drift.save(database, "opcua", [StoredBaseline("a", "press", b"4")])
    assert drift.load(database, "modbus") == [
        StoredBaseline("a", "new press", b"3"),
        StoredBaseline("b", "saw", b"2"),
    ]


def test_baselines_are_removed_by_device(database: Database) -> None:
    for protocol in ("modbus", "opcua"):
        drift.save(database, protocol, [StoredBaseline(uuid, "press", b"1") for uuid in "ab"])
    drift.remove(database, "modbus", ["a", "unknown"])
    assert bodies(database) == {"b": b"1"}
    assert bodies(database, "opcua") == {"a": b"1", "b": b"1"}


def test_baselines_of_devices_that_are_long_gone_are_dropped(database: Database) -> None:
    _, (device,) = endpoints.add_endpoint(database, "press", {"enabled": True}, "1", "modbus")
    drift.save(
        database, "modbus", [StoredBaseline(uuid, "press", b"1") for uuid in (device.uuid, "gone", "moved")]
    )
    database.db.execute(
        "UPDATE drift_baselines SET updated_at = '2020-01-01T00:00:00.000Z' WHERE device_uuid <> 'moved'"
    )
    assert bodies(database) == {device.uuid: b"1", "moved": b"1"}


@pytest.mark.parametrize("jump", [10 * YEAR, -10 * YEAR])
def test_a_clock_that_was_set_makes_no_baseline_old(
    database: Database, wall_clock: WallClock, jump: float
) -> None:
    drift.save(database, "modbus", [StoredBaseline("moved", "press", b"1")])
    wall_clock.jump(jump)
    assert bodies(database) == {"moved": b"1"}


# Events


def test_events_come_back_as_they_were_the_latest_first(database: Database) -> None:
    renamed = event(
        2,
        drift_type="rename-candidate",
        expected_type="number",
        observed_types=["number"],
        rename_candidate_from="reading:f1",
        rename_candidate_to="reading:f2",
        rename_similarity=0.9,
    )
    drift.add_events(database, "modbus", [event(1), renamed])
    drift.add_events(database, "opcua", [event(3, protocol="opcua")])

    found = drift.newest(database, None, 10)
    assert [one.field for one in found] == ["reading:f3", "reading:f2", "reading:f1"]
    assert {name: getattr(found[1], name) for name in renamed.__struct_fields__} == {
        name: getattr(renamed, name) for name in renamed.__struct_fields__
    }
    assert [one.field for one in drift.newest(database, "modbus", 1)] == ["reading:f2"]
    assert drift.newest(database, "snmp", 10) == []


def test_adding_events_again_changes_nothing(database: Database) -> None:
    drift.add_events(database, "modbus", [event(1)])
    drift.add_events(database, "modbus", [event(1), event(2)])
    assert [one.field for one in drift.newest(database, None, 10)] == ["reading:f2", "reading:f1"]


def test_the_newest_events_of_each_protocol_are_kept(database: Database) -> None:
    drift.add_events(database, "opcua", [event(0, protocol="opcua")])
    for start in (0, EVENTS // 2):
        drift.add_events(database, "modbus", [event(n) for n in range(start, start + EVENTS)])
    found = drift.newest(database, "modbus", 2 * EVENTS)
    assert len(found) == EVENTS
    assert found[-1].field == f"reading:f{EVENTS // 2}"
    assert len(drift.newest(database, "opcua", 10)) == 1


# Options


def test_options_are_merged_and_cleared(database: Database) -> None:
    (row,) = drift.change_options(database, ["modbus"], {"enabled": False, "colour": "red"})
    assert (row.kind, row.name, row.body) == (
        OUTPUT,
        "modbus",
        {"drift_options": {"enabled": False, "colour": "red"}},
    )
    (row,) = drift.change_options(database, ["modbus"], {"windowMs": 1}, ["enabled"])
    assert row.body == {"drift_options": {"colour": "red", "windowMs": 1}}
    assert target_state.load(database) == [row]
    (row,) = drift.change_options(database, ["modbus"], None)
    assert row.body == {"drift_options": None}
    (row,) = drift.change_options(database, ["modbus"], {})
    assert row.body == {"drift_options": {}}


def test_options_of_several_protocols_are_changed_each_by_itself(database: Database) -> None:
    drift.change_options(database, ["modbus"], {"colour": "red"})
    rows = drift.change_options(database, ["modbus", "opcua"], {"enabled": False})
    assert [row.body["drift_options"] for row in rows] == [
        {"colour": "red", "enabled": False},
        {"enabled": False},
    ]


def test_options_that_cannot_be_read_are_not_merged_and_nothing_is_changed(database: Database) -> None:
    (row,) = drift.change_options(database, ["modbus"], {"colour": "red"})
    sealed = b"\x01 of another key"
    database.db.execute("UPDATE target_state SET body = ? WHERE id = ?", [sealed, row.id])

    with pytest.raises(Unreadable, match="protocol-output 'modbus'") as caught:
        drift.change_options(database, ["opcua", "modbus"], {"enabled": False})

    assert caught.value.kind == "unreadable"
    assert caught.value.row_id == row.id
    stored = database.db.execute("SELECT name, body FROM target_state").fetchall()
    assert stored == [("modbus", sealed)]


def test_options_that_cannot_be_read_can_be_cleared(database: Database) -> None:
    (row,) = drift.change_options(database, ["modbus"], {"colour": "red"})
    database.db.execute("UPDATE target_state SET body = x'00' WHERE id = ?", [row.id])
    (cleared,) = drift.change_options(database, ["modbus"], None)
    assert (cleared.id, cleared.body) == (row.id, {"drift_options": None})
    assert target_state.load(database) == [cleared]


@pytest.mark.parametrize("details", ["{", "[]", '{"observed_types": 7}', b"\xff", ""])
def test_event_whose_details_cannot_be_read_is_listed_without_them(
    database: Database, details: str | bytes
) -> None:
    drift.add_events(database, "modbus", [event(1, expected_type="number"), event(2)])
    database.db.execute("UPDATE drift_events SET details = ? WHERE id = 1", [details])
    second, first = drift.newest(database, None, 10)
    assert (first.field, first.device, first.expected_type) == ("reading:f1", "press", UNSET)
    assert second.field == "reading:f2"
