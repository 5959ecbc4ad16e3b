"""gmqtt 0.8 with its writes, its retries and its memory of messages in our hands."""

import asyncio
import contextlib
import fcntl
import struct
import termios
import time
from collections.abc import Callable
from typing import Any

import gmqtt
from gmqtt.mqtt.connection import MQTTConnection
from gmqtt.mqtt.protocol import MQTTProtocol
from gmqtt.storage import PersistentStorage

from actors.publish.destinations.broker import Broker
from actors.publish.destinations.transports import sever


class Client(gmqtt.Client):  # type: ignore[misc]  # gmqtt has no types
    """`ended` is set when the connection is. With `websocket` that broker is connected to, over a
    websocket; `reached` then says that there is something that the handshake can be made with."""

    def __init__(self, *args: Any, **keywords: Any) -> None:
        super().__init__(*args, **keywords)
        self.ended = asyncio.Event()
        self.reached = False
        self.websocket: Broker | None = None

    async def _create_connection(
        self, host: str, port: int, ssl: Any, clean_session: bool, keepalive: int
    ) -> MQTTConnection:
        if self.websocket is None:
            connection = await super()._create_connection(host, port, ssl, clean_session, keepalive)
            protocol = connection._protocol
            protocol._transport = connection._transport = Corked(protocol._transport)
            return connection
        from actors.publish.destinations.mqtt_websocket import open_websocket

        state, handler = self._connection_state, self._package_handler
        protocol = MQTTProtocol(connection_state=state, id_generator=handler.id_generator)
        transport = await open_websocket(self.websocket, ssl or None, protocol, self._was_reached)
        return MQTTConnection(transport, protocol, clean_session, keepalive, handler, self._logger)

    def _was_reached(self) -> None:
        self.reached = True

    async def reconnect(self, delay: bool = False) -> None:
        """Never: when to connect again is the destination's to decide. gmqtt calls this whenever a
        connection ends; its option `reconnect_retries` lets one retry through even at 0."""


class Corked:
    """What gmqtt uses of a transport; what is written within a turn of the loop goes out together.

    gmqtt writes every packet by itself, and a system call costs several times what making a packet does.
    """

    def __init__(self, transport: asyncio.Transport) -> None:
        self._transport = transport
        self._packets: list[bytes | bytearray] = []

    def write(self, data: bytes | bytearray) -> None:
        if not self._packets:
            asyncio.get_running_loop().call_soon(self._flush)
        self._packets.append(data)

    def _flush(self) -> None:
        packets, self._packets = self._packets, []
        if packets and not self._transport.is_closing():
            self._transport.write(packets[0] if len(packets) == 1 else b"".join(packets))

    def is_closing(self) -> bool:
        return self._transport.is_closing()

    def get_extra_info(self, name: str, default: Any = None) -> Any:
        return self._transport.get_extra_info(name, default)

    def get_write_buffer_size(self) -> int:
        return self._transport.get_write_buffer_size()

    def close(self) -> None:
        self._flush()
        self._transport.close()

    def abort(self) -> None:
        self._packets.clear()
        sever(self._transport)


class Sent(PersistentStorage):  # type: ignore[misc]  # gmqtt has no types
    """Where gmqtt keeps a QoS 1 message from its PUBLISH to its PUBACK, which is the only place that
    tells of the PUBACK. The messages themselves are dropped: their owner keeps them and sends them
    again, and gmqtt, seeing none, replays none."""

    def __init__(self, acknowledged: Callable[[int], None]) -> None:
        super().__init__()
        self.sending = 0
        self._acknowledged = acknowledged
        self._unacknowledged: dict[int, tuple[int, float]] = {}

    def push_message(self, mid: int, raw_package: Any) -> None:
        self._unacknowledged[mid] = (self.sending, time.monotonic())

    def remove_message_by_mid(self, mid: int) -> None:
        sent = self._unacknowledged.pop(mid, None)
        if sent is not None:
            self._acknowledged(sent[0])

    def oldest(self) -> float | None:
        """When the oldest unacknowledged message was sent, on the monotonic clock."""
        for _, sent_at in self._unacknowledged.values():
            return sent_at
        return None


def transport_of(client: Client) -> Corked | asyncio.Transport | None:
    """gmqtt has no public way to its socket."""
    connection = client._connection
    return None if connection is None else connection._transport


def unsent(client: Client) -> int:
    """Bytes that the other end's host has not taken yet, as far as the system tells."""
    found = transport_of(client)
    if found is None or found.is_closing():
        return 0
    waiting = found.get_write_buffer_size()
    # Linux tells by the same request what has not left a terminal and what a TCP peer has not acknowledged.
    with contextlib.suppress(OSError, ValueError):
        queued = fcntl.ioctl(found.get_extra_info("socket").fileno(), termios.TIOCOUTQ, bytes(4))
        waiting += struct.unpack("i", queued)[0]
    return waiting


async def hang_up(client: Client) -> None:
    try:
        async with asyncio.timeout(1):
            await client.disconnect()
    except (TimeoutError, OSError):
        # The broker does not take what is still to be written; there is nobody to tell.
        abort(client)


def abort(client: Client) -> None:
    """Drop the connection with what is still to be written; waiting for a dead peer to take it would
    keep the socket for as long as TCP retries, and gmqtt's keepalive its connection for hours."""
    found = transport_of(client)
    if found is not None:
        client._connection._keep_connection_callback.cancel()
        found.abort()
