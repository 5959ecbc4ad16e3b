"""The messages of Sparkplug B as Protocol Buffers have them: fields, their numbers, and the numbers of
datatypes.

What is never sent or read here (metadata, extensions, parameters of templates) is left out: a reader skips
what it does not know.
"""

from functools import cache
from typing import Any

from google.protobuf import descriptor_pb2, descriptor_pool, message_factory
from google.protobuf.message import DecodeError

# Datatypes of metrics and of properties.
INT32 = 3
INT64 = 4
UINT64 = 8
DOUBLE = 10
BOOLEAN = 11
STRING = 12

_PACKAGE = "callboard.sparkplug"
_Field = descriptor_pb2.FieldDescriptorProto
_Fields = dict[str, tuple[int, Any]]

_PAYLOAD: _Fields = {
    "timestamp": (1, _Field.TYPE_UINT64),
    "metrics": (2, ["Metric"]),
    "seq": (3, _Field.TYPE_UINT64),
}
_METRIC: _Fields = {
    "name": (1, _Field.TYPE_STRING),
    "alias": (2, _Field.TYPE_UINT64),
    "timestamp": (3, _Field.TYPE_UINT64),
    "datatype": (4, _Field.TYPE_UINT32),
    "is_historical": (5, _Field.TYPE_BOOL),
    "is_null": (7, _Field.TYPE_BOOL),
    "properties": (9, "PropertySet"),
}
_METRIC_VALUE: _Fields = {
    "int_value": (10, _Field.TYPE_UINT32),
    "long_value": (11, _Field.TYPE_UINT64),
    "double_value": (13, _Field.TYPE_DOUBLE),
    "float_value": (12, _Field.TYPE_FLOAT),
    "boolean_value": (14, _Field.TYPE_BOOL),
    "string_value": (15, _Field.TYPE_STRING),
    "bytes_value": (16, _Field.TYPE_BYTES),
    "dataset_value": (17, "DataSet"),
    "template_value": (18, "Template"),
}
_DATASET: _Fields = {
    "columns": (2, [_Field.TYPE_STRING]),
    "types": (3, [_Field.TYPE_UINT32]),
    "rows": (4, ["Row"]),
}
_ROW: _Fields = {"elements": (1, ["DataSetValue"])}
_ELEMENT: _Fields = {
    "int_value": (1, _Field.TYPE_UINT32),
    "long_value": (2, _Field.TYPE_UINT64),
    "float_value": (3, _Field.TYPE_FLOAT),
    "double_value": (4, _Field.TYPE_DOUBLE),
    "boolean_value": (5, _Field.TYPE_BOOL),
    "string_value": (6, _Field.TYPE_STRING),
}
_TEMPLATE: _Fields = {"metrics": (2, ["Metric"])}
_PROPERTY_SET: _Fields = {
    "keys": (1, [_Field.TYPE_STRING]),
    "values": (2, ["PropertyValue"]),
}
_PROPERTY: _Fields = {"type": (1, _Field.TYPE_UINT32)}
_PROPERTY_VALUE: _Fields = {"int_value": (3, _Field.TYPE_UINT32), "string_value": (8, _Field.TYPE_STRING)}


@cache
def payload_class() -> Any:
    """The class of a Sparkplug message."""
    return _class("Payload")


@cache
def property_set_class() -> Any:
    """The class of a metric's properties."""
    return _class("PropertySet")


def _class(name: str) -> Any:
    return message_factory.GetMessageClass(_pool().FindMessageTypeByName(f"{_PACKAGE}.{name}"))


@cache
def _pool() -> Any:
    """One of its own: another schema of the same messages may be loaded in this process."""
    pool = descriptor_pool.DescriptorPool()
    pool.Add(_file())
    return pool


def parse(octets: bytes) -> Any | None:
    """A message that came; None when it is none."""
    try:
        return payload_class().FromString(octets)
    except DecodeError:
        return None


def _file() -> Any:
    file = descriptor_pb2.FileDescriptorProto(name="sparkplug.proto", package=_PACKAGE, syntax="proto2")
    _message(file, "Payload", _PAYLOAD)
    _message(file, "Metric", _METRIC, _METRIC_VALUE)
    _message(file, "DataSet", _DATASET)
    _message(file, "Row", _ROW)
    _message(file, "DataSetValue", {}, _ELEMENT)
    _message(file, "Template", _TEMPLATE)
    _message(file, "PropertySet", _PROPERTY_SET)
    _message(file, "PropertyValue", _PROPERTY, _PROPERTY_VALUE)
    return file


def _message(file: Any, name: str, fields: _Fields, value: _Fields | None = None) -> None:
    """A message of these fields, and of at most one of those of `value`. A list stands for a repeated field,
    a text for a message of that name."""
    message = file.message_type.add(name=name)
    for field, (number, kind) in fields.items():
        _add(message, field, number, kind)
    if value:
        message.oneof_decl.add(name="value")
        for field, (number, kind) in value.items():
            _add(message, field, number, kind).oneof_index = 0


def _add(message: Any, name: str, number: int, kind: Any) -> Any:
    repeated = isinstance(kind, list)
    kind = kind[0] if repeated else kind
    field = message.field.add(name=name, number=number)
    field.label = _Field.LABEL_REPEATED if repeated else _Field.LABEL_OPTIONAL
    field.type = _Field.TYPE_MESSAGE if isinstance(kind, str) else kind
    if isinstance(kind, str):
        field.type_name = f".{_PACKAGE}.{kind}"
    return field
