"""What is published to write a data point (spec 01 section 7): topic and payload, checked before anything is
sent."""

import math
import re
from collections.abc import Iterator, Sequence
from typing import Any

import msgspec

from actors.endpoints.protocol import WriteRequest
from actors.mqtt.topics import unpublishable
from actors.system.failure import Refusal

from . import codecs, quality
from .patterns import DEVICE
from .points import VALUE, DataPoint, Rule, Writing
from .values import SPELLINGS, Shape, read

_PLACEHOLDERS = re.compile(r"\{(?:value|device)\}")
_WHY = {
    quality.TYPE: "is of another type",
    quality.NOT_A_NUMBER: "is not a number",
    quality.NO_VALUE: "is missing",
}


class Prepared(msgspec.Struct, frozen=True):
    """A message that writes `value` to a data point of a device."""

    device: str
    point: DataPoint
    value: Any
    topic: str
    payload: bytes
    retain: bool


def metric(request: WriteRequest, may_write: bool) -> Prepared:
    """What writes a metric of Sparkplug: topic and payload are made when it is sent, of what the device has
    said of the metric. Raises `Refusal` on `register` or `value`."""
    if not may_write:
        text = f"{request.register} is read-only: the connection is not writable"
        raise Refusal(text, "register", "read_only")
    if not isinstance(request.value, bool | int | float | str):
        raise Refusal("The value must be a number, a string or a boolean", "value")
    return Prepared(request.device, DataPoint(request.register), request.value, "", b"", retain=False)


def prepare(rules: Sequence[Rule], request: WriteRequest) -> Prepared:
    """Raises `Refusal` on `register` or `value`."""
    rule, point = _find(rules, request)
    if point.writing is None:
        raise Refusal(f"{request.register} is read-only: it has no writeTopic", "register", "read_only")
    value = _value(request.value, _typed(point.shape, request))
    topic = _topic(point.writing, rule, request.device)
    raw = _raw(value, point.shape)
    return Prepared(
        request.device,
        point,
        value,
        topic,
        _payload(point.writing, raw, request.device),
        point.writing.retain,
    )


def _find(rules: Sequence[Rule], request: WriteRequest) -> tuple[Rule, DataPoint]:
    """By its name, else by its address or the topic that it is written to."""
    places = [(rule, point) for rule in rules if _may_be(rule, request.device) for point in rule.points]
    for rule, point in places:
        if point.name == request.register:
            return rule, point
    named = [
        (rule, point)
        for rule, point in places
        if request.register in (point.address_text, point.writing and point.writing.topic)
    ]
    if len(named) > 1:
        names = ", ".join(point.name for _, point in named)
        raise Refusal(
            f"{request.register} is several data points: {names}; write one by its name", "register"
        )
    if not named:
        raise Refusal(f"Register not found: {request.register}", "register", "not_found")
    return named[0]


def _may_be(rule: Rule, device: str) -> bool:
    """Whether that device has the points of the rule: nobody else knows which devices there are."""
    if rule.device is not None:
        return rule.device == device
    return rule.topic is None or not device or not rule.topic.is_exact or rule.device_path is not None


def _typed(shape: Shape, request: WriteRequest) -> Shape:
    """With the type that the client says, where the point has none."""
    if request.priority is not None:
        raise Refusal("priority means nothing for MQTT", "priority")
    if request.data_type is None:
        return shape
    kind = SPELLINGS.get(request.data_type.strip().lower())
    if kind is None:
        raise Refusal("type must be number, integer, string, boolean or object", "type")
    if shape.kind not in (None, kind):
        raise Refusal(f"type {request.data_type} contradicts the data point's, {shape.kind}", "type")
    return msgspec.structs.replace(shape, kind=kind)


def _value(given: Any, shape: Shape) -> Any:
    if isinstance(given, dict | list) and shape.kind in (None, "object"):
        return given
    value, code = read(given, Shape(kind=shape.kind, least=shape.least, most=shape.most))
    if code is None:
        return value
    if code == quality.OUT_OF_RANGE:
        least, most = ("" if limit is None else limit for limit in (shape.least, shape.most))
        raise Refusal(f"The value {given} is out of range ({least}..{most})", "value")
    kind = shape.kind or "number, string or boolean"
    raise Refusal(f"The value {_WHY.get(code, 'cannot be written')}: expected {kind}", "value")


def _raw(value: Any, shape: Shape) -> Any:
    """What the device is told: its own number."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return value
    if shape.scale == 1 and shape.offset == 0:
        return value
    raw = float(f"{(value - shape.offset) / shape.scale:.12g}")
    if not math.isfinite(raw):
        raise Refusal(f"The value {value} is out of range", "value")
    return round(raw) if shape.kind == "integer" or raw.is_integer() else raw


def _topic(writing: Writing, rule: Rule, device: str) -> str:
    if DEVICE not in writing.topic:
        return writing.topic
    if not device:
        raise Refusal(
            "the endpoint's own device has no place in a topic with {device}", "register", "read_only"
        )
    # A name of one level, and one that a payload says, is to stay one: it must not lead elsewhere.
    several = rule.topic is None or (not rule.topic.names_device and not rule.device_path)
    topic = writing.topic.replace(DEVICE, device)
    if ("/" in device and not several) or unpublishable(topic) is not None or _climbs(device):
        raise Refusal(f"the device's name has no place in a topic: {device[:80]}", "register")
    return topic


def _climbs(device: str) -> bool:
    return any(level in ("", ".", "..") for level in device.split("/"))


def _payload(writing: Writing, raw: Any, device: str) -> bytes:
    if writing.encoding is not None:
        number = codecs.encode_number(writing.encoding, _number(raw, writing.encoding))
        if writing.template is None:
            return number
        raw = number.decode()
    if writing.template is None:
        return _text(raw).encode()
    return filled(writing.template, raw, device).encode()


def _number(raw: Any, encoding: str) -> Any:
    if isinstance(raw, bool):
        raw = int(raw)
    if not isinstance(raw, int | float):
        raise Refusal("The value is of another type: expected number", "value")
    if "float" not in encoding:
        raw = round(raw)
    try:
        codecs.encode_number(encoding, raw)
    except ValueError as error:
        raise Refusal(f"The value {raw} does not fit into {encoding}", "value") from error
    return raw


def _text(raw: Any) -> str:
    return raw if isinstance(raw, str) else msgspec.json.encode(raw).decode()


def filled(template: str, value: Any, device: str) -> str:
    """The template with both in their places: as JSON where the template is JSON, and inside its texts
    escaped as there."""
    is_json = template.lstrip()[:1] in ("{", "[", '"') and template.strip() != VALUE
    return "".join(_pieces(template, value, device, is_json))


def _pieces(template: str, value: Any, device: str, is_json: bool) -> Iterator[str]:
    position, quoted = 0, False
    for found in _PLACEHOLDERS.finditer(template):
        before = template[position : found.start()]
        quoted = _is_quoted(before, quoted)
        said = value if found[0] == VALUE else device
        yield before
        if not is_json:
            yield _text(said)
        elif quoted:
            yield msgspec.json.encode(_text(said)).decode()[1:-1]
        else:
            yield msgspec.json.encode(said).decode()
        position = found.end()
    yield template[position:]


def _is_quoted(text: str, quoted: bool) -> bool:
    """Whether what follows this piece of JSON is in a text of it."""
    escaped = False
    for sign in text:
        if escaped:
            escaped = False
        elif sign == "\\" and quoted:
            escaped = True
        elif sign == '"':
            quoted = not quoted
    return quoted


def same(written: Any, shown: Any, shape: Shape) -> bool:
    """Whether what a device shows is what was written: of numbers as far as their decimals are known."""
    if isinstance(written, bool) or isinstance(shown, bool) or isinstance(written, str):
        return bool(written == shown)
    if isinstance(written, int | float) and isinstance(shown, int | float):
        slack = 0.5 * 10.0**-shape.precision if shape.precision is not None else 0.0
        return math.isclose(written, shown, rel_tol=1e-6, abs_tol=slack + abs(shape.scale) * 1e-9)
    if isinstance(written, dict | list):
        return bool(msgspec.json.encode(written).decode() == shown)
    return bool(written == shown)
