"""Builds connections off the loop: the first of a kind imports a library, which takes long or may hang."""

import asyncio
import threading
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from typing import Any, TypeVar

IDLE = 1.0  # seconds that a thread waits for more work

T = TypeVar("T")

Job = tuple[Callable[[], Any], "asyncio.Future[Any]"]


async def build(kind: str, make: Callable[[], T]) -> T:
    """`make()`, run in a thread; those of one kind one after the other.

    Cancelled while it waits for its turn it is not run. A library that hangs keeps one thread, and others of
    its kind from being built; neither other kinds nor the end of the process.
    """
    future: asyncio.Future[T] = asyncio.get_running_loop().create_future()
    lane = _lanes.setdefault(kind, _Lane(kind))
    job = make, future
    lane.add(job)
    try:
        return await future
    except asyncio.CancelledError:
        lane.forget(job)
        raise


class _Lane:
    """A thread while there is work, and a little longer: starting one keeps the loop waiting. A daemon:
    asyncio's own pool is waited for at the end of the process."""

    def __init__(self, kind: str) -> None:
        self._kind = kind
        self._jobs: deque[Job] = deque()
        self._lock = threading.Condition()
        self._running = False

    def add(self, job: Job) -> None:
        with self._lock:
            self._jobs.append(job)
            self._lock.notify()
            if self._running:
                return
            self._running = True
        threading.Thread(target=self._work, name=f"build-{self._kind}", daemon=True).start()

    def forget(self, job: Job) -> None:
        with self._lock:
            if job in self._jobs:
                self._jobs.remove(job)

    def _next(self) -> Job | None:
        with self._lock:
            if self._lock.wait_for(lambda: len(self._jobs) > 0, IDLE):
                return self._jobs.popleft()
            self._running = False
            return None

    def _work(self) -> None:
        while (job := self._next()) is not None:
            _do(*job)
            del job  # nothing of it is kept alive by the wait for the next


def _do(make: Callable[[], Any], future: "asyncio.Future[Any]") -> None:
    result, error = None, None
    try:
        result = make()
    except BaseException as raised:  # noqa: BLE001 - raised where it is awaited; the thread goes on
        error = raised
    with suppress(RuntimeError):  # that loop has ended, and with it who waited
        future.get_loop().call_soon_threadsafe(_settle, future, result, error)


def _settle(future: "asyncio.Future[Any]", result: Any, error: BaseException | None) -> None:
    if future.done():
        return
    if error is None:
        future.set_result(result)
    else:
        future.set_exception(error)


_lanes: dict[str, _Lane] = {}
