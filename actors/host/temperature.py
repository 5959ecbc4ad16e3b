"""The processor's temperature.

psutil reads every sensor of the machine, those on a one-wire bus of the plant too, where a reading takes a
second and disturbs whoever else reads them. Here only what names itself a processor is read.
"""

from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

CHIPS = ("coretemp", "k10temp", "zenpower", "k8temp", "via_cputemp", "cpu_thermal", "soc_thermal")
"""Drivers of processors' own sensors, best first."""
ZONES = ("x86_pkg_temp", "cpu", "soc", "acpitz")
"""What thermal zones of processors begin with, best first; the last is somewhere on the board, and on some
boards nowhere."""
_WHOLE = ("Package id 0", "Tdie", "Tctl")
"""Labels of the sensor that stands for the whole processor."""
LOWEST, HIGHEST = -60.0, 150.0
"""Degrees beyond which a sensor is broken, or not there."""


def processor_temperature(root: Path = Path("/")) -> float | None:
    """Degrees Celsius; None where nothing says. Blocks: a sensor may be slow."""
    for found in (*_chips(root / "sys/class/hwmon"), *_zones(root / "sys/class/thermal")):
        if LOWEST < found < HIGHEST:
            return found
    return None


def _chips(folder: Path) -> Iterator[float]:
    named = [(name, chip) for chip in _listed(folder) if (name := _text(chip / "name"))]
    for wanted in CHIPS:
        for name, chip in named:
            if name.replace("-", "_") == wanted:
                yield from _inputs(chip)


def _inputs(chip: Path) -> Iterator[float]:
    """The chip's temperatures, that of the whole processor first."""
    inputs = sorted(chip.glob("temp*_input"))
    labels = {one: _text(one.with_name(one.name.replace("_input", "_label"))) for one in inputs}
    for one in sorted(inputs, key=lambda file: labels[file] not in _WHOLE):
        if (found := _degrees(one)) is not None:
            yield found


def _zones(folder: Path) -> Iterator[float]:
    zones = [(kind, zone) for zone in _listed(folder) if (kind := _text(zone / "type"))]
    for wanted in ZONES:
        for kind, zone in zones:
            if kind.replace("-", "_").startswith(wanted) and (found := _degrees(zone / "temp")) is not None:
                yield found


def _listed(folder: Path) -> list[Path]:
    with suppress(OSError):
        return sorted(folder.iterdir())
    return []


def _text(file: Path) -> str | None:
    with suppress(OSError):
        return file.read_text("utf-8", "replace").strip()
    return None


def _degrees(file: Path) -> float | None:
    """What the file says in thousandths; a sensor that is switched off cannot be read."""
    text = _text(file)
    with suppress(ValueError, TypeError):
        return int(text or "") / 1000
    return None
