"""The objects of `servers.bacnet_bacpypes`: bacpypes3's, of JSON and as JSON."""

from datetime import UTC, datetime
from typing import Any

from bacpypes3.basetypes import (
    Date,
    DateTime,
    LogRecord,
    LogRecordLogDatum,
    LogStatus,
    PriorityValue,
    StatusFlags,
    Time,
)
from bacpypes3.constructeddata import AnyAtomic, Array, ExtendedList, Sequence
from bacpypes3.json import json_to_sequence, sequence_to_json
from bacpypes3.local import multistate
from bacpypes3.local.analog import AnalogInputObject, AnalogOutputObject, AnalogValueObjectCmd
from bacpypes3.local.binary import BinaryInputObject, BinaryOutputObject, BinaryValueObject
from bacpypes3.local.cmd import Commandable
from bacpypes3.local.object import Object
from bacpypes3.object import (
    AccumulatorObject,
    BitStringValueObject,
    CharacterStringValueObject,
    DateTimeValueObject,
    IntegerValueObject,
    LargeAnalogValueObject,
    NotificationClassObject,
    PositiveIntegerValueObject,
    TrendLogObject,
)
from bacpypes3.primitivedata import (
    BitString,
    Boolean,
    CharacterString,
    Double,
    Enumerated,
    Integer,
    Null,
    ObjectIdentifier,
    OctetString,
    PropertyIdentifier,
    Real,
    Unsigned,
)


class BinaryValue(Commandable, BinaryValueObject):
    _required = ("priorityArray",)


class MultiStateValue(Commandable, multistate.MultiStateValueObject):
    _required = ("priorityArray",)


class CharacterStringValue(Object, CharacterStringValueObject):
    """Nothing else of it is local in bacpypes3, and so of the ones below."""


class IntegerValue(Object, IntegerValueObject): ...


class PositiveIntegerValue(Object, PositiveIntegerValueObject): ...


class LargeAnalogValue(Object, LargeAnalogValueObject): ...


class BitStringValue(Object, BitStringValueObject): ...


class DateTimeValue(Object, DateTimeValueObject): ...


class Accumulator(Object, AccumulatorObject): ...


class NotificationClass(Object, NotificationClassObject): ...


class TrendLog(Object, TrendLogObject): ...


_CLASSES: dict[str, type[Any]] = {
    "analog-input": AnalogInputObject,
    "analog-output": AnalogOutputObject,
    "analog-value": AnalogValueObjectCmd,
    "binary-input": BinaryInputObject,
    "binary-output": BinaryOutputObject,
    "binary-value": BinaryValue,
    "multi-state-input": multistate.MultiStateInputObject,
    "multi-state-output": multistate.MultiStateOutputObject,
    "multi-state-value": MultiStateValue,
    "characterstring-value": CharacterStringValue,
    "integer-value": IntegerValue,
    "positive-integer-value": PositiveIntegerValue,
    "large-analog-value": LargeAnalogValue,
    "bitstring-value": BitStringValue,
    "datetime-value": DateTimeValue,
    "accumulator": Accumulator,
    "notification-class": NotificationClass,
    "trend-log": TrendLog,
}
_NO_UNITS = ("binary", "multi-state", "characterstring", "bitstring", "datetime", "notification", "trend")


def object_of(entry: dict[str, Any]) -> Any:
    """As `servers.bacnet_device.entry` describes it."""
    kind, instance = entry["type"], entry["instance"]
    made = _CLASSES[kind]
    fields: dict[str, Any] = {
        "objectIdentifier": (kind, instance),
        "objectName": entry.get("name") or f"{kind}-{instance}",
        "statusFlags": [0, 0, 0, 0],
        "eventState": "normal",
        "outOfService": False,
    }
    if entry.get("value") is not None:
        fields["presentValue"] = property_of(
            made.get_property_type(PropertyIdentifier.presentValue), entry["value"]
        )
    if "covIncrement" in made._elements:
        fields["covIncrement"] = 0
    if "units" in made._elements and not kind.startswith(_NO_UNITS):
        fields["units"] = entry.get("units") or "no-units"
    if entry.get("states"):
        fields |= {"numberOfStates": len(entry["states"]), "stateText": entry["states"]}
    elif "numberOfStates" in made._elements:
        fields["numberOfStates"] = 3
    if kind == "binary-output":
        fields["polarity"] = "normal"
    if kind == "trend-log":
        fields |= {"enable": True, "stopWhenFull": False, "bufferSize": 10_000, "recordCount": 0}
        fields |= {"totalRecordCount": 0, "loggingType": "polled", "reliability": "no-fault-detected"}
    for name, value in (entry.get("properties") or {}).items():
        identifier = PropertyIdentifier(name)
        fields[identifier.attr] = property_of(made.get_property_type(identifier), value)
    fields = {name: value for name, value in fields.items() if name in made._elements}
    return made(**fields)


def record_of(value: Any, time_ms: int, status: list[int] | None, log_status: list[int] | None) -> LogRecord:
    if log_status is not None:
        datum = LogRecordLogDatum(logStatus=LogStatus(log_status))
    elif value is None:
        datum = LogRecordLogDatum(nullValue=Null(()))
    elif isinstance(value, bool):
        datum = LogRecordLogDatum(booleanValue=Boolean(value))
    elif isinstance(value, int):
        datum = LogRecordLogDatum(unsignedValue=Unsigned(value))
    else:
        datum = LogRecordLogDatum(realValue=Real(value))
    moment = datetime.fromtimestamp(time_ms / 1000, UTC)
    date = Date((moment.year - 1900, moment.month, moment.day, moment.isoweekday()))
    time = Time((moment.hour, moment.minute, moment.second, moment.microsecond // 10_000))
    record = LogRecord(timestamp=DateTime(date=date, time=time), logDatum=datum)
    if status is not None:
        record.statusFlags = StatusFlags(status)
    return record


def property_of(kind: Any, value: Any) -> Any:
    """A property of that type, of JSON: numbers, texts, lists; structures as bacpypes3 reads them."""
    if isinstance(value, dict):
        return json_to_sequence(value, kind)
    if isinstance(value, list) and issubclass(kind, Array | ExtendedList):
        return kind([property_of(kind._subtype, each) for each in value])
    return kind(value)


def name_of(identifier: ObjectIdentifier) -> str:
    kind, instance = identifier
    return f"{kind},{instance}"


def told(value: Any) -> Any:
    """A value as JSON."""
    if value is None or isinstance(value, Null):
        return None
    if isinstance(value, AnyAtomic):
        return told(value.get_value())
    if isinstance(value, Boolean | bool):
        return bool(value)
    if isinstance(value, Enumerated):
        return str(value)
    if isinstance(value, Real | Double):
        return float(value)
    if isinstance(value, Unsigned | Integer):
        return int(value)
    if isinstance(value, CharacterString):
        return str(value)
    if isinstance(value, BitString):
        return [int(bit) for bit in value]
    if isinstance(value, OctetString):
        return bytes(value).hex()
    if isinstance(value, PriorityValue):
        return told(getattr(value, value._choice))
    if isinstance(value, list):
        return [told(each) for each in value]
    if isinstance(value, Sequence):
        return sequence_to_json(value)
    return str(value)
