"""Who allocates memory and keeps it, by tracemalloc."""

import asyncio
import contextlib
import sys
from collections.abc import Iterator
from pathlib import Path

import msgspec

from actors.host.machine import process
from storage.timestamps import unix_ms

LOOK = 0.25  # seconds between two looks at how much is traced
ENOUGH = 4 * 1024 * 1024
"""Bytes of traces at which it ends early, some 70,000 allocations that were kept: taking them out is one
call, which holds everybody up for 50 ms then."""

_ROOT = Path(__file__).parents[2]


class Grown(msgspec.Struct, frozen=True):
    """What a line of code has allocated since the trace began, and was still there at its end."""

    file: str
    line: int
    size_bytes: int
    count: int


class Traced(msgspec.Struct, frozen=True):
    """`at` is Unix ms, of the end. `kept_bytes` is what all code has allocated and kept, `peak_bytes` the
    most that it ever had; `overhead_bytes` is what tracing took itself, which is among the resident bytes at
    the end. `ended_early` says that more was kept than can be traced."""

    at: int
    seconds: float
    kept_bytes: int
    peak_bytes: int
    overhead_bytes: int
    resident_before: int
    resident_after: int
    ended_early: bool
    top: list[Grown]


def is_tracing() -> bool:
    """By anybody. The module is not imported for that."""
    module = sys.modules.get("tracemalloc")
    return bool(module and module.is_tracing())


async def trace(seconds: float, top: int) -> Traced:
    """Only what is allocated meanwhile is traced, one frame deep, so that ending it does not hold the loop up
    for long; allocating takes two to three times as long until then. Ends tracing whatever happens."""
    with _traced():
        loop = asyncio.get_running_loop()
        before = (await asyncio.to_thread(process)).resident
        began = loop.time()
        early = False
        while not early and (left := seconds - (loop.time() - began)) > 0:
            await asyncio.sleep(min(LOOK, left))
            early = _overhead() > ENOUGH
        return await asyncio.to_thread(_result, loop.time() - began, top, before, early)


@contextlib.contextmanager
def _traced() -> Iterator[None]:
    import tracemalloc

    tracemalloc.start(1)
    try:
        yield
    finally:
        tracemalloc.stop()


def _overhead() -> int:
    import tracemalloc

    return tracemalloc.get_tracemalloc_memory()


def _result(seconds: float, top: int, before: int, early: bool) -> Traced:
    import tracemalloc

    kept, peak = tracemalloc.get_traced_memory()
    overhead, after = tracemalloc.get_tracemalloc_memory(), process().resident
    snapshot = tracemalloc.take_snapshot()
    own = tracemalloc.Filter(False, tracemalloc.__file__)
    lines = snapshot.filter_traces((own,)).statistics("lineno")
    return Traced(
        at=unix_ms(),
        seconds=round(seconds, 3),
        kept_bytes=kept,
        peak_bytes=peak,
        overhead_bytes=overhead,
        resident_before=before,
        resident_after=after,
        ended_early=early,
        top=[
            Grown(_shown(one.traceback[0].filename), one.traceback[0].lineno, one.size, one.count)
            for one in lines[:top]
        ],
    )


def _shown(file: str) -> str:
    """Without where this installation is."""
    path = Path(file)
    for root in (_ROOT, Path(sys.prefix), Path(sys.base_prefix)):
        with contextlib.suppress(ValueError):
            return str(path.relative_to(root))
    return file
