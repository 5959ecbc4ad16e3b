"""What a scan runs with: its turns among all others, what it has found, and how far it is."""

import asyncio
import errno
import socket
from collections.abc import AsyncGenerator
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import Any, Final

import msgspec

from actors.connections import os_errors
from actors.connections.dialing import addresses
from actors.discovery.messages import ScanTrouble
from actors.discovery.pace import AT_ONCE, Pace
from actors.discovery.troubled import Troubled
from actors.endpoints.discovering import At, Confidence, Found
from actors.endpoints.discovering import Probing as ProbingProtocol
from actors.endpoints.lines import Lines
from actors.endpoints.targets import MOST, read_targets
from actors.system.failure import Refusal, described
from conf.hosts import is_address
from conf.redaction import clean
from storage.timestamps import unix_ms

MOST_FOUND: Final = 4096
"""Devices of one protocol in one run."""
MOST_PLACES: Final = 31
"""Of one device, that are known besides the latest two."""
LARGEST: Final = 4_194_304
"""Bytes that what is told of one device may take as JSON."""
MOST_BYTES: Final = 67_108_864
"""As JSON, of all devices of one protocol in one run; of those beyond it is told where they are."""
TOLD: Final = 100
"""Troubles that are told; more are counted."""
PAUSE: Final = 0.25
"""Seconds before a scan that is over is told so."""
NAME_LENGTH: Final = 120
_NO_ROUTE: Final = frozenset({errno.ENETUNREACH, errno.EHOSTUNREACH, errno.ENETDOWN, errno.EACCES})


class Hosts:
    """Those that one run may ask, of all its protocols together. `lookups` are those of names, for all of
    them, too; they are let go of with the last of its `users`."""

    def __init__(self, most: int = MOST) -> None:
        self._asked: set[str] = set()
        self._names: set[str] = set()
        self._most = most
        self.lookups: dict[str, asyncio.Task[str]] = {}
        self.users = 0

    def __len__(self) -> int:
        return len(self._asked)

    def admit(self, host: str) -> None:
        """Raises `Refusal` when there are too many."""
        self._admit(host, self._asked)

    def admit_name(self, name: str) -> None:
        """One that is to be looked up, and whose address is not counted for a second host. Raises as
        above."""
        self._admit(name, self._names)

    def _admit(self, host: str, known: set[str]) -> None:
        if host not in known:
            if len(known) >= self._most:
                raise Refusal(f"The scan would ask more than {self._most} hosts")
            known.add(host)


class Sighted(msgspec.Struct, frozen=True):
    """A device, and when it was found, Unix ms. `others` are the connections that it was found by before, if
    it answers in several places."""

    device: Found
    at: int
    others: tuple[dict[str, Any], ...] = ()


class ScanOver(asyncio.CancelledError):
    """The run has ended: what still goes on of it is to end, too, and has no failure to tell."""


class Probing(ProbingProtocol):
    """Of one protocol in one run. What is told of devices is looked at: whoever wrote the scan, devices say
    what they like."""

    def __init__(
        self, protocol: str, pace: Pace, hosts: Hosts, lines: Lines, validate: bool, planned: int
    ) -> None:
        self.protocol = protocol
        self.lines = lines
        self.validate = validate
        self.planned = planned
        self.probed = 0
        self.devices: dict[str, Sighted] = {}
        """By fingerprint."""
        self.troubles: dict[ScanTrouble, None] = {}
        self.trouble_count = 0
        self.troubled = Troubled()
        """Who is not there is missing, but for those whom this hides."""
        self.over = False
        self._sizes: dict[str, int] = {}
        self._bytes = 0
        self._told: set[int] = set()
        self._pace = pace
        self._hosts = hosts
        self._own = asyncio.Semaphore(AT_ONCE)
        self._out_of_reach: set[str] = set()
        """Reasons that were told of one host, and stand for all others."""
        hosts.users += 1

    # What the scan calls

    def probe(self, host: str) -> AbstractAsyncContextManager[None]:
        return self._probe(host)

    @asynccontextmanager
    async def _probe(self, host: str) -> AsyncGenerator[None, None]:
        """No more of one run wait than may go on at once: a small scan is not behind all of a large one."""
        await self._go_on()
        self._hosts.admit(host)
        async with self._pace.host(self.known(host)), self._own, self._pace.slot():
            await self._go_on()
            self._look_for_route(host)
            try:
                yield
            finally:
                self.probed += 1
                self.planned = max(self.planned, self.probed)

    def _look_for_route(self, host: str) -> None:
        """Else a network that this machine has no way to looks like one where nobody is."""
        reason = no_route(host)
        if reason is None:
            return
        self.troubled.add(At(host))
        if reason not in self._out_of_reach:
            self._out_of_reach.add(reason)
            self._tell(host, f"{reason}; others for which this is so are not told")

    def known(self, host: str) -> str:
        """The address, where it is known: a host of two names is one."""
        task = self._hosts.lookups.get(host)
        resolved = task is not None and task.done() and not task.cancelled() and task.exception() is None
        return task.result() if task is not None and resolved else host

    async def address(self, host: str) -> str:
        await self._go_on()
        if is_address(host):
            return host
        task = self._hosts.lookups.get(host)
        if task is None:
            self._hosts.admit_name(host)
            task = self._hosts.lookups[host] = asyncio.create_task(_first_address(host))
            task.add_done_callback(_retrieve)
        try:
            return await asyncio.shield(task)
        except asyncio.CancelledError:
            await self._go_on()
            raise

    def more(self, probes: int) -> None:
        self.planned += max(0, int(probes))

    def found(self, device: Found) -> None:
        if self.over:
            return
        try:
            fitting = fit_found(device)
        except Exception as error:  # noqa: BLE001 - what a scan says may be of any type, and raise anything
            self.trouble(_said(device), f"what was found cannot be used: {described(error)}")
            return
        fingerprint = fitting.fingerprint
        if fingerprint not in self.devices and len(self.devices) >= MOST_FOUND:
            self.trouble("", f"there are more than {MOST_FOUND} devices; the others are left out")
            return
        before = self.devices.get(fingerprint)
        fitting = self._bounded(fitting)
        self.devices[fingerprint] = Sighted(fitting, unix_ms(), _others(before, fitting))

    def _bounded(self, device: Found) -> Found:
        size = len(msgspec.json.encode(device))
        before = self._sizes.get(device.fingerprint, 0)
        if self._bytes - before + size > MOST_BYTES:
            self._tell(device.name, "what is told of all devices is too much: what it has is left out")
            device = msgspec.structs.replace(device, data_points=(), metadata={}, validation_data=None)
            size = len(msgspec.json.encode(device))
        self._sizes[device.fingerprint] = size
        self._bytes += size - before
        return device

    def trouble(self, where: str, reason: str, *, at: At | None = None, nobody: bool = False) -> None:
        if self.over:
            return
        if not nobody:
            self.troubled.add(at)
        self._tell(where, reason)

    def _tell(self, where: str, reason: str) -> None:
        told = ScanTrouble(self.protocol, _text(where, 200), _text(clean(str(reason)), 500))
        known = hash((told.where, told.reason))
        if known in self._told:
            return
        if len(self._told) < MOST_FOUND:
            self._told.add(known)
        self.trouble_count += 1
        if len(self.troubles) < TOLD:
            self.troubles[told] = None

    async def _go_on(self) -> None:
        """One that asks again and again, whatever it is told, is not to keep the loop from all others."""
        if self.over:
            await asyncio.sleep(PAUSE)
            raise ScanOver

    # What the run calls

    async def close(self) -> None:
        """What goes on of it finds that it is over. To be called once."""
        self.over = True
        self._hosts.users -= 1
        if self._hosts.users == 0 and self._hosts.lookups:
            for task in self._hosts.lookups.values():
                task.cancel()
            await asyncio.wait(self._hosts.lookups.values())


def _others(before: Sighted | None, device: Found) -> tuple[dict[str, Any], ...]:
    """Each once, and not that by which it is told now: it may be told again, of more."""
    if before is None:
        return ()
    latest = before.device.connection
    kept = [one for one in before.others if one not in (latest, device.connection)][-MOST_PLACES:]
    return (*kept, latest) if latest != device.connection else tuple(kept)


def no_route(host: str) -> str | None:
    """Why no packet can be sent to an address; None where it can, or `host` is none. Nothing is sent."""
    if not is_address(host):
        return None
    try:
        [(family, _, _, _, place), *_] = socket.getaddrinfo(
            host, 9, type=socket.SOCK_DGRAM, flags=socket.AI_NUMERICHOST
        )
        with socket.socket(family, socket.SOCK_DGRAM) as unused:
            unused.connect(place)
    except OSError as error:
        return error.strerror if error.errno in _NO_ROUTE else None
    return None


async def _first_address(host: str) -> str:
    """Raises `OSError`, in words for people, also for an address that no single host has."""
    try:
        found = (await addresses(host, 0))[0][4][0]
    except OSError as error:
        raise OSError(os_errors.reason(error)) from error
    try:
        return next(iter(read_targets(found, "")))
    except Refusal as refusal:
        raise OSError(f"the name {host} leads nowhere: {refusal.message}") from refusal


def _retrieve(task: "asyncio.Task[str]") -> None:
    """Who waited may be gone."""
    if not task.cancelled():
        task.exception()


def fit_found(given: Any) -> Found:
    """The same, of the types that it is to have, fit to be stored and shown. Raises whatever."""
    if not isinstance(given, Found):
        raise TypeError(f"{type(given).__name__} is not a Found")
    told = msgspec.json.encode(given)
    if len(told) > LARGEST:
        raise ValueError(f"it takes more than {LARGEST} bytes")
    found = msgspec.json.decode(told, type=Found)
    if not found.identity:
        raise ValueError("it has no identity")
    confidence: Confidence = "high" if found.validated else found.confidence
    name = _text(found.name, NAME_LENGTH) or f"{found.identity.partition(':')[0]}-{found.fingerprint[:8]}"
    return msgspec.structs.replace(found, name=name, confidence=confidence)


def _said(device: Any) -> str:
    try:
        return str(device.name)
    except Exception:  # noqa: BLE001 - as above
        return type(device).__name__


def _text(given: Any, most: int) -> str:
    """Fit to be shown: what comes from outside may be anything."""
    return "".join(sign if sign.isprintable() else "\ufffd" for sign in str(given)[:most]).strip()
