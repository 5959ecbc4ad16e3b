"""The `data_points` of an MQTT endpoint (spec 03 section 5): where a value is in which topic's payload, and
what it is made of.

Each is one metric, or several (`metrics`), or all that a payload holds (`autoMetrics`)."""

import json
import re
from collections.abc import Sequence
from typing import Annotated, Any

import msgspec
from msgspec import Meta

from actors.endpoints.listener import Description
from actors.mqtt.topics import unpublishable
from actors.system.checking import checked
from actors.system.failure import Refusal
from conf.annotations import allowed, also, reads
from conf.fields import NUMERAL, Flag, Line, Number, Unused, filled, trimmed

from . import codecs, paths, patterns, units
from .connection import Decimals, JsonPath, PathOrNone, Precisions, TopicFilter, Units, path_of
from .patterns import DEVICE, Pattern
from .values import SPELLINGS, Kind, Shape

VALUE = "{value}"
MAX_TEMPLATE = 65_536
_PLACEHOLDER = re.compile(r"\{(value|device)\}")
_WHOLE = ("auto", "json", "text", "cbor", "msgpack")
"""Encodings of payloads that may have parts."""
_PARTED = ("auto", "json", "cbor", "msgpack")
_WORTH = "a data point needs a topic, a metric, or metrics"


def _kind(value: Any) -> Any:
    if isinstance(value, str):
        if value.strip().lower() not in SPELLINGS:
            raise ValueError(f"must be number, integer, string, boolean or object, not {value[:40]!r}")
        return SPELLINGS[value.strip().lower()]
    return value


def _encoding(value: Any) -> Any:
    if isinstance(value, str):
        name = value.strip().lower()
        if not codecs.is_codec(name):
            raise ValueError(f"must be one of {codecs.NAMES}, or hex:<number> or base64:<number>")
        return name
    return value


def _write_topic(value: Any) -> Any:
    if isinstance(value, str):
        why = unpublishable(value.replace(DEVICE, "d"))
        if why is not None:
            raise ValueError(f"cannot be published to: {why}")
    return value


def _template(value: Any) -> Any:
    """Where the value stands as it is, the text around it is to be JSON if it looks like it."""
    if isinstance(value, str):
        if VALUE not in value:
            raise ValueError(f"must hold {VALUE}")
        if len(value) > MAX_TEMPLATE:
            raise ValueError(f"is longer than {MAX_TEMPLATE} characters")
        if value.lstrip()[:1] in ("{", "[") and value.strip() != VALUE:
            try:
                json.loads(_PLACEHOLDER.sub("0", value))
            except ValueError as error:
                raise ValueError(f"is no JSON once {VALUE} is a number: {error}") from error
    return value


class Metric(msgspec.Struct, frozen=True, rename="camel", kw_only=True):
    """One value of a payload."""

    field: Annotated[JsonPath, also("path")] | None = None
    metric: Annotated[Line, also("name")] | None = None
    type: Annotated[Kind, reads(trimmed, _kind), also("dataType")] | None = None
    unit: Line | None = None
    precision: Decimals | None = None
    scale: Number = 1
    offset: Number = 0
    min: Number | None = None
    max: Number | None = None
    encoding: Annotated[str, reads(trimmed, _encoding), allowed("the name of an encoding")] | None = None
    byte_offset: Annotated[int, Meta(ge=0, le=1_048_575), NUMERAL] | None = None
    writable: bool | None = None
    write_topic: Annotated[str, reads(trimmed, _write_topic)] | None = None
    write_template: Annotated[str, reads(filled, _template)] | None = None
    write_retain: Flag = False
    description: Unused = None  # for people
    # What a client may call a point by that has no name here (spec 01 section 12).
    key: Unused = None
    tag: Unused = None
    label: Unused = None


class Given(Metric, frozen=True, rename="camel", kw_only=True):
    """What clients send."""

    topic: TopicFilter | None = None
    device_id: Line | None = None
    device_id_field: PathOrNone | None = None
    timestamp_field: PathOrNone | None = None
    metrics: Annotated[tuple[Metric, ...], reads(filled), allowed("an array of objects")] = ()
    auto_metrics: Flag | None = None
    default_units: Units = {}
    default_precisions: Precisions = {}
    allow_array_metrics: Flag | None = None


class Writing(msgspec.Struct, frozen=True):
    """Where a value goes, and as what; in both `{device}` is the device."""

    topic: str
    template: str | None = None
    encoding: str | None = None
    retain: bool = False


class DataPoint(msgspec.Struct, frozen=True):
    """A checked metric. `path` None: the payload is the value, or has it in `value` or in a key of the
    metric's name."""

    name: str
    shape: Shape = Shape()
    path: paths.Path | None = None
    topic: str = ""
    """As the client wrote it; "": the endpoint's"""
    encoding: str | None = None
    """Of the value, where it is a text or the whole payload"""
    byte_offset: int | None = None
    writing: Writing | None = None

    @property
    def unit(self) -> str | None:
        return self.shape.unit

    @property
    def address_text(self) -> str:
        if self.path is None:
            return self.topic or self.name
        return f"{self.topic}:{paths.spelled(self.path)}" if self.topic else paths.spelled(self.path)


class Rule(msgspec.Struct, frozen=True):
    """What is made of the payloads of a topic (None: the endpoint's). `automatic`: of all that is in them
    that no point has. `device` is the one that they are of, "" the endpoint's own; None: the topic or the
    payload says. Paths as in `Reading`."""

    topic: Pattern | None
    points: tuple[DataPoint, ...] = ()
    automatic: bool = False
    codec: str | None = None
    device: str | None = None
    device_path: paths.Path | None = None
    time_path: paths.Path | None = None
    arrays: bool | None = None
    units: dict[str, str] = {}
    precisions: dict[str, int] = {}

    @property
    def is_fixed(self) -> bool:
        """Whether its points are there before anything has come."""
        if self.device is not None:
            return True
        return not self.device_path and (self.topic is None or self.topic.is_exact)

    def is_own(self, topic: Pattern | None) -> bool:
        """Whether its points are the endpoint's own device's, whatever payloads say; `topic` is the
        endpoint's, None if it is all."""
        where = self.topic or topic
        exact = where is not None and where.is_exact
        return self.device is None and not self.device_path and exact and not self.automatic


class Checked(msgspec.Struct, frozen=True):
    """What the data points come to: the own device's, those of the devices that they name, and the rules."""

    points: tuple[DataPoint, ...]
    devices: tuple[Description, ...]
    rules: tuple[Rule, ...]


def read_points(given: Sequence[dict[str, Any]]) -> Checked:
    """Check data points as the client sent them. Raises `Refusal` naming `data_points[i].<key>`."""
    rules = [
        _rule(checked(raw, Given, f"data_points[{i}]"), f"data_points[{i}]") for i, raw in enumerate(given)
    ]
    devices: dict[str, dict[str, DataPoint]] = {"": {}}
    for index, rule in enumerate(rules):
        if not rule.is_fixed:
            continue
        named = devices.setdefault(rule.device or "", {})
        for point in rule.points:
            if point.name in named:
                raise Refusal(f"the name {point.name!r} is used twice", f"data_points[{index}].metric")
            named[point.name] = point
    described = tuple(
        Description(device, device, tuple(points.values())) for device, points in devices.items() if device
    )
    return Checked(tuple(devices[""].values()), described, tuple(rules))


def _rule(given: Given, where: str) -> Rule:
    named = given.metric is not None or given.field is not None
    if given.topic is None and not named and not given.metrics and not given.auto_metrics:
        raise Refusal(_WORTH, f"{where}.topic")
    if named and given.metrics:
        raise Refusal("metrics does not go with a metric of its own", f"{where}.metrics")
    topic = None if given.topic is None else patterns.parse(given.topic)
    points: tuple[DataPoint, ...] = ()
    if given.metrics:
        points = tuple(
            _point(metric, topic, f"{where}.metrics[{i}]") for i, metric in enumerate(given.metrics)
        )
    elif named or _says_how(given):
        points = (_point(given, topic, where),)
    names = [point.name for point in points]
    for name in names:
        if names.count(name) > 1:
            raise Refusal(f"the name {name!r} is used twice", f"{where}.metrics")
    automatic = (not points) if given.auto_metrics is None else given.auto_metrics
    if automatic and any(point.encoding in codecs.BINARY for point in points):
        raise Refusal("autoMetrics does not go with a binary encoding", f"{where}.autoMetrics")
    if not points and not automatic:
        raise Refusal(_WORTH, f"{where}.metric")
    return Rule(
        topic=topic,
        points=points,
        automatic=automatic,
        codec=given.encoding if given.encoding in _WHOLE else None,
        device=given.device_id,
        device_path=path_of(given.device_id_field),
        time_path=path_of(given.timestamp_field),
        arrays=given.allow_array_metrics,
        units=given.default_units,
        precisions=given.default_precisions,
    )


def _says_how(given: Given) -> bool:
    """Whether a data point without a name says how to read its topic's one value; then that is named after
    the topic."""
    encoding = None if given.encoding in _PARTED else given.encoding
    said = (given.type, given.unit, given.precision, encoding, given.write_topic, given.min, given.max)
    exact = given.topic is not None and patterns.parse(given.topic).is_exact
    return exact and not given.auto_metrics and any(one is not None for one in said)


def _point(given: Metric, topic: Pattern | None, where: str) -> DataPoint:
    route = None if given.field is None else paths.parse(given.field)
    name = given.metric or (given.field if given.field is not None else _last(topic))
    if name is None:
        raise Refusal("a data point needs a metric: its name", f"{where}.metric")
    binary = given.encoding is not None and given.encoding.rpartition(":")[2] in codecs.BINARY
    if given.byte_offset is not None and not binary:
        raise Refusal("byteOffset needs the encoding of a number such as float32le", f"{where}.byteOffset")
    _check_encoding(given, binary, where)
    if given.scale == 0:
        raise Refusal("scale must not be 0", f"{where}.scale")
    if given.min is not None and given.max is not None and given.min > given.max:
        raise Refusal("min is above max", f"{where}.min")
    for key in ("scale", "offset", "min", "max", "precision"):
        neutral = {"scale": 1, "offset": 0}.get(key)
        if given.type in ("string", "boolean", "object") and getattr(given, key) != neutral:
            raise Refusal(f"{key} does not go with {given.type}", f"{where}.{key}")
    return DataPoint(
        name=name,
        shape=Shape(
            given.type,
            None if given.unit is None else units.canonical(given.unit),
            given.precision,
            given.scale,
            given.offset,
            given.min,
            given.max,
        ),
        path=route,
        topic="" if topic is None else topic.text,
        encoding=None if given.encoding in _WHOLE else given.encoding,
        byte_offset=given.byte_offset,
        writing=_writing(given, topic, where),
    )


def _check_encoding(given: Metric, binary: bool, where: str) -> None:
    name, field = given.encoding or "", f"{where}.encoding"
    if given.field is not None and binary and ":" not in name:
        raise Refusal(f"in JSON bytes are text: use hex:{name} or base64:{name}", field)
    if given.field is not None and name in ("hex", "base64"):
        raise Refusal(f"{name} is of a whole payload, and so does not go with a field", field)
    if not isinstance(given, Given) and name in _WHOLE:
        raise Refusal(f"{name} is of a whole payload, and so of the data point", field)


def _last(topic: Pattern | None) -> str | None:
    """The last level of a topic, if it is a name."""
    if topic is None or topic.levels[-1] in ("+", "#", DEVICE, patterns.METRIC):
        return None
    return topic.levels[-1] or None


def _writing(given: Metric, topic: Pattern | None, where: str) -> Writing | None:
    if given.writable is False:
        return None
    if given.write_topic is None:
        if given.writable:
            raise Refusal("what is writable needs a writeTopic", f"{where}.writeTopic")
        if given.write_template is not None:
            raise Refusal("writeTemplate needs a writeTopic", f"{where}.writeTopic")
        return None
    if given.write_topic.count(DEVICE) and topic is not None and topic.is_exact:
        raise Refusal("{device} needs a topic with {device} or a wildcard in it", f"{where}.writeTopic")
    encoding = given.encoding
    if encoding is not None and encoding.rpartition(":")[2] not in codecs.BINARY:
        encoding = None
    if encoding is not None and given.write_template is not None and encoding in codecs.BINARY:
        raise Refusal("bytes have no place in a template", f"{where}.writeTemplate")
    return Writing(given.write_topic, given.write_template, encoding, given.write_retain)
