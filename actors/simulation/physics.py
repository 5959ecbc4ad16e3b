"""The machines of the simulated plant, stepped in time; no I/O and no clock of their own.

A conveyor is driven by a motor; a boiler stands beside them. Every source of chance is handed in, so
that equal seeds give equal histories. Times are seconds, temperatures degrees Celsius.
"""

import math
import random

STEP = 0.1
"""The longest step that keeps the two-point controllers accurate."""

BELT_ACCELERATION = 0.4
BELT_BRAKING = 2.0
ITEMS_PER_METRE = 2.5
REEL_CHANGE_EVERY = 75.0
REEL_CHANGE_LASTS = 10.0
MEAN_TIME_BETWEEN_JAMS = 150.0
JAM_LASTS = (7.0, 14.0)
STALL_LASTS = 2.0
STALL_LOAD = 3.0

AMBIENT = 22.0
RATED_RPM = 1480.0
NO_LOAD_CURRENT = 2.1
LOAD_CURRENT = 6.2
RATED_CURRENT = 8.3
WINDING_RISE = 72.0
WINDING_TIME_CONSTANT = 240.0

HYSTERESIS = 1.5
PURGE_LASTS = 3.0
FULL_FIRE = 0.5
HEAT_LOSS = 0.003
PUMP_ON_BELOW = 45.0
PUMP_OFF_ABOVE = 80.0


def ramp(value: float, target: float, rate: float, dt: float) -> float:
    """Move towards `target` by at most `rate` a second."""
    return value + max(-rate * dt, min(rate * dt, target - value))


def relax(value: float, target: float, time_constant: float, dt: float) -> float:
    """First-order lag towards `target`; exact for any `dt`."""
    return target + (value - target) * math.exp(-dt / time_constant)


class Conveyor:
    """A belt in m/s that counts items, slows down while the packer behind it changes its reel, and jams.

    `setpoint` and `commanded` are the operator's. In a jam the belt first stalls under power, then the
    drive trips (`energised` is False) until the jam is cleared.
    """

    def __init__(self, chance: random.Random) -> None:
        self.setpoint = 1.2
        self.commanded = True
        self.speed = 0.0
        self.items = 0.0
        self.jams = 0
        self._chance = chance
        self._clock = 0.0
        self._jam_left = 0.0
        self._stall_left = 0.0

    @property
    def jammed(self) -> bool:
        return self._jam_left > 0

    @property
    def energised(self) -> bool:
        return self.commanded and (not self.jammed or self._stall_left > 0)

    @property
    def load(self) -> float:
        """Torque as a share of the motor's rated torque; beyond 1 while the belt stalls."""
        if not self.energised:
            return 0.0
        if self.jammed:
            return STALL_LOAD
        return 0.35 + 0.4 * self.speed / 1.2 + 0.1 * math.sin(2 * math.pi * self._clock / 47)

    def jam(self) -> None:
        self.jams += 1
        self._jam_left = self._chance.uniform(*JAM_LASTS)
        self._stall_left = STALL_LASTS

    def step(self, dt: float) -> None:
        self._clock += dt
        self._jam_left = max(0.0, self._jam_left - dt)
        self._stall_left = max(0.0, self._stall_left - dt)
        if self.commanded and not self.jammed and self._chance.random() < dt / MEAN_TIME_BETWEEN_JAMS:
            self.jam()
        target = self._target()
        self.speed = ramp(self.speed, target, BELT_ACCELERATION if target > self.speed else BELT_BRAKING, dt)
        self.items += self.speed * ITEMS_PER_METRE * dt

    def _target(self) -> float:
        if not self.commanded or self.jammed:
            return 0.0
        changing_reel = self._clock % REEL_CHANGE_EVERY > REEL_CHANGE_EVERY - REEL_CHANGE_LASTS
        slip = self._chance.gauss(1.0, 0.006)
        return max(0.0, self.setpoint * (0.6 if changing_reel else 1.0) * slip)


class Motor:
    """The belt's motor: current (A) follows the load, the winding warms with the square of the current."""

    def __init__(self, chance: random.Random) -> None:
        self.rpm = 0.0
        self.current = 0.0
        self.winding_temperature = 41.0
        self.vibration = 0.0
        self.starts = 0
        self.energised = False
        self._chance = chance

    def step(self, dt: float, *, energised: bool, speed_share: float, load: float) -> None:
        """`speed_share` is the belt's speed over its nominal speed, `load` the torque over the rated one."""
        self.starts += energised and not self.energised
        self.energised = energised
        self.rpm = relax(self.rpm, RATED_RPM * speed_share * (1 - 0.02 * min(load, 1.0)), 0.4, dt)
        drawn = (NO_LOAD_CURRENT + LOAD_CURRENT * load) * self._chance.gauss(1, 0.01) if energised else 0.0
        self.current = max(0.0, relax(self.current, drawn, 0.3, dt))
        rise = WINDING_RISE * (self.current / RATED_CURRENT) ** 2
        self.winding_temperature = relax(self.winding_temperature, AMBIENT + rise, WINDING_TIME_CONSTANT, dt)
        turning = 2.2 * (self.rpm / RATED_RPM) ** 2
        shaking = 0.15 + turning + (1.8 * (load - 1) if load > 1 else 0.0)
        self.vibration = relax(self.vibration, shaking * abs(self._chance.gauss(1, 0.05)), 0.5, dt)


class Boiler:
    """A hot-water boiler: a two-point thermostat fires a burner (which purges first) around `setpoint`.

    `burner_state` is 0 off, 1 purging, 2 firing. Pressure is bar over atmosphere, level per cent.
    """

    OFF, PURGING, FIRING = 0, 1, 2

    def __init__(self, chance: random.Random) -> None:
        self.setpoint = 85.0
        self.temperature = 79.0
        self.level = 68.0
        self.burner_state = self.OFF
        self.pump_running = False
        self._chance = chance
        self._purge_left = 0.0
        self._fire = 0.0
        self._ripple = 0.0

    @property
    def burning(self) -> bool:
        return self.burner_state == self.FIRING

    @property
    def pressure(self) -> float:
        return 1.0 + 0.02 * (self.temperature - AMBIENT) + 0.004 * (self.level - 60) + self._ripple

    def step(self, dt: float) -> None:
        self._control_burner(dt)
        self._control_pump()
        self._fire = relax(self._fire, FULL_FIRE if self.burning else 0.0, 2.0, dt)
        feed_cooling = 0.04 if self.pump_running else 0.0
        self.temperature += (self._fire - HEAT_LOSS * (self.temperature - AMBIENT) - feed_cooling) * dt
        self.level += (0.9 if self.pump_running else 0.0) * dt - 0.3 * dt
        self._ripple = relax(self._ripple, self._chance.gauss(0, 0.02), 0.5, dt)

    def _control_burner(self, dt: float) -> None:
        if self.burner_state == self.OFF and self.temperature < self.setpoint - HYSTERESIS:
            self.burner_state, self._purge_left = self.PURGING, PURGE_LASTS
        elif self.burner_state != self.OFF and self.temperature > self.setpoint + HYSTERESIS:
            self.burner_state = self.OFF
        elif self.burner_state == self.PURGING:
            self._purge_left -= dt
            if self._purge_left <= 0:
                self.burner_state = self.FIRING

    def _control_pump(self) -> None:
        if self.level < PUMP_ON_BELOW:
            self.pump_running = True
        elif self.level > PUMP_OFF_ABOVE:
            self.pump_running = False


class Machines:
    """The plant's three machines and what ties them together."""

    NOMINAL_SPEED = 1.6

    def __init__(self, chance: random.Random) -> None:
        self.conveyor = Conveyor(chance)
        self.motor = Motor(chance)
        self.boiler = Boiler(chance)

    def step(self, dt: float) -> None:
        self.conveyor.step(dt)
        self.motor.step(
            dt,
            energised=self.conveyor.energised,
            speed_share=self.conveyor.speed / self.NOMINAL_SPEED,
            load=self.conveyor.load,
        )
        self.boiler.step(dt)

    def advance(self, seconds: float) -> None:
        """Step through `seconds` in steps of at most `STEP`."""
        steps = math.ceil(seconds / STEP)
        for _ in range(steps):
            self.step(seconds / steps)
