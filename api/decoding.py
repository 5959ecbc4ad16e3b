"""From what a client sent to a schema: bodies, query strings and numbers in paths.

Whatever cannot be decoded raises `Refusal` (400) naming the field, or `ApiError` (415).
"""

import re
from collections.abc import Collection, Iterable, Sequence
from functools import cache
from itertools import islice
from typing import Any, TypeVar
from urllib.parse import parse_qsl

import msgspec
from msgspec import inspect
from multidict import MultiMapping

from actors.system.checking import refuse_unknown
from actors.system.failure import Refusal
from api.errors import ApiError, Error
from conf.faults import explain
from conf.unknown import nearest, plain

T = TypeVar("T")

MAX_DEPTH = 64
MAX_FORM_FIELDS = 1000
SLIP = 0.9
"""How much alike (0 to 1) an unknown name must be to one that was meant: `enable`, `pollInterval`."""

MAX_SLIPS = 100
"""Unknown names that are looked at; it takes some 20 us each."""

INT64 = range(-(2**63), 2**63)

CHARSETS = frozenset({"utf-8", "utf8", "us-ascii", "iso-8859-1", "utf-16"})

JSON = "application/json"
FORM = "application/x-www-form-urlencoded"

_NUMBER = re.compile(r"-?[0-9]{1,19}")


def decode_body(raw: bytes, media_type: str, charset: str | None, schema: type[T]) -> T:
    """`raw` as JSON or as a form; no body at all is the empty object. Fields not in `schema` are ignored, for
    clients send back whole rows; but one that is all but the name of a field that is not there is a slip of
    the pen, by which a setting would be lost. A schema that forbids unknown fields has them refused."""
    if not raw.strip():
        return _convert({}, schema, strict=True)
    if media_type == FORM:
        return _convert(_form(as_utf8(raw, charset), schema), schema, strict=False)
    if media_type == JSON or media_type.endswith("+json") or media_type == "application/octet-stream":
        given = _json(as_utf8(raw, charset))
        if schema.__struct_config__.forbid_unknown_fields:  # type: ignore[attr-defined]
            given = _known(given, schema)
        _refuse_slips([name for name, value in given.items() if value is not None], schema)
        return _convert(given, schema, strict=True)
    raise ApiError(415, Error("Unsupported media type", f"Send {JSON} or {FORM}, not {media_type}"))


def meant(raw: bytes, media_type: str) -> str:
    """The media type of a body: what says of itself that it is a form, as all that `curl -d` sends does, and
    begins like an object or an array, is JSON: no field of a form is called so."""
    return JSON if media_type == FORM and raw.lstrip().startswith((b"{", b"[")) else media_type


def decode_query(query: MultiMapping[str], schema: type[T]) -> T:
    """The query string; of a repeated parameter the first counts, but for lists, which may also be
    separated by commas."""
    values: dict[str, Any] = dict(query)
    for name in _lists(schema) & values.keys():  # type: ignore[arg-type]
        values[name] = [part for text in query.getall(name) for part in text.split(",") if part]
    try:
        refuse_unstorable(values)
        return _convert(values, schema, strict=False)
    except Refusal as refusal:
        raise Refusal(refusal.message, _top(refusal.field or "") or None) from refusal


def convert_object(value: dict[str, Any], schema: type[T]) -> T:
    """Part of a body that is JSON. Raises `Refusal` naming the field."""
    return _convert(value, schema, strict=True)


def decode_number(text: str, message: str, field: str) -> int:
    """A 64-bit integer in a path. Raises `Refusal(message, field)`."""
    if not _NUMBER.fullmatch(text) or int(text) not in INT64:
        raise Refusal(message, field)
    return int(text)


def refuse_unstorable(value: Any, field: str = "", depth: int = 0) -> None:
    """Raise `Refusal` for what SQLite, MQTT or a device could not hold: NUL characters, half
    surrogate pairs, integers beyond 64 bits, nesting deeper than `MAX_DEPTH`."""
    if depth > MAX_DEPTH:
        raise Refusal(f"nested deeper than {MAX_DEPTH} levels", _top(field))
    if isinstance(value, str):
        _refuse_text(value, field)
    elif isinstance(value, int):
        if value not in INT64:
            raise Refusal(f"{field}: integers must fit in 64 bits", field)
    elif isinstance(value, dict):
        for key, item in value.items():
            _refuse_text(key, field)
            refuse_unstorable(item, f"{field}.{key}" if field else key, depth + 1)
    elif isinstance(value, list):
        for index, item in enumerate(value):
            refuse_unstorable(item, f"{field}[{index}]", depth + 1)


def _refuse_text(text: str, field: str) -> None:
    if "\0" in text:
        raise Refusal(f"{field or 'a name'}: NUL characters are not allowed", field or None)
    if not text.isascii() and any("\ud800" <= character <= "\udfff" for character in text):
        raise Refusal("half a surrogate pair is not a character")


def _top(field: str) -> str:
    return re.split(r"[.\[]", field, maxsplit=1)[0]


def as_utf8(raw: bytes, charset: str | None) -> bytes:
    """Raises `ApiError` (415) for an unknown charset, `Refusal` for what is not of it."""
    name = (charset or "utf-8").lower()
    if name not in CHARSETS:
        raise ApiError(415, Error("Unsupported media type", f"Unknown charset {name}"))
    try:
        return raw.decode(name).encode()
    except UnicodeError as error:
        raise Refusal(f"The body is not valid {name}") from error


def _json(raw: bytes) -> dict[str, Any]:
    value = parse(raw, "The body")
    if not isinstance(value, dict):
        raise Refusal("The body must be a JSON object")
    refuse_unstorable(value)
    return value


def parse(raw: bytes | str, what: str, field: str | None = None) -> Any:
    """JSON; `field` is the one that holds it. Raises `Refusal`."""
    try:
        return msgspec.json.decode(raw)
    except RecursionError as error:
        raise Refusal(f"{what} is nested deeper than {MAX_DEPTH} levels", field) from error
    except (msgspec.DecodeError, UnicodeError) as error:
        raise Refusal(f"{what} is not valid JSON: {error}", field) from error


def _form(raw: bytes, schema: type[Any]) -> dict[str, Any]:
    try:
        pairs = parse_qsl(
            raw.decode(), keep_blank_values=True, errors="strict", max_num_fields=MAX_FORM_FIELDS
        )
    except ValueError as error:
        raise Refusal(f"The form could not be read: {error}") from error
    values: dict[str, list[str]] = {}
    for key, value in pairs:
        values.setdefault(key, []).append(value)
    if schema.__struct_config__.forbid_unknown_fields:
        refuse_unknown(values, schema)
    _refuse_slips(values, schema)
    form = {
        field.encode_name: _form_value(values[field.encode_name], field)
        for field in _fields(schema)
        if field.encode_name in values
    }
    refuse_unstorable(form)
    return form


def _known(given: dict[str, Any], schema: type[Any]) -> dict[str, Any]:
    """The same, without nulls that mean nothing. Raises `Refusal`."""
    refuse_unknown(given, schema)
    names = {field.encode_name for field in _fields(schema)}
    return {name: value for name, value in given.items() if name in names}


def _refuse_slips(names: Collection[str], schema: type[Any]) -> None:
    known = {field.encode_name for field in _fields(schema)}
    absent = {plain(name): name for name in known.difference(names)}
    unknown = (name for name in names if name not in known)
    for name in islice(unknown, MAX_SLIPS):
        meant = nearest(name, absent, SLIP)
        if meant is not None:
            raise Refusal(f"{name} is not known; did you mean {meant}?", name)


def _form_value(texts: Sequence[str], field: inspect.Field) -> Any:
    """Text fields stay text, numbers and booleans are converted later; nested ones are JSON text."""
    kinds = {type(member) for member in _members(field.type)}
    text = texts[0]
    if inspect.StrType in kinds or not kinds & {inspect.DictType, inspect.ListType, inspect.AnyType}:
        return text
    if inspect.ListType in kinds and not text.startswith("["):
        return list(texts)
    if inspect.AnyType in kinds:
        return _json_or_text(text)
    return parse(text, field.encode_name, field.encode_name)


def _json_or_text(text: str) -> Any:
    try:
        return msgspec.json.decode(text)
    except (msgspec.DecodeError, RecursionError):
        return text


def _convert(value: Any, schema: type[T], *, strict: bool) -> T:
    try:
        return msgspec.convert(value, schema, strict=strict)
    except msgspec.ValidationError as error:
        field, sentence = explain(error, schema, value, null=True)
        raise Refusal(sentence, field) from error


def _fields(schema: type[Any]) -> tuple[inspect.Field, ...]:
    info = inspect.type_info(schema)
    assert isinstance(info, inspect.StructType), schema
    return info.fields


@cache
def _lists(schema: Any) -> frozenset[str]:
    """The names of the fields that hold several values."""
    kinds = (inspect.ListType, inspect.VarTupleType)
    return frozenset(
        field.encode_name
        for field in _fields(schema)
        if any(isinstance(member, kinds) for member in _members(field.type))
    )


def _wrapped(kind: inspect.Type) -> Iterable[inspect.Type]:
    return kind.types if isinstance(kind, inspect.UnionType) else (kind,)


def _members(kind: inspect.Type) -> Iterable[inspect.Type]:
    """The alternatives of a field's type, without what is said about them."""
    for member in _wrapped(kind):
        if isinstance(member, inspect.Metadata):
            yield from _members(member.type)
        else:
            yield member
