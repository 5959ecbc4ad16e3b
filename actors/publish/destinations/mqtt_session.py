"""What is spoken on top of MQTT: wills, births, commands, and topics and payloads of one's own."""

from collections.abc import Callable, Iterable

from actors.mqtt.message import Message
from actors.publish.destinations.driver import Outgoing

Publish = Callable[[Message], None]
"""Puts a message behind what has been sent before; does nothing while there is no connection. Raises
`TooLarge` for one that this broker does not take."""


class Session:
    """Given to a driver, it is asked at each connection, from the event loop, in this order: `will`; once the
    broker has taken the login and the `subscriptions`, `ready` and `opened`; then `outgoing` for each payload
    just before it is written, and at an orderly end `farewell`. `received` may come from the subscriptions
    on.

    A connection that fails or is lost is not told of: the next `will` begins anew. Nothing here may raise
    but what is said below. This one has nothing to say of its own.
    """

    subscriptions: tuple[str, ...] = ()
    """Topic filters of what `received` gets, at QoS 1. A broker that refuses one is not connected to."""

    def will(self) -> Message | None:
        """What the broker shall publish when this connection ends without a `farewell`."""
        return None

    async def ready(self, within: float) -> None:
        """Returns when payloads may be sent. Raises `Transient` when that is not so after these seconds."""

    def opened(self, publish: Publish) -> None:
        """Called before any payload is sent: what is published in here comes first. `publish` may be kept and
        called later, also from within the others but `will` and `farewell`. Raises `TooLarge` when this
        broker is not one to be connected to."""

    def outgoing(self, message: Outgoing) -> tuple[str, bytes] | None:
        """Topic and payload on the wire; what is published in here comes before it. None: what was published
        in here is all that there is to say, and the payload is delivered when the broker has read that. A
        payload that the broker wants again later, or that is repeated on another connection, is asked about
        again. Raises `Refusal` for one that can never be sent: it is rejected with that message."""
        return message.topic, message.payload

    def received(self, topic: str, payload: bytes) -> None:
        """A message to one of the `subscriptions` has come. Raises `Transient` for one after which the
        connection is to end, without a `farewell`."""

    def farewell(self) -> Iterable[Message]:
        """What to publish as the last words before the connection is closed in order, upon which the broker
        forgets the will."""
        return ()


class Addressed(Session):
    """Each payload goes to what `address` makes of its topic and itself."""

    def __init__(self, address: Callable[[str, bytes], str]) -> None:
        self._address = address

    def outgoing(self, message: Outgoing) -> tuple[str, bytes]:
        return self._address(message.topic, message.payload), message.payload
