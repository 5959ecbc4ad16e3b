"""Running another program: without a shell, with an end, and nothing of it left behind."""

import asyncio
import os
import signal
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Final

import msgspec

KEPT: Final = 4096
"""Characters of a program's output that are kept: the last ones, which say why it failed."""


class ProgramEnded(msgspec.Struct, frozen=True):
    """`code` is None when it could not be started or took too long, and `output` says so then; a signal's
    number is negative."""

    code: int | None
    output: str

    @property
    def why(self) -> str:
        """Why it failed, on one line."""
        said = " ".join(self.output.split())[-500:]
        if self.code is None:
            return said
        ended = f"ended with {self.code}" if self.code >= 0 else f"was ended by signal {-self.code}"
        return f"{ended}: {said}" if said else ended


async def run_program(
    arguments: Sequence[str],
    environment: Mapping[str, str],
    seconds: float,
    folder: Path | None = None,
    told: Callable[[str], None] = lambda line: None,
    nice: int = 0,
) -> ProgramEnded:
    """Run it to its end, with both outputs as one and no input. It and its children end when it takes
    longer, and when the caller is cancelled. `told` gets each line."""
    try:
        process = await asyncio.create_subprocess_exec(
            *arguments,
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.STDOUT,
            env=dict(environment),
            cwd=folder,
            start_new_session=True,
            limit=65_536,
        )
    except (OSError, ValueError) as error:
        return ProgramEnded(None, f"{arguments[0]} could not be started: {error}")
    if nice:
        with suppress(OSError):
            os.setpriority(os.PRIO_PGRP, process.pid, nice)
    output: list[str] = []
    try:
        async with asyncio.timeout(seconds):
            await _read(process, output, told)
            code = await process.wait()
    except TimeoutError:
        last = " ".join("".join(output).split())[-300:]
        return ProgramEnded(
            None, f"{arguments[0]} took longer than {seconds:g} s" + (f": {last}" if last else "")
        )
    finally:
        await _end(process)
    return ProgramEnded(code, "".join(output)[-KEPT:])


async def _read(process: asyncio.subprocess.Process, output: list[str], told: Callable[[str], None]) -> None:
    assert process.stdout is not None
    size = 0
    while raw := await process.stdout.read(8192):
        text = raw.decode("utf-8", "replace")
        output.append(text)
        size += len(text)
        while len(output) > 1 and size - len(output[0]) >= KEPT:
            size -= len(output.pop(0))
        for line in text.splitlines():
            told(line)


async def _end(process: asyncio.subprocess.Process) -> None:
    """Nobody of its group is left, children that outlived it included."""
    with suppress(ProcessLookupError, PermissionError):
        os.killpg(process.pid, signal.SIGKILL)
    if process.returncode is None:
        await process.wait()
