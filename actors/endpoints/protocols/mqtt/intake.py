"""From messages to changes: which device and points each is of, and what they are now."""

from typing import Any

from actors.endpoints.listener import Listener

from . import patterns, quality, stamps, status
from .codecs import Codec, Unreadable
from .connection import EVERYTHING, Connection
from .devices import Device, Devices
from .notes import Notes
from .patterns import Found, Pattern
from .points import Checked, Rule
from .shortcuts import MAX_KEYS, Shortcut, shortcut
from .topics import Part, Told, parts_of
from .units import canonical
from .values import Shape, read

MAX_TOPICS = 20_000
"""That are remembered with what is made of them."""


class Reader:
    """What is made of one topic's messages."""

    __slots__ = ("claim", "decode", "device", "live", "parts", "shortcuts", "topic")

    def __init__(self, topic: str, parts: list[Part], device: str | None = None) -> None:
        self.topic = topic
        self.parts = parts
        self.device = device
        """Whose status it says; None: it has readings."""
        self.claim: str | None = None
        """The device that payloads say they are from, though that is not what tells."""
        one = parts[0] if len(parts) == 1 else None
        self.decode = None if one is None or one.is_whole else one.decode
        """Of a topic with one way to be read: its documents may be read by `shortcuts`, by their keys; None
        where there is none."""
        self.shortcuts: dict[tuple[str, ...], Shortcut | None] = {}
        self.live = False
        """Whether a message has come that the broker had not kept."""


class Intake:
    """For one endpoint. `take` gets each message; the listener is told of devices, points, values,
    presence."""

    def __init__(self, connection: Connection, checked: Checked, listener: Listener) -> None:
        self._connection = connection
        self._reading = connection.reading
        self._rules = checked.rules
        self._listener = listener
        self.notes = Notes(connection.address)
        reading = self._reading
        self._devices = Devices(listener, self.notes, reading.max_devices, reading.max_metrics)
        self._devices.begin("", checked.points)
        for described in checked.devices:
            self._devices.begin(described.identifier, described.points)
        self._readers: dict[str, Reader] = {}
        self._below = _base(connection, checked.rules)
        automatic = reading.automatic
        if automatic is None:
            automatic = not any(rule.points for rule in checked.rules)
        self._rest = Rule(topic=self._below, automatic=True) if automatic else None

    @property
    def filters(self) -> tuple[str, ...]:
        """What to subscribe to for readings."""
        wanted = [self._below.filter, *(rule.topic.filter for rule in self._rules if rule.topic is not None)]
        return essential(wanted)

    @property
    def status_filters(self) -> tuple[str, ...]:
        """And for presence, besides."""
        wanted = essential([topic.filter for topic in self._reading.status.topics])
        return tuple(each for each in wanted if not any(patterns.covers(one, each) for one in self.filters))

    @property
    def status_is_asked_for(self) -> bool:
        """Whether the client named the topics of presence."""
        return self._reading.status.given

    def take(self, topic: str, payload: bytes, retained: bool, at: int) -> None:
        """A message that came at Unix ms `at`."""
        reader = self._readers.get(topic)
        if reader is None:
            reader = self._reader(topic)
        if reader.device is not None:
            self._present(reader.device, payload)
            return
        if len(payload) > self._reading.max_payload:
            self._too_large(reader)
            return
        if not retained:
            reader.live = True
        elif reader.live:
            return  # somebody else has subscribed to it, too
        if reader.decode is not None and not retained and self._took(reader, reader.decode, payload, at):
            return
        for part in reader.parts:
            try:
                told = part.read(payload, at)
            except Unreadable as error:
                if not part.points:
                    self._unread(topic, part, error.code)
                told = part.unreadable(error.code)
            for one in told:
                self._tell(reader, one, retained)

    def left_out(self, topic: str) -> None:
        """A message that was too large to be taken at all."""
        reader = self._readers.get(topic) or self._reader(topic)
        if reader.device is None:
            self._too_large(reader)

    def _too_large(self, reader: Reader) -> None:
        most = self._reading.max_payload
        self.notes.say(f"payloads of more than {most} bytes (maxPayloadBytes) are not read")
        self._fail(reader, quality.MALFORMED)

    def _took(self, reader: Reader, decode: Codec, payload: bytes, at: int) -> bool:
        """Whether a payload was one of those that there is a shortcut for, or will be from now on."""
        try:
            document = decode(payload)
        except Unreadable:
            return False
        if type(document) is not dict:
            return False
        keys = tuple(document)
        known = reader.shortcuts.get(keys)
        if known is None:
            part = reader.parts[0]
            for told in part.read_document(document, payload, at):
                self._tell(reader, told, retained=False)
            if keys not in reader.shortcuts and len(reader.shortcuts) < MAX_KEYS:
                device = self._devices.by_id.get(self._own(told.device))
                found = None if device is None else shortcut(part, device, document, reader.topic)
                reader.shortcuts[keys] = found
            return True
        values = known.values(document)
        device = known.device
        if values is None or device.online is False:
            return False
        times: list[int | None] | None = None
        if known.time is not None:
            said = document[known.time]
            time = stamps.read(said, self._reading.zone)
            if time is None or not stamps.plausible(time, at, said):
                return False
            times = [time] * len(values)
        self._listener.changed(device.identifier, known.indices, values, None, times)
        return True

    def begin(self) -> None:
        """The session has connected: what was said of presence before is said again if it holds, and what
        comes from which topic is seen anew."""
        for device in self._devices.by_id.values():
            device.online = None
            device.owners = [None] * len(device.owners)
        for reader in self._readers.values():
            reader.claim = None
            reader.live = False
            reader.shortcuts.clear()

    def place(self, device: str, name: str) -> int | None:
        """Where a device has the point of that name."""
        known = self._devices.by_id.get(device)
        return None if known is None else known.index.get(name)

    # Topics

    def _reader(self, topic: str) -> Reader:
        if len(self._readers) >= MAX_TOPICS:
            self._readers.clear()
        reader = self._readers[topic] = self._made(topic)
        return reader

    def _made(self, topic: str) -> Reader:
        for pattern in self._reading.status.topics:
            found = pattern.match(topic)
            if found is not None:
                return Reader(topic, [], found.device or (found.wild[0] if found.wild else ""))
        below = self._below.match(topic)
        rules: list[tuple[Rule, Found]] = []
        for rule in self._rules:
            found = below if rule.topic is None else rule.topic.match(topic)
            if found is not None:
                rules.append((rule, found))
        if not rules and self._rest is not None and below is not None:
            rules.append((self._rest, below))
        return Reader(topic, parts_of(rules, topic, self._reading, self._connection.topic))

    # Presence

    def _present(self, name: str, payload: bytes) -> None:
        online = status.read(payload, self._reading.status)
        if online is None:
            if payload:
                self.notes.say("a status message that says neither online nor offline")
            return
        own = name in ("", self._reading.device)
        device = self._devices.by_id[""] if own else self._devices.spelled(name)
        if device is None:
            # Nothing has come of it yet. One that is away is remembered as such, so that what the broker kept
            # of it is not taken for news.
            device = None if online else self._devices.of(name)
            if device is None:
                return
            self._devices.describe(device)
        device.online = online
        self._listener.presence(device.identifier, None if online else quality.OFFLINE)

    # Readings

    def _tell(self, reader: Reader, told: Told, retained: bool) -> None:
        if told.claim is not None and not self._claimed(reader, told.claim):
            return
        identifier = self._own(told.device)
        device = self._devices.by_id.get(identifier) or self._devices.of(identifier)
        if device is None or (retained and device.online is False):
            return
        if not retained:
            device.online = None
        indices: list[int] = []
        values: list[Any] = []
        codes: list[str | None] = []
        time, doubted = told.time
        doubt = quality.RETAINED if retained else quality.TIMESTAMP if doubted else None
        bad = doubt is not None
        for point, value, code in told.points:
            place = self._devices.configured(device, point)
            if told.says or self._owned(device, place, reader):
                indices.append(place)
                values.append(value)
                codes.append(code or doubt)
                bad = bad or code is not None
        for metric in told.metrics:
            found = device.index.get(metric.name)
            if found is None:
                found = self._devices.automatic(device, metric)
                if found is None:
                    continue
            if not (told.says or self._owned(device, found, reader)):
                continue
            value, code = metric.value, metric.code
            if metric.unit is not None and metric.unit != device.points[found].shape.unit:
                value, code = _converted(metric, device.points[found].shape)
            indices.append(found)
            values.append(value)
            codes.append(code or doubt)
            bad = bad or code is not None
        if device.grown:
            self._devices.describe(device)
        if not values:
            self._listener.heard(identifier)
            return
        times: list[int | None] | None = None if time is None else [time] * len(values)
        self._send(identifier, indices, values, codes if bad else None, times)

    def _own(self, device: str) -> str:
        return "" if device == self._reading.device else device

    def _send(
        self,
        identifier: str,
        indices: list[int],
        values: list[Any],
        codes: list[str | None] | None,
        times: list[int | None] | None,
    ) -> None:
        """Each point at most once in a call: an array may name one several times."""
        if len(indices) == 1 or len(set(indices)) == len(indices):
            self._listener.changed(identifier, indices, values, codes, times)
            return
        for place, index in enumerate(indices):
            self._listener.changed(
                identifier,
                [index],
                [values[place]],
                None if codes is None else [codes[place]],
                None if times is None else [times[place]],
            )

    def _owned(self, device: Device, place: int, reader: Reader) -> bool:
        """Whether a point's values come from this topic: two topics in turns would be two things under one
        name."""
        owner = device.owners[place]
        if owner is reader.topic:
            return True
        if owner is None:
            device.owners[place] = reader.topic
            return True
        if owner == reader.topic:
            return True
        self.notes.say(
            f"metric {device.points[place].name[:80]} comes from topic {owner[:120]} and from"
            f" {reader.topic[:120]}: the latter is not read; let each have data points of its own, or"
            " {device} in the topic"
        )
        return False

    def _claimed(self, reader: Reader, claim: str) -> bool:
        """Whether a payload is from the device that its topic belongs to."""
        if reader.claim is None:
            reader.claim = claim
        if reader.claim == claim:
            return True
        self.notes.say(
            f"topic {reader.topic[:120]} has payloads of several devices, {reader.claim[:80]} and others,"
            " which are not read: say by deviceIdField which is which, or that it does not matter (false)"
        )
        return False

    def _fail(self, reader: Reader, code: str) -> None:
        for part in reader.parts:
            for told in part.unreadable(code):
                self._tell(reader, told, retained=False)

    def _unread(self, topic: str, part: Part, code: str) -> None:
        """A topic of one value that has become unreadable; of any other nobody can say what is meant."""
        automatic = part.automatic
        for device in self._devices.by_id.values() if automatic is not None else ():
            place = device.index.get(automatic.scalar) if automatic is not None else None
            if place is not None and device.owners[place] == topic:
                self._listener.changed(device.identifier, [place], [None], [code])
        self.notes.say(f"payloads that cannot be read ({code}), the first on topic {topic[:120]}")


def _converted(metric: Any, shape: Shape) -> tuple[Any, str | None]:
    """In the unit that the metric had first."""
    if metric.code is not None or shape.unit is None:
        return metric.value, metric.code
    return read(metric.value, Shape(unit=shape.unit), canonical(metric.unit))


def _base(connection: Connection, rules: tuple[Rule, ...]) -> Pattern:
    """The endpoint's own topic, with all below it (spec 01 section 6)."""
    if connection.topic is not None:
        return patterns.below(connection.topic)
    first = next((rule.topic for rule in rules if rule.topic is not None), None)
    return patterns.parse(EVERYTHING) if first is None else patterns.below(first)


def essential(filters: list[str]) -> tuple[str, ...]:
    """Without those that others cover: a broker may send a message once for each."""
    kept: list[str] = []
    for each in dict.fromkeys(filters):
        if any(patterns.covers(known, each) for known in kept):
            continue
        kept = [known for known in kept if not patterns.covers(each, known)]
        kept.append(each)
    return tuple(kept)
