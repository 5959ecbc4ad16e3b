"""From values of nodes to changes of data points."""

import logging
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from actors.endpoints.listener import Description, Listener

from . import quality
from .points import OWN, DataPoint
from .shaping import is_shaped, shape
from .structures import Structures
from .values import Undecoded

log = logging.getLogger(__name__)


class Field(NamedTuple):
    """Where a value belongs: the number of the point in its device."""

    device: str
    number: int
    point: DataPoint


def fields_of(own: Sequence[DataPoint], devices: Sequence[Description]) -> tuple[Field, ...]:
    """All data points of an endpoint; the position of each is its client handle."""
    parts = [(OWN, own), *((device.identifier, device.points) for device in devices)]
    return tuple(
        Field(device, index, point) for device, points in parts for index, point in enumerate(points)
    )


class Readings(NamedTuple):
    """Of one device, as `Listener.changed` takes them."""

    indices: list[int]
    values: list[Any]
    codes: list[str | None]
    times: list[int | None]


class Delivery:
    """Tells a listener of values by the handles of their fields."""

    def __init__(
        self,
        fields: Sequence[Field],
        listener: Listener,
        structures: Structures,
        own_times: bool = True,
    ) -> None:
        """`own_times`: whether readings have those of their sources."""
        self._own_times = own_times
        self._listener = listener
        self._fields = fields
        self._structures = structures
        self.undecoded: set[int] = set()
        """Handles of values that were not told, for it is not known yet how to read their structures."""
        self.whole: set[int] = set()
        """Handles of fields with an index range whose server sends the whole array."""
        self._overflown = False
        self._shaped = [is_shaped(field.point) for field in fields]
        self._as_they_are = not any(self._shaped) and all(field.device == OWN for field in fields)

    def as_they_are(self, values: list[Any], statuses: list[int] | None) -> bool:
        """Whether these values are readings of the endpoint's own device, GOOD, and of no other shape."""
        return self._as_they_are and statuses is None and None not in values

    def tell(
        self,
        handles: Sequence[int],
        values: list[Any],
        statuses: list[int] | None,
        times: list[int | None],
    ) -> None:
        """As a `Notification` has them. Several values of one field are several readings, in order; a handle
        that is none of ours is nobody's."""
        if not self._own_times:
            times = [None] * len(times)
        if max(handles, default=0) >= len(self._fields):
            self._tell(
                [at for at, handle in enumerate(handles) if handle < len(self._fields)],
                handles,
                values,
                statuses,
                times,
            )
            return
        if len(set(handles)) == len(handles):
            if self.as_they_are(values, statuses):
                self._listener.changed(OWN, handles, values, None, times)
            else:
                self._tell(range(len(handles)), handles, values, statuses, times)
            return
        rounds: list[list[int]] = []
        count: dict[int, int] = {}
        for position, handle in enumerate(handles):
            number = count.get(handle, 0)
            count[handle] = number + 1
            if number == len(rounds):
                rounds.append([])
            rounds[number].append(position)
        for positions in rounds:
            self._tell(positions, handles, values, statuses, times)

    def _tell(
        self,
        positions: Sequence[int],
        handles: Sequence[int],
        values: list[Any],
        statuses: list[int] | None,
        times: list[int | None],
    ) -> None:
        fields = self._fields
        found: dict[str, Readings] = {}
        for position in positions:
            handle = handles[position]
            device, index, _ = fields[handle]
            try:
                value, code = self.reading(handle, values[position], statuses[position] if statuses else 0)
            except LookupError:
                self.undecoded.add(handle)
                continue
            readings = found.get(device)
            if readings is None:
                readings = found[device] = Readings([], [], [], [])
            readings.indices.append(index)
            readings.values.append(value)
            readings.codes.append(code)
            readings.times.append(times[position])
        for device, readings in found.items():
            self._listener.changed(device, *readings)

    def reading(self, handle: int, value: Any, status: int) -> tuple[Any, str | None]:
        """The value as the data point wants it, and its quality code. Raises `LookupError` for a structure
        that it is not known yet how to read."""
        code = quality.code_of(status) if status else None
        if code is not None and quality.is_bad(status):
            return None, code
        if status and not self._overflown and quality.has_overflown(status):
            self._overflown = True
            log.warning("%s: values were dropped by the server's queue", self._fields[handle].point.name)
        if type(value) is Undecoded:
            value = self._structures.to_json(value.content)
        if self._shaped[handle]:
            value, code = shape(self._fields[handle].point, value, code, handle in self.whole)
        return value, quality.NO_DATA if value is None and code is None else code

    def tell_codes(self, codes: Mapping[int, str]) -> None:
        """These fields have no value, for those reasons."""
        by_device: dict[str, Readings] = {}
        for handle, code in codes.items():
            device, number, _ = self._fields[handle]
            readings = by_device.setdefault(device, Readings([], [], [], []))
            readings.indices.append(number)
            readings.values.append(None)
            readings.codes.append(code)
        for device, readings in by_device.items():
            self._listener.changed(device, readings.indices, readings.values, readings.codes, None)
