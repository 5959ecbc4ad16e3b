"""The root's part that has the subsystems run which are wanted, as the settings say."""

import logging
from abc import abstractmethod
from itertools import count
from typing import Any

import msgspec
from thespian.actors import ActorAddress

from actors.state.messages import StoreOpened
from actors.subsystems.descriptor import Phase, Subsystem
from actors.subsystems.messages import LifecycleChanged, RestartAgent, StopSubsystem
from actors.subsystems.watching import Watching
from actors.system.failure import described
from conf.runtime import RuntimeSettings

log = logging.getLogger(__name__)

END_PATIENCE = 30.0  # seconds that a subsystem may take to stop that is switched off


class Progress(msgspec.Struct, frozen=True):
    """To the root's next life: how far this one was. `ran` says that the agent was RUNNING once, and may not
    be now; `ending` are subsystems that are not wanted any more, and have been told to stop; `restarting`
    says that it is to be restarted once it has stopped, `changing` that the store does what was to be done in
    between."""

    running: bool = False
    ran: bool = False
    started: frozenset[str] = frozenset()
    ending: frozenset[str] = frozenset()
    opened: StoreOpened | None = None
    runtime: RuntimeSettings = RuntimeSettings()
    restarting: RestartAgent | None = None
    changing: bool = False
    stop_to: ActorAddress | None = None


class Ending(msgspec.Struct, frozen=True):
    """To itself: a subsystem that is not wanted any more has had time enough to stop. It was told so in its
    life number `life`; `number` tells this time from others."""

    name: str
    life: int
    number: int


class Running(Watching):
    """Spawns, restates and ends subsystems; `phase` is the latest whose subsystems are to run."""

    def __init__(self) -> None:
        super().__init__()
        self.progress = Progress()
        self.phase = Phase.CORE
        self.lives: dict[str, int] = {}
        """Of each subsystem that has started: which of its lives said so."""
        self._endings: dict[str, Ending] = {}
        self._times = count()

    @abstractmethod
    def failed(self, name: str, error: str) -> None:
        """A subsystem does not do its work."""

    @abstractmethod
    def no_longer(self, name: str) -> None:
        """The phase waits for it no more."""

    def advance(self, **changes: Any) -> None:
        self.progress = msgspec.structs.replace(self.progress, **changes)
        self.remember(self.progress)

    def resume_endings(self) -> None:
        """What an earlier life has told to stop, and is still there, has as much time again."""
        there = frozenset(name for name in self.progress.ending if self.runs(self.subsystem(name)))
        self.progress = msgspec.structs.replace(self.progress, ending=there)
        for name in there:
            self._give_time_to_end(name)

    def subsystem(self, name: str) -> Subsystem:
        return next(one for one in self.subsystems if one.name == name)

    def bring_in_line(self, subsystem: Subsystem) -> None:
        """It runs if it is wanted, and as the settings say. One that is to end is looked at again when it
        has: it stops what it has begun to stop, whatever is wanted meanwhile."""
        address, name = self.surroundings.at(subsystem.name), subsystem.name
        try:
            start = subsystem.start(self.surroundings) if subsystem.wanted(self.surroundings) else None
        except Exception as error:  # one subsystem that cannot be configured is no reason to lose the others
            log.exception("%s cannot be started", name)
            self.not_started(name)
            self.failed(name, described(error))
            return
        if start is None:
            self._let_end(subsystem)
        elif name in self.progress.ending:
            return
        elif not self.runs(subsystem):
            self._spawn(subsystem, start)
        elif start != self.start_of(address):
            self.restate(address, start)

    def _spawn(self, subsystem: Subsystem, start: Any) -> None:
        self.not_started(subsystem.name)
        self.book.failed(subsystem.name, "has not started")
        policy = msgspec.structs.replace(subsystem.actor.RESTART, escalate=subsystem.critical)
        address = self.spawn(subsystem.actor, subsystem.name, start, policy)
        if subsystem.told_state:
            self.send(address, LifecycleChanged(self.state))

    def _let_end(self, subsystem: Subsystem) -> None:
        address, name = self.surroundings.at(subsystem.name), subsystem.name
        self.book.unwanted(name)
        if not self.runs(subsystem):
            self.stop_child(address)  # one that gave up does not come back
        elif name not in self.progress.ending:
            self.advance(ending=self.progress.ending | {name})
            self.send(address, StopSubsystem())
            self._give_time_to_end(name)

    def _give_time_to_end(self, name: str) -> None:
        self._endings[name] = Ending(name, self.life(name), next(self._times))
        self.wakeupAfter(END_PATIENCE, self._endings[name])

    def receiveMsg_Ending(self, message: Ending, sender: ActorAddress) -> None:
        ending = self._endings.get(message.name)
        if ending is not None and ending.number == message.number:
            log.error("%s is switched off, and did not stop in time", message.name)
            self.end(self.subsystem(message.name))

    def ends_this_life_too(self, name: str) -> bool:
        """It is to end, and the life of it that was told so has crashed."""
        ending, life = self._endings.get(name), self.life(name)
        if ending is None or ending.life == life:
            return False
        self._endings[name] = msgspec.structs.replace(ending, life=life)
        return True

    def end(self, subsystem: Subsystem) -> None:
        """It has brought everything to safety, or will not; unless it stays, nobody comes back for it."""
        name = subsystem.name
        if not subsystem.stays or name in self.progress.ending:
            self.stop_child(self.surroundings.at(name))
            self.not_started(name)
            self.book.ended(name)
        self.has_ended(subsystem)
        self.no_longer(name)

    def has_ended(self, subsystem: Subsystem) -> None:
        """If it was switched off, it may be wanted again by now."""
        self._endings.pop(subsystem.name, None)
        if subsystem.name in self.progress.ending:
            self.advance(ending=self.progress.ending - {subsystem.name})
            if self.state not in ("STOPPING", "STOPPED") and subsystem.phase <= self.phase:
                self.bring_in_line(subsystem)

    def not_started(self, name: str) -> None:
        """It is to say so again."""
        if name in self.progress.started:
            self.advance(started=self.progress.started - {name})

    def note_crashed(self) -> None:
        for name in self.progress.started:
            if self.life(name) != self.lives[name]:
                self.not_started(name)
                self.book.failed(name, "has not started")

    def life(self, name: str) -> int:
        """How often it has been restarted."""
        cell = (self._myRef.children or {}).get(self.surroundings.at(name).addressDetails)
        return cell.crashes.restarts if cell is not None else 0
