"""Waits for somebody else's code."""

import asyncio
import gc
import logging

import pytest

from actors.connections import deadlines
from actors.connections.deadlines import Overdue, bounded


async def answer() -> int:
    return 42


async def fail() -> int:
    raise LookupError("no")


async def test_what_ends_in_time_is_its_result_or_its_error() -> None:
    assert await bounded(answer(), 1.0) == 42
    with pytest.raises(LookupError):
        await bounded(fail(), 1.0)


async def test_what_does_not_end_in_time_is_cancelled() -> None:
    unwound = asyncio.Event()

    async def hang() -> None:
        try:
            await asyncio.Event().wait()
        finally:
            await asyncio.sleep(0)
            unwound.set()

    with pytest.raises(Overdue, match=r"not done within 0\.01 s"):
        await bounded(hang(), 0.01)
    assert unwound.is_set()


async def test_a_timeout_of_its_own_is_not_taken_for_ours() -> None:
    async def time_out() -> None:
        raise TimeoutError("its own")

    with pytest.raises(TimeoutError, match="its own"):
        await bounded(time_out(), 1.0)


async def test_what_withstands_is_not_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(deadlines, "UNWIND_SECONDS", 0.01)
    released = asyncio.Event()

    async def withstand() -> None:
        while not released.is_set():
            try:
                await released.wait()
            except asyncio.CancelledError:
                continue

    with pytest.raises(Overdue):
        await bounded(withstand(), 0.01)
    released.set()


async def test_who_is_cancelled_meanwhile_leaves_nothing_to_complain_of(
    caplog: pytest.LogCaptureFixture,
) -> None:
    begun = asyncio.Event()

    async def fail_when_cancelled() -> None:
        begun.set()
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            raise LookupError("while unwinding") from None

    for call in (fail_when_cancelled, fail):
        waiting = asyncio.ensure_future(bounded(call(), 1.0))
        await begun.wait()
        await asyncio.sleep(0)
        waiting.cancel()
        with pytest.raises((asyncio.CancelledError, LookupError)):
            await waiting
        del waiting
        gc.collect()
        await asyncio.sleep(0)
    assert [record for record in caplog.records if record.levelno >= logging.ERROR] == []
