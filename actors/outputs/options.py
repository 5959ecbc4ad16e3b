"""The options of drift detection (spec 01 section 10, 02 section 11)."""

from collections.abc import Mapping
from typing import Annotated, Any, Final, Literal

import msgspec
from msgspec import UNSET, Meta, UnsetType

from actors.system.checking import checked
from actors.system.failure import Refusal

DriftType = Literal["missing-field", "type-drift", "new-field", "rename-candidate"]

_SPELLINGS: Final = ("maxTrackedFields", "maxFieldCount")
"""Two names of one option."""

Batches = Annotated[int, Meta(ge=1, le=1_000_000)]
Fields = Annotated[int, Meta(ge=1, le=10_000)]
Ratio = Annotated[float, Meta(ge=0, le=1)]
Period = Annotated[int, Meta(ge=0, le=604_800_000)]


class DriftOptions(msgspec.Struct, frozen=True, rename="camel"):
    """What a protocol's detector goes by; `docs/drift.rst` says what each option means. Periods are ms."""

    enabled: bool = True
    warmup_batches: Annotated[int, Meta(ge=0, le=1_000_000)] = 20
    min_field_presence_ratio: Ratio = 0.5
    consecutive_missing_threshold: Batches = 10
    window_ms: Period = 15_000
    alert_cooldown_ms: Period = 1_800_000
    alert_on_drift_types: tuple[DriftType, ...] = ("missing-field", "type-drift")
    adaptive_promotion_batches: Batches = 50
    adaptive_promotion_ratio: Ratio = 0.6
    adaptive_retire_batches: Batches = 250
    max_tracked_fields: Fields = 1000
    max_field_count: Fields | UnsetType = UNSET
    max_traversal_depth: Annotated[int, Meta(ge=0, le=32)] = 5
    max_fields_per_batch: Fields = 500
    max_rename_candidates: Annotated[int, Meta(ge=0, le=100)] = 20
    max_rename_field_length: Annotated[int, Meta(ge=1, le=256)] = 64
    min_type_dominance_ratio: Ratio = 0.15
    log_sample_size: Annotated[int, Meta(ge=0, le=1000)] = 10
    check_interval_batches: Annotated[int, Meta(ge=1, le=10_000)] = 1
    silent_ms: Period = 86_400_000

    @property
    def field_limit(self) -> int:
        """How many fields of a device are watched."""
        return self.max_tracked_fields if self.max_field_count is UNSET else self.max_field_count


class Given(msgspec.Struct, frozen=True):
    drift_options: DriftOptions


KNOWN: Final = frozenset(DriftOptions.__struct_encode_fields__)
"""The options as clients spell them."""


class Change(msgspec.Struct, frozen=True):
    """What a client's patch does to the stored options: `drop` these keys, then `put` these."""

    put: dict[str, Any]
    drop: tuple[str, ...]


def read(stored: Mapping[str, Any] | None) -> DriftOptions:
    """The options that `stored` amounts to; unknown keys mean nothing. Raises `Refusal`."""
    return checked({"drift_options": stored or {}}, Given).drift_options


def check(patch: Mapping[str, Any]) -> Change:
    """What a patch changes. A known option that is null returns to its default; the two names of one
    option replace one another; unknown keys are kept as they are. Raises `Refusal`."""
    reset = tuple(key for key, value in patch.items() if value is None and key in KNOWN)
    put = {key: value for key, value in patch.items() if key not in reset}
    read(put)
    spelled = [key for key in _SPELLINGS if key in put]
    if len(spelled) == len(_SPELLINGS) and len({put[key] for key in spelled}) > 1:
        raise Refusal(
            f"{' and '.join(spelled)} are the same option and contradict one another",
            f"drift_options.{spelled[-1]}",
        )
    return Change(put, reset + (_SPELLINGS if spelled else ()))
