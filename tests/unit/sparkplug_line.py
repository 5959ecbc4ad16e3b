"""A Sparkplug node and a host that hears it, without a broker between them."""

from typing import Any

from publishing_system import source_of
from servers.sparkplug_host import GROUP, NODE, Host

from actors.publish import formats
from actors.publish.formats import MessageIds, encode
from actors.publish.sparkplug.node import Node, Sending
from actors.readings.batch import Batch, Source

NOW = 1_741_083_330_000
POLLED = 1_741_083_325_004
OFFLINE = "DEVICE_OFFLINE"


class Line:
    """A node whose messages reach a host in order, and which stands for a connection after the other."""

    def __init__(self, max_payload: int = 10**6) -> None:
        self.host = Host()
        self.node = Node(GROUP, NODE, max_payload)
        self.seq = 0
        self.sources: dict[tuple[str, ...], Source] = {}
        self.connect()

    def connect(self) -> None:
        self.will = self.node.will(NOW)
        self.tell(self.node.birth(NOW))

    def lose(self) -> None:
        """The broker publishes the will."""
        self.host.take(self.will.topic, self.will.payload, qos=1)

    def tell(self, *messages: Any) -> None:
        for message in messages:
            self.host.take(message.topic, message.payload)

    def be_born(self) -> None:
        """As after a command of the host."""
        assert self.node.wants_rebirth(self.host.commands, self.host.rebirth())
        self.tell(self.node.birth(NOW))

    def more(self) -> None:
        while self.node.owes:
            self.tell(*self.node.more(NOW))

    def payload(self, device: str, readings: dict[str, Any], at: int = POLLED) -> bytes:
        """`readings` are values, or pairs of a value and a quality code."""
        source = self.sources.setdefault((device, *readings), source_of(device, *readings))
        pairs = [one if isinstance(one, tuple) else (one, None) for one in readings.values()]
        values, codes = [value for value, _ in pairs], [code for _, code in pairs]
        batch = Batch(source, at, values, codes if any(codes) else None, {})
        payload = encode("sparkplug", "json", [(batch, None)], MessageIds("agent"))
        assert payload is not None
        return payload

    def poll(
        self, device: str = "press", age: int = 0, at: int = POLLED, seq: int | None = None, **readings: Any
    ) -> Sending:
        self.seq += 1
        sending = self.node.data(
            self.seq if seq is None else seq, self.payload(device, readings, at), age, NOW
        )
        self.tell(*sending.messages)
        return sending

    def end(self, device: str = "press", age: int = 0) -> None:
        """The endpoint is no more."""
        self.seq += 1
        ended = formats.find("sparkplug").ended
        assert ended is not None
        self.tell(*self.node.data(self.seq, ended(source_of(device)), age, NOW).messages)

    def verbs(self) -> list[str]:
        """Since this was last asked."""
        found, self.host.verbs = self.host.verbs, []
        return found
