"""What the service manager, systemd or who else set NOTIFY_SOCKET, is told of the agent (sd_notify(3))."""

import asyncio
import logging
import os
import socket
from collections.abc import MutableMapping
from time import monotonic
from typing import Self

from thespian.actors import ActorAddress

from actors.subsystems.health import failing
from actors.subsystems.messages import ReportState, StateReported
from actors.system.asyncio_base import AsyncioSystemBase

log = logging.getLogger(__name__)

START_LOOK = 0.05  # seconds between looks at an agent that starts
LOOK = 10.0  # seconds between those at one that runs, where no watchdog asks for more
PATIENCE = 5.0  # seconds in which the root has to answer
EXTENSION = 30.0  # seconds for which a start that is under way asks, again and again
EXTEND_EVERY = 5.0


class ServiceManager:
    """Sends datagrams to `address` (None: nobody is there), a path or, with an @ before it, an abstract name;
    that nobody takes them is no reason not to run. `watchdog` is after how many seconds without a sign of
    life the agent is ended (None: never)."""

    def __init__(self, address: str | None = None, watchdog: float | None = None) -> None:
        self._address = address
        self._watchdog = watchdog
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC)
        self._socket.setblocking(False)
        self._heard = True
        self._well = True
        self._extended = -EXTENSION

    @classmethod
    def found_in(cls, environment: MutableMapping[str, str]) -> Self:
        """As the environment says, which then says so no more: programs that the agent starts are not to
        speak for it."""
        address = environment.pop("NOTIFY_SOCKET", "")
        microseconds, pid = environment.pop("WATCHDOG_USEC", ""), environment.pop("WATCHDOG_PID", "")
        if not address:
            return cls()
        if address[0] not in "/@" or len(address) < 2:
            log.warning("NOTIFY_SOCKET=%s is neither a path nor an abstract name: nobody is told", address)
            return cls()
        mine = pid in ("", str(os.getpid()))
        watched = mine and microseconds.isascii() and microseconds.isdigit() and int(microseconds) > 0
        return cls(address, int(microseconds) / 1e6 if watched else None)

    async def follow(self, base: AsyncioSystemBase, agent: ActorAddress) -> None:
        """Until cancelled: that it is ready, once it is; how it is; and signs of life while it is healthy."""
        if self._address is None:
            return
        while not (state := await _ask(base, agent)) or state.state != "RUNNING":
            self._starts(state)
            await asyncio.sleep(START_LOOK)
        self._tell("READY=1", f"STATUS={_status(state)}")
        while True:
            await asyncio.sleep(LOOK if self._watchdog is None else min(LOOK, self._watchdog / 2))
            self._runs(await _ask(base, agent))

    def stopping(self) -> None:
        """It stops for good: a soft restart is none of the service manager's business."""
        self._tell("STOPPING=1", "STATUS=STOPPING: brings every reading to safety")

    def close(self) -> None:
        self._socket.close()

    def _starts(self, state: StateReported | None) -> None:
        """A large database may take long to be upgraded."""
        now = monotonic()
        if state is not None and now - self._extended >= EXTEND_EVERY:
            self._extended = now
            self._tell(f"EXTEND_TIMEOUT_USEC={EXTENSION * 1e6:.0f}", f"STATUS={state.state}")

    def _runs(self, state: StateReported | None) -> None:
        well = state is not None and state.state != "ERROR" and not failing(state.checks)
        if well != self._well and self._watchdog is not None:
            if well:
                log.info("healthy again: the service manager is given signs of life")
            else:
                log.error("the service manager is given no sign of life: %s", _status(state))
        self._well = well
        signs = ["WATCHDOG=1"] if well and self._watchdog is not None else []
        self._tell(*signs, f"STATUS={_status(state)}")

    def _tell(self, *lines: str) -> None:
        if self._address is None:
            return
        name = "\0" + self._address[1:] if self._address.startswith("@") else self._address
        try:
            self._socket.sendto("\n".join(lines).encode(), name)
        except OSError as error:  # gone, or nobody takes anything out of it
            if self._heard:
                log.warning("the service manager does not hear (NOTIFY_SOCKET): %s", error)
            self._heard = False
        else:
            self._heard = True


async def _ask(base: AsyncioSystemBase, agent: ActorAddress) -> StateReported | None:
    answer = await base.ask(agent, ReportState(), PATIENCE)
    return answer if isinstance(answer, StateReported) else None


def _status(state: StateReported | None) -> str:
    """One line."""
    if state is None:
        return "UNKNOWN: the agent does not answer"
    wrong = [
        f"{check.name}: {check.last_error}" if check.last_error else check.name
        for check in state.checks
        if not check.healthy and check.name != "lifecycle"
    ]
    said = state.state if state.state != "RUNNING" or state.ready else "RUNNING, not ready"
    return " ".join("; ".join([said, *wrong]).split())
