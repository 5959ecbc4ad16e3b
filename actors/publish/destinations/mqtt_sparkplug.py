"""A destination as a Sparkplug B node: what it says on its connections."""

import asyncio
import time
from collections.abc import Iterable

from actors.publish.destinations.driver import Outgoing
from actors.publish.destinations.mqtt_config import Sparkplug
from actors.publish.destinations.mqtt_link import TooLarge
from actors.publish.destinations.mqtt_session import Message, Publish, Session
from actors.publish.formats import sparkplug
from actors.publish.sparkplug import node
from actors.publish.sparkplug.node import Node
from actors.system.failure import Refusal
from storage.timestamps import unix_ms

REBIRTH_SECONDS = 5.0
"""Everything is told again at most once in that time, whoever asks for it."""


class SparkplugSession(Session):
    """Births and deaths, and payloads of format `sparkplug` as the node's data; other payloads go as they
    are."""

    def __init__(self, config: Sparkplug, max_payload: int) -> None:
        self._node = Node(config.group_id, config.edge_node_id, max_payload)
        self.subscriptions = (self._node.commands,)
        self._publish: Publish | None = None
        self._born_at = 0.0
        self._turn: asyncio.Handle | None = None
        self._rebirth: asyncio.TimerHandle | None = None

    def will(self) -> Message:
        self._rest()
        self._publish = None
        return Message(*self._node.will(unix_ms()), qos=1)

    def opened(self, publish: Publish) -> None:
        self._publish = publish
        self._be_born()

    def outgoing(self, message: Outgoing) -> tuple[str, bytes] | None:
        if not sparkplug.is_stored(message.payload):
            return message.topic, message.payload
        sending = self._node.data(message.seq, message.payload, message.age_ms, unix_ms())
        refused = self._tell(sending.messages) or sending.refused
        self._go_on()
        if refused is not None:
            raise Refusal(refused)
        return None

    def received(self, topic: str, payload: bytes) -> None:
        # A command that the broker has kept may come before the birth that is to come anyway.
        if self._publish is not None and self._node.wants_rebirth(topic, payload):
            self._be_born_in(self._born_at + REBIRTH_SECONDS - time.monotonic())

    def farewell(self) -> Iterable[Message]:
        self._rest()
        return [Message(*self._node.death(unix_ms()), qos=1)]

    def _be_born(self) -> None:
        self._rest()
        self._born_at = time.monotonic()
        self._tell([self._node.birth(unix_ms())])
        self._more()

    def _be_born_in(self, seconds: float) -> None:
        if self._rebirth is None:
            self._rebirth = asyncio.get_running_loop().call_later(max(0.0, seconds), self._be_born)

    def _go_on(self) -> None:
        """Tell in the next turns of the loop what there is to tell beside data."""
        if self._node.owes and self._turn is None:
            self._turn = asyncio.get_running_loop().call_soon(self._more)

    def _more(self) -> None:
        self._turn = None
        self._tell(self._node.more(unix_ms()))
        self._go_on()

    def _tell(self, messages: list[node.Message]) -> str | None:
        """Publish them; returns why the broker does not take one. That leaves a gap in the numbers: no more
        is made of that size, and the node begins anew."""
        assert self._publish is not None
        for message in messages:
            try:
                self._publish(Message(*message))
            except TooLarge as error:
                self._node.limit(len(message.payload) - 1)
                self._be_born_in(0)
                return str(error)
        return None

    def _rest(self) -> None:
        """What was to come in a while does not."""
        for handle in (self._turn, self._rebirth):
            if handle is not None:
                handle.cancel()
        self._turn = self._rebirth = None
