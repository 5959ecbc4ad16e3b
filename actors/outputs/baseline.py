"""What the fields of a device's batches usually are. This is what is stored.

Times are Unix ms on a clock that nobody sets within a run (`Clock.steady`).
"""

from typing import Any, Final

import msgspec

from actors.outputs.fields import TYPES


class Suspicion(msgspec.Struct):
    """An expected field that has had an unusual type (`kind`) since `since`."""

    kind: int
    usual: int
    since: int
    reported: bool = False


NONE: Final = (0,) * len(TYPES)
"""The counts of a field that was never seen."""


class Field(msgspec.Struct, omit_defaults=True, gc=False):
    """A field of one device. `first`, `last` and `trial` are numbers of batches.

    `counts` are by index in `TYPES`, of the latest batches; `kind` is the latest type. A field that is not
    `expected` is on trial: `trial` is where its trial began and `trial_seen` what `seen` was then.
    `absent_since` is when it was first missed, None while it is there; `missed` says that this was
    reported, `renamed` that a new field was taken for it. A `pending` field is new and not reported yet; a
    `retired` one is a tombstone. `alerts` are when each type of drift was last reported.
    """

    first: int
    first_at: int
    last: int
    kind: int
    trial: int
    seen: int = 0
    trial_seen: int = 0
    counts: tuple[int, ...] = NONE
    expected: bool = False
    retired: bool = False
    pending: bool = False
    missed: bool = False
    renamed: bool = False
    absent_since: int | None = None
    suspicion: Suspicion | None = None
    alerts: dict[str, int] | None = None

    @property
    def usual(self) -> int:
        """The type that it has most often had."""
        return self.counts.index(max(self.counts))

    def alert_from(self, drift_type: str, cooldown: int) -> int:
        """When this type of drift may be reported (again)."""
        at = (self.alerts or {}).get(drift_type)
        return 0 if at is None else at + cooldown

    def alerted(self, drift_type: str, now: int) -> None:
        self.alerts = {**(self.alerts or {}), drift_type: now}

    def turn_back(self, now: int) -> None:
        """The clock was set back between two runs: what happened in its future happened now."""
        self.first_at = min(self.first_at, now)
        if self.absent_since is not None:
            self.absent_since = min(self.absent_since, now)
        if self.suspicion is not None:
            self.suspicion.since = min(self.suspicion.since, now)
        if self.alerts is not None:
            self.alerts = {drift_type: min(at, now) for drift_type, at in self.alerts.items()}


class Baseline(msgspec.Struct):
    """One device: how many batches were observed, and whether its warm-up is over."""

    batches: int = 0
    learned: bool = False
    fields: dict[str, Field] = {}


def encode(baseline: Baseline) -> bytes:
    return msgspec.json.encode(baseline)


def decode(body: Any) -> Baseline:
    """Raises `msgspec.MsgspecError`."""
    return msgspec.json.decode(body, type=Baseline)


class Tally:
    """Counts of several fields at a time. Equal ones become one object, for those of a device mostly are, and
    its fields are most of what a device takes."""

    def __init__(self) -> None:
        self._known: dict[tuple[tuple[int, ...], int, int], tuple[int, ...]] = {}

    def add(self, counts: tuple[int, ...], kind: int, times: int = 1) -> tuple[int, ...]:
        key = (counts, kind, times)
        found = self._known.get(key)
        if found is None:
            found = self._known[key] = (*counts[:kind], counts[kind] + times, *counts[kind + 1 :])
        return found
