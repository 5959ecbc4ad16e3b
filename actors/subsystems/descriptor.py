"""What a subsystem is: one descriptor, by which the root starts, watches and stops it."""

from collections.abc import Callable
from enum import IntEnum
from typing import Any

import msgspec
from thespian.actors import ActorAddress

from actors.subsystems.messages import CheckSubsystem, StopSubsystem, SubsystemChecked, SubsystemStopped
from actors.system.actor import Actor
from actors.system.addresses import child_address
from conf.runtime import RuntimeSettings
from conf.settings import Settings
from storage.identity import Identity


class Phase(IntEnum):
    """The phases of a start (spec 06 section 1). Subsystems of a phase start together, once those of the
    phases before have; they stop the other way round: what reads comes after what delivers, and goes before.

    CORE: the gateway, the store, the router. LOGGING: the log. DEVICE: what the agent is and how it is set,
    who may use it, the machine that it runs on. INFRASTRUCTURE: what delivers readings. FEATURES: what makes
    them, and whatever else can be switched. SYNC: the cloud.
    """

    CORE = 0
    LOGGING = 1
    DEVICE = 2
    INFRASTRUCTURE = 3
    FEATURES = 4
    SYNC = 5


class Surroundings(msgspec.Struct, frozen=True):
    """What a start message is made from. `settings` are those of files and environment, `runtime` those that
    the API changes; until phase DEVICE they are the defaults. `identity` is None until the store has it: in
    phase CORE."""

    settings: Settings
    version: str
    agent: ActorAddress
    runtime: RuntimeSettings = RuntimeSettings()
    identity: Identity | None = None

    @property
    def known(self) -> Identity:
        """The identity, after phase CORE."""
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
    the process ends, through soft restarts too. `reported_as` is its name in the health report, where that is
    not its own. `told_state` says that it gets `LifecycleChanged`, `prepares_reset` that it gets
    `PrepareReset` before a factory reset.

    When the runtime settings change, it runs from then on if it is `wanted`, and if `start` then makes
    another message, it gets that, as its start in this life and those to come.
    """

    name: str
    actor: type[Actor]
    start: Callable[[Surroundings], Any]
    phase: Phase
    critical: bool = False
    stays: bool = False
    wanted: Callable[[Surroundings], bool] = lambda where: True
    told_state: bool = False
    prepares_reset: bool = False
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
