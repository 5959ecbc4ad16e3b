"""How the keeper comes to know of the devices that an endpoint has found."""

from typing import TYPE_CHECKING

import msgspec

from actors.endpoints.messages import DevicesFound, DevicesSettled

if TYPE_CHECKING:
    from actors.endpoints.endpoint import Endpoint

AGAIN = 5.0, 300.0
"""Seconds after which the keeper is told again of what it has not stored, at first and at most."""


class TellAgain(msgspec.Struct, frozen=True):
    """To the endpoint itself: look whether the keeper has stored the devices that it was told of."""


class Telling:
    """What is found is told at once, and again until the keeper has stored it: its disk may be full, and it
    may crash."""

    __slots__ = ("_again", "endpoint")

    def __init__(self, endpoint: "Endpoint") -> None:
        self.endpoint = endpoint
        self._again: float | None = None
        """Seconds after which it is time to, while that is awaited."""

    def tell(self) -> None:
        news, config = self.endpoint.roster.news(), self.endpoint.config
        if not news or config.keeper is None:
            return
        self.endpoint.send(config.keeper, DevicesFound(config.uuid, news))
        if self._again is None:
            self._again = AGAIN[0]
            self.endpoint.wakeupAfter(self._again, TellAgain())

    def tell_again(self) -> None:
        unsettled, config = self.endpoint.roster.unsettled, self.endpoint.config
        if self._again is None or config.keeper is None or not unsettled:
            self._again = None
            return
        self.endpoint.send(config.keeper, DevicesFound(config.uuid, tuple(unsettled.values())))
        self._again = min(2 * self._again, AGAIN[1])
        self.endpoint.wakeupAfter(self._again, TellAgain())

    def settled(self, message: DevicesSettled) -> None:
        for found in message.kept:
            self.endpoint.roster.settled(found)
        for uuid, reason in message.refused.items():
            self.endpoint.roster.refuse(uuid, reason)
