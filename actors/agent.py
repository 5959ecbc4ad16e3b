"""The root actor: goes through the subsystems in order, and back."""

import gc
import logging
import platform
import uuid
from contextlib import suppress
from pathlib import Path

import msgspec
from thespian.actors import ActorAddress, ActorExitRequest, ChildActorExited

from actors.state.messages import StoreOpened
from actors.subsystems.descriptor import Phase, Subsystem, Surroundings
from actors.subsystems.health import HealthBook
from actors.subsystems.lifecycle import MOVES, STARTING
from actors.subsystems.messages import (
    AgentDescribed,
    DescribeAgent,
    EndAgent,
    LifecycleChanged,
    RestartAgent,
    RestartBegun,
    SettingsStated,
    StopSubsystem,
    SubsystemFailed,
    SubsystemStarted,
    SubsystemStopped,
)
from actors.subsystems.running import Progress, Running
from actors.subsystems.watching import CheckHealth
from actors.system import tree
from actors.system.failure import Failed
from actors.system.messages import DumpTree
from actors.system.supervision import Restart
from conf.settings import Settings

log = logging.getLogger(__name__)

START_PATIENCE = 10.0  # seconds that a phase may take to start before the next one begins all the same
STOP_PATIENCE = 2.0  # seconds that a phase may take to stop
DELIVERY_PATIENCE = 8.0  # seconds that those may take which bring readings to safety
RESTART_PATIENCE = 30.0  # seconds that a phase may take to stop where no process waits for its end


class RunAgent(msgspec.Struct, frozen=True):
    """Start."""

    settings: Settings
    version: str
    subsystems: tuple[Subsystem, ...]


class Stop(msgspec.Struct, frozen=True):
    """To `agent`: bring every reading to safety and end; answered by `Stopped`."""


class Stopped(msgspec.Struct, frozen=True):
    pass


class BeginPhase(msgspec.Struct, frozen=True):
    """To itself."""

    phase: Phase


class PhaseOver(msgspec.Struct, frozen=True):
    """To itself: that phase has been waited for long enough; `number` tells it from others."""

    number: int


class Agent(Running):
    """Starts phase after phase, each when the one before has started; stops them the other way round.

    A restart finds the tree running, starts what is missing and goes on. Before RUNNING there is nothing to
    keep: what is critical and fails then ends the agent, so that whoever started it sees it.
    """

    RESTART = Restart("transient", period=600.0, keep_children=True)

    def __init__(self) -> None:
        super().__init__()
        self.waiting: set[str] = set()
        self.number = 0

    # Starting

    def receiveMsg_RunAgent(self, message: RunAgent, sender: ActorAddress) -> None:
        self.surroundings = Surroundings(message.settings, message.version, self.myAddress)
        self.subsystems = message.subsystems
        self.names = {self.surroundings.at(one.name).addressDetails: one.name for one in self.subsystems}
        self.book = HealthBook(self.subsystems)
        log.info("callboard %s starts, its data is in %s", message.version, message.settings.storage.data_dir)
        self._compare_clock(message.settings.database_path)
        self._enter("INIT")
        self.send(self.myAddress, BeginPhase(Phase.CORE))  # what an earlier life left comes before it

    def _compare_clock(self, database: Path) -> None:
        """A clock that was set back since the last run is told by the files of that."""
        files = (database, database.with_name(f"{database.name}-wal"))
        written = [0]
        for file in files:
            with suppress(OSError):
                written.append(file.stat().st_mtime_ns // 1_000_000)
        self.clock.compare(max(written), "the database was written")

    def receiveMsg_Progress(self, message: Progress, sender: ActorAddress) -> None:
        self.progress = message
        for name in message.started:
            self.book.started(name)
            self.lives[name] = self.life(name)
        self.resume_endings()
        self.surroundings = msgspec.structs.replace(self.surroundings, runtime=message.runtime)
        if message.opened is not None:
            self.receiveMsg_StoreOpened(message.opened, sender)
        if message.running:
            self._resume("RUNNING")
        if message.ran:
            self.receiveMsg_CheckHealth(CheckHealth(), sender)
        if message.stop_to is not None:
            self.receiveMsg_Stop(Stop(), message.stop_to)
        elif message.restarting is not None:
            self._begin_to_stop()

    def receiveMsg_StoreOpened(self, message: StoreOpened, sender: ActorAddress) -> None:
        self.surroundings = msgspec.structs.replace(self.surroundings, identity=message.identity)
        self.book.stored(message.kinds)
        self.advance(opened=message, changing=False)

    def receiveMsg_BeginPhase(self, message: BeginPhase, sender: ActorAddress) -> None:
        if self.state in ("STOPPING", "STOPPED", "ERROR"):
            return
        self.phase = message.phase
        if message.phase is Phase.FEATURES and self.state == "INIT":
            self._enter("READY")
        mine = [one for one in self.subsystems if one.phase is message.phase]
        for subsystem in mine:
            self.bring_in_line(subsystem)
        self._wait({one.name for one in mine if self.runs(one)} - self.progress.started, START_PATIENCE)

    def receiveMsg_SettingsStated(self, message: SettingsStated, sender: ActorAddress) -> None:
        self.surroundings = msgspec.structs.replace(self.surroundings, runtime=message.settings)
        self.advance(runtime=message.settings)
        if self.state not in ("STOPPING", "STOPPED"):
            for subsystem in self.subsystems:
                if subsystem.phase <= self.phase:
                    self.bring_in_line(subsystem)

    def _wait(self, names: set[str], patience: float) -> None:
        self.number += 1
        self.waiting = names
        if names:
            self.wakeupAfter(patience, PhaseOver(self.number))
        else:
            self._phase_over()

    def receiveMsg_PhaseOver(self, message: PhaseOver, sender: ActorAddress) -> None:
        """Where the process goes on, what does not stop is ended, for another to begin."""
        if message.number != self.number or not self.waiting:
            return
        log.error("%s did not do so in time: %s", self.state.lower(), ", ".join(sorted(self.waiting)))
        if self.state != "STOPPING" and self._without_database:
            # A large one is being checked, upgraded, restored or emptied: nothing can be done without it.
            self.wakeupAfter(START_PATIENCE, message)
            return
        if self.state == "STOPPING" and self.progress.stop_to is None:
            for name in sorted(self.waiting):
                self.end(self.subsystem(name))
        else:
            self._phase_over()

    @property
    def _without_database(self) -> bool:
        changing = self.progress.changing and "store" in self.waiting
        return self.surroundings.identity is None or changing

    def _phase_over(self) -> None:
        self.waiting = set()
        if self.state == "STOPPING":
            self._stop_before(self.phase)
        elif self.phase < max(Phase):
            self.send(self.myAddress, BeginPhase(Phase(self.phase + 1)))
        elif self.state in STARTING:
            self._run()

    def _run(self) -> None:
        if self.state == "INIT":
            self._enter("READY")  # this life began after the phase that does so
        self._enter("RUNNING")
        checked = self.progress.ran
        self.advance(running=True, ran=True)
        if checked:
            self.ask_how_they_are()  # who came new has said nothing yet
        else:
            self.receiveMsg_CheckHealth(CheckHealth(), self.myAddress)

    def no_longer(self, name: str) -> None:
        """The phase waits for it no more."""
        if name in self.waiting:
            self.waiting.discard(name)
            if not self.waiting:
                self._phase_over()

    def receiveMsg_SubsystemStarted(self, message: SubsystemStarted, sender: ActorAddress) -> None:
        name = self.names[sender.addressDetails]
        self.book.started(name)
        self.lives[name] = self.life(name)
        if name not in self.progress.started:
            self.advance(started=self.progress.started | {name})
        stopping = self.state == "STOPPING"
        if self.ends_this_life_too(name) or (stopping and name in self.waiting):
            self.send(sender, StopSubsystem())  # the one that was asked has crashed over it
        elif not stopping:
            self.no_longer(name)

    def receiveMsg_SubsystemFailed(self, message: SubsystemFailed, sender: ActorAddress) -> None:
        name = self.names[sender.addressDetails]
        self.not_started(name)
        if name == "store" and self.progress.changing:
            self.advance(changing=False)  # it is not open, and may not be for long
        self.failed(name, message.message)

    def failed(self, name: str, error: str) -> None:
        self.book.failed(name, error)
        critical = any(one.critical for one in self.subsystems if one.name == name)
        if critical and self.state in STARTING and not self.progress.ran:
            self._enter("ERROR")
            log.critical("cannot start: %s", error)
            self.send(self.myAddress, ActorExitRequest())

    def receiveMsg_ChildActorExited(self, message: ChildActorExited, sender: ActorAddress) -> None:
        name = self.names.get(message.childAddress.addressDetails)
        if name is not None:
            subsystem = self.subsystem(name)
            self.not_started(name)
            self.book.failed(name, "has ended")
            if self.state == "STOPPING" and not subsystem.stays:
                self.stop_child(message.childAddress)  # else it is back before the others have stopped
            self.has_ended(subsystem)
            self.no_longer(name)

    # Stopping

    def receiveMsg_Stop(self, message: Stop, sender: ActorAddress) -> None:
        """Where it is stopping already, to be restarted, it goes on with that, and is not started again."""
        self.advance(stop_to=sender)
        if self.state == "STOPPED":
            self.send(sender, Stopped())
        elif self.state != "STOPPING":
            self._begin_to_stop()

    def receiveMsg_EndAgent(self, message: EndAgent, sender: ActorAddress) -> None:
        if self.progress.stop_to is None:  # else it ends already, as somebody waits for it to
            log.critical("the agent ends, to be started again: %s", message.reason)
            self.receiveMsg_Stop(Stop(), self.myAddress)

    def receiveMsg_Stopped(self, message: Stopped, sender: ActorAddress) -> None:
        """Everything is in safety, as it has asked of itself."""
        self.send(self.myAddress, ActorExitRequest())

    def receiveMsg_RestartAgent(self, message: RestartAgent, sender: ActorAddress) -> None:
        if self.state != "RUNNING":
            self.send(sender, Failed("conflict", "Restart not allowed in current lifecycle state"))
            return
        self.send(sender, RestartBegun(self.state))
        self.advance(running=False, restarting=message)
        self._begin_to_stop()

    def _begin_to_stop(self) -> None:
        self._enter("STOPPING")
        self._stop_before(None)

    def _stop_before(self, phase: Phase | None) -> None:
        """Stop the phase before this one; None: the last there is."""
        earlier = [one for one in Phase if phase is None or one < phase]
        if not earlier:
            self._enter("STOPPED")
            self._stopped()
            return
        self.phase = max(earlier)
        mine = [one for one in self.subsystems if one.phase is self.phase]
        asked = {one.name for one in mine if self.runs(one)}
        for subsystem in mine:
            if subsystem.name not in asked:
                self.end(subsystem)  # one that gave up would come back by itself
            elif subsystem.name not in self.progress.ending:
                self.send(self.surroundings.at(subsystem.name), StopSubsystem())
        self._wait(asked, self._patience())

    def _patience(self) -> float:
        """The process has 20 s to end: others may not take the time of those that have readings to keep."""
        if self.progress.stop_to is None:
            return RESTART_PATIENCE
        return DELIVERY_PATIENCE if self.phase is Phase.INFRASTRUCTURE else STOP_PATIENCE

    def _stopped(self) -> None:
        """What stays goes on; the store is told what was to be done while nobody else uses it."""
        if self.progress.stop_to is not None:
            self.send(self.progress.stop_to, Stopped())
            return
        assert self.progress.restarting is not None
        to_store = self.progress.restarting.store
        # What the subsystems have left would stay for thousands of restarts; now nobody is held up by it.
        gc.collect()
        self.advance(restarting=None, changing=to_store is not None)
        self._enter("INIT")
        if to_store is not None:
            self.not_started("store")
            self.send(self.surroundings.at("store"), to_store)
        self.send(self.myAddress, BeginPhase(Phase.CORE))

    def receiveMsg_SubsystemStopped(self, message: SubsystemStopped, sender: ActorAddress) -> None:
        name = self.names[sender.addressDetails]
        if self.state != "STOPPING" and name not in self.progress.ending:
            log.error("%s says that it has stopped, and was not asked to", name)
            return
        self.end(self.subsystem(name))

    def _enter(self, state: str) -> None:
        """A move of the lifecycle; one that is not allowed is a defect."""
        if state not in MOVES[self.state]:
            raise RuntimeError(f"the agent cannot go from {self.state} to {state}")
        log.info("lifecycle: %s", state)
        self._resume(state)

    def _resume(self, state: str) -> None:
        self.state = self.health = state
        for subsystem in self.subsystems:
            if subsystem.told_state and self.runs(subsystem):
                self.send(self.surroundings.at(subsystem.name), LifecycleChanged(state))

    # Answering

    def receiveMsg_DumpTree(self, message: DumpTree, sender: ActorAddress) -> None:
        self.send(sender, tree.dump(self._myRef))

    def receiveMsg_DescribeAgent(self, message: DescribeAgent, sender: ActorAddress) -> None:
        agent, identity = self.surroundings.settings.agent, self.surroundings.identity
        if identity is None:
            self.send(sender, Failed("unavailable", "The database is not open yet"))
            return
        self.send(
            sender,
            AgentDescribed(
                uuid=identity.uuid,
                name=identity.name,
                type=identity.type,
                version=self.surroundings.version,
                mac_address=agent.mac_address or _mac_address(),
                os_version=agent.os_version or platform.platform(),
                created_at=identity.created_at,
            ),
        )


def _mac_address() -> str:
    return ":".join(f"{byte:02x}" for byte in uuid.getnode().to_bytes(6, "big"))
