from datetime import UTC, datetime
from typing import Any

from asyncua import ua

from actors.endpoints.protocols.opcua import alarms
from actors.endpoints.protocols.opcua.alarms import Conditions

NAMES = [name for name, _, _ in alarms._SELECTED]


class Told(list[dict[str, Any]]):
    def states(self) -> list[tuple[Any, Any]]:
        return [(one.get("condition"), one.get("active")) for one in self]


def event(**fields: Any) -> list[Any]:
    usual = {
        "event_id": b"\x01",
        "event_type": ua.NodeId(2915),
        "condition_id": ua.NodeId("Hot", 2),
        "condition": "Hot",
        "severity": 500,
        "active": True,
        "retain": True,
    }
    return [(usual | fields).get(name) for name in NAMES]


def refresh(what: Conditions, *events: list[Any], ours: bool = True) -> None:
    what.asked = ours
    what.take(event(event_type=ua.NodeId(2787), condition_id=None))
    for one in events:
        what.take(one)
    what.take(event(event_type=ua.NodeId(2788), condition_id=None))


def test_what_a_refresh_repeats_is_not_told_again() -> None:
    told = Told()
    conditions = Conditions(told.append)
    conditions.take(event())
    refresh(conditions, event())
    refresh(conditions, event(event_id=b"\x02"))
    assert told.states() == [("Hot", True)]
    conditions.take(event(event_id=b"\x03", active=False))
    assert told.states() == [("Hot", True), ("Hot", False)]


def test_what_a_refresh_does_not_tell_of_has_ended() -> None:
    told = Told()
    conditions = Conditions(told.append)
    conditions.take(event())
    refresh(conditions)
    assert told[-1]["active"] is False
    assert told[-1]["ended_unseen"] is True
    refresh(conditions)
    assert len(told) == 2
    refresh(conditions, event(event_id=b"\x02"))
    assert told.states()[-1] == ("Hot", True)


def test_a_refresh_for_somebody_else_says_nothing_of_what_has_ended() -> None:
    told = Told()
    conditions = Conditions(told.append)
    conditions.take(event())
    refresh(conditions, ours=False)
    assert told.states() == [("Hot", True)]


def test_branches_of_a_condition_are_kept_apart() -> None:
    told = Told()
    conditions = Conditions(told.append)
    conditions.take(event())
    conditions.take(event(event_id=b"\x02", branch=ua.NodeId(7, 2), active=False))
    refresh(conditions, event(), event(event_id=b"\x02", branch=ua.NodeId(7, 2), active=False))
    assert told.states() == [("Hot", True), ("Hot", False)]


def test_how_many_are_remembered_is_bounded() -> None:
    conditions = Conditions(lambda body: None)
    for number in range(alarms.MOST_CONDITIONS + 10):
        conditions.take(event(condition_id=ua.NodeId(number, 2)))
    assert len(conditions) == alarms.MOST_CONDITIONS


def test_events_of_another_kind_are_none() -> None:
    told = Told()
    conditions = Conditions(told.append)
    conditions.take(event(event_type=ua.NodeId(2041), condition_id=None))
    conditions.take([])
    conditions.take([ua.StatusCode(0)] * 3)
    assert told == []
    assert not conditions.wanted


def test_events_that_were_lost_are_asked_for() -> None:
    conditions = Conditions(lambda body: None)
    conditions.take(event(event_type=ua.NodeId(3035), condition_id=None))
    assert conditions.wanted


def test_what_is_told_is_json_and_bounded() -> None:
    told = Told()
    Conditions(told.append).take(
        event(
            time=datetime(2026, 1, 2, tzinfo=UTC),
            message=ua.LocalizedText("x" * 10_000),
            source_node=ua.NodeId("a", 2),
            branch=ua.NodeId(),
            acked=ua.StatusCode(0x80000000),
        )
    )
    [body] = told
    assert len(body["message"]) == alarms.LONGEST
    assert (body["time"], body["source_node"], body["event_id"]) == (
        "2026-01-02T00:00:00.000Z",
        "ns=2;s=a",
        "01",
    )
    assert "branch" not in body
    assert "acked" not in body
