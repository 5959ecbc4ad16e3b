"""Units as payloads spell them, and the conversions of spec 03 section 5: temperature and pressure."""

from collections.abc import Callable
from typing import NamedTuple

MAX_LENGTH = 64

_SPELLINGS = {
    "°C": (
        "c",
        "°c",
        "degc",
        "deg c",
        "deg_c",
        "celsius",
        "degree celsius",
        "degrees celsius",
        "cel",
        "℃",
        "ºc",
    ),
    "°F": (
        "f",
        "°f",
        "degf",
        "deg f",
        "deg_f",
        "fahrenheit",
        "degree fahrenheit",
        "degrees fahrenheit",
        "℉",
        "ºf",
    ),
    "K": ("k", "kelvin", "°k", "degk"),
    "Pa": ("pa", "pascal", "pascals"),
    "hPa": ("hpa", "hectopascal"),
    "kPa": ("kpa", "kilopascal"),
    "MPa": ("megapascal",),
    "bar": ("bar", "bars"),
    "mbar": ("mbar", "millibar"),
    "psi": ("psi", "lbf/in2", "lb/in2"),
    "atm": ("atm", "atmosphere"),
    "mmHg": ("mmhg", "torr"),
    "inHg": ("inhg",),
    "%": ("%", "percent", "pct", "percentage"),
    "%RH": ("%rh", "% rh", "rh%"),
    "V": ("v", "volt", "volts"),
    "mV": ("millivolt", "millivolts"),
    "A": ("a", "amp", "amps", "ampere", "amperes"),
    "W": ("w", "watt", "watts"),
    "kW": ("kw", "kilowatt", "kilowatts"),
    "Wh": ("wh",),
    "kWh": ("kwh",),
    "Hz": ("hz", "hertz"),
    "rpm": ("rpm", "r/min", "rev/min"),
    "m/s": ("m/s", "mps", "meters per second"),
    "km/h": ("km/h", "kmh", "kph"),
    "l/min": ("l/min", "lpm"),
    "m³": ("m3", "m^3", "m³", "cubic meters"),
    "m³/h": ("m3/h", "m^3/h", "m³/h"),
    "lx": ("lx", "lux"),
    "ppm": ("ppm",),
    "dB": ("db", "decibel"),
    "dBm": ("dbm",),
}
_CANONICAL = {spelling: unit for unit, spellings in _SPELLINGS.items() for spelling in spellings}


class _Line(NamedTuple):
    """Base = value x `factor` + `offset`."""

    dimension: str
    factor: float
    offset: float = 0.0


_LINES = {
    "K": _Line("temperature", 1.0),
    "°C": _Line("temperature", 1.0, 273.15),
    "°F": _Line("temperature", 5 / 9, 459.67 * 5 / 9),
    "Pa": _Line("pressure", 1.0),
    "hPa": _Line("pressure", 100.0),
    "mbar": _Line("pressure", 100.0),
    "kPa": _Line("pressure", 1e3),
    "MPa": _Line("pressure", 1e6),
    "bar": _Line("pressure", 1e5),
    "psi": _Line("pressure", 6894.757293168361),
    "atm": _Line("pressure", 101_325.0),
    "mmHg": _Line("pressure", 133.322387415),
    "inHg": _Line("pressure", 3386.389),
}

Conversion = Callable[[float], float]


def canonical(unit: str) -> str:
    """The unit as it is shown: `celsius` and `degC` are `°C`; one that is not known stays as it is. Units
    that differ by their case alone (mPa, MPa) are left as they are."""
    trimmed = unit.strip()[:MAX_LENGTH]
    if trimmed in _SPELLINGS:
        return trimmed
    return _CANONICAL.get(trimmed.lower(), trimmed)


def is_known(unit: str) -> bool:
    """Of a canonical unit."""
    return unit in _SPELLINGS


def conversion(said: str, wanted: str) -> Conversion | None:
    """What makes a number in one canonical unit one in another; None where there is no such thing."""
    one, other = _LINES.get(said), _LINES.get(wanted)
    if one is None or other is None or one.dimension != other.dimension:
        return None
    factor, offset = one.factor / other.factor, (one.offset - other.offset) / other.factor

    def convert(value: float) -> float:
        """Without the noise of binary fractions: 212 degrees F are 100.0 degrees C."""
        return round(value * factor + offset, 9)

    return convert
