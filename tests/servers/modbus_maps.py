"""Registers of devices as public register maps describe them (which type at which address, facts only),
filled with values such as they have: a table to measure guesses by.

Each map is a list of (address, type, order, values): `values` over the samples, one of them where nothing
changes. Types as data points have them; of a string its text.
"""

import random
import struct
from collections.abc import Iterator
from typing import Any, NamedTuple

SAMPLES = 6


class Truth(NamedTuple):
    address: int
    kind: str
    order: str
    values: list[Any]
    count: int


class Map(NamedTuple):
    name: str
    truths: list[Truth]
    filler: dict[int, int]
    """Registers that are there and hold nothing."""


_FORMATS = {
    "int16": ">h",
    "uint16": ">H",
    "int32": ">i",
    "uint32": ">I",
    "int64": ">q",
    "uint64": ">Q",
    "float32": ">f",
    "float64": ">d",
}


def words_of(truth: Truth, sample: int) -> list[int]:
    value = truth.values[sample % len(truth.values)]
    if truth.kind == "string":
        data = value.encode().ljust(2 * truth.count, b"\0")
        words = list(struct.unpack(f">{truth.count}H", data))
    else:
        data = struct.pack(_FORMATS[truth.kind], value)
        words = list(struct.unpack(f">{len(data) // 2}H", data))
        if truth.order in ("CDAB", "DCBA"):
            words.reverse()
    if truth.order in ("BADC", "DCBA"):
        words = [word >> 8 | (word & 0xFF) << 8 for word in words]
    return words


def samples(found: Map) -> list[dict[int, int]]:
    made = []
    for sample in range(SAMPLES):
        registers = dict(found.filler)
        for truth in found.truths:
            registers.update(enumerate(words_of(truth, sample), truth.address))
        made.append(registers)
    return made


class _Maker:
    """Values of a kind, by name."""

    def __init__(self, name: str, order: str, seed: int) -> None:
        self.name, self.order = name, order
        self.chance = random.Random(seed)
        self.truths: list[Truth] = []

    def put(
        self, address: int, kind: str, values: list[Any], count: int = 0, order: str | None = None
    ) -> None:
        size = count or {"16": 1, "32": 2, "64": 4}[kind[-2:]]
        self.truths.append(Truth(address, kind, order or self.order, values, size))

    def noisy(self, value: float, share: float = 0.004) -> list[float]:
        return [value * (1 + self.chance.uniform(-share, share)) for _ in range(SAMPLES)]

    def whole(self, value: float, share: float = 0.004) -> list[int]:
        return [round(one) for one in self.noisy(value, share)]

    def grows(self, value: float, step: float) -> list[float]:
        return [value + step * index for index in range(SAMPLES)]

    def map(self, filler: dict[int, int] | None = None) -> Map:
        return Map(self.name, self.truths, filler or {})


def _floats(made: _Maker, start: int, values: list[float], *, kind: str = "float32", step: int = 2) -> None:
    for index, value in enumerate(values):
        made.put(start + step * index, kind, made.noisy(value) if value else [0.0])


def eastron() -> Map:
    """Eastron SDM630, input registers: floats, the more significant register first."""
    made = _Maker("Eastron SDM630", "ABCD", 1)
    _floats(made, 0, [231.2, 229.8, 230.4, 4.31, 0.87, 12.6, 951.0, 187.0, 2830.0, 996.0, 200.1, 2903.0])
    _floats(made, 24, [-120.5, 33.1, 411.0, 0.955, 0.934, 0.975, -7.2, 9.4, 8.3])
    _floats(made, 70, [49.98])
    for index, value in enumerate((10234.51, 55.2, 1204.7, 801.25)):
        made.put(72 + 2 * index, "float32", made.grows(value, 0.01))
    return made.map({**dict.fromkeys(range(42, 70), 0)})


def schneider() -> Map:
    """Schneider PM5000: floats from 2999 on, 64-bit energies, text."""
    made = _Maker("Schneider PM5100", "ABCD", 2)
    _floats(made, 2999, [41.2, 39.9, 40.8, 0.4, 40.6, 2.1])
    _floats(made, 3019, [398.2, 400.1, 399.4, 399.2, 230.1, 229.6, 231.0])
    _floats(made, 3053, [8.9, 8.7, 9.1, 26.7, 1.1, 1.3, 0.9, 3.3])
    _floats(made, 3109, [50.01])
    for at, value in ((3203, 123_456_789), (3207, 2_345)):
        made.put(at, "int64", [value + 3 * step for step in range(SAMPLES)])
    made.put(29, "string", ["Panel 7"], 20)
    made.put(49, "string", ["PM5110"], 20)
    return made.map()


def sma() -> Map:
    """SMA Sunny Tripower: 32-bit integers in fixed point, with 0x80000000 and 0xFFFFFFFF for nothing."""
    made = _Maker("SMA Sunny Tripower", "ABCD", 3)
    for at, value in (
        (30775, 7421),
        (30777, 2470),
        (30779, 2480),
        (30781, 2471),
        (30783, 23110),
        (30785, 22980),
    ):
        made.put(at, "int32" if at < 30783 else "uint32", [int(v) for v in made.whole(value)])
    made.put(30803, "uint32", [5000])
    made.put(30805, "int32", [-321, -318, -325, -322])
    made.put(30529, "uint32", [int(v) for v in made.grows(18_734_221, 2)])
    made.put(30513, "uint64", [int(v) for v in made.grows(18_734_221, 2)])
    made.put(30201, "uint32", [307])
    made.put(30787, "uint32", [23002, 23004, 22991, 23001])
    return made.map({30795: 0x8000, 30796: 0, 30797: 0xFFFF, 30798: 0xFFFF})


def victron() -> Map:
    """Victron GX, unit 100: single registers, scaled."""
    made = _Maker("Victron GX", "ABCD", 4)
    made.put(800, "string", ["c0619ab12345"], 6)
    for at, value in (
        (817, 1203),
        (818, 1190),
        (819, 1222),
        (820, 310),
        (821, -40),
        (826, 1),
        (840, 521),
        (841, -63),
    ):
        made.put(at, "int16" if at in (820, 821, 841, 842) else "uint16", made.whole(value, 0.01))
    made.put(842, "int16", [-312, -318, -309, -311])
    made.put(843, "uint16", [87])
    made.put(844, "uint16", [2])
    return made.map()


def fronius() -> Map:
    """Fronius in its float profile (beside SunSpec, a plain run of floats)."""
    made = _Maker("Fronius floats", "ABCD", 5)
    _floats(made, 40072, [8.72, 2.9, 2.91, 2.91, 399.1, 398.8, 399.9, 230.4, 230.2, 230.9, 2010.0, 49.99])
    made.put(40101, "float32", made.grows(12_345_678.0, 1))
    return made.map()


def plc_cdab() -> Map:
    """A PLC whose floats have the less significant register first, among single registers."""
    made = _Maker("PLC, floats CDAB", "CDAB", 6)
    for at, value in enumerate((1, 0, 17, 350, 1200, 3)):
        made.put(at, "uint16", [value])
    _floats(made, 10, [21.5, 22.1, 47.25, 1.013, 0.0, 88.4, -12.75, 1450.0])
    made.put(30, "uint32", [int(v) for v in made.grows(70_500, 7)])
    return made.map({**dict.fromkeys((6, 7, 8, 9), 0)})


def plc_setpoints() -> Map:
    """A PLC with a few set points that are round floats and never change, between counters."""
    made = _Maker("PLC, round set points", "ABCD", 7)
    for at, value in ((0, 21.5), (2, 18.0), (4, 55.5), (6, 0.75)):
        made.put(at, "float32", [value])
    for at, value in ((8, 4012), (9, 12), (10, 1), (11, 999)):
        made.put(at, "uint16", [value])
    return made.map()


def plc_integers() -> Map:
    """A PLC of single registers, some of which look like the upper half of a float."""
    made = _Maker("PLC, integers", "ABCD", 8)
    for at in range(40):
        value = made.chance.choice(
            (0, 1, 3, 12, 250, 1000, 4095, 9999, 15000, 16500, 17000, 18000, 19000, 23000)
        )
        made.put(at, "uint16", made.whole(value, 0.003) if at % 3 else [value])
    return made.map()


def drive() -> Map:
    """A frequency converter: signed single registers."""
    made = _Maker("frequency converter", "ABCD", 9)
    for at, value in enumerate((3, 5000, 4998, 123, -17, 540, 60, 0, 1450, -250)):
        made.put(at, "int16" if value < 0 else "uint16", made.whole(value, 0.01))
    made.put(10, "int16", [-2, 1, 3, -1])
    return made.map({**dict.fromkeys(range(11, 20), 0)})


def janitza() -> Map:
    """Janitza UMG: floats from 19000 on."""
    made = _Maker("Janitza UMG 96", "ABCD", 10)
    _floats(
        made, 19000, [230.9, 231.1, 229.8, 400.2, 399.1, 400.9, 11.2, 10.9, 12.1, 0.3, 2581.0, 2511.0, 2780.0]
    )
    return made.map()


def carlo_gavazzi() -> Map:
    """Carlo Gavazzi EM24: 32-bit integers, the less significant register first."""
    made = _Maker("Carlo Gavazzi EM24", "CDAB", 11)
    values = (2301, 2298, 2310, 3991, 3989, 4002, 12_311, 11_002, 9_870, 28_300, 25_100, -22_500, 75_900)
    for index, value in enumerate(values):
        made.put(2 * index, "int32", [int(v) for v in made.whole(value)])
    return made.map()


def huawei() -> Map:
    """Huawei SUN2000: text, single and double registers mixed."""
    made = _Maker("Huawei SUN2000", "ABCD", 12)
    made.put(30000, "string", ["SUN2000-10KTL-M1"], 15)
    made.put(30015, "string", ["HV2150123456"], 10)
    for at, value in ((32016, 6123), (32017, 812), (32018, 5980), (32019, 790), (32066, 3991), (32067, 3982)):
        made.put(at, "int16", made.whole(value))
    made.put(32080, "int32", [int(v) for v in made.whole(71_234, 0.01)])
    made.put(32082, "int32", [-150, -148, -152, -149])
    made.put(32085, "uint16", [5001, 4999, 5000, 5001])
    made.put(32106, "uint32", [int(v) for v in made.grows(4_711_234, 1)])
    return made.map()


def sungrow() -> Map:
    """Sungrow: 32-bit integers with the less significant register first."""
    made = _Maker("Sungrow SH", "CDAB", 13)
    made.put(4989, "string", ["A2231234567"], 10, "ABCD")
    made.put(5003, "uint32", [int(v) for v in made.grows(123_450, 1)])
    made.put(5007, "int16", [412, 413, 412, 413])
    made.put(5016, "uint32", [int(v) for v in made.whole(8_123, 0.01)])
    made.put(5018, "uint16", [2311, 2309, 2312, 2310])
    made.put(5032, "int32", [-321, -320, -322, -319])
    return made.map()


def doubles() -> Map:
    """A data logger that gives doubles."""
    made = _Maker("data logger, doubles", "ABCD", 14)
    _floats(made, 100, [21.53, 1013.25, 47.1, 0.0072, 88123.5], kind="float64", step=4)
    return made.map()


def swapped() -> Map:
    """A sensor that swaps the bytes of its registers."""
    made = _Maker("sensor, bytes swapped", "DCBA", 15)
    _floats(made, 0, [21.7, 45.2, 1012.9, 3.31, 0.55])
    return made.map()


def badc() -> Map:
    made = _Maker("sensor, BADC", "BADC", 16)
    _floats(made, 0, [21.7, 45.2, 1012.9, 3.31, 0.55, 17.4])
    return made.map()


def fresh() -> Map:
    """A new meter: almost everything is 0 yet."""
    made = _Maker("meter without load", "ABCD", 17)
    _floats(made, 0, [230.2, 0.0, 0.0, 0.0, 0.0, 0.0])
    made.put(70, "float32", [50.0, 49.99, 50.01, 50.0])
    return made.map()


MAPS = [
    eastron(),
    schneider(),
    sma(),
    victron(),
    fronius(),
    plc_cdab(),
    plc_setpoints(),
    plc_integers(),
    drive(),
    janitza(),
    carlo_gavazzi(),
    huawei(),
    sungrow(),
    doubles(),
    swapped(),
    badc(),
    fresh(),
]


class Score(NamedTuple):
    right: int = 0
    """The type and order that the device has."""
    harmless: int = 0
    """Another one that gives the same numbers: a 32-bit value below 65536 as its one register, a sign."""
    parts: int = 0
    """As registers by themselves, said to be guessed with low or medium confidence."""
    wrong: int = 0
    """Another number."""
    sure: int = 0
    """Of these, with high confidence."""

    def __add__(self, other: Any) -> "Score":
        return Score(*(one + two for one, two in zip(self, other, strict=True)))


def score(found: Map, guesses: Any) -> Score:
    """How the guesses fare with the values of a map."""
    held = samples(found)
    return sum((_score(truth, guesses, held) for truth in found.truths), Score())


def _score(truth: Truth, guesses: Any, held: list[dict[int, int]]) -> Score:
    covering = [
        g for g in guesses if g.address < truth.address + truth.count and g.address + g.size > truth.address
    ]
    exact = [g for g in covering if g.address == truth.address]
    for g in exact:
        same_order = g.size == 1 or g.order == truth.order or truth.kind == "string"
        if g.kind == truth.kind and same_order and (truth.kind == "string" or g.size == truth.count):
            return Score(right=1)
    if any(_same_number(truth, g, held) for g in covering) or not any(truth.values):
        return Score(harmless=1)
    wrong = [g for g in covering if g.size > 1 and (g.kind.startswith("float") or g.kind != "string")]
    if wrong:
        return Score(wrong=1, sure=any(g.confidence == "high" for g in wrong))
    return Score(parts=1)


def _same_number(truth: Truth, g: Any, held: list[dict[int, int]]) -> bool:
    if truth.kind == "string" or "float" in truth.kind or "float" in g.kind or g.kind == "string":
        return False
    for sample in range(SAMPLES):
        words = [held[sample].get(at) for at in range(g.address, g.address + g.size)]
        if None in words:
            return False
        if g.order == "CDAB":
            words.reverse()
        number = 0
        for word in words:
            number = number << 16 | (word or 0)
        if g.kind.startswith("int") and number >> 16 * g.size - 1:
            number -= 1 << 16 * g.size
        if number != truth.values[sample % len(truth.values)]:
            return False
    return True


def table(guess: Any) -> Iterator[tuple[str, Score]]:
    for one in MAPS:
        yield one.name, score(one, guess(samples(one)))


# Registers that nobody has tuned anything by


class _Random:
    """A device of a family: floats, integers of one or two registers, or all of them mixed."""

    def __init__(self, seed: int) -> None:
        self.chance = random.Random(seed)
        self.family = self.chance.choice(("floats", "integers", "longs", "mixed", "mixed"))
        orders = (
            ("ABCD", "ABCD", "CDAB", "CDAB", "BADC", "DCBA") if self.family == "floats" else ("ABCD", "CDAB")
        )
        self.made = _Maker(self.family, self.chance.choice(orders), seed)
        self.at = self.chance.randrange(30000)

    def build(self) -> Map:
        values = {
            "floats": (self.float32,),
            "integers": (*6 * (self.uint16,), self.int16),
            "longs": (self.long, self.long, self.uint16),
            "mixed": (self.uint16, self.uint16, self.long, self.int16),
        }[self.family]
        for _ in range(self.chance.randrange(1, 5)):
            for _ in range(self.chance.randrange(4, 24)):
                self.chance.choice(values)()
            if self.family == "mixed":
                self.mixture()
            self.at += self.chance.randrange(3, 50)
        return self.made.map()

    def mixture(self) -> None:
        if self.chance.random() < 0.5:
            self.string()
        for _ in range(self.chance.choice((0, self.chance.randrange(2, 8)))):
            self.float32()

    def put(self, kind: str, values: list[Any], count: int) -> None:
        self.made.put(self.at, kind, values, count)
        self.at += count

    def float32(self) -> None:
        value = self.chance.choice(
            (230, 400, 50, 21.5, 0.95, 12.7, 1450, 88, 3.3, 1013, -17, -4.2, 28000, 7.7)
        )
        value *= self.chance.uniform(0.5, 1.5)
        made = self.chance.random()
        if made < 0.65:
            self.put("float32", self.made.noisy(value, self.chance.choice((0.0005, 0.004, 0.02))), 2)
        elif made < 0.8:
            self.put("float32", [round(value, self.chance.choice((0, 1, 1, 2)))], 2)
        elif made < 0.92:
            self.put("float32", [0.0], 2)
        else:
            step = self.chance.choice((0, 0.01, 0.1, 1))
            self.put("float32", self.made.grows(self.chance.uniform(10, 1e6), step), 2)

    def uint16(self) -> None:
        most = self.chance.choice((1, 2, 5, 100, 1000, 1000, 5000, 5000, 60000))
        value = self.chance.randrange(most + 1)
        self.put("uint16", self.made.whole(value) if self.chance.random() < 0.6 else [value], 1)

    def int16(self) -> None:
        self.put("int16", self.made.whole(-self.chance.randrange(1, 3000), 0.01), 1)

    def long(self) -> None:
        kind = self.chance.random()
        if kind < 0.4:
            step = self.chance.choice((0, 1, 3, 20))
            self.put(
                "uint32", [int(v) for v in self.made.grows(self.chance.randrange(1000, 30_000_000), step)], 2
            )
        elif kind < 0.7:
            self.put("int32", self.made.whole(self.chance.randrange(-30000, 60000)), 2)
        else:
            self.put("uint32", self.made.whole(self.chance.randrange(1, 500_000)), 2)

    def string(self) -> None:
        size = self.chance.randrange(6, 16)
        text = "".join(self.chance.choice("ABCDEFGHKLMNPRSTVWX0123456789-") for _ in range(size))
        count = (size + 1) // 2 + self.chance.randrange(3)
        self.made.put(self.at, "string", [text], count, "ABCD")
        self.at += count


def random_map(seed: int) -> Map:
    return _Random(seed).build()
