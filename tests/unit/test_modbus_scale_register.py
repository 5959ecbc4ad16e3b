"""Values whose power of ten is in a register of its own."""

import struct
from typing import Any

import pytest

from actors.endpoints.protocol import WriteRequest
from actors.endpoints.protocols.modbus import PROTOCOL
from actors.endpoints.protocols.modbus.decode import Decoder
from actors.endpoints.protocols.modbus.plan import plan
from actors.endpoints.protocols.modbus.points import DataPoint, read_points
from actors.system.failure import Refusal


def point(**given: Any) -> DataPoint:
    [found] = read_points([{"name": "a", "register": "holding:10:int16", **given}])
    return found


def read(words: list[int], **given: Any) -> tuple[Any, str | None]:
    [span] = plan([(0, point(**given))])
    values: list[Any] = [None]
    registers = {10 + index: word for index, word in enumerate(words)}
    registers |= {10 - index: 0x1234 for index in range(1, 5) if span.address <= 10 - index}
    registers |= (
        {given["scaleRegister"]: given.get("power", words[-1])} if given["scaleRegister"] < 10 else {}
    )
    reply = struct.pack(
        f">{span.count}H", *(registers.get(at, 7) & 0xFFFF for at in range(span.address, span.end))
    )
    codes = Decoder(span.points, span.address, span.count).fill(values, reply)
    return values[0], None if codes is None else codes[0]


@pytest.mark.parametrize(
    ("raw", "power", "value"),
    [(2301, -1, 230.1), (57, 0, 57.0), (57, 2, 5700.0), (-3, -3, -0.003), (7, -10, 7e-10)],
)
def test_the_value_is_multiplied_by_the_power_of_ten(raw: int, power: int, value: float):
    found, code = read([raw, 0, power], scaleRegister=12)
    assert (found, code) == (value, None)
    assert isinstance(found, float)
    assert read([raw, power], scaleRegister=8)[0] == value


def test_scale_and_offset_come_after():
    assert read([2301, -1], scaleRegister=11, scale=0.001, offset=1) == (1.2301, None)
    assert read([2301, -1], scaleRegister=11, max=200) == (230.1, "OUT_OF_RANGE")


@pytest.mark.parametrize(
    ("words", "code"),
    [
        ([0x8000, 1], "NO_VALUE"),
        ([5, 0x8000], "NO_VALUE"),
        ([5, 11], "READ_ERROR"),
        ([5, 2301], "READ_ERROR"),
    ],
)
def test_what_is_no_value_is_bad(words: list[int], code: str):
    assert read(words, scaleRegister=11, noValue="sunspec") == (None, code)


def test_a_value_of_two_registers():
    assert read([1, 0, -3 & 0xFFFF], scaleRegister=12, register="holding:10:uint32") == (65.536, None)
    assert read([0x3FC0, 0, 1], scaleRegister=12, register="holding:10:float32") == (15.0, None)


def test_value_and_power_are_read_by_one_request():
    points = read_points(
        [
            {"name": "a", "register": "holding:10:int16", "scaleRegister": 60},
            {"name": "b", "register": "holding:100:int16", "scaleRegister": 4},
            {"name": "c", "register": "holding:50:int16"},
            {"name": "d", "register": "holding:200:int16", "scaleRegister": 90},
        ]
    )
    spans = plan(enumerate(points))
    assert [(span.address, span.count) for span in spans] == [(4, 97), (90, 111)]


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"scaleRegister": 10}, "one of the value's own"),
        ({"scaleRegister": 135}, "too far"),
        ({"scaleRegister": 70000}, None),
        ({"scaleRegister": 11, "register": "coil:10"}, "does not go with coil"),
        ({"scaleRegister": 11, "register": "holding:10:string", "count": 1}, "does not go with string"),
        ({"scaleRegister": 11, "mask": 15, "register": "holding:10:uint16"}, "does not go with mask"),
        ({"scaleRegister": 12, "length": 2}, "does not go with length"),
    ],
)
def test_what_cannot_be_is_refused(given: dict[str, Any], message: str | None):
    with pytest.raises(Refusal, match=message) as refused:
        point(**given)
    assert refused.value.field == "data_points[0].scaleRegister"


def test_it_cannot_be_written():
    endpoint = PROTOCOL.check(
        {"host": "plc"}, [{"name": "a", "register": "holding:10:int16", "scaleRegister": 11}]
    )
    assert PROTOCOL.prepare is not None
    with pytest.raises(Refusal, match="read-only"):
        PROTOCOL.prepare(endpoint, WriteRequest("", "a", 5))
