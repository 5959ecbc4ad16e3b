"""Sparkplug as a lossy line brings it: what is told as GOOD was so, of that device and under that name, and
after the next birth everything is known again."""

from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from test_sparkplug_source import INT32, INT64, Rig, number

from actors.endpoints.protocols.mqtt import sparkplug

NAMES = ("flow", "load", "mode")
UINT32 = 7


class Node:
    """What an edge node does: it gives its metrics other aliases and datatypes with each birth, and each
    value is unique, so that it tells where it comes from."""

    def __init__(self) -> None:
        self.session = 0
        self.seq = 0
        self.value = 1000
        self.metrics: dict[str, dict[str, tuple[int, int]]] = {}
        self.shown: dict[tuple[str, str], set[Any]] = {}
        self.now: dict[tuple[str, str], Any] = {}

    def sent(self, kind: str, *metrics: dict[str, Any]) -> tuple[str, int, tuple[dict[str, Any], ...]]:
        seq, self.seq = self.seq, (self.seq + 1) % 256
        return kind, seq, metrics

    def metric(self, device: str, name: str, named: bool) -> dict[str, Any]:
        alias, datatype = self.metrics[device][name]
        self.value += 1
        raw = self.value if datatype == INT32 else 2**32 - self.value
        self.shown.setdefault((device, name), set()).add(raw)
        self.now[device, name] = raw
        found: dict[str, Any] = {"int_value": raw, "alias": alias}
        return found | {"name": name, "datatype": datatype} if named else found

    def birth(self, device: str, shift: int) -> tuple[str, int, tuple[dict[str, Any], ...]]:
        base = 10 * ("ab".find(device) + 1)
        self.metrics[device] = {
            name: (base + (place + shift) % 3, (INT32, UINT32)[(place + shift) % 2])
            for place, name in enumerate(NAMES)
        }
        named = (self.metric(device, name, named=True) for name in NAMES)
        if device:
            return self.sent(f"DBIRTH {device}", *named)
        return self.sent("NBIRTH", *named, number("bdSeq", self.session, INT64))

    def births(self, shift: int) -> list[Any]:
        self.seq = 0
        return [self.birth(device, shift) for device in ("", "a", "b")]

    def step(self, what: tuple[str, str, str, int]) -> list[Any]:
        kind, device, name, shift = what
        match kind:
            case "rebirth":
                return self.births(shift)
            case "restart":
                death = ("NDEATH", None, (number("bdSeq", self.session, INT64),))
                self.session = (self.session + 1) % 256
                return [death, *self.births(shift)]
            case "device" if device:
                return [self.sent(f"DDEATH {device}"), self.birth(device, shift)]
        data = "NDATA" if not device else f"DDATA {device}"
        return [self.sent(data, self.metric(device, name, named=shift == 0))]


STEPS = st.tuples(
    st.sampled_from(["data"] * 6 + ["rebirth", "restart", "device"]),
    st.sampled_from(["", "a", "b"]),
    st.sampled_from(NAMES),
    st.integers(0, 2),
)
FATES = st.sampled_from(["sent"] * 4 + ["lost"] * 3 + ["twice", "late"])


@pytest.fixture(scope="module", autouse=True)
def _no_waiting() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sparkplug, "REBIRTH_AFTER", 0.0)
        yield


@settings(max_examples=200, deadline=None)
@given(st.lists(STEPS, max_size=40), st.lists(FATES, min_size=200, max_size=200))
def test_nothing_good_is_told_that_was_not_so(steps: list[Any], fates: list[str]) -> None:
    node, rig = Node(), Rig()
    late: list[Any] = []
    fate = iter(fates)

    def deliver(message: Any) -> None:
        kind, seq, metrics = message
        rig.take(kind, seq, *metrics)

    for message in [one for step in [("rebirth", "", "", 0), *steps] for one in node.step(step)]:
        match next(fate, "sent"):
            case "lost":
                continue
            case "late":
                late.append(message)
                continue
            case "twice":
                deliver(message)
        deliver(message)
        while late:
            deliver(late.pop())
        check(rig, node)
    for message in node.births(1):
        deliver(message)
    for device in ("", "a", "b"):
        known = rig.heard.now["plant/press" + (f"/{device}" if device else "")]
        assert {name: value for name, (value, code) in known.items() if code is None} == {
            name: node.now[device, name] for name in NAMES
        }
        assert rig.heard.away["plant/press" + (f"/{device}" if device else "")] is None


def check(rig: Rig, node: Node) -> None:
    for identifier, metrics in rig.heard.now.items():
        device = identifier.removeprefix("plant/press").removeprefix("/")
        for name, (value, code) in metrics.items():
            assert code is not None or value in node.shown[device, name], (identifier, name)
