"""The devices of an endpoint while it runs: its own, those that its configuration names, those it finds."""

import logging

from actors.endpoints.image import Image, source_of
from actors.endpoints.listener import Description
from actors.endpoints.messages import FoundDevice
from actors.readings.batch import Point, Source
from storage.devices import uuid_of

log = logging.getLogger(__name__)

MAX_DEVICES = 1000
"""Of one endpoint, its own among them; they may come from outside."""
OWN = ""
"""The identifier of the device that has the endpoint's name."""
LONGEST = 200
"""Characters of a name, or of an identifier, that are kept; they may come from outside."""


class Roster:
    """Images by identifier. A device that somebody has removed comes back when it says something; one that
    the keeper refuses does not.

    What is found is `unsettled` until the keeper has said that it is stored: it may be told of it any number
    of times.
    """

    __slots__ = ("_barred", "_by_uuid", "_crowded", "_news", "_removed", "images", "own", "unsettled")

    def __init__(self, own: Image) -> None:
        self.own = own
        self.images: dict[str, Image] = {OWN: own}
        self.unsettled: dict[str, FoundDevice] = {}
        """By uuid."""
        self._news: list[FoundDevice] = []
        self._by_uuid: dict[str, Image] = {}
        """All but its own."""
        self._removed: dict[str, Description] = {}
        self._barred: dict[str, None] = {}
        self._crowded = False

    def describe(self, description: Description) -> None:
        """There is such a device, with these points."""
        identifier = description.identifier
        image = self.images.get(identifier)
        if image is not None:
            renamed = identifier != OWN and image.source.device != _clean(description.name, identifier)
            image.grow(description, _clean(description.name, identifier) if renamed else None)
            if renamed:
                self._found(image)
        elif identifier not in self._barred:
            self._add(description)

    def _add(self, description: Description) -> None:
        endpoint = self.own.source
        identifier = description.identifier
        uuid = description.uuid or uuid_of(endpoint.endpoint_uuid, identifier)
        if self.of_uuid(uuid) is not None:
            self.bar(identifier, f"its uuid {uuid} is that of another device of the endpoint")
        elif len(self.images) < MAX_DEVICES:
            self._removed.pop(identifier, None)
            name = _clean(description.name, identifier)
            image = Image(source_of(endpoint, uuid, name, shown(description)), description)
            self.images[identifier] = self._by_uuid[uuid] = image
            self._found(image)
        elif not self._crowded:
            self._crowded = True
            text = "%s: has more than %d devices; the others are not read"
            log.warning(text, endpoint.endpoint, MAX_DEVICES)

    def _found(self, image: Image) -> None:
        uuid, name = image.source.device_uuid, image.source.device
        found = self.unsettled[uuid] = FoundDevice(uuid, _clean(image.description.identifier), name)
        self._news.append(found)

    def news(self) -> tuple[FoundDevice, ...]:
        """What was found since this was last asked."""
        news, self._news = self._news, []
        return tuple(news)

    def image(self, identifier: str) -> Image | None:
        """Of who has something to say."""
        found = self.images.get(identifier)
        if found is None and (description := self._removed.get(identifier)) is not None:
            self._add(description)
            found = self.images.get(identifier)
        return found

    @property
    def bare(self) -> bool:
        """Whether the endpoint's own device has nothing to read, and others do: then it stands for the
        connection."""
        return len(self.images) > 1 and not self.own.source.points

    def of_uuid(self, uuid: str | None) -> Image | None:
        """None stands for the endpoint's own."""
        own = uuid is None or uuid == self.own.source.device_uuid
        return self.own if own else self._by_uuid.get(uuid or "")

    def settled(self, found: FoundDevice) -> None:
        """It is stored as it was told of."""
        if self.unsettled.get(found.uuid) == found:
            del self.unsettled[found.uuid]

    def remove(self, uuid: str) -> Source | None:
        """Somebody has removed the device; returns where its readings came from."""
        self.unsettled.pop(uuid, None)
        image = self._by_uuid.get(uuid)
        if image is None:
            return None
        self._removed[image.description.identifier] = image.description
        self._drop(image)
        return image.source

    def refuse(self, uuid: str, reason: str) -> None:
        """It cannot be kept, and so it is not read."""
        self.unsettled.pop(uuid, None)
        image = self._by_uuid.get(uuid)
        if image is not None:
            self._drop(image)
            self.bar(image.description.identifier, reason)

    def bar(self, identifier: str, reason: str) -> None:
        if len(self._barred) < MAX_DEVICES:
            self._barred[identifier] = None
            shown = _clean(identifier)
            log.warning("%s: the device %s is not read: %s", self.own.source.endpoint, shown, reason)

    def _drop(self, image: Image) -> None:
        del self.images[image.description.identifier], self._by_uuid[image.source.device_uuid]


def shown(description: Description) -> tuple[Point, ...]:
    """Its data points as publishing sees them."""
    return tuple(Point(point.name, point.unit) for point in description.points)


def _clean(text: str, otherwise: str = "") -> str:
    """Fit to be stored and shown: what comes from outside may be anything."""
    kept = "".join(sign if sign.isprintable() else "\ufffd" for sign in text[:LONGEST])
    return kept.strip() or (_clean(otherwise) if otherwise else "?")
