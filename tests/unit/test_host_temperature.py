"""Sensors as files; each case is one that somebody has reported of another product."""

from pathlib import Path

import pytest

from actors.host.temperature import processor_temperature


def chip(root: Path, number: int, name: str, **files: str) -> Path:
    folder = root / f"sys/class/hwmon/hwmon{number}"
    folder.mkdir(parents=True)
    (folder / "name").write_text(f"{name}\n")
    for file, text in files.items():
        (folder / file).write_text(f"{text}\n")
    return folder


def zone(root: Path, number: int, kind: str, temp: str) -> None:
    folder = root / f"sys/class/thermal/thermal_zone{number}"
    folder.mkdir(parents=True)
    (folder / "type").write_text(f"{kind}\n")
    (folder / "temp").write_text(f"{temp}\n")


def test_a_virtual_machine_has_none(tmp_path):
    assert processor_temperature(tmp_path) is None


def test_the_whole_processor_comes_before_its_cores(tmp_path):
    chip(tmp_path, 1, "acpitz", temp1_input="27800")
    chip(
        tmp_path,
        2,
        "coretemp",
        temp1_input="61000",
        temp1_label="Core 0",
        temp2_input="63500",
        temp2_label="Package id 0",
    )
    assert processor_temperature(tmp_path) == 63.5


@pytest.mark.parametrize("name", ["k10temp", "zenpower", "cpu_thermal", "cpu-thermal", "soc_thermal"])
def test_other_processors_have_other_drivers(tmp_path, name):
    chip(tmp_path, 0, name, temp1_input="48312")
    assert processor_temperature(tmp_path) == 48.312


def test_a_raspberry_pi_has_a_thermal_zone(tmp_path):
    zone(tmp_path, 0, "cpu-thermal", "52616")
    assert processor_temperature(tmp_path) == 52.616


def test_the_board_is_better_than_nothing_and_worse_than_the_processor(tmp_path):
    zone(tmp_path, 0, "acpitz", "27800")
    assert processor_temperature(tmp_path) == 27.8
    zone(tmp_path, 1, "x86_pkg_temp", "70000")
    assert processor_temperature(tmp_path) == 70.0


def test_a_sensor_on_the_plants_one_wire_bus_is_not_touched(tmp_path, monkeypatch):
    """Reading all of them disturbed whoever else read the bus, and took a second each."""
    wire = chip(tmp_path, 0, "w1_slave_temp", temp1_input="85000")
    chip(tmp_path, 1, "coretemp", temp1_input="40000")
    read, touched = Path.read_text, []

    def noting(self, *arguments, **options):
        touched.append(self)
        return read(self, *arguments, **options)

    monkeypatch.setattr(Path, "read_text", noting)
    assert processor_temperature(tmp_path) == 40.0
    assert wire / "temp1_input" not in touched


@pytest.mark.parametrize("text", ["", "n/a", "-274000", "255000", "4294967295"])
def test_a_sensor_that_is_broken_or_not_there_says_nothing(tmp_path, text):
    chip(tmp_path, 0, "coretemp", temp1_input=text)
    assert processor_temperature(tmp_path) is None
    zone(tmp_path, 0, "x86_pkg_temp", "41000")
    assert processor_temperature(tmp_path) == 41.0


def test_a_device_that_is_switched_off_cannot_be_read(tmp_path):
    folder = chip(tmp_path, 0, "coretemp", temp2_input="44000")
    (folder / "temp1_input").mkdir()  # reading it is an OSError
    assert processor_temperature(tmp_path) == 44.0


def test_freezing_is_a_temperature(tmp_path):
    chip(tmp_path, 0, "cpu_thermal", temp1_input="-21500")
    assert processor_temperature(tmp_path) == -21.5
