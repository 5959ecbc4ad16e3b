"""The root's part that watches the subsystems and the tree, and says how they are."""

from abc import abstractmethod
from collections.abc import Mapping, Sequence

import msgspec
from thespian.actors import ActorAddress

from actors.subsystems.descriptor import Subsystem, Surroundings
from actors.subsystems.health import HealthBook
from actors.subsystems.messages import CheckSubsystem, ReportState, StateReported, SubsystemChecked
from actors.system.actor import Actor
from actors.system.ailments import STUCK, Examination

LOOK_EVERY = 0.5  # seconds: anybody may ask for health, and a look costs 2 ms for a thousand actors


class CheckHealth(msgspec.Struct, frozen=True):
    """To itself."""


class LookAgain(msgspec.Struct, frozen=True):
    """To itself: see whether those that had mail have handled any of it."""


class Watching(Actor):
    """Knows the lifecycle's `state`, and keeps the `book`."""

    surroundings: Surroundings
    subsystems: Sequence[Subsystem]
    names: Mapping[str, str]
    book: HealthBook

    def __init__(self) -> None:
        self.state = "BOOT"
        self.examination = Examination()
        self.looked_at = -LOOK_EVERY

    @abstractmethod
    def note_crashed(self) -> None:
        """Note in the book who has begun another life and not started in it."""

    def runs(self, subsystem: Subsystem) -> bool:
        return self.running(self.surroundings.at(subsystem.name))

    def receiveMsg_CheckHealth(self, message: CheckHealth, sender: ActorAddress) -> None:
        self.book.tally(self.state == "RUNNING")
        self.ask_how_they_are()
        self._look()
        if self.examination.suspects:
            self.wakeupAfter(STUCK, LookAgain())
        self.wakeupAfter(self.surroundings.settings.health.check_interval_ms / 1000, CheckHealth())

    def ask_how_they_are(self) -> None:
        """The answers are noted as they come. One that is missing at the next check is a failure."""
        for subsystem in self.subsystems:
            if self.runs(subsystem):
                self.book.asked(subsystem.name)
                self.send(self.surroundings.at(subsystem.name), CheckSubsystem())

    def receiveMsg_LookAgain(self, message: LookAgain, sender: ActorAddress) -> None:
        self._look()

    def _look(self) -> None:
        self.note_crashed()
        system = self._myRef.system
        self.looked_at = system.loop.time()
        ailments = self.examination.look(self._myRef, self.looked_at)
        self.book.examined(ailments, system.lag, self.clock.trouble)

    def receiveMsg_SubsystemChecked(self, message: SubsystemChecked, sender: ActorAddress) -> None:
        self.book.answered(self.names[sender.addressDetails], message)

    def receiveMsg_ReportState(self, message: ReportState, sender: ActorAddress) -> None:
        if self._myRef.system.loop.time() - self.looked_at >= LOOK_EVERY:
            self._look()
        checks = self.book.report(self.state)
        failed = any((check.critical or check.blocks_readiness) and not check.healthy for check in checks)
        self.send(sender, StateReported(self.state, self.state == "RUNNING" and not failed, checks))
