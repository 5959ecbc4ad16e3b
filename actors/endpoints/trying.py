"""What an endpoint would read: asked once over a session of its own, without an endpoint of it."""

import asyncio
import logging
from collections.abc import Sequence
from pathlib import Path
from time import monotonic
from typing import Any

import msgspec

from actors.connections.building import build
from actors.connections.connection import NoConnection, Permanent
from actors.connections.deadlines import Overdue, bounded, close
from actors.endpoints import protocols
from actors.endpoints.guarding import NO_VALUE, fit_lists
from actors.endpoints.lines import Lines, lines_of
from actors.endpoints.listener import Description, Nobody
from actors.endpoints.messages import Tried, TriedValue, TryEndpoint
from actors.endpoints.protocol import CheckedEndpoint, PolledSession, PollResult, Protocol
from actors.endpoints.roster import OWN
from actors.system.failure import Refusal, described
from actors.system.masks import refuse_masks
from conf.settings import Settings
from storage.timestamps import unix_ms

log = logging.getLogger(__name__)

AT_ONCE = 4
WITHIN = 20.0
"""Seconds for all of it; whoever asks over the API waits for longer."""
AGAIN_WITHIN = 5.0
"""Seconds in which what a device does not answer is asked again."""
FIRST_VALUES = 5.0
"""Seconds in which who tells by himself is to have told every value, once he is connected."""
MOST = 5000
"""Values that are told."""


class Trier:
    """Keeps count of those under way."""

    def __init__(self) -> None:
        self._under_way = 0

    async def check(
        self, message: TryEndpoint, settings: Settings, agent_uuid: str, folder: str | None
    ) -> Tried:
        """Raises `Refusal` for a configuration that no endpoint can have, and when too many are tried."""
        protocol = protocols.find(message.protocol)
        if not message.stored:
            refuse_masks(message.connection, "connection")
        connection = protocol.complete(message.connection, settings, agent_uuid)
        given = protocol.check if message.stored else protocol.accept
        endpoint = given(connection, message.data_points)
        if self._under_way >= AT_ONCE:
            raise Refusal(f"{AT_ONCE} endpoints are being tried; try again", kind="unavailable")
        lines = lines_of(protocol.name)
        if folder is not None:
            lines.folder = Path(folder)
        self._under_way += 1
        try:
            return await attempt(protocol, endpoint, lines)
        finally:
            self._under_way -= 1


async def attempt(
    protocol: Protocol, endpoint: CheckedEndpoint, lines: Lines, within: float = WITHIN
) -> Tried:
    """Connect, read every point once or wait for the first values, close. Never raises, but when cancelled;
    then, too, the session is closed. What the endpoint's protocol shares is shared with it."""
    began = monotonic()
    error, code = None, None
    heard = _Heard(endpoint)
    try:
        await bounded(_read(protocol, endpoint, heard, lines), within)
    except Overdue:
        error, code = f"no answer within {within:g} s", "TIMEOUT"
    except NoConnection as trouble:
        error = str(trouble)
        code = trouble.code or (
            "DEVICE_NOT_CONFIGURED" if isinstance(trouble, Permanent) else "DEVICE_OFFLINE"
        )
    except Refusal as refusal:
        error = refusal.message
    except Exception as fault:
        # Whoever runs it keeps all endpoints: what one device answers is not to be their crash.
        log.exception("trying %s has failed", endpoint.address)
        error = f"reading has failed: {described(fault)}"
    return Tried(heard.values(), 1000 * (monotonic() - began), error, code)


async def _read(protocol: Protocol, endpoint: CheckedEndpoint, heard: "_Heard", lines: Lines) -> None:
    if endpoint.mode == "idle":
        raise Refusal("such an endpoint is not read: it serves discovery only")
    if "polled" in protocol.modes:  # it is to answer, and not to tell
        endpoint = msgspec.structs.replace(endpoint, mode="polled")
    if protocol.trial is not None:
        endpoint = protocol.trial(endpoint, lines)
    session = await build(protocol.name, lambda: protocol.session(endpoint, heard, lines))
    try:
        await session.connect()
        if isinstance(session, PolledSession):
            known = heard.points
            heard.read(await session.read(AGAIN_WITHIN), known)
        else:
            await heard.everything(FIRST_VALUES)
    finally:
        await asyncio.shield(close(session, endpoint.address))


class _Device:
    def __init__(self, description: Description) -> None:
        self.description = description
        self.told: dict[int, tuple[Any, str | None, int]] = {}
        """Value, code, and time in Unix ms, by the place of the point."""
        self.away: str | None = None

    @property
    def settled(self) -> bool:
        return self.away is not None or len(self.told) >= len(self.description.points)

    def take(
        self,
        indices: Sequence[int],
        values: Sequence[Any],
        codes: Sequence[Any] | None,
        times: Sequence[Any] | None,
    ) -> None:
        self.away = None
        fitting, known, stamps = fit_lists(len(indices), values, codes, times)
        now = unix_ms()
        for place, index in enumerate(indices):
            code = None if known is None else known[place]
            time = None if stamps is None else stamps[place]
            self.told[index] = fitting[place], code, now if time is None else time

    def values(self) -> list[TriedValue]:
        device, silent = self.description.name or None, (None, self.away or NO_VALUE, None)
        return [
            TriedValue(device, point.name, point.unit, *self.told.get(index, silent))
            for index, point in enumerate(self.description.points)
        ]


class _Heard(Nobody):
    """All that a session tells, by device and point. What is told is kept no longer than the attempt: it
    counts as safe at once."""

    def __init__(self, endpoint: CheckedEndpoint) -> None:
        self._own = _Device(Description(OWN, "", endpoint.points))
        self._devices = {OWN: self._own}
        self._devices |= {one.identifier: _Device(one) for one in endpoint.devices}
        self._given = any(len(one.description.points) for one in self._devices.values())
        self._lost: NoConnection | None = None
        self._news = asyncio.Event()

    @property
    def points(self) -> int:
        """Of the endpoint's own device."""
        return len(self._own.description.points)

    def read(self, found: PollResult, points: int) -> None:
        """Of so many points; the values of those that it has found meanwhile are told by themselves."""
        self._own.take(range(points), found.values, found.qualities, found.times)

    async def everything(self, within: float) -> None:
        """Returns once every point that the configuration names has been told, or that time is over; raises
        `NoConnection` when the session has ended before."""
        try:
            async with asyncio.timeout(within):
                while self._lost is None and not self._complete:
                    self._news.clear()
                    await self._news.wait()
        except TimeoutError:
            pass
        if self._lost is not None:
            raise self._lost

    @property
    def _complete(self) -> bool:
        return self._given and all(one.settled for one in self._devices.values())

    def values(self) -> list[TriedValue]:
        return [value for one in self._devices.values() for value in one.values()][:MOST]

    # As a listener

    def changed(
        self,
        device: str,
        indices: Sequence[int],
        values: list[Any],
        codes: list[str | None] | None = None,
        times: list[int | None] | None = None,
    ) -> None:
        known = self._devices.get(device)
        if known is not None:
            known.take(indices, values, codes, times)
            self._news.set()

    def described(self, description: Description) -> None:
        known = self._devices.get(description.identifier)
        if known is None:
            self._devices[description.identifier] = _Device(description)
        else:
            known.description = description

    def presence(self, device: str, code: str | None) -> None:
        known = self._devices.get(device)
        if known is not None:
            known.away = code
            self._news.set()

    def persisted(self, then: Any) -> None:
        then()

    def lost(self, error: NoConnection) -> None:
        self._lost = error
        self._news.set()
