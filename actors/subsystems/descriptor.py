"""What a subsystem is: one descriptor, by which the root starts, watches and stops it."""

from collections.abc import Callable
from enum import IntEnum
from typing import Any

import msgspec
from thespian.actors import ActorAddress

from actors.subsystems.messages import CheckSubsystem, StopSubsystem, SubsystemChecked, SubsystemStopped
from actors.system.actor import Actor
from actors.system.addresses import child_address
from conf.settings import Settings
from storage.identity import Identity


class Phase(IntEnum):
    """Subsystems of a phase start together, once those of the phases before have; they stop the other way
    round: what reads comes after what delivers, and goes before it."""

    STATE = 0
    READINGS = 1
    SINKS = 2
    SOURCES = 3
    GATEWAY = 4


class Surroundings(msgspec.Struct, frozen=True):
    """What a start message is made from. `identity` is None until the store has it: in phase STATE."""

    settings: Settings
    version: str
    agent: ActorAddress
    identity: Identity | None = None

    @property
    def known(self) -> Identity:
        """The identity, after phase STATE."""
        assert self.identity is not None
        return self.identity

    def at(self, path: str) -> ActorAddress:
        """The actor at a path of names below the root (`readings`, `outputs/modbus`), running or not."""
        address = self.agent
        for name in path.split("/"):
            address = child_address(address, name)
        return address


class Subsystem(msgspec.Struct, frozen=True, kw_only=True):
    """A child of the root. `start` makes the start message of its `actor`, which tells its parent
    `SubsystemStarted` or `SubsystemFailed` and answers `StopSubsystem` and `CheckSubsystem`.

    A `critical` one fails the agent's health while it does not run, and its giving up is its parent's crash.
    `kinds` are the rows of the target state that it keeps. `stays` says that it goes on after its stop, until
    the process ends. `reported_as` is its name in the health report, where that is not its own.
    """

    name: str
    actor: type[Actor]
    start: Callable[[Surroundings], Any]
    phase: Phase
    critical: bool = False
    stays: bool = False
    reported_as: str | None = None
    kinds: tuple[str, ...] = ()

    @property
    def check_name(self) -> str:
        return self.reported_as or self.name


class SubsystemActor(Actor):
    """The root of a subsystem, with nothing to bring to safety and nothing to say of its health."""

    def receiveMsg_StopSubsystem(self, message: StopSubsystem, sender: ActorAddress) -> None:
        self.send(sender, SubsystemStopped())

    def receiveMsg_CheckSubsystem(self, message: CheckSubsystem, sender: ActorAddress) -> None:
        self.send(sender, SubsystemChecked())
