"""What a write to an OPC UA server means."""

from datetime import UTC, datetime
from typing import Any
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from actors.endpoints.protocol import WriteRequest
from actors.endpoints.protocols import find
from actors.endpoints.protocols.opcua.kinds import BUILT_IN, INTEGERS
from actors.endpoints.protocols.opcua.nodes import NodeRef
from actors.endpoints.protocols.opcua.writable import Writing, fit
from actors.system.failure import Refusal

POINTS = [
    {"name": "speed", "nodeId": "ns=2;s=speed", "writable": True, "scalingFactor": 0.1, "offset": 5},
    {"name": "fixed", "nodeId": "ns=2;s=fixed"},
    {"name": "typed", "nodeId": "ns=2;s=typed", "writable": True, "writeDataType": "Int16"},
    {"name": "twice", "nodeId": "ns=2;s=fixed", "writable": True, "device_name": "pump"},
]


def prepared(register: str, value: Any, device: str = "", data_type: str | None = None) -> Writing:
    protocol = find("opcua")
    endpoint = protocol.accept({"endpointUrl": "opc.tcp://plc"}, POINTS)
    assert protocol.prepare is not None
    found = protocol.prepare(endpoint, WriteRequest(device, register, value, data_type))
    assert isinstance(found, Writing)
    return found


def test_a_scaled_value_is_unscaled_exactly() -> None:
    assert prepared("speed", 5.3).value == 3
    assert prepared("speed", [5.1, 6]).value == [1, 10]


def test_a_node_is_named_by_its_point_or_its_id() -> None:
    assert prepared("ns=2;s=speed", 5).point is not None
    free = prepared("ns=9;i=1", 5)
    assert (free.place, free.point) == (NodeRef(9, 1), None)
    assert free.by_address
    assert not prepared("speed", 5).by_address
    assert prepared("twice", 1, device="pump").place == NodeRef(2, "fixed")


@pytest.mark.parametrize(
    ("register", "value", "data_type", "field", "kind"),
    [
        ("fixed", 1, None, "register", "read_only"),
        ("twice", 1, None, "register", "not_found"),
        ("nowhere", 1, None, "register", "not_found"),
        ("speed", "fast", None, "value", "invalid"),
        ("speed", None, None, "value", "invalid"),
        ("typed", 40_000, None, "value", "invalid"),
        ("typed", 1, "Float", "dataType", "invalid"),
        ("ns=9;i=1", 1, "Int12", "dataType", "invalid"),
        ("ns=9;i=1", 300, "byte", "value", "invalid"),
    ],
)
def test_what_cannot_be_written_is_refused(
    register: str, value: Any, data_type: str | None, field: str, kind: str
) -> None:
    with pytest.raises(Refusal) as refusal:
        prepared(register, value, data_type=data_type)
    assert (refusal.value.field, refusal.value.kind) == (field, kind)


@pytest.mark.parametrize(
    ("kind", "value", "wanted"),
    [
        ("Boolean", "Yes", True),
        ("Boolean", 0.0, False),
        ("Int16", "-7", -7),
        ("Int16", 2.5, 3),
        ("UInt64", 2**64 - 1, 2**64 - 1),
        ("Double", "1e3", 1000.0),
        ("String", "", ""),
        ("DateTime", "2024-01-15T10:30:00+01:00", datetime(2024, 1, 15, 9, 30, tzinfo=UTC)),
        ("DateTime", "2024-01-15T10:30:00", datetime(2024, 1, 15, 10, 30, tzinfo=UTC)),
        ("Guid", "09087e75-8e5e-499b-954f-f2a9603db28a", UUID("09087e75-8e5e-499b-954f-f2a9603db28a")),
        ("ByteString", "AAEC", b"\0\1\2"),
    ],
)
def test_values_fit_their_type(kind: str, value: Any, wanted: Any) -> None:
    assert fit(kind, value) == wanted


@pytest.mark.parametrize(
    ("kind", "value"),
    [
        ("Boolean", 2),
        ("Boolean", "maybe"),
        ("SByte", 128),
        ("UInt32", -1),
        ("Int32", True),
        ("Int32", float("inf")),
        ("Int32", "1/2"),
        ("Int32", "1_0"),
        ("Int32", "9" * 500),
        ("Float", 1e39),
        ("Double", "nan"),
        ("String", 5),
        ("String", "x" * 70_000),
        ("DateTime", "yesterday"),
        ("Guid", "x"),
        ("ByteString", "%%"),
    ],
)
def test_what_does_not_fit_is_refused(kind: str, value: Any) -> None:
    with pytest.raises(Refusal) as refusal:
        fit(kind, value)
    assert refusal.value.field == "value"


@given(st.sampled_from(sorted(BUILT_IN)), st.none() | st.booleans() | st.integers() | st.floats() | st.text())
def test_any_value_fits_or_is_refused(kind: str, value: Any) -> None:
    try:
        found = fit(kind, value)
    except Refusal:
        return
    if kind in INTEGERS:
        assert INTEGERS[kind][0] <= found <= INTEGERS[kind][1]
