"""What is made of a topic's payloads: the rules that it falls under, brought together."""

from typing import Any, NamedTuple

from . import paths, quality, stamps, units
from .automatic import Automatic, Metric, unit_of
from .codecs import Codec, Unreadable, codec
from .connection import DEVICE_KEYS, TIME_KEYS, Reading
from .patterns import METRIC, Found, Pattern
from .points import DataPoint, Rule
from .values import LEAST, MOST, read

Time = tuple[int | None, bool]
"""Unix ms (None: that of arrival), and whether it is in doubt."""


Value = tuple[DataPoint, Any, str | None]


class Told(NamedTuple):
    """What a payload says of a device: values of points that were configured, and of automatic metrics.
    `claim` is the device that the payload says it is from, where that is not what tells."""

    device: str
    time: Time
    points: list[Value]
    metrics: list[Metric]
    claim: str | None = None
    says: bool = False
    """Whether the payload itself says which device it is of: then its topic does not matter."""


class Part:
    """Rules of a topic that read the same payload, device and time alike."""

    def __init__(self, rule: Rule, found: Found, topic: str, reading: Reading, own: bool) -> None:
        self.rules = [rule]
        self.points: list[DataPoint] = list(rule.points)
        self.own = own
        self._reading = reading
        self.decode: Codec = codec(rule.codec or reading.codec)
        self.device_path = reading.device_path if rule.device_path is None else rule.device_path
        self.time_path = reading.time_path if rule.time_path is None else rule.time_path
        self._device = rule.device
        self._found = found
        last = topic.rpartition("/")[2]
        wild = found.wild
        if found.device is None:
            # What the wildcards stood for is the device; the last of it, where that is the topic's end, the
            # metric.
            ends_wild = rule.topic is None or rule.topic.levels[-1] in ("+", "#")
            self._of_object = "/".join(wild)
            self._of_scalar = "/".join(wild[:-1] if wild and ends_wild and found.metric is None else wild)
            scalar, prefix = found.metric or last, f"{found.metric}." if found.metric else ""
        else:
            self._of_object = self._of_scalar = found.device
            inner = [*wild, *([found.metric] if found.metric else [])]
            if found.metric and rule.topic is not None and rule.topic.levels[-1] != METRIC:
                inner = [found.metric, *wild]
            scalar = ".".join(inner) or last
            prefix = f"{'.'.join(inner)}." if inner else ""
        self.automatic: Automatic | None = None
        if rule.automatic:
            self.automatic = Automatic(
                scalar=scalar,
                prefix=prefix,
                arrays=reading.arrays if rule.arrays is None else rule.arrays,
                units={name: units.canonical(unit) for name, unit in {**reading.units, **rule.units}.items()},
                precisions={**reading.precisions, **rule.precisions},
                taken=_taken(rule.points),
                plans={},
            )

    @property
    def names_device(self) -> bool:
        """Whether rule or topic say which device it is, whatever the payload says."""
        return self._device is not None or self._found.device is not None

    @property
    def is_whole(self) -> bool:
        """Whether its payloads are no documents: each point has bytes of its own."""
        whole = (point.encoding is not None and point.path is None for point in self.points)
        return bool(self.points) and self.automatic is None and all(whole)

    def joins(self, rule: Rule, other: "Part") -> bool:
        """Take a further rule in, if it reads alike."""
        if self.automatic or other.automatic or self.own != other.own:
            return False
        if self.rules[0].codec != rule.codec or self._how != other._how:
            return False
        self.rules.append(rule)
        self.points += rule.points
        return True

    @property
    def _how(self) -> tuple[Any, ...]:
        return self._device, self.device_path, self.time_path, self._of_object, self._of_scalar

    def read(self, payload: bytes, at: int) -> list[Told]:
        """Raises `Unreadable`."""
        if self.is_whole:
            return [Told(self._fallback(False), (None, False), self._whole(payload), [])]
        return self.read_document(self.decode(payload), payload, at)

    def read_document(self, document: Any, payload: bytes, at: int) -> list[Told]:
        """The same of a payload that is decoded."""
        automatic = self.automatic
        records = automatic is not None and automatic.arrays and _are_records(document)
        return [self._told(one, payload, at) for one in (document if records else (document,))]

    def _told(self, document: Any, payload: bytes, at: int) -> Told:
        is_object = type(document) is dict
        device, claim, says = self._device_of(document, is_object)
        metrics = self.automatic.metrics(document) if self.automatic is not None else []
        return Told(
            device,
            self._time_of(document, at) if is_object else (None, False),
            self._values(document, payload) if self.points else [],
            metrics,
            claim,
            says,
        )

    def _whole(self, payload: bytes) -> list[Value]:
        found: list[Value] = []
        for point in self.points:
            try:
                value, code = read(codec(point.encoding or "auto", point.byte_offset)(payload), point.shape)
            except Unreadable as error:
                value, code = None, error.code
            found.append((point, value, code))
        return found

    def unreadable(self, code: str) -> list[Told]:
        """What is to be said of points of which it is known that this payload should have had them."""
        device = self._fallback(self._found.device is None and not self._of_scalar)
        return [Told(device, (None, False), [(point, None, code) for point in self.points], [])]

    def _fallback(self, is_object: bool) -> str:
        """The device, of a payload that does not say it."""
        if self._device is not None:
            return self._device
        if self.own:
            return ""
        return self._of_object if is_object or self.points else self._of_scalar

    def _device_of(self, document: Any, is_object: bool) -> tuple[str, str | None, bool]:
        """The device, `Told.claim` and `Told.says`."""
        said = self._said_device(document) if is_object else None
        if self.names_device:
            return self._fallback(is_object), None, False
        if self.own:
            return "", said, False
        if said is not None:
            return said, None, True
        scalar = not is_object or ("value" in document and not isinstance(document["value"], dict | list))
        return self._fallback(not scalar), None, False

    def _said_device(self, document: dict[str, Any]) -> str | None:
        path = self.device_path
        if path == ():
            return None
        if path is None:
            for key in DEVICE_KEYS:
                if key in document:
                    return _id(document[key])
            return None
        return _id(paths.find(document, path))

    def _time_of(self, document: dict[str, Any], at: int) -> Time:
        path = self.time_path
        if path is None:
            for key in TIME_KEYS:
                if key in document:
                    said = document[key]
                    time = stamps.read(said, self._reading.zone)
                    if time is None or time < stamps.EARLIEST:
                        continue  # it counts something else: how long the device has been up, most often
                    return (time, False) if stamps.plausible(time, at, said) else (None, True)
            return None, False
        if path == ():
            return None, False
        said = paths.find(document, path)
        time = stamps.read(said, self._reading.zone)
        return (None, True) if time is None or not stamps.plausible(time, at, said) else (time, False)

    def _values(self, document: Any, payload: bytes) -> list[Value]:
        found: list[Value] = []
        is_object = type(document) is dict
        for point in self.points:
            if point.encoding is not None and point.path is None:
                try:
                    raw: Any = codec(point.encoding, point.byte_offset)(payload)
                except Unreadable as error:
                    found.append((point, None, error.code))
                    continue
                found.append((point, *read(raw, point.shape)))
                continue
            if point.path is not None:
                raw = paths.find(document, point.path)
                if raw is paths.MISSING:
                    if not is_object and type(document) is not list:
                        found.append((point, None, quality.MALFORMED))
                    continue
            elif is_object and point.shape.kind != "object":
                key = point.name if point.name in document else "value"
                if key not in document:
                    continue
                raw = document[key]
            else:
                raw = document
            if point.encoding is not None:
                found.append((point, *_unwrapped(raw, point)))
                continue
            said = None
            if is_object and point.shape.unit is not None:
                said = unit_of(document, str(point.path[-1]) if point.path else _key_of(point, document))
            found.append((point, *read(raw, point.shape, said)))
        return found


def _key_of(point: DataPoint, document: dict[str, Any]) -> str:
    return point.name if point.name in document else "value"


def _unwrapped(raw: Any, point: DataPoint) -> tuple[Any, str | None]:
    """A number whose bytes are in a text of JSON."""
    if not isinstance(raw, str):
        return None, quality.NO_VALUE if raw is None else quality.TYPE
    try:
        return read(codec(point.encoding or "", point.byte_offset)(raw.encode()), point.shape)
    except Unreadable as error:
        return None, error.code


def _taken(points: tuple[DataPoint, ...]) -> frozenset[str]:
    """Keys at the top of a payload that points have."""
    firsts = {point.path[0] for point in points if point.path}
    return frozenset(key for key in firsts if isinstance(key, str)) | {
        point.name for point in points if point.path is None
    }


def _are_records(document: Any) -> bool:
    """Whether an array is several payloads in one: objects that are no single named values."""
    return (
        type(document) is list
        and bool(document)
        and all(type(item) is dict and not ({"name", "metric", "n"} & item.keys()) for item in document)
    )


def _id(said: Any) -> str | None:
    if isinstance(said, bool) or not isinstance(said, str | int):
        return None
    if isinstance(said, int) and not LEAST <= said <= MOST:
        return None
    return str(said).strip() or None


def parts_of(
    rules: list[tuple[Rule, Found]], topic: str, reading: Reading, pattern: Pattern | None
) -> list[Part]:
    """The rules that a topic falls under, in as few parts as can be; `pattern` is the endpoint's own
    topic."""
    parts: list[Part] = []
    for rule, found in rules:
        part = Part(rule, found, topic, reading, rule.is_own(pattern))
        if not any(known.joins(rule, part) for known in parts):
            parts.append(part)
    return parts
