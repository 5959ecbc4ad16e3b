"""A process whose event loop stands still ends, and says who it was."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

ROOT = Path(__file__).parents[2]

SCRIPT = """
import asyncio, logging, sys, time
sys.path[:0] = [{tests!r}]
from puppets import Do, spawn
from actors.system.asyncio_base import AsyncioSystemBase
from actors.system import watchdog
from actors.system.watchdog import Watchdog

logging.basicConfig()

async def main():
    system = AsyncioSystemBase()
    watchdog.LAST_WORDS = 0.5
    Watchdog(system, limit={limit}, tick=0.05)
    puppet, instances = spawn(system, "press-4")
    while not instances:
        await asyncio.sleep(0)
    print("ready", flush=True)
    if {hang!r} is not None:
        system.tell(puppet, Do(lambda self, sender: {hang}))
    await asyncio.sleep({seconds})

asyncio.run(main())
"""

SLEEP = "time.sleep(60)"
TALK = "[logging.error('x' * 1000) for _ in range(1000)]"


def process(hang: str | None, limit: int, seconds: float = 60) -> subprocess.Popen[str]:
    script = SCRIPT.format(tests=str(ROOT / "tests" / "actor"), hang=hang, limit=limit, seconds=seconds)
    environment = {"PATH": os.environ["PATH"], "PYTHONPATH": str(ROOT)}
    found = subprocess.Popen(
        [sys.executable, "-c", script],
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert found.stdout is not None
    assert found.stdout.readline() == "ready\n"
    return found


def test_an_actor_that_never_returns_ends_the_process_by_name():
    with process(hang=SLEEP, limit=15) as found:
        _, said = found.communicate(timeout=20)
    assert found.returncode == 1
    assert "the event loop stands still: /press-4 holds it up" in said


def test_a_loop_that_waits_for_who_reads_its_log_ends_the_process_all_the_same():
    with process(hang=TALK, limit=15) as found:
        try:
            assert found.wait(timeout=10) == 1
        finally:
            found.kill()


def test_a_process_that_was_stopped_for_longer_has_not_hung():
    with process(hang=None, limit=40, seconds=1) as found:
        found.send_signal(signal.SIGSTOP)
        time.sleep(3)  # longer than the limit: what is tested is that nothing happens
        found.send_signal(signal.SIGCONT)
        _, said = found.communicate(timeout=20)
    assert (found.returncode, said) == (0, "")
