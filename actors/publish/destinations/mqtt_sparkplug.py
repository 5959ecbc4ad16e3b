"""A destination as a Sparkplug B node: what it says on its connections."""

import asyncio
import contextlib
import time
from collections.abc import Iterable

import msgspec

from actors.connections.connection import Transient
from actors.mqtt.message import Message
from actors.mqtt.packets import TooLarge
from actors.publish.destinations.driver import Outgoing
from actors.publish.destinations.mqtt_config import Sparkplug
from actors.publish.destinations.mqtt_session import Publish, Session
from actors.publish.formats import sparkplug
from actors.publish.sparkplug import node
from actors.publish.sparkplug.node import Node
from actors.system.failure import Refusal
from storage.timestamps import unix_ms

REBIRTH_SECONDS = 5.0
"""Everything is told again at most once in that time, whoever asks for it."""


class State(msgspec.Struct, frozen=True):
    """What a host says of itself, retained; `timestamp` is Unix ms, by its clock."""

    online: bool
    timestamp: int = 0


class PrimaryHost:
    """Without whom nothing is to be sent, for nobody else keeps it."""

    def __init__(self, id: str) -> None:
        self.id = id
        self.topic = f"{node.NAMESPACE}/STATE/{id}"
        self.online = asyncio.Event()
        self._since = 0

    def forget(self) -> None:
        self.online.clear()
        self._since = 0

    def take(self, payload: bytes) -> None:
        """An end that is older than the beginning is that of an earlier connection of the host."""
        with contextlib.suppress(msgspec.DecodeError):
            state = msgspec.json.decode(payload, type=State)
            if state.online:
                self._since = state.timestamp
                self.online.set()
            elif state.timestamp >= self._since:
                self.online.clear()


class SparkplugSession(Session):
    """Births and deaths, and payloads of format `sparkplug` as the node's data; other payloads go as they
    are. A connection is for as long as the primary host is online, if there is one."""

    def __init__(self, config: Sparkplug, max_payload: int) -> None:
        self._node = Node(config.group_id, config.edge_node_id, max_payload)
        self._host = None if config.primary_host_id is None else PrimaryHost(config.primary_host_id)
        self.subscriptions = (self._node.commands, *([self._host.topic] if self._host else []))
        self._publish: Publish | None = None
        self._born_at = 0.0
        self._turn: asyncio.Handle | None = None
        self._rebirth: asyncio.TimerHandle | None = None

    def will(self) -> Message:
        self._rest()
        self._publish = None
        if self._host is not None:
            self._host.forget()
        return Message(*self._node.will(unix_ms()), qos=1)

    async def ready(self, within: float) -> None:
        if self._host is None:
            return
        try:
            async with asyncio.timeout(within):
                await self._host.online.wait()
        except TimeoutError as error:
            raise Transient(f"the primary host {self._host.id} is not online") from error

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
        if self._host is not None and topic == self._host.topic:
            self._host.take(payload)
            if self._publish is not None and not self._host.online.is_set():
                raise Transient(f"the primary host {self._host.id} has gone offline")
            return
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
