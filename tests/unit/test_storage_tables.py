from pathlib import Path
from typing import Any
from uuid import UUID

import pytest

from storage import devices, endpoints, identity, outbox, target_state
from storage.database import Database, open_database
from storage.errors import Duplicate, MissingParent, MissingRow, Unreadable
from storage.outbox import OutboxRow, OutboxSummary

UUID_1 = "3f2b8c1e-90d4-4a57-8e61-0c2d7b9a4f10"


def count(database: Database, table: str) -> int:
    total = database.db.execute(f"SELECT count(*) FROM {table}").fetchone()[0]
    assert isinstance(total, int)
    return total


def row(seq: int, size: int = 10) -> OutboxRow:
    return OutboxRow(seq, f"topic/{seq}", bytes([seq % 256]) * size, 1_700_000_000_000 + seq)


# identity


def test_first_start_makes_an_identity_that_stays(database: Database) -> None:
    first = identity.load_or_create(database, None, None, None)

    assert UUID(first.uuid).version == 4
    assert first.name == f"agent-{first.uuid[:8]}"
    assert first.type == "standalone"
    assert first.created_at.endswith("Z")
    assert identity.load_or_create(database, None, None, None) == first


def test_configured_identity_is_taken_at_the_first_start(database: Database) -> None:
    assert identity.load_or_create(database, UUID_1, None, "gateway").name == "agent-3f2b8c1e"
    stored = identity.load_or_create(database, None, None, None)
    assert (stored.uuid, stored.name, stored.type) == (UUID_1, "agent-3f2b8c1e", "gateway")


def test_name_and_type_follow_the_configuration_and_the_uuid_does_not(
    database: Database, caplog: pytest.LogCaptureFixture
) -> None:
    first = identity.load_or_create(database, None, "one", None)

    second = identity.load_or_create(database, UUID_1, "two", "gateway")

    assert second.uuid == first.uuid
    assert (second.name, second.type, second.created_at) == ("two", "gateway", first.created_at)
    assert UUID_1 in caplog.text
    assert identity.load_or_create(database, None, None, None) == second


def test_identity_that_has_lost_its_uuid_gets_a_new_one_and_keeps_the_rest(
    database: Database, caplog: pytest.LogCaptureFixture
) -> None:
    first = identity.load_or_create(database, None, "press-hall", "gateway")
    for value, configured in (("", None), ("  ", UUID_1), (b"\x00", None)):
        database.db.execute("UPDATE agent SET uuid = ?", [value])
        found = identity.load_or_create(database, configured, None, None)
        assert found.uuid != first.uuid
        assert found.uuid == configured or UUID(found.uuid).version == 4
        assert (found.name, found.type, found.created_at) == ("press-hall", "gateway", first.created_at)
        assert found.uuid in caplog.text
        assert identity.load_or_create(database, None, None, None) == found


def test_what_a_stored_identity_lacks_is_made_up_for(database: Database) -> None:
    first = identity.load_or_create(database, UUID_1, "press-hall", "gateway")
    database.db.execute("UPDATE agent SET name = '', type = x'ff', created_at = ''")
    found = identity.load_or_create(database, None, None, None)
    assert (found.uuid, found.name, found.type) == (first.uuid, "agent-3f2b8c1e", "standalone")
    assert found.created_at >= first.created_at
    assert identity.load_or_create(database, None, None, None) == found


# target state


def test_row_comes_back_as_inserted(database: Database) -> None:
    body = {"connection": {"host": "h", "port": 502}, "data_points": [{"name": "é"}], "x": None, "f": 1.5}

    parent = target_state.insert(database, "destination", "broker", {})
    child = target_state.insert(database, "subscription", None, body, parent_id=parent.id, uuid=UUID_1)

    assert target_state.load(database) == [parent, child]
    assert child.uuid == UUID_1
    assert child.body == body
    assert child.created_at == child.updated_at
    assert len(child.created_at) == len("2026-01-31T23:59:59.123Z")


def test_bodies_are_not_readable_in_the_file(path: Path) -> None:
    database = open_database(path)
    target_state.insert(database, "destination", "broker", {"password": "hunter2"})
    database.close()
    assert b"hunter2" not in path.read_bytes()
    assert b"broker" in path.read_bytes()


def test_name_is_unique_within_its_kind(database: Database) -> None:
    target_state.insert(database, "endpoint", "one", {})
    target_state.insert(database, "destination", "one", {})
    target_state.insert(database, "subscription", None, {})
    target_state.insert(database, "subscription", None, {})

    with pytest.raises(Duplicate) as caught:
        target_state.insert(database, "endpoint", "one", {})

    error = caught.value
    assert (error.row_kind, error.name, error.field) == ("endpoint", "one", "name")
    assert count(database, "target_state") == 4


def test_uuid_is_unique(database: Database) -> None:
    target_state.insert(database, "endpoint", "one", {}, uuid=UUID_1)
    with pytest.raises(Duplicate) as caught:
        target_state.insert(database, "destination", "two", {}, uuid=UUID_1)
    assert caught.value.field == "uuid"


def test_missing_parent_is_refused(database: Database) -> None:
    with pytest.raises(MissingParent, match="parent 99"):
        target_state.insert(database, "subscription", None, {}, parent_id=99)
    assert target_state.load(database) == []


def test_update_replaces_the_body_and_keeps_what_is_not_given(database: Database) -> None:
    parent = target_state.insert(database, "destination", "a", {})
    child = target_state.insert(database, "subscription", "s", {"old": 1}, parent_id=parent.id)

    changed = target_state.update(database, child.id, {"new": 2})

    assert changed.body == {"new": 2}
    assert (changed.name, changed.parent_id, changed.uuid) == ("s", parent.id, child.uuid)
    assert changed.created_at == child.created_at
    assert target_state.load(database) == [parent, changed]


def test_update_changes_name_and_parent(database: Database) -> None:
    first = target_state.insert(database, "destination", "a", {})
    second = target_state.insert(database, "destination", "b", {})
    child = target_state.insert(database, "subscription", "s", {}, parent_id=first.id)

    changed = target_state.update(database, child.id, {}, name=None, parent_id=second.id)

    assert (changed.name, changed.parent_id) == (None, second.id)
    assert target_state.load(database)[2] == changed
    with pytest.raises(Duplicate):
        target_state.update(database, second.id, {"changed": True}, name="a")
    with pytest.raises(MissingParent):
        target_state.update(database, child.id, {}, parent_id=99)
    assert target_state.load(database) == [first, second, changed]


def test_update_of_a_missing_row_is_refused(database: Database) -> None:
    with pytest.raises(MissingRow, match="row 5"):
        target_state.update(database, 5, {})


def test_delete_takes_children_along_and_counts_what_was_asked(database: Database) -> None:
    parent = target_state.insert(database, "destination", "a", {})
    target_state.insert(database, "subscription", None, {}, parent_id=parent.id)
    other = target_state.insert(database, "destination", "b", {})
    outbox.commit(database, parent.id, [row(1)], [])

    assert target_state.delete(database, [parent.id, 99]) == 1
    assert target_state.delete(database, []) == 0
    assert target_state.load(database) == [other]
    assert count(database, "outbox") == 0


def test_id_of_a_deleted_row_is_not_given_again(database: Database) -> None:
    first = target_state.insert(database, "destination", "a", {})
    target_state.delete(database, [first.id])
    assert target_state.insert(database, "destination", "a", {}).id > first.id


def lose_key(path: Path) -> None:
    (path.parent / ".master.key").unlink()


def test_rows_of_a_lost_key_are_listed_each_with_its_error(path: Path) -> None:
    before = open_database(path)
    plc = target_state.insert(before, "endpoint", "plc", {"secret": 1})
    subscription = target_state.insert(before, "subscription", None, {}, parent_id=plc.id)
    before.close()
    lose_key(path)
    database = open_database(path)
    readable = target_state.insert(database, "endpoint", "new", {})

    first, second, third = target_state.load(database)

    assert (first.id, first.uuid, first.name, first.body) == (plc.id, plc.uuid, "plc", {})
    assert first.error is not None
    assert "endpoint 'plc' (row 1) cannot be decrypted" in first.error
    assert (second.id, second.parent_id) == (subscription.id, plc.id)
    assert second.error is not None
    assert third == readable
    assert target_state.kinds(database) == {"endpoint": 2, "subscription": 1}
    database.close()


def test_rows_are_loaded_by_kind(database: Database) -> None:
    for kind in ("endpoint", "rule", "endpoint", "app"):
        target_state.insert(database, kind, None, {})
    assert [row.id for row in target_state.load(database, {"endpoint", "app"})] == [1, 3, 4]
    assert target_state.load(database, ["destination"]) == []
    assert target_state.load(database, ()) == []
    assert target_state.kinds(database) == {"app": 1, "endpoint": 2, "rule": 1}


def spoil(database: Database, id: int, body: Any) -> None:
    database.db.execute("UPDATE target_state SET body = ? WHERE id = ?", [body, id])


@pytest.mark.parametrize(
    ("plain", "says"),
    [
        (b"[1, 2]", "cannot be parsed"),
        (b"{", "cannot be parsed"),
        (b'{"a": "\xff"}', "cannot be parsed"),
        (b"", "cannot be parsed"),
        (None, "cannot be decrypted"),
    ],
)
def test_row_that_cannot_be_read_is_listed_and_takes_nothing_else_down(
    database: Database, plain: bytes | None, says: str
) -> None:
    bad = target_state.insert(database, "endpoint", "bad", {})
    good = target_state.insert(database, "endpoint", "good", {"a": 1})
    context = f"target_state:endpoint:{bad.uuid}".encode()
    spoil(database, bad.id, b"\x01" if plain is None else database.secrets.encrypt(plain, context))

    listed = target_state.load(database)

    assert listed[1] == good
    assert says in (listed[0].error or "")
    with pytest.raises(Unreadable, match=says):
        target_state.get(database, bad.id)


@pytest.mark.parametrize("body", ["text", 7, 1.5, ""])
def test_body_of_another_type_is_unreadable(database: Database, body: Any) -> None:
    bad = target_state.insert(database, "endpoint", "bad", {})
    spoil(database, bad.id, body)
    (listed,) = target_state.load(database)
    assert "holds no encrypted body" in (listed.error or "")


def test_name_that_is_no_text_any_more_does_not_hide_the_row(database: Database) -> None:
    """A flipped bit that no check finds: SQLite takes any bytes for text."""
    bad = target_state.insert(database, "endpoint", "plc", {"a": 1})
    database.db.execute("UPDATE target_state SET name = CAST(x'706c9c' AS TEXT)")
    (listed,) = target_state.load(database)
    assert (listed.id, listed.name, listed.body) == (bad.id, "pl\ufffd", {"a": 1})


def test_topic_that_is_no_text_any_more_does_not_hold_up_the_outbox(
    database: Database, destination: int
) -> None:
    outbox.commit(database, destination, [row(1), row(2)], [])
    database.db.execute("UPDATE outbox SET topic = CAST(x'ff' AS TEXT) WHERE seq = 1")
    assert [one.topic for one in outbox.load(database, destination, 0, 10, 1000).rows] == [
        "\ufffd",
        "topic/2",
    ]


def test_unreadable_row_keeps_its_name_until_it_is_deleted(path: Path) -> None:
    before = open_database(path)
    old, _ = endpoints.add_endpoint(before, "plc", {}, "1", "modbus")
    before.close()
    lose_key(path)
    database = open_database(path)

    with pytest.raises(Duplicate):
        endpoints.add_endpoint(database, "plc", {}, "1", "modbus")
    assert [row.id for row in target_state.load(database)] == [old.id]
    assert len(devices.load(database)) == 1

    assert target_state.delete(database, [old.id]) == 1
    new, (device,) = endpoints.add_endpoint(database, "plc", {}, "1", "modbus")
    assert target_state.load(database) == [new]
    assert devices.load(database) == [device]
    database.close()


def test_unreadable_row_is_replaced_by_an_update(database: Database) -> None:
    bad = target_state.insert(database, "endpoint", "plc", {})
    spoil(database, bad.id, b"")
    changed = target_state.update(database, bad.id, {"new": 1})
    assert target_state.load(database) == [changed]
    assert changed.error is None


def test_unreadable_endpoint_is_not_changed_in_part(database: Database) -> None:
    bad, (device,) = endpoints.add_endpoint(database, "plc", {"enabled": True}, "1", "modbus")
    spoil(database, bad.id, b"\x01")
    with pytest.raises(Unreadable, match="endpoint 'plc'"):
        endpoints.change_endpoint(database, bad.id, {"enabled": False})
    assert devices.load(database) == [device]
    assert database.db.execute("SELECT body FROM target_state").fetchone() == (b"\x01",)


def test_body_moved_to_another_row_is_unreadable(database: Database) -> None:
    first = target_state.insert(database, "endpoint", "a", {"of": "a"})
    second = target_state.insert(database, "endpoint", "b", {"of": "b"})
    database.db.execute(
        "UPDATE target_state SET body = (SELECT body FROM target_state WHERE id = ?) WHERE id = ?",
        [first.id, second.id],
    )
    listed = target_state.load(database)
    assert listed[0] == first
    assert listed[1].error is not None


# devices and endpoints


def test_device_comes_back_as_inserted(database: Database) -> None:
    endpoint = target_state.insert(database, "endpoint", "plc", {})

    first = devices.insert(database, endpoint.id, "plc", "modbus", "1", {"a": [1]}, False, UUID_1)
    second = devices.insert(database, endpoint.id, "plc", "modbus", "2")

    assert devices.load(database) == [first, second]
    assert (first.uuid, first.enabled, first.metadata) == (UUID_1, False, {"a": [1]})
    assert (second.enabled, second.metadata) == (True, None)
    with pytest.raises(Duplicate):
        devices.insert(database, endpoint.id, "plc", "modbus", "3", uuid=UUID_1)
    with pytest.raises(MissingParent):
        devices.insert(database, 99, "plc", "modbus", "3")


@pytest.mark.parametrize("packed", ["{", "[1]", b"\xff", "", 7])
def test_device_whose_metadata_cannot_be_read_does_not_hide_the_others(
    database: Database, packed: Any
) -> None:
    endpoint = target_state.insert(database, "endpoint", "plc", {})
    bad = devices.insert(database, endpoint.id, "bad", "modbus", "1", {"a": 1})
    good = devices.insert(database, endpoint.id, "good", "modbus", "2", {"a": 2})
    database.db.execute("UPDATE devices SET metadata = ? WHERE uuid = ?", [packed, bad.uuid])

    first, second = devices.load(database)

    assert (first.uuid, first.identifier, first.metadata) == (bad.uuid, "1", None)
    assert "metadata of device 'bad' cannot be read" in (first.error or "")
    assert second == good


@pytest.mark.parametrize(("body", "enabled"), [({}, True), ({"enabled": False}, False)])
def test_endpoint_is_added_with_its_device(database: Database, body: dict[str, Any], enabled: bool) -> None:
    endpoint, (device,) = endpoints.add_endpoint(database, "plc", body, "17", "modbus")

    assert endpoint.kind == "endpoint"
    assert (device.endpoint_id, device.name, device.identifier) == (endpoint.id, "plc", "17")
    assert device.enabled is enabled
    assert target_state.load(database) == [endpoint]
    assert devices.load(database) == [device]


def test_endpoint_that_cannot_be_added_leaves_nothing(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_args: object, **_options: object) -> None:
        raise RuntimeError("no device")

    monkeypatch.setattr(devices, "insert", fail)
    with pytest.raises(RuntimeError, match="no device"):
        endpoints.add_endpoint(database, "plc", {}, "1", "modbus")
    assert count(database, "target_state") == 0


def test_changing_an_endpoint_switches_its_devices_only(database: Database) -> None:
    one, _ = endpoints.add_endpoint(database, "one", {"enabled": True}, "1", "modbus")
    endpoints.add_endpoint(database, "two", {"enabled": True}, "2", "modbus")

    changed = endpoints.change_endpoint(database, one.id, {"enabled": False, "poll_interval": 7})

    assert changed.body == {"enabled": False, "poll_interval": 7}
    assert [(device.name, device.enabled) for device in devices.load(database)] == [
        ("one", False),
        ("two", True),
    ]
    with pytest.raises(MissingRow):
        endpoints.change_endpoint(database, 99, {})


def test_changing_an_endpoint_keeps_the_fields_that_are_not_changed(database: Database) -> None:
    one, _ = endpoints.add_endpoint(database, "one", {"enabled": True, "connection": {"a": 1}}, "1", "modbus")
    endpoints.change_endpoint(database, one.id, {"poll_interval": 7})
    changed = endpoints.change_endpoint(database, one.id, {"enabled": False})
    assert changed.body == {"enabled": False, "poll_interval": 7, "connection": {"a": 1}}
    assert target_state.get(database, one.id) == changed


def test_devices_go_with_their_endpoint(database: Database) -> None:
    one, _ = endpoints.add_endpoint(database, "one", {}, "1", "modbus")
    _, (kept,) = endpoints.add_endpoint(database, "two", {}, "2", "modbus")
    target_state.delete(database, [one.id])
    assert devices.load(database) == [kept]


# outbox


@pytest.fixture
def destination(database: Database) -> int:
    return target_state.insert(database, "destination", "broker", {}).id


def test_outbox_rows_come_back_in_order_with_any_bytes(database: Database, destination: int) -> None:
    rows = [row(3), row(1), OutboxRow(2, "t", b"\x00\xff\x80binary", 5)]

    outbox.commit(database, destination, rows, [])

    assert outbox.load(database, destination, 0, 100, 1000).rows == [rows[1], rows[2], rows[0]]


def test_commit_removes_what_was_delivered_and_may_be_repeated(database: Database, destination: int) -> None:
    outbox.commit(database, destination, [row(1), row(2)], [])
    for _ in range(2):
        outbox.commit(database, destination, [row(2), row(3), row(4)], [1, 3, 77])
    assert [one.seq for one in outbox.load(database, destination, 0, 100, 1000).rows] == [2, 4]


def test_row_delivered_before_it_was_written_is_not_written(database: Database, destination: int) -> None:
    outbox.commit(database, destination, [row(1), row(2)], [1])
    assert [one.seq for one in outbox.load(database, destination, 0, 100, 1000).rows] == [2]


def test_load_stops_at_either_limit_but_gives_at_least_one(database: Database, destination: int) -> None:
    outbox.commit(database, destination, [row(seq, size=100) for seq in range(1, 11)], [])

    def seqs(after: int, max_rows: int, max_bytes: int) -> list[int]:
        return [one.seq for one in outbox.load(database, destination, after, max_rows, max_bytes).rows]

    assert seqs(0, 3, 10_000) == [1, 2, 3]
    assert seqs(4, 100, 250) == [5, 6]
    assert seqs(4, 100, 300) == [5, 6, 7]
    assert seqs(4, 100, 1) == [5]
    assert seqs(10, 100, 10_000) == []


def test_destinations_do_not_see_each_other(database: Database, destination: int) -> None:
    other = target_state.insert(database, "destination", "other", {}).id
    outbox.commit(database, destination, [row(1), row(2)], [])
    outbox.commit(database, other, [row(1, size=7)], [2])

    assert [one.seq for one in outbox.load(database, destination, 0, 100, 1000).rows] == [1, 2]
    assert outbox.summaries(database) == {
        destination: OutboxSummary(rows=2, bytes=20, oldest=1_700_000_000_001, last_seq=2),
        other: OutboxSummary(rows=1, bytes=7, oldest=1_700_000_000_001, last_seq=2),
    }


def test_outbox_of_a_removed_destination_refuses_rows(database: Database, destination: int) -> None:
    target_state.delete(database, [destination])
    with pytest.raises(MissingParent):
        outbox.commit(database, destination, [row(1)], [])
    outbox.commit(database, destination, [], [1])
    assert outbox.summaries(database) == {}
