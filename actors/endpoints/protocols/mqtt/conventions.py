"""Topics of the families of devices that say in a known way what belongs together: Sparkplug B, zigbee2mqtt,
Home Assistant's discovery, Tasmota, Shelly, Homie. Each takes from `looks` what it knows."""

import re
from collections.abc import Callable, Iterator
from typing import Any, Final

from . import paths, patterns, units
from .grouping import COMMANDS, Group
from .proposing import Field, Look, fields


class Looks(dict[str, Look]):
    """By their topics. `heard` are those that there were in the beginning."""

    heard: frozenset[str] = frozenset()


_SPARKPLUG: Final = "spBv1.0"
_OWN: Final = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}-[0-9]{10,}-[0-9]+-[0-9a-f]+")
"""How agents number what they publish."""
_SHELLY: Final = re.compile(r"shelly[a-z0-9]+-[0-9a-f]{6,}", re.IGNORECASE)
_TASMOTA: Final = re.compile(
    r"(?:(?P<kind>tele|stat|cmnd)/(?P<a>.+)|(?P<b>.+)/(?P<kind2>tele|stat|cmnd))"
    r"/(?P<last>SENSOR|STATE|LWT|RESULT|INFO[0-9]*|UPTIME|STATUS[0-9]*|POWER[0-9]*|MARGINS|ENERGY)"
)
_TEMPLATE: Final = re.compile(
    r"\{\{-?\s*value_json(?P<path>(?:\.\w+|\[(?:'[^']+'|\"[^\"]+\"|\d+)\])+)\s*-?\}\}"
)
_PLAIN: Final = re.compile(r"\{\{-?\s*value\s*-?\}\}")


def groups(looks: Looks) -> list[Group]:
    """The devices of all conventions; what they have taken is gone from `looks`."""
    looks.heard = frozenset(looks)
    _leave_out_own(looks)
    found: list[Group] = []
    for convention in _CONVENTIONS:
        found += convention(looks)
    return found


def _leave_out_own(looks: Looks) -> None:
    """What agents publish is of no device."""
    for topic, one in list(looks.items()):
        said = one.documents[-1].get("msgId") if one.kind == "object" and one.documents else None
        if (isinstance(said, str) and _OWN.fullmatch(said)) or topic == "agent/broker":
            del looks[topic]


def _documents(looks: Looks, kind: type) -> Iterator[tuple[str, Any]]:
    for topic, one in list(looks.items()):
        if one.documents and isinstance(one.documents[-1], kind):
            yield topic, one.documents[-1]


def _take(looks: Looks, topics: list[str]) -> list[Look]:
    return [looks.pop(topic) for topic in topics if topic in looks]


# Sparkplug B


def _sparkplug(looks: Looks) -> Iterator[Group]:
    nodes: dict[tuple[str, str], list[str]] = {}
    for topic in looks:
        levels = topic.split("/")
        if levels[0] == _SPARKPLUG:
            named = len(levels) in (4, 5) and levels[2] != "STATE" and levels[1] != "STATE"
            nodes.setdefault((levels[1], levels[3]) if named else ("", ""), []).append(topic)
    for (group, node), topics in nodes.items():
        taken = _take(looks, topics)
        if not node or not any(
            each.split("/")[2] in ("NBIRTH", "NDATA", "DBIRTH", "DDATA") for each in topics
        ):
            continue
        devices = sorted({each.split("/")[4] for each in topics if each.count("/") == 4})
        yield Group(
            f"{_SPARKPLUG}/{group}/{node}",
            taken,
            [],
            "sparkplug",
            {"topic": f"{_SPARKPLUG}/{group}/+/{node}/#", "format": "sparkplug"},
            {"group": group, "node": node, "devices": devices[:200]},
            automatic=True,
        )


# zigbee2mqtt


def _zigbee(looks: Looks) -> Iterator[Group]:
    bases = {topic.removesuffix("/bridge/state") for topic in looks if topic.endswith("/bridge/state")}
    known: dict[str, dict[str, Any]] = {}
    for topic, document in _documents(looks, list):
        if topic.endswith("/bridge/devices"):
            base = topic.removesuffix("/bridge/devices")
            bases.add(base)
            for one in document:
                if isinstance(one, dict) and isinstance(one.get("friendly_name"), str):
                    known[f"{base}/{one['friendly_name']}"] = one
    for base in sorted(bases):
        _take(looks, [topic for topic in looks if topic.startswith(f"{base}/bridge/")])
        for topic in [each for each in looks if each.startswith(f"{base}/")]:
            if topic not in looks or looks[topic].kind != "object" or topic.rpartition("/")[2] in COMMANDS:
                continue
            if topic.endswith("/availability"):
                continue
            yield _zigbee_device(looks, topic, known.get(topic, {}))
        _take(looks, [topic for topic in looks if topic.startswith(f"{base}/")])


def _zigbee_device(looks: Looks, topic: str, said: dict[str, Any]) -> Group:
    definition = said.get("definition")
    definition = definition if isinstance(definition, dict) else {}
    named = dict(_exposed(definition.get("exposes"), 0))
    found = fields(looks[topic])
    for one in found:
        unit = named.get(str(one.path[-1])) if len(one.path) == 1 else None
        one.unit = one.unit or unit
    metadata = {key: str(definition[key])[:100] for key in ("vendor", "model") if definition.get(key)}
    connection: dict[str, Any] = {"topic": topic}
    if f"{topic}/availability" in looks:
        connection["statusTopic"] = f"{topic}/availability"
    return Group(
        topic, _take(looks, [topic, f"{topic}/availability"]), found, "zigbee2mqtt", connection, metadata
    )


def _exposed(exposes: Any, depth: int) -> Iterator[tuple[str, str]]:
    """Units by property."""
    for one in exposes if isinstance(exposes, list) and depth < 4 else ():
        if isinstance(one, dict):
            if (
                isinstance(one.get("property"), str)
                and isinstance(one.get("unit"), str)
                and one["unit"].strip()
            ):
                yield one["property"], units.canonical(one["unit"])
            yield from _exposed(one.get("features"), depth + 1)


# Home Assistant's discovery

_TELLING: Final = frozenset({"state_topic", "command_topic", "components"})
_SHORT: Final = {
    "stat_t": "state_topic",
    "val_tpl": "value_template",
    "unit_of_meas": "unit_of_measurement",
    "dev": "device",
    "ids": "identifiers",
    "mf": "manufacturer",
    "mdl": "model",
    "uniq_id": "unique_id",
    "obj_id": "object_id",
    "cmps": "components",
}


def _home_assistant(looks: Looks) -> Iterator[Group]:
    devices: dict[str, list[tuple[str, dict[str, Any]]]] = {}
    for topic, document in _documents(looks, dict):
        if topic.endswith("/config") and not _TELLING.isdisjoint(_long(document)):
            for one in _entities(_long(document)):
                devices.setdefault(_device_of(one, topic), []).append((topic, one))
    for name, entities in devices.items():
        found = [field for topic, one in entities if (field := _entity(one, topic, looks)) is not None]
        configs = [topic for topic, _ in entities]
        if not found:
            _take(looks, configs)
            continue
        topics = list(dict.fromkeys(one.topic for one in found))
        about = entities[0][1].get("device")
        about = about if isinstance(about, dict) else {}
        metadata = {key: str(about[key])[:100] for key in ("name", "manufacturer", "model") if about.get(key)}
        taken = [looks[topic] for topic in topics if topic in looks]
        yield Group(name, taken, found, "home-assistant", {}, metadata)
        _take(looks, [*topics, *configs])


def _long(document: dict[str, Any]) -> dict[str, Any]:
    """Without abbreviations, and the base topic put in."""
    found = {_SHORT.get(key, key): value for key, value in document.items()}
    for key in ("device", "dev"):
        if isinstance(found.get(key), dict):
            found[key] = {_SHORT.get(name, name): value for name, value in found[key].items()}
    base, topic = found.get("~"), found.get("state_topic")
    if isinstance(base, str) and isinstance(topic, str):
        found["state_topic"] = topic.replace("~", base)
    return found


def _entities(document: dict[str, Any]) -> Iterator[dict[str, Any]]:
    components = document.get("components")
    if not isinstance(components, dict):
        yield document
        return
    common = {key: value for key, value in document.items() if key in ("device", "state_topic", "~")}
    for key, one in components.items():
        if isinstance(one, dict):
            yield {
                "object_id": key,
                **common,
                **_long({**({"~": common["~"]} if "~" in common else {}), **one}),
            }


def _device_of(one: dict[str, Any], topic: str) -> str:
    """What tells the device, else the topic that tells of it."""
    device = one.get("device")
    ids = device.get("identifiers") if isinstance(device, dict) else None
    first = ids[0] if isinstance(ids, list) and ids else ids
    return (
        f"{topic.split('/')[0]}/{first}"
        if isinstance(first, str) and first
        else topic.removesuffix("/config")
    )


def _entity(one: dict[str, Any], topic: str, looks: Looks) -> Field | None:
    """None for what has no state, or one that a template computes."""
    state, template = _state_topic(one.get("state_topic"), looks), one.get("value_template")
    if state is None:
        return None
    if state in looks.heard and state not in looks:
        return None  # it is of a device that is known already
    path: tuple[str | int, ...] = ()
    if isinstance(template, str) and template.strip() and not _PLAIN.fullmatch(template.strip()):
        simple = _TEMPLATE.fullmatch(template.strip())
        if simple is None:
            return None
        try:
            path = paths.parse(simple["path"].lstrip("."))
        except ValueError:
            return None
    name = next(
        (one[key] for key in ("object_id", "name", "unique_id") if isinstance(one.get(key), str)), None
    )
    name = name or topic.split("/")[-2]
    unit = one.get("unit_of_measurement")
    unit = units.canonical(unit) if isinstance(unit, str) and unit.strip() else None
    kind = "number" if unit is not None else None
    for field in fields(looks[state]) if state in looks else ():
        if field.path == path:
            kind = field.type
    return Field(state, path, name, kind, unit)


def _state_topic(said: Any, looks: Looks) -> str | None:
    """It may be a filter: then the only topic of it that there is."""
    if not isinstance(said, str) or not said.strip():
        return None
    try:
        pattern = patterns.parse(said)
    except ValueError:
        return None
    if pattern.is_exact:
        return pattern.text
    there = [topic for topic in looks if pattern.match(topic) is not None]
    return there[0] if len(there) == 1 else None


# Tasmota


def _tasmota(looks: Looks) -> Iterator[Group]:
    devices: dict[str, list[tuple[str, str]]] = {}
    for topic in looks:
        found = _TASMOTA.fullmatch(topic)
        if found is not None:
            devices.setdefault(found["a"] or found["b"], []).append((topic, found["last"]))
    for name, topics in devices.items():
        if not any(last in ("SENSOR", "STATE", "LWT") for _, last in topics):
            continue
        read = [topic for topic, last in topics if last in ("SENSOR", "STATE") and "tele" in topic.split("/")]
        values = [
            one
            for topic in read
            for one in fields(looks[topic])
            if one.path[-1:] not in (("Time",), ("TempUnit",))
        ]
        for one in values:
            document = looks[one.topic].documents[-1]
            said = document.get("TempUnit") if isinstance(document, dict) else None
            if isinstance(said, str) and one.path[-1:] == ("Temperature",):
                one.unit = units.canonical(said)
        will = next((topic for topic, last in topics if last == "LWT"), None)
        connection = {} if will is None else {"statusTopic": will}
        yield Group(
            f"tele/{name}", _take(looks, [topic for topic, _ in topics]), values, "tasmota", connection
        )


# Shelly


def _shelly(looks: Looks) -> Iterator[Group]:
    devices: dict[str, list[str]] = {}
    for topic in looks:
        levels = topic.split("/")
        if levels[0] == "shellies" and len(levels) > 2:
            devices.setdefault("/".join(levels[:2]), []).append(topic)
        elif _SHELLY.fullmatch(levels[0]) and len(levels) > 1:
            devices.setdefault(levels[0], []).append(topic)
    for base, topics in devices.items():
        online = f"{base}/online"
        connection = {"topic": base} | ({"statusTopic": online} if online in topics else {})
        skipped = {online, f"{base}/announce", f"{base}/info", f"{base}/events/rpc"}
        read = [one for one in topics if one not in skipped and one.rpartition("/")[2] not in COMMANDS]
        values = [field for topic in read for field in fields(looks[topic])]
        yield Group(base, _take(looks, topics), _below(values, base), "shelly", connection)


def _below(values: list[Field], base: str) -> list[Field]:
    """Values are named after all levels below the device's topic: the last alone says too little."""
    for one in values:
        rest = one.topic.removeprefix(f"{base}/").replace("/", ".")
        one.name = f"{rest}.{one.name}" if one.path else rest
    return values


# Homie


def _homie(looks: Looks) -> Iterator[Group]:
    bases = sorted(
        topic.rpartition("/")[0]
        for topic in looks
        if topic.rpartition("/")[2] in ("$homie", "$state", "$description")
    )
    for base in bases:
        topics = [topic for topic in looks if topic.startswith(f"{base}/")]
        about = {topic: looks[topic] for topic in topics if "/$" in topic.removeprefix(base)}
        values = []
        for topic in topics:
            if topic not in about and topic.rpartition("/")[2] not in COMMANDS:
                for one in _below(fields(looks[topic]), base):
                    said = about.get(f"{topic}/$unit")
                    unit = said.documents[-1] if said is not None and said.documents else None
                    one.unit = units.canonical(unit) if isinstance(unit, str) and unit.strip() else one.unit
                    values.append(one)
        connection: dict[str, Any] = {"topic": base}
        if f"{base}/$state" in about:
            connection |= {
                "statusTopic": f"{base}/$state",
                "statusOnline": ["ready", "alert", "init"],
                "statusOffline": ["lost", "disconnected", "sleeping"],
            }
        yield Group(base, _take(looks, topics), values, "homie", connection)


_CONVENTIONS: Final[tuple[Callable[[Looks], Iterator[Group]], ...]] = (
    *(_sparkplug, _zigbee, _home_assistant, _tasmota, _shelly, _homie),
)
