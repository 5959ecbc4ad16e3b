import random

import pytest

from actors.simulation.physics import HYSTERESIS, JAM_LASTS, Boiler, Conveyor, Machines, ramp, relax


class Uneventful(random.Random):
    """Chance under which nothing ever jams and nothing is noisy."""

    def random(self) -> float:
        return 1.0

    def gauss(self, mu: float = 0.0, sigma: float = 1.0) -> float:
        return mu


def run(machine: Conveyor | Boiler, seconds: float) -> None:
    for _ in range(round(seconds * 10)):
        machine.step(0.1)


def test_ramp_moves_at_its_rate_and_stops_at_the_target():
    assert ramp(0.0, 1.0, rate=0.5, dt=1.0) == 0.5
    assert ramp(0.9, 1.0, rate=0.5, dt=1.0) == 1.0
    assert ramp(1.0, 0.0, rate=0.5, dt=1.0) == 0.5


def test_relaxing_in_one_step_or_in_many_gives_the_same_value():
    value = 0.0
    for _ in range(100):
        value = relax(value, 10.0, time_constant=3.0, dt=0.05)
    assert value == pytest.approx(relax(0.0, 10.0, time_constant=3.0, dt=5.0))
    assert value == pytest.approx(10 * (1 - 2.718281828 ** (-5 / 3)))


def test_belt_ramps_up_to_its_setpoint_and_counts_items():
    belt = Conveyor(Uneventful())
    belt.step(0.1)
    assert 0 < belt.speed < 0.1
    run(belt, 10)
    assert belt.speed == pytest.approx(1.2)
    counted = belt.items
    run(belt, 10)
    assert belt.items - counted == pytest.approx(10 * 1.2 * 2.5)


def test_belt_slows_down_while_the_packer_changes_its_reel():
    belt = Conveyor(Uneventful())
    run(belt, 70)
    assert belt.speed == pytest.approx(0.72)
    run(belt, 10)
    assert belt.speed == pytest.approx(1.2)


def test_stopped_belt_brakes_and_counts_no_more():
    belt = Conveyor(Uneventful())
    run(belt, 10)
    belt.commanded = False
    run(belt, 1)
    assert belt.speed == 0
    counted = belt.items
    run(belt, 5)
    assert belt.items == counted


def test_jam_stalls_the_belt_then_trips_the_drive_then_clears_itself():
    belt = Conveyor(Uneventful())
    run(belt, 10)
    belt.jam()
    assert belt.jammed
    assert belt.energised
    assert belt.load > 1
    run(belt, 3)
    assert (belt.speed, belt.energised, belt.load) == (0.0, False, 0.0)
    run(belt, JAM_LASTS[1])
    assert not belt.jammed
    assert belt.speed > 0
    assert belt.jams == 1


def test_belt_jams_by_itself_now_and_then():
    belt = Conveyor(random.Random(7))
    run(belt, 3600)
    assert 10 <= belt.jams <= 40


def test_current_follows_the_load_and_jumps_in_a_stall():
    machines = Machines(Uneventful())
    machines.advance(20)
    running, shaking = machines.motor.current, machines.motor.vibration
    assert 6 < running < 9
    machines.conveyor.jam()
    machines.advance(1.5)
    assert machines.motor.current > 2 * running
    assert machines.motor.vibration > 1.5 * shaking
    machines.advance(5)
    assert machines.motor.current == pytest.approx(0, abs=0.01)


def test_winding_warms_slowly_under_load_and_cools_slowly_without():
    machines = Machines(Uneventful())
    motor = machines.motor
    start = motor.winding_temperature
    machines.advance(10)
    assert start < motor.winding_temperature < start + 4
    machines.advance(1200)
    hot = motor.winding_temperature
    assert 60 < hot < 95
    machines.conveyor.commanded = False
    machines.advance(10)
    assert hot - 5 < motor.winding_temperature < hot
    machines.advance(1800)
    assert motor.winding_temperature == pytest.approx(22, abs=1)


def test_every_restart_of_the_motor_is_counted():
    machines = Machines(Uneventful())
    machines.advance(5)
    assert machines.motor.starts == 1
    machines.conveyor.commanded = False
    machines.advance(5)
    machines.conveyor.commanded = True
    machines.advance(5)
    assert machines.motor.starts == 2


@pytest.mark.parametrize("setpoint", [60.0, 85.0, 105.0])
def test_thermostat_holds_the_water_around_its_setpoint_by_switching_the_burner(setpoint: float):
    boiler = Boiler(Uneventful())
    boiler.setpoint = setpoint
    run(boiler, 300)
    temperatures, states = [], set()
    for _ in range(3000):
        boiler.step(0.1)
        temperatures.append(boiler.temperature)
        states.add(boiler.burner_state)
    assert (
        setpoint - HYSTERESIS - 2
        < min(temperatures)
        < setpoint
        < max(temperatures)
        < setpoint + HYSTERESIS + 2
    )
    assert states == {Boiler.OFF, Boiler.PURGING, Boiler.FIRING}


def test_burner_purges_before_it_fires():
    boiler = Boiler(Uneventful())
    boiler.temperature = 70
    boiler.step(0.1)
    assert (boiler.burner_state, boiler.burning) == (Boiler.PURGING, False)
    run(boiler, 2.5)
    assert not boiler.burning
    run(boiler, 1)
    assert boiler.burning


def test_pressure_rises_with_the_temperature():
    cold, hot = Boiler(Uneventful()), Boiler(Uneventful())
    cold.temperature, hot.temperature = 50, 100
    assert hot.pressure == pytest.approx(cold.pressure + 1.0)


def test_feed_pump_keeps_the_level_between_its_marks():
    boiler = Boiler(Uneventful())
    levels, pump = [], set()
    for _ in range(10_000):
        boiler.step(0.1)
        levels.append(boiler.level)
        pump.add(boiler.pump_running)
    assert 44 < min(levels) < 46
    assert 79 < max(levels) < 81
    assert pump == {True, False}


def test_equal_seeds_give_equal_histories():
    one, two, other = (Machines(random.Random(seed)) for seed in (5, 5, 6))
    for machines in (one, two, other):
        machines.advance(500)
    assert one.motor.current == two.motor.current
    assert one.conveyor.items == two.conveyor.items
    assert one.motor.current != other.motor.current


def test_advancing_by_nothing_changes_nothing():
    machines = Machines(random.Random(1))
    machines.advance(0)
    assert machines.conveyor.speed == 0
