"""Shutting the machine down, by the command that is configured for it."""

import asyncio
import logging
import os
import shutil
from collections.abc import Sequence
from typing import Final

import msgspec
from thespian.actors import ActorAddress

from actors.power.messages import ShutdownAnswered, ShutDownMachine
from actors.subsystems.descriptor import SubsystemActor
from actors.subsystems.messages import CheckSubsystem, SubsystemChecked, SubsystemStarted
from actors.system.programs import ProgramEnded, run_program

log = logging.getLogger(__name__)

DELAY: Final = 0.3
"""Seconds in which the answer gets away."""

PATIENCE: Final = 300.0
"""Seconds after a command that ended well by which the machine should be down."""

TOLD: Final = 3600.0
"""Seconds for which the health report tells of a failure."""

SILENT: Final = "the command ended well, and the machine is still up"
_PASSED_ON: Final = ("PATH", "LANG", "LC_ALL", "HOME", "DBUS_SYSTEM_BUS_ADDRESS")


class RunPower(msgspec.Struct, frozen=True):
    """Start: the command with its arguments, which may be none."""

    command: tuple[str, ...]
    seconds: float


class CommandLookedUp(msgspec.Struct, frozen=True):
    """To itself: where the command is; None: nowhere."""

    program: str | None
    requester: ActorAddress


class ShutDownNow(msgspec.Struct, frozen=True):
    """To itself, when the answer has had time to get away."""

    program: str


class ExpectEnd(msgspec.Struct, frozen=True):
    """To itself: the machine should be down by now."""

    number: int


class ForgetFailure(msgspec.Struct, frozen=True):
    """To itself: it has been told long enough."""

    number: int


class Power(SubsystemActor):
    """Runs one command at a time, after its answer. The shutdown's signal then stops the agent like any."""

    def __init__(self) -> None:
        self.busy = False
        self.number = 0
        self.last_error: str | None = None

    def receiveMsg_RunPower(self, message: RunPower, sender: ActorAddress) -> None:
        self.config = message
        self.send(sender, SubsystemStarted())

    def receiveMsg_ShutDownMachine(self, message: ShutDownMachine, sender: ActorAddress) -> None:
        if not self.config.command:
            hint = 'Set power.shutdown_command, such as ["systemctl", "poweroff"]'
            self.send(sender, ShutdownAnswered("No shutdown command is configured", hint, configured=False))
        elif self.busy:
            self.send(sender, ShutdownAnswered("A shutdown is under way", "Wait for it", busy=True))
        else:
            self.busy = True
            looking = asyncio.to_thread(shutil.which, self.config.command[0])
            self.run(looking, then=lambda found: CommandLookedUp(found, sender))

    def receiveMsg_CommandLookedUp(self, message: CommandLookedUp, sender: ActorAddress) -> None:
        if message.program is None:
            self.busy = False
            name = self.config.command[0]
            refusal = f"The shutdown command {name} is not there, or may not be run"
            self._failed(refusal)
            hint = "Set power.shutdown_command to a program that the agent's user may run"
            self.send(message.requester, ShutdownAnswered(refusal, hint))
            return
        self.send(message.requester, ShutdownAnswered(last_error=self.last_error))
        self.wakeupAfter(DELAY, ShutDownNow(message.program))

    def receiveMsg_ShutDownNow(self, message: ShutDownNow, sender: ActorAddress) -> None:
        log.warning("shutting the machine down: %s", " ".join(self.config.command))
        running = run_program(
            [message.program, *self.config.command[1:]], _environment(), self.config.seconds
        )
        self.run(running, then=lambda ended: ended, within=None)

    def receiveMsg_ProgramEnded(self, message: ProgramEnded, sender: ActorAddress) -> None:
        self.busy = False
        if message.code != 0:
            self._failed(f"the shutdown command {message.why}")
            return
        self.number += 1
        self.last_error = None
        self.wakeupAfter(PATIENCE, ExpectEnd(self.number))

    def receiveMsg_ExpectEnd(self, message: ExpectEnd, sender: ActorAddress) -> None:
        if message.number == self.number:
            self._failed(SILENT)

    def _failed(self, why: str) -> None:
        log.error("the machine is not shut down: %s", why)
        self.number += 1
        self.last_error = why
        self.wakeupAfter(TOLD, ForgetFailure(self.number))

    def receiveMsg_ForgetFailure(self, message: ForgetFailure, sender: ActorAddress) -> None:
        if message.number == self.number:
            self.last_error = None

    def receiveMsg_CheckSubsystem(self, message: CheckSubsystem, sender: ActorAddress) -> None:
        self.send(sender, SubsystemChecked(self.last_error))


def _environment(passed_on: Sequence[str] = _PASSED_ON) -> dict[str, str]:
    """Nothing of the agent's own, which holds secrets."""
    return {name: os.environ[name] for name in passed_on if name in os.environ}
