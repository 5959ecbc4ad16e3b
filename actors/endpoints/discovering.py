"""What a protocol folder exports to look for devices: one `Discovery`, part of its descriptor."""

import typing
from abc import abstractmethod
from collections.abc import Awaitable, Callable
from contextlib import AbstractAsyncContextManager
from hashlib import sha256
from typing import Any, Literal

import msgspec

from actors.endpoints.lines import Lines
from conf.settings import Settings

Confidence = Literal["low", "medium", "high"]


class At(msgspec.Struct, frozen=True):
    """Where a device is: a host, by its name or address, or a serial line by its path. `port` None: any."""

    host: str
    port: int | None = None

    def __str__(self) -> str:
        host = f"[{self.host}]" if ":" in self.host and self.port is not None else self.host
        return host if self.port is None else f"{host}:{self.port}"


class Found(msgspec.Struct, frozen=True, kw_only=True):
    """A device. `connection` and `data_points` are such as an endpoint of that protocol accepts."""

    identity: str
    """What tells it from every other device, wherever it answers: `opcua:<application uri>`."""
    name: str
    connection: dict[str, Any]
    data_points: tuple[dict[str, Any], ...] = ()
    confidence: Confidence = "low"
    metadata: dict[str, Any] = {}
    validated: bool = False
    """It was read, and answered: then `confidence` is high."""
    validation_data: dict[str, Any] | None = None

    @property
    def fingerprint(self) -> str:
        return sha256(self.identity.encode()).hexdigest()[:32]


class Configured(msgspec.Struct, frozen=True):
    """An endpoint that there is already. `connection` is complete, with what files and environment say."""

    name: str
    enabled: bool
    connection: dict[str, Any]
    data_points: tuple[dict[str, Any], ...] = ()


class Known(msgspec.Struct, frozen=True):
    """What a scan is planned with: the endpoints of its own protocol, and the settings of the agent."""

    settings: Settings
    endpoints: tuple[Configured, ...] = ()


class Plan(msgspec.Struct, frozen=True):
    """A checked scan; protocols add to it what they need. `probes` is how many there will be at least, as far
    as can be said before, `within` the seconds that it takes at most with nobody answering."""

    probes: int
    within: float


class Probing(typing.Protocol):
    """What a scan runs with, on the loop's thread. It is cancelled when somebody says so, or its time is
    over: what it holds it lets go of then, and what it has found counts."""

    lines: Lines
    """Those that the protocol's endpoints share: a device that is polled already is asked over their
    connection."""
    validate: bool
    """Whether to read the devices that are found."""

    @abstractmethod
    def probe(self, host: str) -> AbstractAsyncContextManager[None]:
        """Held while a host is asked: waits for its turn among all probes of all scans, so many at once and
        so many a second; one at a time to the same host. Entering and leaving it counts as progress."""

    @abstractmethod
    async def address(self, host: str) -> str:
        """The first address of a host, its own where it is one. Raises `OSError` where a name is unknown."""

    @abstractmethod
    def more(self, probes: int) -> None:
        """So many more probes than were planned."""

    @abstractmethod
    def found(self, device: Found) -> None:
        """Each once, as soon as it is known; again with the same identity, it replaces what was known."""

    @abstractmethod
    def trouble(self, where: str, reason: str, *, at: At | None = None, nobody: bool = False) -> None:
        """Something was there, or should have been, and could not be asked. Not for hosts where nobody is,
        but where somebody was expected, which is told as `nobody`: who was there counts as missing.

        `where` is for people. Whoever was found `at` that place before, and is not now, is not missing for
        that; None: it may be anybody, and nobody is."""


Scan = Callable[[Any, Probing], Awaitable[None]]
"""Runs a `Plan`. Trouble with one device is told and costs no other; what it raises fails the run."""


class Discovery(msgspec.Struct, frozen=True):
    """`options` is the schema of what clients give (`overrides.<protocol>`, `params_json`), by which what it
    does not know is refused. `plan` makes of it what is to be done, at `path` in the request, for `Refusal`s
    that name the field; it touches no network. None: nothing was asked for, and nothing is configured.
    `scanner` returns what runs it; it is called in a thread, and imports the protocol's library.

    `addressed` says that no two devices have one `CheckedEndpoint.address`: then one that an endpoint reads
    is known by it, whoever has configured that. Else only its fingerprint tells."""

    options: type[msgspec.Struct]
    plan: Callable[[dict[str, Any], Known, str], Plan | None]
    scanner: Callable[[], Scan]
    addressed: bool = True
