"""`callboard run`: the process around the actor system."""

import asyncio
import gc
import logging
import os
import signal
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from actors.agent import Agent, RunAgent, Stop
from actors.system.asyncio_base import AsyncioSystemBase
from api.gateway import Gateway
from api.version import version
from conf.settings import ConfigError, Settings, load

if TYPE_CHECKING:
    from api import demo as demo_mode

STOP_PATIENCE = 20.0  # seconds from the signal to a forced end
CONFIG_ERROR = 2

log = logging.getLogger(__name__)

LEVELS = {"debug": logging.DEBUG, "info": logging.INFO, "warn": logging.WARNING, "error": logging.ERROR}


def run(config: Path | None, data_dir: Path | None, demo: bool) -> int:
    """Run the agent until a signal; the exit code is 0 after an orderly stop."""
    overrides: dict[str, Any] = {"storage.data_dir": data_dir}
    try:
        settings = load(config, os.environ, overrides)
        if demo and data_dir is None:
            overrides["storage.data_dir"] = settings.storage.data_dir / "demo"
            settings = load(config, os.environ, overrides)
    except ConfigError as error:
        print(f"callboard: {error}", file=sys.stderr)
        return CONFIG_ERROR
    _log_to(settings, demo)
    _tune_collector()
    with asyncio.Runner(loop_factory=_loop_factory()) as runner:
        return runner.run(_main(settings, demo))


async def _main(settings: Settings, demo: bool) -> int:
    base = AsyncioSystemBase(mailbox_size=settings.actors.mailbox_size)
    agent = base.spawn(None, Agent, "agent", RunAgent(settings, version(), Gateway))
    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGQUIT, signal.SIGHUP):
        base.loop.add_signal_handler(number, stop.set)
    ended = asyncio.ensure_future(base.ended(agent))
    stopping = asyncio.ensure_future(stop.wait())
    shown: demo_mode.Demo | None = None
    try:
        waits: set[asyncio.Future[Any]] = {ended, stopping}
        if demo:
            from api.demo import Demo  # pulls in the simulated plant and the live view

            shown = Demo(base, agent, settings)
            waits.add(asyncio.ensure_future(shown.run()))
        await asyncio.wait(waits, return_when=asyncio.FIRST_COMPLETED)
        if ended.done():
            return 1
        return await _stop(base, agent)
    finally:
        for waiting in (ended, stopping):
            waiting.cancel()
        if shown is not None:
            await shown.stop()
        base.shutdown()
        await base.released()


async def _stop(base: AsyncioSystemBase, agent: Any) -> int:
    if await base.ask(agent, Stop(), STOP_PATIENCE) is None:
        log.error("stopping took longer than %.0f s: ended by force", STOP_PATIENCE)
        return 1
    return 0


def _loop_factory() -> Any:
    try:
        import uvloop
    except ImportError:
        return None
    return uvloop.new_event_loop


def _tune_collector() -> None:
    """Leave the modules loaded so far out of garbage collection, and look less often at the young:
    readings die by reference count, and walking the heap for them is work for nothing."""
    gc.freeze()
    gc.set_threshold(20_000, 20, 50)


def _log_to(settings: Settings, demo: bool) -> None:
    """To standard error; in a demo on a terminal, which its live view draws on, to a file."""
    handler: logging.Handler = logging.StreamHandler()
    if demo and sys.stdout.isatty():
        settings.storage.data_dir.mkdir(parents=True, exist_ok=True)
        handler = logging.FileHandler(settings.storage.data_dir / "callboard.log")
    handler.setFormatter(logging.Formatter("%(asctime)s %(levelname)-7s %(name)s: %(message)s"))
    logging.basicConfig(level=LEVELS[settings.agent.log_level], handlers=[handler])
    for chatty in ("gmqtt", "pymodbus", "asyncio", "aiohttp.access"):
        logging.getLogger(chatty).setLevel(logging.ERROR)
