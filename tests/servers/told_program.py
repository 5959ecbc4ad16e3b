"""The other end of a `servers.told_process.ToldProcess`, for programs in Python."""

import asyncio
import json
import logging
import os
import sys
from collections.abc import Awaitable, Callable, Mapping
from pathlib import Path
from typing import Any

_LONGEST = 64 * 1024 * 1024


def module_command(name: str) -> tuple[list[str], Mapping[str, str]]:
    """What runs that module of `servers`, and its environment."""
    return [sys.executable, "-m", f"servers.{name}"], os.environ | {
        "PYTHONPATH": str(Path(__file__).parents[1])
    }


def run(make: Callable[[dict[str, Any]], Any]) -> None:
    """Make something of the first line of standard input, start it, and call its coroutine methods by what
    the further lines say, until there are none: then its `stop` if it has one."""
    logging.basicConfig(level=logging.ERROR, stream=sys.stderr)
    asyncio.run(_serve(make))


async def _serve(make: Callable[[dict[str, Any]], Any]) -> None:
    reader = asyncio.StreamReader(limit=_LONGEST)
    await asyncio.get_running_loop().connect_read_pipe(
        lambda: asyncio.StreamReaderProtocol(reader), sys.stdin
    )
    made = make(json.loads(await reader.readline()))
    print(json.dumps(await _answer(made.start, {})), flush=True)
    while line := await reader.readline():
        asked = json.loads(line)
        work = getattr(made, asked.pop("do"))
        print(json.dumps(await _answer(work, asked)), flush=True)
    if hasattr(made, "stop"):
        await made.stop()


async def _answer(work: Callable[..., Awaitable[Any]], arguments: dict[str, Any]) -> dict[str, Any]:
    try:
        return {"ok": await work(**arguments)}
    except Exception as error:  # the test that asked is told
        logging.exception("when it was asked: %s", arguments)
        return {"error": f"{type(error).__name__}: {error}"}
