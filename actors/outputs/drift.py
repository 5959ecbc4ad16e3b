"""Noticing that a device's fields are no longer what they used to be (spec 02 section 11).

Plain and without a clock: time is the batches' own, and who hands them in says what that is on a clock that
nobody sets.
"""

from collections.abc import Iterator, Sequence
from typing import Final

import msgspec

from actors.outputs import renames
from actors.outputs.baseline import Baseline, Field, Suspicion, Tally
from actors.outputs.fields import FieldReader
from actors.outputs.options import DriftOptions, DriftType
from actors.outputs.picture import Picture
from actors.readings.batch import Batch

MEMORY: Final = 1000
"""Every so many batches the counts of types are halved: what counts is the latest thousand or two."""

NEVER: Final = 2**63

ROUND_MS: Final = 1000
"""What a device says within that time that tells what has changed counts as one batch."""


class Drift(msgspec.Struct, frozen=True):
    """One change. `renamed_from` is what the field may have been called; `at` is the batch's, Unix ms."""

    drift_type: DriftType
    field: str
    at: int
    expected_type: int | None = None
    observed_type: int | None = None
    renamed_from: str | None = None
    similarity: float | None = None


class Watch:
    """One device against its baseline.

    While batches look alike and nothing is due they are only counted: `_until` and `_until_time` say by
    when something could be. The outcome is the same as if each of them were looked at.
    """

    def __init__(self, device_uuid: str, device: str, baseline: Baseline, options: DriftOptions) -> None:
        self.device_uuid = device_uuid
        self.device = device
        self.baseline = baseline
        self.last_seen: int | None = None
        """As the batch has it."""
        self.latest = 0
        """The same, on the clock that nobody sets."""
        self.changed = False
        """Whether there is something new to store, other than counts."""
        self._present: dict[str, int] = {}
        self._counted = baseline.batches
        self._looked_at = NEVER
        self._crowded = False
        self._picture: Picture | None = None
        """Of a device that tells what has changed."""
        self._round_at = NEVER
        self.adopt(options)

    def adopt(self, options: DriftOptions) -> None:
        """Go by these options from now on."""
        self.options = options
        limit, depth = options.max_fields_per_batch, options.max_traversal_depth
        self._reader = FieldReader(limit, depth)
        if self._picture is not None:
            self._picture.adopt(limit, depth, options.silent_ms)
        self._until = self._until_time = 0

    def observe(self, batch: Batch, now: int) -> Sequence[Drift]:
        """What has changed. A batch without any good reading says nothing: the device is offline. `now` is
        its time in ms of a clock that nobody sets within a run (`Clock.steady`)."""
        if batch.indices is None and not batch.source.pushed:
            self._picture = None
            present = self._reader.read(batch)
        else:
            present = self._round(batch, now)
        if not present:
            return ()
        self.last_seen, self.latest = batch.timestamp, now
        number = self.baseline.batches + 1
        if (
            number < self._until
            and self._looked_at <= now < self._until_time
            and (present is self._present or present == self._present)
        ):
            self.baseline.batches = number
            return ()
        self.settle()
        self._present = present
        return self._look(number, now)

    def _round(self, batch: Batch, now: int) -> dict[str, int]:
        """The fields of the device when enough time has passed since they were last looked at; else none."""
        if self._picture is None:
            options = self.options
            limit, depth = options.max_fields_per_batch, options.max_traversal_depth
            self._picture = Picture(limit, depth, options.silent_ms)
        if not self._picture.take(batch, now) or 0 <= now - self._round_at < ROUND_MS:
            return {}
        self._round_at = now
        return self._picture.fields(self.baseline.fields)

    @property
    def _at(self) -> int:
        return self.last_seen or 0

    def settle(self) -> None:
        """Enter the batches that were only counted into the baseline."""
        batches = self.baseline.batches
        times = batches - self._counted
        if times == 0:
            return
        self._counted = batches
        tally = Tally()
        for field, kind in self._known():
            field.last = batches
            field.seen += times
            field.counts = tally.add(field.counts, kind, times)

    def _known(self) -> Iterator[tuple[Field, int]]:
        """The fields of the latest batch that are watched."""
        fields = self.baseline.fields
        for name, kind in self._present.items():
            field = fields.get(name)
            if field is not None:
                yield field, kind

    # A batch that is looked at

    def _look(self, number: int, now: int) -> Sequence[Drift]:
        baseline = self.baseline
        baseline.batches = self._counted = number
        if now < self._looked_at:
            for field in baseline.fields.values():
                field.turn_back(now)
        self._looked_at = now
        self._crowded = False
        tally = Tally()
        for name, kind in self._present.items():
            self._enter(name, kind, number, now, tally)
        for field in baseline.fields.values():
            if field.last != number and field.absent_since is None:
                field.absent_since = now
        if number % MEMORY == 0:
            for field, _ in self._known():
                field.counts = tuple(count // 2 for count in field.counts)
        found: Sequence[Drift] = ()
        if not baseline.learned:
            if number >= self.options.warmup_batches:
                self._learn(number)
        elif number % self.options.check_interval_batches == 0:
            found = self._judge(number, now)
        self._plan(number, now)
        return found

    def _enter(self, name: str, kind: int, number: int, now: int, tally: Tally) -> None:
        field = self.baseline.fields.get(name) or self._track(name, kind, number, now)
        if field is None:
            return
        if field.absent_since is not None:
            self._returned(field, number)
        if kind != field.kind:
            field.kind = kind
            field.suspicion = self._suspect(field, kind, now)
        field.last = number
        field.seen += 1
        field.counts = tally.add(field.counts, kind)

    def _track(self, name: str, kind: int, number: int, now: int) -> Field | None:
        """Begin to watch a field; None when there is no room, even after giving up the oldest tombstone."""
        fields = self.baseline.fields
        if len(fields) >= self.options.field_limit:
            retired = [known for known, field in fields.items() if field.retired]
            if not retired:
                self._crowded = True
                return None
            del fields[min(retired, key=lambda known: fields[known].last)]
        field = fields[name] = Field(
            first=number,
            first_at=now,
            last=number,
            kind=kind,
            trial=number - 1,
            pending=self.baseline.learned and not (self._picture and name in self._picture.quiet),
        )
        self.changed = True
        return field

    def _returned(self, field: Field, number: int) -> None:
        field.absent_since = None
        if field.missed or field.retired:
            self.changed = True
        field.missed = field.renamed = False
        if field.retired:
            field.retired = False
            field.trial, field.trial_seen = number - 1, field.seen

    def _suspect(self, field: Field, kind: int, now: int) -> Suspicion | None:
        usual = field.counts[kind] >= self.options.min_type_dominance_ratio * sum(field.counts)
        return None if usual or not field.expected else Suspicion(kind, field.usual, now)

    def _learn(self, number: int) -> None:
        """The warm-up is over: what was there often enough is expected."""
        for field in self.baseline.fields.values():
            field.expected = field.seen >= self.options.min_field_presence_ratio * number
            field.trial, field.trial_seen = number, field.seen
        self.baseline.learned = True
        self.changed = True

    # Judging

    def _judge(self, number: int, now: int) -> list[Drift]:
        found: list[Drift] = []
        on_the_way = False
        for name, field in self.baseline.fields.items():
            if field.retired:
                continue
            if field.absent_since is None:
                self._judge_type(name, field, now, found)
            elif field.expected and not field.missed:
                on_the_way |= not self._judge_absence(name, field, number, now, found)
            elif number - field.last >= self.options.adaptive_retire_batches:
                self._retire(field)
                continue
            if not field.expected:
                self._try(field, number)
        self._judge_new(number, now, on_the_way, found)
        self.changed |= bool(found)
        return found

    def _judge_type(self, name: str, field: Field, now: int, found: list[Drift]) -> None:
        suspicion = field.suspicion
        if suspicion is None or suspicion.reported or now < self._type_due(field, suspicion):
            return
        suspicion.reported = True
        field.alerted("type-drift", now)
        found.append(Drift("type-drift", name, self._at, suspicion.usual, suspicion.kind))

    def _judge_absence(self, name: str, field: Field, number: int, now: int, found: list[Drift]) -> bool:
        """Whether the field was reported missing."""
        batches, time = self._absence_due(field)
        if number < batches or now < time:
            return False
        field.missed = True
        field.alerted("missing-field", now)
        found.append(Drift("missing-field", name, self._at, field.usual))
        return True

    def _retire(self, field: Field) -> None:
        field.retired = True
        field.expected = field.missed = field.renamed = field.pending = False
        self.changed = True

    def _try(self, field: Field, number: int) -> None:
        """A field that is there often enough for long enough becomes expected; else its trial begins anew."""
        length = number - field.trial
        if length < self.options.adaptive_promotion_batches:
            return
        if field.seen - field.trial_seen >= self.options.adaptive_promotion_ratio * length:
            field.expected = True
            self.changed = True
        field.trial, field.trial_seen = number, field.seen

    def _judge_new(self, number: int, now: int, on_the_way: bool, found: list[Drift]) -> None:
        """A new field that lasts is reported when its window is over, but waits while an old one may yet
        turn out to be missing: then it may be that one's new name."""
        fields = self.baseline.fields
        pending = {name: f for name, f in fields.items() if f.pending and f.absent_since is None}
        if not pending:
            return
        options = self.options
        gone = [name for name, field in fields.items() if field.missed and not field.renamed]
        gone.sort(key=lambda name: -fields[name].last)
        most, length = options.max_rename_candidates, options.max_rename_field_length
        for pair in renames.find(gone, list(pending), most, length):
            field = pending.pop(pair.new)
            field.pending = False
            fields[pair.old].renamed = True
            found.append(
                Drift(
                    drift_type="rename-candidate",
                    field=pair.new,
                    at=self._at,
                    expected_type=fields[pair.old].usual,
                    observed_type=field.kind,
                    renamed_from=pair.old,
                    similarity=round(pair.similarity, 3),
                )
            )
        for name, field in pending.items():
            batches, time = self._new_due(field)
            if now >= time and (number >= batches or not on_the_way):
                field.pending = False
                found.append(Drift("new-field", name, self._at, observed_type=field.kind))

    # When something is due

    def _type_due(self, field: Field, suspicion: Suspicion) -> int:
        options = self.options
        return max(
            suspicion.since + options.window_ms, field.alert_from("type-drift", options.alert_cooldown_ms)
        )

    def _absence_due(self, field: Field) -> tuple[int, int]:
        options = self.options
        assert field.absent_since is not None
        return (
            field.last + options.consecutive_missing_threshold,
            max(
                field.absent_since + options.window_ms,
                field.alert_from("missing-field", options.alert_cooldown_ms),
            ),
        )

    def _new_due(self, field: Field) -> tuple[int, int]:
        """By the first of these any field that vanished when this one came has been judged."""
        options = self.options
        return field.first + options.consecutive_missing_threshold, field.first_at + options.window_ms

    def _plan(self, number: int, now: int) -> None:
        """The first batch, and the earliest time, at which more could happen than counting."""
        options = self.options
        self._until = number - number % MEMORY + MEMORY
        self._until_time = NEVER
        if not self.baseline.learned:
            self._await(options.warmup_batches)
            return
        checked = number % options.check_interval_batches
        if checked:
            self._await(number - checked + options.check_interval_batches)
        if self._crowded and self._has_room():
            self._await(number + 1)
        for field in self.baseline.fields.values():
            if field.retired:
                continue
            if field.absent_since is None:
                if field.suspicion is not None and not field.suspicion.reported:
                    self._until_time = min(self._until_time, self._type_due(field, field.suspicion))
            elif field.expected and not field.missed:
                self._await_both(number, *self._absence_due(field))
            else:
                self._await(field.last + options.adaptive_retire_batches)
            if not field.expected:
                self._await(field.trial + options.adaptive_promotion_batches)
            if field.pending and field.absent_since is None:
                batches, time = self._new_due(field)
                if now < time:
                    self._until_time = min(self._until_time, time)
                else:
                    self._await(batches)

    def _await(self, batches: int) -> None:
        self._until = min(self._until, batches)

    def _await_both(self, number: int, batches: int, time: int) -> None:
        """Nothing is due before both are reached; the time counts once the batches are."""
        if number < batches:
            self._await(batches)
        else:
            self._until_time = min(self._until_time, time)

    def _has_room(self) -> bool:
        fields = self.baseline.fields
        return len(fields) < self.options.field_limit or any(field.retired for field in fields.values())
