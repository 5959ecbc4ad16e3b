"""A Sparkplug host that takes nothing on trust: every message is decoded by somebody else's library, and held
against all that was told before."""

import asyncio
from types import TracebackType
from typing import Any, Self

import gmqtt
import msgspec
import pysparkplug
from gmqtt.mqtt.constants import MQTTv311
from pysparkplug import DataType
from pysparkplug._protobuf import Payload

GROUP = "plant"
NODE = "gateway-1"
QUALITIES = {0: "BAD", 192: "GOOD", 500: "STALE"}
REBIRTH = "Node Control/Rebirth"


class Seen(msgspec.Struct, frozen=True):
    """A value as a host has it. `quality` is the one in force; `birth`: it came with a birth."""

    device: str
    metric: str
    timestamp: int
    value: Any
    quality: str
    code: str | None
    historical: bool
    birth: bool


class Device:
    """As its last birth has it; `qualities` are those that metrics were last said to have."""

    def __init__(self, birth: pysparkplug.DBirth) -> None:
        self.birth = birth
        self.qualities: dict[str, tuple[str, str | None]] = {}
        self.live: dict[str, Seen] = {}
        self.online = True


class Host:
    """What a node publishes goes to `take` in the order of arrival; `faults` says what is wrong with it.

    `wants_rebirth`: something came that cannot be understood without another birth, for which a real host
    would ask.
    """

    def __init__(self, group: str = GROUP, node: str = NODE) -> None:
        self.group = group
        self.node = node
        self.faults: list[str] = []
        self.verbs: list[str] = []
        self.seen: list[Seen] = []
        self.devices: dict[str, Device] = {}
        self.online = False
        self.bd_seq: int | None = None
        self.births: list[int] = []
        self.deaths: list[int] = []
        self._next = 0

    @property
    def commands(self) -> str:
        return f"spBv1.0/{self.group}/NCMD/{self.node}"

    def rebirth(self) -> bytes:
        """The command, by somebody else's library."""
        metric = pysparkplug.Metric(timestamp=1, name=REBIRTH, datatype=DataType.BOOLEAN, value=True)
        return pysparkplug.NCmd(timestamp=1, metrics=(metric,)).encode(include_dtypes=True)

    def data(self, device: str, metric: str) -> list[Any]:
        """The values that came as data, in order."""
        return [
            one.value for one in self.seen if (one.device, one.metric, one.birth) == (device, metric, False)
        ]

    def take(self, topic: str, payload: bytes, qos: int = 0, retain: bool = False) -> None:
        levels = topic.split("/")
        if levels[:2] == ["spBv1.0", "STATE"]:
            return
        if levels[:2] != ["spBv1.0", self.group] or levels[3:4] != [self.node] or len(levels) > 5:
            self._fault(f"a topic that is none of the node's: {topic}")
            return
        verb, device = levels[2], levels[4] if len(levels) == 5 else ""
        if verb in ("NCMD", "DCMD"):
            return
        self.verbs.append(verb if not device else f"{verb} {device}")
        if retain:
            self._fault(f"{verb} is retained")
        if verb != "NDEATH" and qos != 0:
            self._fault(f"{verb} has QoS {qos}")
        if bool(device) != verb.startswith("D"):
            self._fault(f"{verb} of {device!r}")
            return
        raw = Payload.FromString(payload)
        if verb != "NDEATH":
            self._count(verb, raw)
        getattr(self, f"_take_{verb.lower()}")(payload, raw, device)

    # What comes, by verb

    def _take_nbirth(self, payload: bytes, raw: Any, _: str) -> None:
        birth = pysparkplug.NBirth.decode(payload)
        metrics = {metric.name: metric for metric in birth.metrics}
        if set(metrics) != {"bdSeq", REBIRTH}:
            self._fault(f"NBIRTH of {sorted(map(str, metrics))}")
            return
        if metrics[REBIRTH].value is not False or metrics[REBIRTH].datatype != DataType.BOOLEAN:
            self._fault("NBIRTH does not offer to be born again")
        if any(metric.timestamp is None for metric in birth.metrics):
            self._fault("NBIRTH has metrics without timestamps")
        if any(metric.alias is not None for metric in birth.metrics):
            self._fault("NBIRTH gives aliases to what is known by name")
        self.bd_seq = self._bd_seq(metrics["bdSeq"])
        self.births.append(self.bd_seq)
        self.online = True
        self.devices.clear()

    def _take_ndeath(self, payload: bytes, raw: Any, _: str) -> None:
        death = pysparkplug.NDeath.decode(payload)
        if raw.HasField("seq"):
            self._fault("NDEATH has a seq")
        bd_seq = self._bd_seq(death.bd_seq_metric)
        self.deaths.append(bd_seq)
        if bd_seq == self.bd_seq:
            self.online = False
            self.devices.clear()

    def _take_dbirth(self, payload: bytes, raw: Any, id: str) -> None:
        if not self.online:
            self._fault(f"DBIRTH {id} of a node that is dead")
        birth = pysparkplug.DBirth.decode(payload)
        names = [metric.name for metric in birth.metrics]
        if len(set(names)) != len(names):
            self._fault(f"DBIRTH {id} has a metric twice")
        self._check_aliases(id, raw)
        device = self.devices[id] = Device(birth)
        for metric, told in zip(birth.metrics, raw.metrics, strict=True):
            if metric.datatype == DataType.UNKNOWN or metric.alias is None:
                self._fault(f"DBIRTH {id} {metric.name}: no datatype or alias")
            if not told.HasField("properties") or "Quality" not in told.properties.keys:
                self._fault(f"DBIRTH {id} {metric.name}: nothing is said of its quality")
            self._see(device, id, metric, told, birth=True)

    def _take_ddata(self, payload: bytes, raw: Any, id: str) -> None:
        device = self.devices.get(id)
        if device is None or not device.online or not self.online:
            self._fault(f"DDATA of {id}, which was not born")
            return
        known = {metric.alias: metric.datatype for metric in device.birth.metrics}
        for told in raw.metrics:
            if told.HasField("name"):
                self._fault(f"DDATA {id}: names beside aliases")
            if told.alias not in known:
                self._fault(f"DDATA {id}: alias {told.alias} is not known")
                return
            if told.datatype != known[told.alias]:
                self._fault(f"DDATA {id}: another datatype than at birth")
        decoded = pysparkplug.DData.decode(payload, birth=device.birth)
        for metric, told in zip(decoded.metrics, raw.metrics, strict=True):
            self._see(device, id, metric, told, birth=False)

    def _take_ddeath(self, payload: bytes, raw: Any, id: str) -> None:
        device = self.devices.get(id)
        if device is None or not device.online:
            self._fault(f"DDEATH of {id}, which was not born")
        else:
            device.online = False

    # What holds of all

    def _count(self, verb: str, raw: Any) -> None:
        if not raw.HasField("timestamp") or not raw.HasField("seq"):
            self._fault(f"{verb} without timestamp or seq")
        elif verb == "NBIRTH":
            if raw.seq != 0:
                self._fault(f"NBIRTH has seq {raw.seq}")
        elif raw.seq != self._next:
            self._fault(f"{verb} has seq {raw.seq} where {self._next} comes")
        self._next = (raw.seq + 1) % 256

    def _bd_seq(self, metric: pysparkplug.Metric) -> int:
        if metric.name != "bdSeq" or metric.datatype != DataType.INT64 or not 0 <= metric.value <= 255:
            self._fault(f"not a bdSeq: {metric}")
        return metric.value

    def _check_aliases(self, id: str, raw: Any) -> None:
        """They are unique within the node."""
        others = {
            metric.alias
            for other, device in self.devices.items()
            if other != id
            for metric in device.birth.metrics
        }
        aliases = [told.alias for told in raw.metrics]
        if others & set(aliases) or len(set(aliases)) != len(aliases):
            self._fault(f"DBIRTH {id} has aliases that are not its own")

    def _see(self, device: Device, id: str, metric: pysparkplug.Metric, told: Any, birth: bool) -> None:
        name = str(metric.name)
        value = self._value(id, metric, told)
        stated = self._quality(id, told)
        quality, code = stated or device.qualities.get(name, ("GOOD", None))
        device.qualities[name] = (quality, code)
        seen = Seen(id, name, told.timestamp, value, quality, code, told.is_historical, birth)
        if not told.HasField("timestamp"):
            self._fault(f"{id} {name} has no timestamp")
        self.seen.append(seen)
        if not seen.historical:
            device.live[name] = seen

    def _value(self, id: str, metric: pysparkplug.Metric, told: Any) -> Any:
        field = told.WhichOneof("value")
        if told.is_null == (field is not None):
            self._fault(f"{id} {metric.name} is both null and a value, or neither")
        if field is not None and field != metric.datatype.field:
            self._fault(f"{id} {metric.name} has its value in {field}, and is {metric.datatype.name}")
        return metric.value

    def _quality(self, id: str, told: Any) -> tuple[str, str | None] | None:
        properties = dict(zip(told.properties.keys, told.properties.values, strict=True))
        if "Quality" not in properties:
            return None
        quality = properties["Quality"]
        if quality.type != DataType.INT32 or quality.int_value not in QUALITIES:
            self._fault(f"{id} {told.name}: not a quality: {quality}")
            return None
        return QUALITIES[quality.int_value], properties["qualityCode"].string_value

    def _fault(self, text: str) -> None:
        self.faults.append(text)


class Listening:
    """A host at a broker on 127.0.0.1."""

    def __init__(self, port: int, host: Host, client_id: str = "host") -> None:
        self.host = host
        self._port = port
        self._client = gmqtt.Client(client_id)
        self._subscribed = asyncio.Event()
        self._client.on_subscribe = lambda *_: self._subscribed.set()
        self._client.on_message = self._take

    async def __aenter__(self) -> Self:
        await self._client.connect("127.0.0.1", self._port, version=MQTTv311)
        self._client.subscribe("spBv1.0/#", qos=1)
        await self._subscribed.wait()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._client.disconnect()

    def ask_for_birth(self) -> None:
        self.publish(self.host.commands, self.host.rebirth())

    def publish(self, topic: str, payload: bytes, retain: bool = False) -> None:
        self._client.publish(topic, payload, retain=retain)

    def _take(
        self, _client: object, topic: str, payload: bytes, qos: int, properties: dict[str, Any]
    ) -> None:
        self.host.take(topic, payload, qos, bool(properties["retain"]))
