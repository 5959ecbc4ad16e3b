"""Modbus data points as clients write them, and the bytes on the wire that they mean."""

from typing import Any

from actors.endpoints.protocols.modbus.decode import Decoder
from actors.endpoints.protocols.modbus.encode import encode
from actors.endpoints.protocols.modbus.plan import plan
from actors.endpoints.protocols.modbus.points import read_points


def decode_all(reply: str | bytes, *points: dict[str, Any]) -> tuple[list[Any], dict[int, str] | None]:
    """Values, and codes by place, of points that one request covers, from the reply's bytes (hex)."""
    checked = read_points([{"name": f"p{index}", **point} for index, point in enumerate(points)])
    [span] = plan(enumerate(checked))
    decoder = Decoder(span.points, span.address, span.count)
    values: list[Any] = [None] * len(points)
    data = bytes.fromhex(reply) if isinstance(reply, str) else reply
    assert decoder.size == len(data)
    codes = decoder.fill(values, data)
    return values, codes


def read(reply: str | bytes, register: str = "holding:0", **given: Any) -> tuple[Any, str | None]:
    """Value and code of one point."""
    [value], codes = decode_all(reply, {"register": register, **given})
    return value, (codes or {}).get(0)


def expect(point: dict[str, Any], reply: str | bytes, value: Any, code: str | None = None) -> None:
    """Assert value and code of one point, and the type: True is not 1, nor is 1.0."""
    got = read(reply, **point)
    assert got == (value, code)
    assert type(got[0]) is type(value)


def write(value: Any, **point: Any) -> tuple[int, str, Any]:
    """Function code, body in hex and the value afterwards."""
    [checked] = read_points([{"name": "p", **point}])
    writing = encode(checked, value)
    return writing.function, writing.body.hex(), writing.value
