"""Registration as a foreign device at a BBMD (ASHRAE 135, annex J.5), kept up whatever the BBMD does."""

import asyncio
import logging
from contextlib import suppress
from time import monotonic
from typing import Any, Final

from bacpypes3.ipv4.bvll import RegisterForeignDevice, Result
from bacpypes3.ipv4.service import BIPForeign
from bacpypes3.pdu import IPv4Address

log = logging.getLogger(__name__)

_UNREGISTERED, _IN_PROCESS, _REGISTERED = -2, -1, 0
_NOT_DISTRIBUTED: Final = 0x0060
"""What a BBMD says to a broadcast of who is not registered (annex J.2.1): it may have begun anew."""
_GRACE: Final = 30.0
"""Seconds for which a BBMD keeps who is late (annex J.5.2.3)."""
_WITHIN: Final = 2.0
"""Seconds that it has for an answer."""
_AGAIN: Final = (5.0, 60.0)
"""Seconds until it is asked again that did not answer, and that has refused."""
_LEAST: Final = 1.0
"""Seconds between two registrations."""


class Foreign(BIPForeign):  # type: ignore[misc]
    """Renewed when half of its time is over; a BBMD that refuses, or has begun anew, is asked again."""

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self._keeping: asyncio.Task[None] | None = None
        self._result: asyncio.Future[int] | None = None
        self._registered_at = 0.0
        self._known = asyncio.Event()
        self._forgotten = asyncio.Event()

    def register(self, addr: IPv4Address, ttl: int) -> None:
        self.bbmdAddress, self.bbmdTimeToLive = addr, ttl
        self.bbmdRegistrationStatus = _IN_PROCESS
        self._keeping = asyncio.create_task(self._keep())

    def give_up(self) -> None:
        """Nothing is sent any more."""
        if self._keeping is not None:
            self._keeping.cancel()
            self._keeping = None
        self.bbmdRegistrationStatus = _UNREGISTERED
        self._registration_event.clear()

    @property
    def trouble(self) -> str | None:
        """Why it is not registered, for people; None when it is, or has just begun."""
        if self.bbmdRegistrationStatus > 0:
            return (
                f"the BBMD {self.bbmdAddress} refuses to register it (NAK {self.bbmdRegistrationStatus:#06x})"
            )
        if self.bbmdRegistrationStatus == _UNREGISTERED:
            return f"the BBMD {self.bbmdAddress} does not answer"
        return None

    async def settled(self) -> None:
        """Until it is known whether it is registered; some seconds at most."""
        with suppress(TimeoutError):
            async with asyncio.timeout(_WITHIN):
                await self._known.wait()

    async def _keep(self) -> None:
        while True:
            code = await self._ask()
            if code is not None:
                self._take(code)
            elif self.bbmdRegistrationStatus != _REGISTERED or self._is_over:
                self._become(_UNREGISTERED)
            half = max(_LEAST, self.bbmdTimeToLive / 2)
            pause = _AGAIN[0] if code is None else _AGAIN[1] if code else half
            await asyncio.sleep(_LEAST)
            with suppress(TimeoutError):
                async with asyncio.timeout(min(pause, half) - _LEAST):
                    await self._forgotten.wait()
            self._forgotten.clear()

    @property
    def _is_over(self) -> bool:
        return monotonic() - self._registered_at > self.bbmdTimeToLive + _GRACE

    async def _ask(self) -> int | None:
        self._result = asyncio.get_running_loop().create_future()
        await self.request(RegisterForeignDevice(self.bbmdTimeToLive, destination=self.bbmdAddress))
        try:
            async with asyncio.timeout(_WITHIN):
                return await self._result
        except TimeoutError:
            return None
        finally:
            self._result = None

    def _take(self, code: int) -> None:
        if code == _REGISTERED:
            self._registered_at = monotonic()
        self._become(code)

    def _become(self, status: int) -> None:
        self._known.set()
        before, self.bbmdRegistrationStatus = self.bbmdRegistrationStatus, status
        if status == _REGISTERED:
            self._registration_event.set()
        else:
            self._registration_event.clear()
        if before != status:
            if self.trouble is None:
                log.info("registered at the BBMD %s", self.bbmdAddress)
            else:
                log.warning("%s", self.trouble)

    async def confirmation(self, lpdu: Any) -> None:
        if not isinstance(lpdu, Result):
            await super().confirmation(lpdu)
        elif lpdu.pduSource == self.bbmdAddress:
            code = int(lpdu.bvlciResultCode)
            if code == _NOT_DISTRIBUTED:
                self._forgotten.set()
            elif self._result is not None and not self._result.done():
                self._result.set_result(code)
