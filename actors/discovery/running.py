"""One protocol's part of a run, until it has ended, one way or another."""

import asyncio
import logging

import msgspec

from actors.connections.building import build
from actors.connections.deadlines import Overdue, bounded
from actors.discovery.planning import Planned
from actors.discovery.probing import Probing
from actors.system.failure import Refusal, described

log = logging.getLogger(__name__)

LEAST, LONGEST = 60.0, 900.0
"""Seconds that a scan may take: three times what it says to need, but no less and no more."""


class ProtocolScanned(msgspec.Struct, frozen=True):
    """To the scan itself. `error` is why it has failed, or not come to an end; what was found counts."""

    protocol: str
    error: str | None = None


def time_for(planned: Planned) -> float:
    """Seconds."""
    return min(LONGEST, max(LEAST, 3 * planned.plan.within + 10))


async def run_scan(
    planned: Planned, probing: Probing, seconds: float, turns: asyncio.Semaphore | None = None
) -> ProtocolScanned:
    """`_run_scan`, when it is its turn; its time begins then."""
    try:
        if turns is None:
            return await _run_scan(planned, probing, seconds)
        async with turns:
            return await _run_scan(planned, probing, seconds)
    finally:
        await probing.close()


async def _run_scan(planned: Planned, probing: Probing, seconds: float) -> ProtocolScanned:
    """Whatever a scan raises, and however long it goes on, is its own matter. Cancelled, it lets go of what
    it holds; one that withstands that is left to itself, and finds that it can do nothing more."""
    name = planned.protocol
    try:
        await bounded(_scan(planned, probing), seconds)
    except Overdue:
        return ProtocolScanned(name, f"it has not ended within {seconds:g} s")
    except Refusal as refusal:
        return ProtocolScanned(name, refusal.message)
    except asyncio.CancelledError:
        task = asyncio.current_task()
        if task is None or task.cancelling():
            raise
        return ProtocolScanned(name, "it was cancelled from inside")
    except (KeyboardInterrupt, GeneratorExit):
        raise
    except OSError as error:
        return ProtocolScanned(name, described(error))
    except BaseException as error:
        log.error("looking for devices by %s has failed", name, exc_info=error)
        return ProtocolScanned(name, described(error))
    return ProtocolScanned(name)


async def _scan(planned: Planned, probing: Probing) -> None:
    """The library is imported in the thread that builds the protocol's sessions."""
    scan = await build(planned.protocol, planned.discovery.scanner)
    await scan(planned.plan, probing)
