"""A search without the subsystem that runs them: what protocols' scans are tried out with."""

import asyncio
import socket
from collections import Counter
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

from actors.endpoints.discovering import At, Configured, Discovery, Found, Known, Probing
from actors.endpoints.lines import Lines
from conf.settings import load

SETTINGS = load(None, {})


class Tried(Probing):
    """Keeps what a scan tells. `names` are what hosts are called, `asked` how often each was entered."""

    def __init__(self, lines: Lines | None = None, *, validate: bool = False) -> None:
        self.lines = Lines() if lines is None else lines
        self.validate = validate
        self.names: dict[str, str] = {}
        self.devices: dict[str, Found] = {}
        self.troubles: list[tuple[str, str]] = []
        self.places: list[At | None] = []
        self.nobody: list[str] = []
        """Where of these somebody was expected, and nobody is."""
        self.asked: Counter[str] = Counter()
        self.further = 0
        self._turns: dict[str, asyncio.Lock] = {}

    @asynccontextmanager
    async def probe(self, host: str) -> AsyncIterator[None]:
        async with self._turns.setdefault(host, asyncio.Lock()):
            self.asked[host] += 1
            yield

    async def address(self, host: str) -> str:
        if host in self.names:
            return self.names[host]
        found = await asyncio.get_running_loop().getaddrinfo(host, None, type=socket.SOCK_STREAM)
        return str(found[0][4][0])

    def more(self, probes: int) -> None:
        self.further += probes

    def found(self, device: Found) -> None:
        self.devices[device.identity] = device

    def trouble(self, where: str, reason: str, *, at: At | None = None, nobody: bool = False) -> None:
        self.troubles.append((where, reason))
        self.places.append(at)
        if nobody:
            self.nobody.append(where)

    @property
    def only(self) -> Found:
        [device] = self.devices.values()
        return device


async def search(
    discovery: Discovery,
    options: dict[str, Any],
    *configured: Configured,
    lines: Lines | None = None,
    validate: bool = False,
    names: dict[str, str] | None = None,
) -> Tried:
    """What a scan by these options has told in the end. Nothing it shared is left."""
    plan = discovery.plan(options, Known(SETTINGS, configured), "overrides")
    assert plan is not None
    probing = Tried(lines, validate=validate)
    probing.names = names or {}
    shared = len(probing.lines)
    await discovery.scanner()(plan, probing)
    assert len(probing.lines) == shared
    return probing


async def until(happened: Callable[[], Any], seconds: float = 5.0) -> None:
    async with asyncio.timeout(seconds):
        while not happened():  # noqa: ASYNC110 - what is waited for is anything at all
            await asyncio.sleep(0.005)
