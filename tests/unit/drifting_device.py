"""A device whose polls a test writes down, watched for drift."""

from typing import Any

from actors.outputs.baseline import Baseline, Field
from actors.outputs.drift import Drift, Watch
from actors.outputs.options import DriftOptions, read
from actors.readings.batch import Batch, Point, Source

START = 1_700_000_000_000
SECOND = 1000
BAD = object()
"""A reading of quality BAD."""

OFFLINE: dict[str, Any] = {}


class Device:
    """Polled every second; its batches go to `watch`."""

    def __init__(self, watch: Watch | None = None, **options: Any) -> None:
        """`options` are spelled as clients spell them; the warm-up is 5 batches unless they say otherwise."""
        self.options = read({"warmupBatches": 5, "windowMs": 0, **options})
        self.watch = watch or Watch("uuid-1", "press", Baseline(), self.options)
        self.now = START
        self.sources: dict[tuple[str, ...], Source] = {}
        self.found: list[Drift] = []

    def poll(self, times: int = 1, every: int = SECOND, **values: Any) -> list[Drift]:
        """What was found during so many equal polls; a poll without values is an offline device's."""
        found: list[Drift] = []
        for _ in range(times):
            self.now += every
            found += self.watch.observe(self.batch(values), self.now)
        self.found += found
        return found

    def batch(self, values: dict[str, Any]) -> Batch:
        if not values:
            return Batch(self.source(("speed",)), self.now, [None], ["DEVICE_OFFLINE"])
        bad = [value is BAD for value in values.values()]
        return Batch(
            self.source(tuple(values)),
            self.now,
            [None if value is BAD else value for value in values.values()],
            [("TIMEOUT" if one else None) for one in bad] if any(bad) else None,
        )

    def source(self, names: tuple[str, ...]) -> Source:
        if names not in self.sources:
            points = tuple(Point(name) for name in names)
            self.sources[names] = Source("e", "line-1", "modbus", "uuid-1", "press", points, ())
        return self.sources[names]

    def change(self, **options: Any) -> None:
        self.options = read({"warmupBatches": 5, "windowMs": 0, **options})
        self.watch.adopt(self.options)

    def field(self, name: str) -> Field:
        self.watch.settle()
        return self.watch.baseline.fields[name]

    @property
    def expected(self) -> set[str]:
        fields = self.watch.baseline.fields
        return {name.partition(":")[2] for name, field in fields.items() if field.expected}


def told(found: list[Drift]) -> list[tuple[str, str]]:
    return [(drift.drift_type, drift.field.partition(":")[2]) for drift in found]


def options(**changes: Any) -> DriftOptions:
    return read(changes)
