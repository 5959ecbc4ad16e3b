"""The devices of an endpoint, and their points; both grow with what comes."""

from actors.endpoints.listener import Description, Listener
from actors.readings.source_topics import level

from . import units
from .automatic import Metric, good_name
from .notes import Notes
from .points import DataPoint
from .values import Shape


class Device:
    """`index` finds a point by its name; `owners` are the topics that the points come from."""

    def __init__(self, identifier: str, points: tuple[DataPoint, ...] = ()) -> None:
        self.identifier = identifier
        self.points = list(points)
        self.index = {point.name: place for place, point in enumerate(points)}
        self.owners: list[str | None] = [None] * len(points)
        self.online: bool | None = None
        """What its status topic has said last."""
        self.grown = False

    def add(self, point: DataPoint) -> int:
        place = self.index[point.name] = len(self.points)
        self.points.append(point)
        self.owners.append(None)
        self.grown = True
        return place


class Devices:
    """All of an endpoint. `most` devices besides its own, and of each `metrics` that were not configured."""

    def __init__(self, listener: Listener, notes: Notes, most: int, metrics: int) -> None:
        self.by_id: dict[str, Device] = {}
        self._listener = listener
        self._notes = notes
        self._most = most
        self._metrics = metrics

    def begin(self, identifier: str, points: tuple[DataPoint, ...]) -> None:
        """One that the listener knows already."""
        self.by_id[identifier] = Device(identifier, points)

    def of(self, identifier: str) -> Device | None:
        """That one, which may be new; None for one that cannot be taken in."""
        device = self.by_id.get(identifier)
        if device is not None:
            return device
        if not good_name(identifier):
            self._notes.say("a device whose name cannot be one: it is too long, or not to be printed")
        elif len(self.by_id) > self._most:
            self._notes.say(f"more than {self._most} devices (maxDevices): the others are not read")
        else:
            device = self.by_id[identifier] = Device(identifier)
            device.grown = True
            return device
        return None

    def configured(self, device: Device, point: DataPoint) -> int:
        """The place of a configured point."""
        place = device.index.get(point.name)
        return device.add(point) if place is None else place

    def automatic(self, device: Device, metric: Metric) -> int | None:
        """The place of a metric; None for one that cannot be taken in."""
        place = device.index.get(metric.name)
        if place is not None:
            return place
        if metric.value is None:
            return None
        return self._add(device, metric.name, metric.unit)

    def born(self, device: Device, name: str, unit: str | None) -> int | None:
        """The same for one that a birth names, whether it has a value or not."""
        place = device.index.get(name)
        return self._add(device, name, unit) if place is None else place

    def _add(self, device: Device, name: str, unit: str | None) -> int | None:
        if not good_name(name):
            self._notes.say("a metric whose name cannot be one: it is too long, or not to be printed")
        elif len(device.points) >= self._metrics:
            self._notes.say(
                f"more than {self._metrics} metrics of a device (maxMetrics): the others are not read"
            )
        else:
            return device.add(DataPoint(name, Shape(unit=None if unit is None else units.canonical(unit))))
        return None

    def describe(self, device: Device) -> None:
        """Tell the listener what has become more."""
        if device.grown:
            device.grown = False
            self._listener.described(Description(device.identifier, device.identifier, tuple(device.points)))

    def spelled(self, name: str) -> Device | None:
        """The device of that name as a level of a topic has it."""
        found = self.by_id.get(name)
        if found is None:
            found = next(
                (one for one in self.by_id.values() if one.identifier and level(one.identifier) == name), None
            )
        return found
