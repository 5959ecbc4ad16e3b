"""`callboard run`: the process around the actor system."""

import asyncio
import contextlib
import gc
import logging
import os
import resource
import signal
import sys
import threading
from pathlib import Path
from typing import TYPE_CHECKING, Any

from thespian.actors import ActorAddress

from actors.agent import Agent, RunAgent, Stop, Stopped
from actors.logs import capture
from actors.settings.log_level import log_from
from actors.subsystems.registry import subsystems
from actors.system.asyncio_base import AsyncioSystemBase, new_loop
from actors.system.watchdog import Watchdog
from actors.update import startup
from api import gateway
from api.cli.log_lines import LogLines
from api.cli.service_manager import ServiceManager
from api.version import version
from conf.clean_records import take_uncaught
from conf.settings import ConfigError, Settings, load

if TYPE_CHECKING:
    from api.cli import demo as demo_mode

STOP_PATIENCE = 15.0  # seconds that an orderly stop may take
STOP_AGAIN = 0.1  # seconds before an agent that did not take it is told to stop again
FORCED_END = 20.0  # seconds from the signal to the end of the process, whatever is still under way
CONFIG_ERROR = 2
DESCRIPTORS = 65_536
"""As many are enough; containers allow a thousand million, through which some programs that are started close
one after the other."""

log = logging.getLogger(__name__)


def run(config: Path | None, data_dir: Path | None, demo: bool) -> int:
    """Run the agent until a signal; the exit code is 0 after an orderly stop."""
    terminal = _begin_to_log()
    overrides: dict[str, Any] = {"storage.data_dir": data_dir}
    try:
        settings = load(config, os.environ, overrides)
        if demo and data_dir is None:
            overrides["storage.data_dir"] = settings.storage.data_dir / "demo"
            settings = load(config, os.environ, overrides)
    except ConfigError as error:
        print(f"callboard: {error}", file=sys.stderr)
        return CONFIG_ERROR
    _log_to(settings, demo, terminal)
    _tune_collector()
    _take_descriptors()
    startup.settle(settings)
    with asyncio.Runner(loop_factory=new_loop) as runner:
        code = runner.run(_main(settings, demo))
    startup.take_over()
    return code


async def _main(settings: Settings, demo: bool) -> int:
    base = AsyncioSystemBase(mailbox_size=settings.actors.mailbox_size)
    start = RunAgent(settings, version(), (*subsystems(), gateway.SUBSYSTEM))
    agent = base.spawn(None, Agent, "agent", start)
    watchdog = Watchdog(base)
    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGQUIT, signal.SIGHUP):
        base.loop.add_signal_handler(number, _stop_on, number, stop)
    manager = ServiceManager.found_in(os.environ)
    following = asyncio.ensure_future(manager.follow(base, agent))
    ended = asyncio.ensure_future(base.ended(agent))
    waits: list[asyncio.Future[Any]] = [ended, asyncio.ensure_future(stop.wait())]
    shown: demo_mode.Demo | None = None
    try:
        if demo:
            from api.cli.demo import Demo  # pulls in the simulated plant and the live view

            shown = Demo(base, agent, settings)
            waits.append(asyncio.ensure_future(shown.run()))
        await asyncio.wait(waits, return_when=asyncio.FIRST_COMPLETED)
        _force_end()
        following.cancel()
        if not startup.hands_over():
            manager.stopping()
        if ended.done():
            return 1
        if shown is not None:
            waits[-1].cancel()  # the live view, which would show how all of it goes
            await shown.leave()
        return max(await _stop(base, agent, ended), _outcome(waits[-1]))
    finally:
        for waiting in (*waits, following):
            waiting.cancel()
        await asyncio.gather(*waits, following, return_exceptions=True)
        manager.close()
        if shown is not None:
            await shown.stop()
        watchdog.stop()
        base.shutdown()
        await base.released()


def _stop_on(number: int, stop: asyncio.Event) -> None:
    startup.signalled(number)
    stop.set()


def _force_end() -> None:
    """A thread stuck in a system call (a name server that does not answer) would keep the process."""
    timer = threading.Timer(FORCED_END, os._exit, (1,))
    timer.daemon = True
    timer.start()


def _outcome(waiting: "asyncio.Future[Any]") -> int:
    """The exit code after what ended by itself: 1 for a demo that failed."""
    error = waiting.exception() if waiting.done() and not waiting.cancelled() else None
    if error is None:
        return 0
    log.critical("the demo ends: %s", str(error) or type(error).__name__)
    return 1


async def _stop(base: AsyncioSystemBase, agent: ActorAddress, ended: "asyncio.Future[None]") -> int:
    """The exit code: 0 when the agent says that everything is in safety. One that fails over being told to
    stop, or has no room for it, is told again, until it has ended for good."""
    try:
        async with asyncio.timeout(STOP_PATIENCE):
            while not ended.done():
                if isinstance(await base.ask(agent, Stop()), Stopped):
                    return 0
                await asyncio.sleep(STOP_AGAIN)
    except TimeoutError:
        log.error("stopping took longer than %.0f s: ended by force", STOP_PATIENCE)
    else:
        log.error("the agent ended before it had stopped")
    return 1


def _tune_collector() -> None:
    """Leave the modules loaded so far out of garbage collection, and look less often at the young:
    readings die by reference count, and walking the heap for them is work for nothing."""
    gc.freeze()
    gc.set_threshold(20_000, 20, 50)


def _take_descriptors() -> None:
    """As many as an administrator allows: the usual 1024 are for programs of another kind."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = min(hard, DESCRIPTORS)
    if soft >= wanted:
        return
    try:
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))
    except (OSError, ValueError) as error:
        log.warning("there are %d descriptors, and no more: %s", soft, error)


def _begin_to_log() -> logging.Handler:
    """To memory and to standard error, without secrets, before anything else is done."""
    capture.attach()
    take_uncaught()
    terminal = logging.StreamHandler()
    terminal.setFormatter(LogLines())
    logging.getLogger().addHandler(terminal)
    return terminal


def _log_to(settings: Settings, demo: bool, terminal: logging.Handler) -> None:
    """In a demo on a terminal, which its live view draws on, to a file, and to the terminal only what ends
    it."""
    root = logging.getLogger()
    log_from(settings.agent.log_level)
    if demo and sys.stdout.isatty():
        terminal.setLevel(logging.CRITICAL)
        with contextlib.suppress(OSError):  # a folder that cannot be written ends the agent, which says why
            settings.storage.data_dir.mkdir(parents=True, exist_ok=True)
            file = logging.FileHandler(settings.storage.data_dir / "callboard.log")
            file.setFormatter(LogLines())
            root.addHandler(file)
    for chatty in ("gmqtt", "pymodbus", "asyncio", "aiohttp.access"):
        logging.getLogger(chatty).setLevel(logging.ERROR)
