"""Moving a damaged file out of the way without losing it."""

from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path

from storage.timestamps import unix_ms


def set_aside(path: Path, companions: Sequence[str] = ()) -> Path:
    """Rename `path` to `<name>.corrupt-<UTC time>` and return that; raises OSError.

    Files called `<name><companion>` move with it. Nothing is ever overwritten.
    """
    target = _free_name(path, companions)
    # The file itself goes last: if a crash comes between, the next start finds it damaged again.
    for companion in (*companions, ""):
        source = path.with_name(path.name + companion)
        if source.exists():
            source.rename(target.with_name(target.name + companion))
    return target


def _free_name(path: Path, companions: Sequence[str]) -> Path:
    stem = f"{path.name}.corrupt-{datetime.fromtimestamp(unix_ms() / 1000, UTC):%Y%m%dT%H%M%SZ}"
    names = (stem if number == 0 else f"{stem}.{number}" for number in range(1_000_000))
    return next(
        path.with_name(name)
        for name in names
        if not any(path.with_name(name + companion).exists() for companion in ("", *companions))
    )
