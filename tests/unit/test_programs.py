"""Running another program: with an end, and nothing of it left."""

import asyncio
import os
import sys
import time

import psutil
import pytest

from actors.system.programs import KEPT, run_program

PATH = {"PATH": os.environ["PATH"]}


def of(mark: str) -> list[psutil.Process]:
    """The processes whose command line has the mark."""
    return [
        one
        for one in psutil.process_iter(["cmdline", "status"])
        if mark in (one.info["cmdline"] or ()) and one.info["status"] != psutil.STATUS_ZOMBIE
    ]


async def until_none(mark: str) -> None:
    deadline = time.monotonic() + 5
    while of(mark):
        assert time.monotonic() < deadline
        await asyncio.sleep(0.02)


async def test_code_and_both_outputs_come_back(tmp_path):
    lines: list[str] = []
    command = ["sh", "-c", "echo out; echo err >&2; pwd; exit 3"]
    ended = await run_program(command, PATH, 10, tmp_path, lines.append)
    assert (ended.code, sorted(lines)) == (3, sorted(["out", "err", str(tmp_path)]))
    assert ended.why.startswith("ended with 3: ")


async def test_it_has_no_input_no_terminal_and_no_environment_but_the_given():
    command = ["sh", "-c", "cat; tty; env"]
    ended = await run_program(command, PATH | {"MINE": "1"}, 10)
    assert "not a tty" in ended.output
    names = {line.split("=")[0] for line in ended.output.splitlines()[1:]}
    assert names - {"PWD", "_", "OLDPWD", "SHLVL"} == {"PATH", "MINE"}


async def test_of_much_output_the_end_is_kept():
    ended = await run_program([sys.executable, "-c", "print('x' * 500_000 + 'the end')"], PATH, 20)
    assert len(ended.output) <= KEPT
    assert ended.output.strip().endswith("the end")


@pytest.mark.parametrize("command", [["/no/such/program"], [""], ["a\0b"], ["/etc/passwd"], ["/"]])
async def test_one_that_cannot_be_started_is_an_outcome(command):
    ended = await run_program(command, PATH, 5)
    assert ended.code is None
    assert "could not be started" in ended.why


async def test_one_that_takes_too_long_ends_with_its_children():
    mark = f"mark-{time.monotonic_ns()}"
    command = ["sh", "-c", "trap '' TERM; echo began; sh -c 'sleep 60; :' $0 & sleep 60; :", mark]
    began = time.monotonic()
    ended = await run_program(command, PATH, 0.5)
    assert time.monotonic() - began < 5
    assert ended.code is None
    assert ended.why == "sh took longer than 0.5 s: began"
    await until_none(mark)


async def test_children_that_it_leaves_are_ended():
    """A program that goes into the background would keep the output open for ever."""
    mark = f"mark-{time.monotonic_ns()}"
    ended = await run_program(["sh", "-c", "sh -c 'sleep 60; :' $0 >/dev/null 2>&1 & exit 0", mark], PATH, 5)
    assert ended.code == 0
    await until_none(mark)


async def test_one_that_is_cancelled_ends_with_its_children():
    mark = f"mark-{time.monotonic_ns()}"
    command = ["sh", "-c", "sh -c 'sleep 60; :' $0; :", mark]
    running = asyncio.ensure_future(run_program(command, PATH, 60))
    deadline = time.monotonic() + 5
    while not of(mark):
        assert time.monotonic() < deadline
        await asyncio.sleep(0.01)
    running.cancel()
    with pytest.raises(asyncio.CancelledError):
        await running
    await until_none(mark)


async def test_it_can_give_way_to_others():
    ended = await run_program(["sh", "-c", "sleep 0.2; nice"], PATH, 10, nice=10)
    assert ended.output.strip() == "10"
