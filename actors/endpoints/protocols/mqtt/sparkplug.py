"""Sparkplug B as a source (Sparkplug 3.0): births say what there is, data what has changed, deaths who is
gone.

An edge node is a device of the endpoint, `<group>/<node>`, and so is each of its devices,
`<group>/<node>/<device>`. Nothing is guessed: data of a metric that was not born is not read, and after a gap
in a node's sequence numbers nothing that goes by an alias is, for the birth that gave it another meaning may
be what is missing. Then, and when data come without a birth, the node is asked for its birth.
"""

from collections.abc import Callable, Iterable
from time import monotonic
from typing import Any, Final, NamedTuple

from actors.endpoints.listener import Listener
from actors.mqtt.sparkplug_schema import parse, payload_class
from actors.system.failure import Refusal
from storage.timestamps import unix_ms

from . import quality, sparkplug_values, stamps
from .automatic import good_name
from .devices import Device, Devices
from .notes import Notes

NAMESPACE: Final = "spBv1.0"
EVERYTHING: Final = f"{NAMESPACE}/#"
HISTORICAL: Final = "HISTORICAL"
"""Of a value that a node has kept while it was away: with its own time, and not what is so now."""
STALE: Final = "STALE"
NOT_BORN: Final = "NOT_BORN"
"""Of a metric that the device's latest birth does not have any more."""

REBIRTH_AFTER: Final = 5.0
REBIRTH_LATEST: Final = 300.0
"""Seconds between two requests to one node: twice as many each time that it does not help."""
_CALM = 4
"""So many times as long as it was to wait there was nothing to ask for: then what was asked has helped."""
MAX_NODES: Final = 1000

_BD_SEQ = "bdSeq"
_CONTROL = ("Node Control/", "Device Control/")
_REBIRTH = "Node Control/Rebirth"
_BOOLEAN = 11
_SEQUENCE = 256
_GOOD = 192
"""Of the property `Quality`: the one of a value that is to be relied on."""


class Metric(NamedTuple):
    """One that was born."""

    name: str
    place: int | None
    """None: it cannot be taken in."""
    datatype: int


class Born:
    """A node itself, or a device of it, with the metrics of its latest birth."""

    def __init__(self, identifier: str) -> None:
        self.identifier = identifier
        self.alive = False
        self.left_out = False
        """Whether it cannot be taken in: another birth would not help."""
        self.metrics: dict[str, Metric] = {}


class Node:
    def __init__(self, identifier: str, group: str, name: str) -> None:
        self.group = group
        self.name = name
        self.itself = Born(identifier)
        self.devices: dict[str, Born] = {}
        self.aliases: dict[int, tuple[Born, Metric]] = {}
        self.session: int | None = None
        """`bdSeq` of its birth."""
        self.sequence: int | None = None
        """Of its latest message; None: not to be relied on."""
        self.asked_at = 0.0
        self.patience = REBIRTH_AFTER

    def topic(self, kind: str) -> str:
        """Of commands to it."""
        return f"{NAMESPACE}/{self.group}/{kind}/{self.name}"

    def all(self) -> Iterable[Born]:
        return (self.itself, *self.devices.values())


class SparkplugIntake:
    """For one endpoint; used as `Intake` is. `publish` sends a command, topic and payload, now."""

    status_filters: tuple[str, ...] = ()
    status_is_asked_for = False

    def __init__(
        self,
        filters: tuple[str, ...],
        devices: Devices,
        listener: Listener,
        notes: Notes,
        publish: Callable[[str, bytes], None],
    ) -> None:
        self.filters = filters
        self.notes = notes
        self._devices = devices
        self._listener = listener
        self._publish = publish
        self._nodes: dict[tuple[str, str], Node] = {}

    def begin(self) -> None:
        """The session has connected: what was born before may be so no more."""
        self._nodes.clear()

    def place(self, device: str, name: str) -> int | None:
        """Where a device has the point of that name."""
        known = self._devices.by_id.get(device)
        return None if known is None else known.index.get(name)

    def left_out(self, topic: str) -> None:
        """A message that was too large to be taken: the sequence number after it will show that it is
        missing."""
        self.notes.say("messages that are too large to be read")

    def take(self, topic: str, payload: bytes, retained: bool, at: int) -> None:
        """A message that came at Unix ms `at`."""
        levels = topic.split("/")
        if len(levels) not in (4, 5) or levels[0] != NAMESPACE:
            return
        _, group, kind, name = levels[:4]
        device = levels[4] if len(levels) == 5 else None
        if kind not in (_OF_NODES if device is None else _OF_DEVICES):
            return
        node = self._node(group, name)
        if node is None:
            return
        if retained:
            self.notes.say(f"messages of Sparkplug that the broker has kept are not read, the first {topic}")
            return
        message = parse(payload)
        if message is None:
            self.notes.say(f"payloads that are no Sparkplug B, the first on topic {topic[:120]}")
            return
        _TAKES[kind](self, node, device, message, at)

    def _node(self, group: str, name: str) -> Node | None:
        node = self._nodes.get((group, name))
        if node is None:
            identifier = f"{group}/{name}"
            if len(self._nodes) >= MAX_NODES or not good_name(identifier):
                self.notes.say("more edge nodes than can be, or one whose name cannot be one")
                return None
            node = self._nodes[group, name] = Node(identifier, group, name)
        return node

    # Births and deaths

    def _node_born(self, node: Node, _: str | None, message: Any, at: int) -> None:
        session = _session(message)
        if session != node.session:
            for born in node.devices.values():
                self._die(born)
        node.session = session
        node.sequence = message.seq if message.HasField("seq") else 0
        node.aliases.clear()
        for born in node.devices.values():
            born.metrics.clear()
        self._born(node, node.itself, message, at)

    def _device_born(self, node: Node, device: str | None, message: Any, at: int) -> None:
        assert device is not None
        if not self._follows(node, message):
            return
        born = node.devices.get(device)
        if born is None:
            born = node.devices[device] = Born(f"{node.itself.identifier}/{device}")
        node.aliases = {alias: one for alias, one in node.aliases.items() if one[0] is not born}
        self._born(node, born, message, at)

    def _born(self, node: Node, born: Born, message: Any, at: int) -> None:
        device = self._devices.of(born.identifier)
        born.left_out = device is None
        if device is None:
            return
        born.alive = True
        born.metrics = {}
        for metric in message.metrics:
            name = sparkplug_values.text(metric.name)
            if not name or name == _BD_SEQ or name.startswith(_CONTROL):
                continue
            place = self._devices.born(device, name, _unit(metric))
            known = born.metrics[name] = Metric(name, place, metric.datatype)
            if metric.HasField("alias"):
                node.aliases[metric.alias] = born, known
        self._devices.describe(device)
        self._listener.presence(born.identifier, None)
        self._leave_out(born, device)
        self._tell(node, born, message, at)

    def _leave_out(self, born: Born, device: Device) -> None:
        """What it had once, and has no more."""
        gone = [place for name, place in device.index.items() if name not in born.metrics]
        if gone:
            self._listener.changed(born.identifier, gone, [None] * len(gone), [NOT_BORN] * len(gone))

    def _node_died(self, node: Node, _: str | None, message: Any, at: int) -> None:
        """The death of an earlier session says nothing of this one: the broker may be late with it. One of a
        later session, of which there was no birth, does: no earlier one is alive then."""
        session = _session(message)
        if node.session is not None and session is not None:
            ahead = (session - node.session) % _SEQUENCE
            if ahead >= _SEQUENCE // 2:
                return
        for born in node.all():
            self._die(born)
        node.session = node.sequence = None
        node.aliases.clear()

    def _device_died(self, node: Node, device: str | None, message: Any, at: int) -> None:
        born = node.devices.get(device or "")
        self._follows(node, message)
        if born is not None:  # also after a gap: who is said to be dead is not taken for alive
            self._die(born)

    def _die(self, born: Born) -> None:
        if born.alive:
            born.alive = False
            self._listener.presence(born.identifier, quality.OFFLINE)

    # Data

    def _data(self, node: Node, device: str | None, message: Any, at: int) -> None:
        follows = self._follows(node, message)
        born = node.itself if device is None else node.devices.get(device)
        if born is None or not born.alive:
            if born is None or not born.left_out:
                self._ask(node)
            return
        if not follows and not all(metric.name and metric.HasField("datatype") for metric in message.metrics):
            return
        self._tell(node, born, message, at)

    def _follows(self, node: Node, message: Any) -> bool:
        """Whether this message of a node is the next one after the last."""
        if node.sequence is None or not message.HasField("seq"):
            self._ask(node)
            return False
        expected = (node.sequence + 1) % _SEQUENCE
        if message.seq != expected:
            self.notes.say(f"{node.itself.identifier}: messages are missing; its birth is asked for")
            node.sequence = None
            self._ask(node)
            return False
        node.sequence = expected
        return True

    def _tell(self, node: Node, born: Born, message: Any, at: int) -> None:
        rounds: list[_Round] = []
        count: dict[int, int] = {}
        for metric in message.metrics:
            known = self._known(node, born, metric)
            if known is None or known.place is None:
                continue
            number = count.get(known.place, 0)
            count[known.place] = number + 1
            if number == len(rounds):
                rounds.append(_Round([], [], [], []))
            _read(rounds[number], known.place, known.datatype, metric, message, at)
        for one in rounds:
            codes = one.codes if any(one.codes) else None
            self._listener.changed(born.identifier, one.places, one.values, codes, one.times)

    def _known(self, node: Node, born: Born, metric: Any) -> Metric | None:
        if metric.name:
            name = sparkplug_values.text(metric.name)
            known = born.metrics.get(name)
            if known is None and name and name != _BD_SEQ and not name.startswith(_CONTROL):
                self._ask(node)
            return known
        found = node.aliases.get(metric.alias) if metric.HasField("alias") else None
        if found is None or found[0] is not born:
            self._ask(node)
            return None
        return found[1]

    def _ask(self, node: Node) -> None:
        """For the node's birth, and less and less often while it does not come, or does not help."""
        now = monotonic()
        since = now - node.asked_at
        if node.asked_at and since < node.patience:
            return
        again = node.asked_at and since < _CALM * node.patience
        node.patience = min(2 * node.patience, REBIRTH_LATEST) if again else REBIRTH_AFTER
        node.asked_at = now
        payload = payload_class()(timestamp=unix_ms())
        payload.metrics.add(name=_REBIRTH, timestamp=unix_ms(), datatype=_BOOLEAN, boolean_value=True)
        self._publish(node.topic("NCMD"), payload.SerializeToString())

    # Commands

    def command(self, device: str, name: str, value: Any) -> tuple[str, bytes]:
        """Topic and payload that set a metric. Raises `Refusal`."""
        for node in self._nodes.values():
            for key, born in ((None, node.itself), *node.devices.items()):
                if born.identifier == device:
                    return self._command(node, key, born, name, value)
        raise Refusal(f"Device not connected: {device or 'the endpoint itself'}", kind="unavailable")

    def _command(
        self, node: Node, device: str | None, born: Born, name: str, value: Any
    ) -> tuple[str, bytes]:
        metric = born.metrics.get(name)
        if metric is None:
            raise Refusal(f"Register not found: {name}", "register", "not_found")
        payload = sparkplug_values.command(name, value, metric.datatype, unix_ms())
        if device is None:
            return node.topic("NCMD"), payload
        return f"{node.topic('DCMD')}/{device}", payload


class _Round(NamedTuple):
    """Each point at most once."""

    places: list[int]
    values: list[Any]
    codes: list[str | None]
    times: list[int | None]


def _read(into: _Round, place: int, born_as: int, metric: Any, message: Any, at: int) -> None:
    datatype = metric.datatype if metric.HasField("datatype") else born_as
    value, code = sparkplug_values.read(metric, datatype)
    time: int | None = None
    if metric.HasField("timestamp") or message.HasField("timestamp"):
        time = metric.timestamp if metric.HasField("timestamp") else message.timestamp
        if not stamps.plausible(time, at):
            time, code = None, code or quality.TIMESTAMP
    into.places.append(place)
    into.values.append(value)
    into.codes.append(code or _doubt(metric))
    into.times.append(time)


def _doubt(metric: Any) -> str | None:
    if metric.is_historical:
        return HISTORICAL
    said = _property(metric, "Quality")
    return STALE if said is not None and said != _GOOD else None


def _unit(metric: Any) -> str | None:
    said = _property(metric, "engUnit")
    return said if isinstance(said, str) and 0 < len(said) <= 64 and said.isprintable() else None


def _property(metric: Any, key: str) -> Any:
    if not metric.HasField("properties"):
        return None
    for name, value in zip(metric.properties.keys, metric.properties.values, strict=False):
        if name == key:
            return value.int_value if value.HasField("int_value") else value.string_value
    return None


def _session(message: Any) -> int | None:
    for metric in message.metrics:
        if metric.name == _BD_SEQ:
            return int(metric.long_value or metric.int_value)
    return None


_TAKES: Final[dict[str, Callable[[SparkplugIntake, Node, str | None, Any, int], None]]] = {
    "NBIRTH": SparkplugIntake._node_born,
    "NDATA": SparkplugIntake._data,
    "NDEATH": SparkplugIntake._node_died,
    "DBIRTH": SparkplugIntake._device_born,
    "DDATA": SparkplugIntake._data,
    "DDEATH": SparkplugIntake._device_died,
}
_OF_NODES = ("NBIRTH", "NDATA", "NDEATH")
_OF_DEVICES = ("DBIRTH", "DDATA", "DDEATH")
