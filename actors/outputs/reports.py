"""Drift and baselines as clients and logs see them. Plain functions."""

from typing import Final

from msgspec import UNSET

from actors.outputs.baseline import Field
from actors.outputs.drift import Drift, Watch
from actors.outputs.fields import TYPES
from actors.outputs.messages import BaselineRow, FieldRow
from actors.outputs.options import DriftType
from storage.drift import DriftEvent
from storage.timestamps import iso

SEVERITY: Final[dict[DriftType, str]] = {
    "missing-field": "critical",
    "type-drift": "critical",
    "new-field": "warning",
    "rename-candidate": "warning",
}


def event_of(drift: Drift, protocol: str, watch: Watch) -> DriftEvent:
    return DriftEvent(
        drift_type=drift.drift_type,
        severity=SEVERITY[drift.drift_type],
        protocol=protocol,
        device=watch.device,
        device_uuid=watch.device_uuid,
        field=drift.field,
        detected_at=iso(drift.at) or "",
        expected_type=UNSET if drift.expected_type is None else TYPES[drift.expected_type],
        observed_types=UNSET if drift.observed_type is None else [TYPES[drift.observed_type]],
        rename_candidate_from=UNSET if drift.renamed_from is None else drift.renamed_from,
        rename_candidate_to=UNSET if drift.renamed_from is None else drift.field,
        rename_similarity=UNSET if drift.similarity is None else drift.similarity,
    )


def told(event: DriftEvent) -> str:
    """One line for the log."""
    where = f"{event.protocol} {event.device}: {event.field}"
    match event.drift_type:
        case "missing-field":
            return f"{where} is missing"
        case "type-drift":
            return f"{where} is {', '.join(event.observed_types or ())}, was {event.expected_type}"
        case "rename-candidate":
            return f"{where} is new, perhaps renamed from {event.rename_candidate_from}"
    return f"{where} is new"


def baseline_row(watch: Watch, protocol: str) -> BaselineRow:
    watch.settle()
    baseline = watch.baseline
    return BaselineRow(
        protocol=protocol,
        device=watch.device,
        device_uuid=watch.device_uuid,
        batches=baseline.batches,
        learning=not baseline.learned,
        last_seen=iso(watch.last_seen),
        fields=[_field_row(name, field, baseline.batches) for name, field in baseline.fields.items()],
    )


def _field_row(name: str, field: Field, batches: int) -> FieldRow:
    by_count = sorted(range(len(TYPES)), key=lambda kind: -field.counts[kind])
    return FieldRow(
        field=name,
        types=[TYPES[kind] for kind in by_count if field.counts[kind]],
        presence=round(field.seen / (batches - field.first + 1), 3),
        batches=field.seen,
        expected=field.expected,
        missing=field.missed,
        retired=field.retired,
    )
