"""What a file under `destinations/` exports: one `DestinationType` named `DESTINATION`."""

from abc import abstractmethod
from collections.abc import Awaitable, Callable, Mapping
from typing import Any, Protocol

import msgspec

from actors.connections.connection import Connection, NoConnection
from actors.publish.destinations import topic_templates
from actors.publish.destinations.fields import ROOT
from actors.publish.messages import Cloud, DestinationTested
from actors.publish.topics import Target
from actors.system.checking import refuse_unknown, tell_unknown
from conf.schema import Nothing


class Listener(Protocol):
    """Who is told what becomes of payloads and of the connection."""

    def delivered(self, seqs: list[int]) -> None:
        """The destination has acknowledged these; at most once per turn of the event loop."""

    def rejected(self, seqs: list[int], reason: str) -> None:
        """The destination will never take these payloads, whoever sends them; the others it may."""

    def rejected_part(self, seq: int, payload: bytes, reason: str) -> None:
        """The destination will never take this part of a payload, itself a payload; what becomes of the rest
        is told afterwards."""

    def lost(self, error: NoConnection) -> None:
        """An established connection has ended by itself; once per connection."""

    def expiring(self) -> None:
        """The credentials of this connection end soon: close it when it suits, and connect anew."""


class Nobody(Listener):
    """Does not mind what becomes of a connection that sends nothing."""

    def delivered(self, seqs: list[int]) -> None: ...

    def rejected(self, seqs: list[int], reason: str) -> None: ...

    def rejected_part(self, seq: int, payload: bytes, reason: str) -> None: ...

    def lost(self, error: NoConnection) -> None: ...

    def expiring(self) -> None: ...


class Outgoing(Protocol):
    """A payload to be sent. `seq` is the sender's own number, rising; `age_ms` is how old it is, whatever the
    clock says. `qos` (0 or 1) and `retain` are MQTT's; other destinations disregard them."""

    @property
    def seq(self) -> int: ...
    @property
    def topic(self) -> str: ...
    @property
    def payload(self) -> bytes: ...
    @property
    def age_ms(self) -> int: ...
    @property
    def qos(self) -> int: ...
    @property
    def retain(self) -> bool: ...


class Driver(Connection):
    """One destination's connection.

    After `connect` it tells its listener, never from within a call of its own methods. What was neither
    delivered nor rejected when the connection is lost may or may not have arrived. After `lost`,
    `connect` may be called again. `lost` does not come once `close` is called; nothing comes once it
    has returned.
    """

    window: int | None = None
    """How many payloads it makes use of at a time, where that is not the configured window."""

    @abstractmethod
    def send(self, message: Outgoing) -> None:
        """Hand one payload to the connection; only between `connect` and `lost`.

        The caller bounds how many are not yet delivered.
        """


class Identity(msgspec.Struct, frozen=True):
    """Who connects. `connection` is the name that the connection goes by unless the configuration has
    one; it is unique among the agent's connections. `cloud` is None while not provisioned. `ttl_ms` is how
    long payloads are of use, None: for ever."""

    agent_uuid: str
    connection: str
    cloud: Cloud | None = None
    ttl_ms: int | None = None


def unlimited(_config: Any) -> int | None:
    """Payloads may be of any size."""
    return None


def unchanged(_config: Any, _identity: Identity, topic: str, _payload: bytes) -> str:
    """Topics are sent as they are."""
    return topic


class DestinationType(msgspec.Struct, frozen=True, kw_only=True):
    """One kind of destination.

    `check` validates `config_json`, touches no network and raises `Refusal` naming the field
    (`config_json.<key>`); the others get what it returned. `schema` is what it reads `config_json` by
    (`conf.schema`): a key that is not in it is refused when a client sends it. `target` says where a
    subscription's payloads go, given its `route_json.topic` (trimmed; None when there is none), and raises
    `Refusal` naming `route_json.topic` when that cannot be; the driver gets the filled target as `topic`.
    `driver` is called
    in a thread, and imports the library on its first call. `test` connects once, takes 8 s at most, leaves
    nothing behind and never raises. `secrets` are the keys of
    `config_json`, at any depth, whose values are never shown. `payload_format` is the one that this type
    takes whatever a subscription asks for (it is not compressed then); None: what the subscription says.
    `targets` are, by name, the payload formats with topics of their own that it takes, each with the `target`
    that takes the place of the other for them; what it refuses may also be `payload_format`.
    `mqtt_topics` says that clients choose topics of MQTT. `max_payload` is how many bytes of a payload the
    destination takes at most, `address` the topic on the wire for a filled one and its payload.
    """

    name: str
    check: Callable[[dict[str, Any]], Any]
    target: Callable[[Any, str | None, Identity], Target]
    driver: Callable[[Any, Identity, Listener], Driver]
    test: Callable[[Any, Identity], Awaitable[DestinationTested]]
    secrets: tuple[str, ...]
    payload_format: str | None = None
    targets: Mapping[str, Callable[[Any, str | None, Identity], Target]] = {}
    schema: type[msgspec.Struct] = Nothing
    mqtt_topics: bool = False
    max_payload: Callable[[Any], int | None] = unlimited
    address: Callable[[Any, Identity, str, bytes], str] = unchanged

    def refuse_slips(self, config_json: dict[str, Any] | None) -> None:
        """Raises `Refusal` for a key of what a client sends that is not known, or a template that is hardly
        meant."""
        refuse_unknown(config_json, self.schema, ROOT)
        if self.mqtt_topics:
            topic_templates.refuse_slips(config_json)

    def tell_unknown(self, row: str, config_json: dict[str, Any] | None) -> None:
        """Log the keys of a stored row that are not known."""
        tell_unknown(row, (config_json, self.schema, ROOT))
