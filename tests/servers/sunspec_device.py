"""Registers of devices that describe themselves by SunSpec, made from the documents alone."""

import struct
from typing import Any


def text(value: str, registers: int) -> list[int]:
    return list(struct.unpack(f">{registers}H", value.encode().ljust(2 * registers, b"\0")))


def signed(value: int) -> int:
    return value & 0xFFFF


def double(value: int) -> list[int]:
    return [value >> 16 & 0xFFFF, value & 0xFFFF]


def common(maker: str = "Sunny Works", name: str = "SW 10k", length: int = 66) -> list[int]:
    body = [
        *text(maker, 16),
        *text(name, 16),
        *text("", 8),
        *text("1.4.2", 8),
        *text("SN-0042", 16),
        1,
        0x8000,
    ]
    return [1, length, *body[:length]]


def inverter(number: int = 103, power: int = 2010, factor: int = 0, **other: int) -> list[int]:
    """Model 103: 8.72 A, 230.4 V, `power` watts and 12345678 Wh; no direct current, no temperatures."""
    body = [0xFFFF] * 50
    body[0:5] = [872, 291, 290, 291, signed(-2)]
    body[5:12] = [3991, 3989, 4002, 2304, 2301, 2309, signed(-1)]
    body[12:14] = [power, signed(factor)]
    body[14:16] = [4999, signed(-2)]
    body[16:22] = [0x8000, 0x8000, 0x8000, 0x8000, 0x8000, 0x8000]
    body[22:25] = [*double(12_345_678), 0]
    body[25:27] = [0xFFFF, signed(-2)]
    body[27:29] = [0xFFFF, 0x8000]
    body[29:31] = [0x8000, signed(-1)]
    body[31:36] = [0x8000, 0x8000, 0x8000, 0x8000, 0x8000]
    body[36] = 4
    body[38:42] = [0, 0, 0, 0]
    for at, word in other.items():
        body[int(at[1:])] = word
    return [number, 50, *body]


def mppt(strings: int = 2) -> list[int]:
    body = [signed(-2), signed(-1), signed(-1), 0, 0, 0, strings, 0x0000]
    for index in range(strings):
        body += [
            index + 1,
            *text(f"String {index + 1}", 8),
            500 + index,
            6500,
            20000 + index,
            *double(1_000_000 + index),
            0xFFFF,
            0xFFFF,
            0x8000,
            4,
            0xFFFF,
            0xFFFF,
        ]
    return [160, len(body), *body]


def meter_of_floats() -> list[int]:
    body = [0x7FC0, 0] * 61 + [0, 0]
    for at, value in ((0, 12.5), (10, 230.1), (24, 50.01), (26, -2830.0), (66, 77_123.5)):
        body[at : at + 2] = struct.unpack(">HH", struct.pack(">f", value))
    return [213, 124, *body]


END = [0xFFFF, 0]


def device(*models: list[int], base: int = 40000, end: list[int] | None = None) -> dict[int, int]:
    """Registers by address; `end` is what comes behind the last model."""
    words = [0x5375, 0x6E53, *(word for one in models for word in one), *(END if end is None else end)]
    return dict(enumerate(words, base))


class Reading:
    """Reads them, and counts; a request that touches what is not there is refused."""

    def __init__(self, registers: dict[int, int]) -> None:
        self.registers = registers
        self.asked: list[tuple[int, int]] = []

    async def __call__(self, address: int, count: int) -> tuple[int, ...] | None:
        self.asked.append((address, count))
        words: list[Any] = [self.registers.get(at) for at in range(address, address + count)]
        return None if None in words else tuple(words)
