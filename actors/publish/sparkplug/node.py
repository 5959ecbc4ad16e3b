"""A Sparkplug B edge node: what it publishes over its connections."""

import secrets
from typing import Any, NamedTuple

import msgspec

from actors.mqtt.sparkplug_schema import BOOLEAN, INT64, parse, payload_class
from actors.publish.formats import sparkplug
from actors.publish.sparkplug.device import Device

NAMESPACE = "spBv1.0"
REBIRTH = "Node Control/Rebirth"
BD_SEQ = "bdSeq"

LATE_MS = 10_000
"""How old a payload is when it is sent from which on hosts are to take it, and those behind it, for
history."""
TIMELY_MS = 5_000
"""How old at most the first one is that is news again. Apart from the other, for a change costs births, and
not so little that a slow link, over which there is always something waiting, has nothing but history."""

TURN = 2_000
"""How many metrics births have about that are made at once: a few ms."""

_ROUND = 256
"""Sequence numbers, and numbers of births and deaths, begin anew behind 255."""


class Message(NamedTuple):
    """To be published, not retained; all but the will with QoS 0."""

    topic: str
    payload: bytes


class Sending(msgspec.Struct, frozen=True):
    """What to publish for a payload of an outbox, in order: nothing when hosts know it already. `refused` is
    why it can never be; what there is to publish is to be published all the same."""

    messages: list[Message]
    refused: str | None = None


class Node:
    """One connection after the other, each begun by `will`. Times are Unix ms.

    On each the node is born, and each device before its first data; a device is born again when it has a new
    metric, or one of another datatype. Data goes by aliases, numbered from 0 to 255 and round again over all
    messages of the node. What comes late is history; as soon as something comes in time, the devices that
    history was told of are born again, as they are now. A device of which every metric says that it is
    offline dies, until it says something else.

    The number of births and deaths (`bdSeq`) begins anywhere, so that the will of an earlier run, which a
    broker may publish later, is not taken for this one's.
    """

    def __init__(self, group: str, node: str, max_payload: int) -> None:
        self._group = group
        self._node = node
        self._max_payload = self._most = max_payload
        self._payload = payload_class()
        self._bd_seq = secrets.randbelow(_ROUND)
        self._seq = 0
        self._alias = 1
        self._late = False
        self._devices: dict[str, Device] = {}
        self._behind: dict[str, Device] = {}
        self._owed: dict[str, Device] = {}

    @property
    def owes(self) -> bool:
        """Whether there is something for `more` to tell."""
        return bool(self._owed)

    @property
    def commands(self) -> str:
        """The topic of commands to it."""
        return self._topic("NCMD")

    def limit(self, max_payload: int) -> None:
        """Larger payloads are refused for the rest of this connection."""
        self._most = min(self._most, max_payload)

    def will(self, now: int) -> Message:
        """What the broker is to publish when the connection ends, which is about to begin. All that was told
        before counts as not told. The metrics of devices are remembered: a birth has all of them, though data
        may be of some."""
        self._bd_seq = (self._bd_seq + 1) % _ROUND
        self._behind.clear()
        self._owed.clear()
        self._alias = 1
        for device in self._devices.values():
            self._alias = device.begin(self._alias)
        self._late = False
        self._most = self._max_payload
        return self.death(now)

    def death(self, now: int) -> Message:
        """That nothing more will come on this connection."""
        payload = self._payload(timestamp=now)
        self._put_bd_seq(payload, now)
        return Message(self._topic("NDEATH"), payload.SerializeToString())

    def birth(self, now: int) -> Message:
        """The node's; all devices that hosts were told of have to be born again, too."""
        self._seq = 0
        payload = self._payload(timestamp=now, seq=0)
        self._put_bd_seq(payload, now)
        payload.metrics.add(name=REBIRTH, timestamp=now, datatype=BOOLEAN, boolean_value=False)
        for device in self._devices.values():
            device.heard_of = False
            if device.born:
                self._owe(device)
        return Message(self._topic("NBIRTH"), payload.SerializeToString())

    def more(self, now: int) -> list[Message]:
        """Some of what hosts have to be told of devices beside their data."""
        messages: list[Message] = []
        metrics = 0
        while self._owed and metrics < TURN:
            device = self._owed.pop(next(iter(self._owed)))
            metrics += len(device.metrics)
            if device.offline and not device.behind:
                self._tell_death(device, now, messages)
            else:
                self._tell_birth(device, now, messages)
        return messages

    def _owe(self, device: Device) -> None:
        device.born = False
        self._owed[device.id] = device

    def data(self, seq: int, payload: bytes, age_ms: int, now: int) -> Sending:
        """What a payload of format `sparkplug` becomes; `seq` is its number in the outbox, where it has been
        for `age_ms`."""
        try:
            stored = sparkplug.read(payload)
        except msgspec.DecodeError as error:
            return Sending([], f"Not a payload of format {sparkplug.NAME}: {error}")
        if stored.ended:
            return Sending(self._forget(stored.device, now))
        device = self._devices.get(stored.device)
        if device is None:
            device = self._devices[stored.device] = Device(stored.device)
        self._late = age_ms > (TIMELY_MS if self._late else LATE_MS)
        historical = self._late or seq < device.seq
        was_dead = device.dead
        self._alias = device.take(seq, stored, self._alias)
        if self._late:
            device.behind = True
            self._behind[device.id] = device
        else:
            self._catch_up()
            if was_dead and device.offline:
                return Sending([])
        messages: list[Message] = []
        refused = None if device.born else self._tell_birth(device, now, messages)
        if refused is None:
            refused = self._tell_data(device, stored, historical, now, messages)
        if device.offline and not self._late:
            self._tell_death(device, now, messages)
        return Sending(messages, refused)

    def _forget(self, id: str, now: int) -> list[Message]:
        messages: list[Message] = []
        device = self._devices.pop(id, None)
        if device is not None:
            self._behind.pop(id, None)
            self._owed.pop(id, None)
            self._tell_death(device, now, messages)
        return messages

    def wants_rebirth(self, topic: str, payload: bytes) -> bool:
        """Whether a message that came is the command to be born again."""
        found = parse(payload) if topic == self.commands else None
        return found is not None and any(
            metric.name == REBIRTH and metric.boolean_value for metric in found.metrics
        )

    def _catch_up(self) -> None:
        """What is in time comes behind all that is late, so what is known of devices is how they are."""
        for device in self._behind.values():
            device.behind = False
            self._owe(device)
        self._behind.clear()

    def _tell_birth(self, device: Device, now: int, messages: list[Message]) -> str | None:
        """A text that is too large must not keep a device from being born, now and ever after."""
        for texts in (True, False):
            payload = self._next(now)
            device.write_birth(payload, texts)
            refused = self._tell("DBIRTH", device, payload, messages)
            if refused is None:
                break
        device.born = refused is None
        device.heard_of |= device.born
        device.dead = False
        self._owed.pop(device.id, None)
        return refused

    def _tell_data(
        self, device: Device, stored: sparkplug.Stored, historical: bool, now: int, messages: list[Message]
    ) -> str | None:
        payload = self._next(now)
        device.write_data(payload, stored, historical)
        return self._tell("DDATA", device, payload, messages)

    def _tell_death(self, device: Device, now: int, messages: list[Message]) -> None:
        if device.heard_of:
            self._tell("DDEATH", device, self._next(now), messages)
        device.born, device.heard_of, device.dead = False, False, True

    def _tell(self, verb: str, device: Device, payload: Any, messages: list[Message]) -> str | None:
        octets = payload.SerializeToString()
        if len(octets) > self._most:
            return f"The {verb} has {len(octets)} bytes; {self._most} is the most allowed"
        self._seq = payload.seq
        messages.append(Message(f"{self._topic(verb)}/{device.id}", octets))
        return None

    def _next(self, now: int) -> Any:
        return self._payload(timestamp=now, seq=(self._seq + 1) % _ROUND)

    def _topic(self, verb: str) -> str:
        return f"{NAMESPACE}/{self._group}/{verb}/{self._node}"

    def _put_bd_seq(self, payload: Any, now: int) -> None:
        payload.metrics.add(name=BD_SEQ, timestamp=now, datatype=INT64, long_value=self._bd_seq)
