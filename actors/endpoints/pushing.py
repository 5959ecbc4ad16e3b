"""How an endpoint is read that tells by itself what has changed."""

from time import monotonic
from typing import TYPE_CHECKING

from actors.connections.connecting import Trouble
from actors.endpoints.image import OFFLINE, SILENT
from storage.timestamps import unix_ms

if TYPE_CHECKING:
    from actors.endpoints.endpoint import Endpoint


class Pushing:
    """A tick counts what has come since the one before. While the session is not connected, or a device is
    away or has been silent for too long, each gives a BAD batch."""

    busy = False

    def __init__(self, endpoint: "Endpoint") -> None:
        self.endpoint = endpoint

    def tick(self, now: float) -> None:
        endpoint = self.endpoint
        if endpoint.connected:
            self._count(now)
        elif endpoint.failures:
            endpoint.look_at_clock()
            self._offline(OFFLINE if endpoint.trouble is None else endpoint.code_of(endpoint.trouble))
        else:
            endpoint.begin()

    def _offline(self, code: str) -> None:
        """A session that connects may have told something already: it is not told again."""
        stamp = unix_ms()
        for image in self.endpoint.images.values():
            if not image.record.connected:
                self.endpoint.missing(image, stamp, None, code, None)

    def _count(self, now: float) -> None:
        self.endpoint.outlet.begin()
        patience, stamp = self.endpoint.endpoint.silent_after, unix_ms()
        roster = self.endpoint.roster
        for image in roster.images.values():
            if image is roster.own and roster.bare:
                image.heard_at = now
            if patience is not None and image.away is None and now - image.heard_at > patience:
                image.away = SILENT
            arrived, image.arrived = image.arrived, 0
            if image.away is None:
                image.record.interval(stamp, arrived)
            else:
                self.endpoint.missing(image, stamp, None, image.away, None)

    def connecting(self) -> None:
        for image in self.endpoint.images.values():
            image.away = None

    def connection_made(self) -> None:
        now = monotonic()
        for image in self.endpoint.images.values():
            image.heard_at = now
            image.record.connected = image.away is None
        self.endpoint.arrived()

    def attempt_failed(self, trouble: Trouble, duration: float) -> None:
        code = self.endpoint.code_of(trouble)
        # An attempt that fails in the end may have told something already.
        told = any(image.record.connected for image in self.endpoint.images.values())
        if self.endpoint.failures > 1 and not told:
            self.endpoint.own.record.attempt_failed(unix_ms(), duration, code, trouble.reason)
        else:
            self.endpoint.missed(unix_ms(), duration, code, trouble.reason)

    def connection_ended(self, trouble: Trouble) -> None:
        self.endpoint.missed(unix_ms(), None, self.endpoint.code_of(trouble), trouble.reason)
