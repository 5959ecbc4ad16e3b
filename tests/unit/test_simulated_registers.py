import pytest

from actors.simulation.registers import NotWritable, OutOfRange, RegisterMap, Tag


class Oven:
    def __init__(self) -> None:
        self.setpoint = 21.5
        self.gain = 2.0
        self.on = False

    def set_setpoint(self, value: float) -> None:
        self.setpoint = value

    def set_gain(self, value: float) -> None:
        self.gain = value

    def set_on(self, value: float) -> None:
        self.on = bool(value)


@pytest.fixture
def oven() -> Oven:
    return Oven()


@pytest.fixture
def registers(oven: Oven) -> RegisterMap:
    return RegisterMap(
        [
            Tag("gain", "holding", 1, "float32", lambda: oven.gain, write=oven.set_gain),
            Tag(
                "setpoint",
                "holding",
                0,
                "int16",
                lambda: oven.setpoint,
                "°C",
                0.1,
                write=oven.set_setpoint,
                limits=(-40, 90),
            ),
            Tag("hours", "holding", 3, "uint32", lambda: 70_000, "h"),
            Tag("on", "coil", 0, "boolean", lambda: oven.on, write=oven.set_on),
        ]
    )


def test_tags_of_every_type_are_encoded_most_significant_register_first(registers: RegisterMap, oven: Oven):
    oven.setpoint = -1.5
    setpoint, gain, hours = registers.table("holding")
    assert setpoint.encode() == [0xFFF1]
    assert gain.encode() == [0x4000, 0x0000]
    assert hours.encode() == [1, 70_000 - 65_536]
    assert registers.table("coil")[0].encode() == [0]


def test_data_points_follow_the_grammar_of_the_api(registers: RegisterMap):
    points = {tag.name: tag.data_point() for tag in registers.tags}
    assert points["setpoint"] == {
        "name": "setpoint",
        "register": "holding:0",
        "type": "int16",
        "scale": 0.1,
        "unit": "°C",
        "writable": True,
    }
    assert points["hours"] == {"name": "hours", "register": "holding:3", "type": "uint32", "unit": "h"}


def test_write_across_neighbouring_tags_reaches_each_of_them(registers: RegisterMap, oven: Oven):
    registers.write("holding", 0, [250, 0x3FC0, 0])
    assert (oven.setpoint, oven.gain) == (25.0, 1.5)
    registers.write("coil", 0, [True])
    assert oven.on


@pytest.mark.parametrize(
    ("address", "words"),
    [
        pytest.param(1, [0x3FC0], id="half of a float"),
        pytest.param(2, [0], id="from the middle of a float"),
        pytest.param(3, [0, 1], id="a read-only value"),
        pytest.param(5, [0], id="an address that holds nothing"),
    ],
)
def test_write_that_does_not_hit_whole_writable_tags_is_refused(
    registers: RegisterMap, address: int, words: list[int]
):
    with pytest.raises(NotWritable):
        registers.write("holding", address, words)


def test_refused_write_changes_nothing_at_all(registers: RegisterMap, oven: Oven):
    with pytest.raises(NotWritable):
        registers.write("holding", 0, [250, 0x3FC0, 0, 0, 1])
    assert (oven.setpoint, oven.gain) == (21.5, 2.0)


def test_value_beyond_the_limits_is_out_of_range(registers: RegisterMap, oven: Oven):
    with pytest.raises(OutOfRange, match="setpoint takes -40 to 90"):
        registers.write("holding", 0, [901])
    assert oven.setpoint == 21.5
