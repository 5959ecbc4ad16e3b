"""What a broker has been asked for on a connection: filters with their QoS, and identifiers by which MQTT 5
says for which of them it sends a message."""

from collections.abc import Collection, Iterator, Mapping

from actors.mqtt.broker import V5
from actors.mqtt.packets import Received


class Asked:
    """`identified` is false where messages may be of an earlier connection, whose identifiers are unknown."""

    def __init__(self, version: int, identified: bool) -> None:
        self._version = version
        self._identified = identified and version == V5
        self._qos: dict[str, int] = {}
        self._identifiers: dict[str, int] = {}
        """Of filters, over all connections."""

    def __iter__(self) -> Iterator[str]:
        return iter(self._qos)

    def clear(self) -> None:
        """The connection has ended."""
        self._qos.clear()

    def drop(self, name: str) -> None:
        self._qos.pop(name, None)

    def wants_qos(self, name: str) -> int:
        return self._qos.get(name, 0)

    def more(self, filters: Mapping[str, int], had: Collection[str]) -> dict[str, int]:
        """What is to be asked for so that a user gets what these filters select, who has subscribed to `had`
        before; it counts as asked for. Also what others have subscribed to: the broker says anew what it has
        kept of these topics."""
        wanted = self._wanted(filters)
        new = {name: qos for name, qos in wanted.items() if name not in had or self._qos.get(name, -1) < qos}
        self._qos |= new
        return new

    def _wanted(self, filters: Mapping[str, int]) -> dict[str, int]:
        """Of what one user wants now, and of what others have at a lower QoS than they are to have.

        With MQTT 3.1.1 the highest of all: of filters that select the same topic mosquitto takes the QoS of
        any, and sends one message.
        """
        if self._version == V5:
            return {name: max(qos, self._qos.get(name, 0)) for name, qos in filters.items()}
        highest = max([*filters.values(), *self._qos.values()], default=0)
        low = [name for name, qos in self._qos.items() if qos < highest]
        return dict.fromkeys([*filters, *low], highest)

    def identifier(self, name: str, available: bool) -> int | None:
        """To be sent with the filter, if the broker has identifiers."""
        if not (self._identified and available):
            return None
        return self._identifiers.setdefault(name, len(self._identifiers) + 1)

    def is_first(self, message: Received, names: tuple[str, ...]) -> bool:
        """Whether it is the one, of those for several filters of a user, that it gets."""
        first = next((name for name in names if name in self._qos), None)
        return first is None or self._identifiers.get(first) in (None, *message.identifiers)
