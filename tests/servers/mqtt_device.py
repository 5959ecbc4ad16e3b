"""A device that speaks MQTT 3.1.1 to a broker, in packets of its own."""

import contextlib
import socket
import ssl
import struct
import threading
from collections.abc import Callable
from types import TracebackType
from typing import Any, Self

SECONDS = 10.0


def _text(text: str) -> bytes:
    octets = text.encode()
    return struct.pack(">H", len(octets)) + octets


def _packet(first: int, body: bytes) -> bytes:
    length, octets = len(body), bytearray()
    while length > 0x7F:
        octets.append(length & 0x7F | 0x80)
        length >>= 7
    octets.append(length)
    return bytes((first, *octets)) + body


class MqttDevice:
    """One connection. A context manager, which connects, and ends without a word unless `leave` was called:
    then the broker publishes `will`, a topic and a payload, retained. `told` gets what comes on topics it
    has subscribed to."""

    def __init__(
        self,
        port: int,
        username: str | None = None,
        password: str | None = None,
        ca_pem: str | None = None,
        client_id: str = "device",
        will: tuple[str, bytes] | None = None,
        told: Callable[[str, bytes], Any] = lambda topic, payload: None,
    ) -> None:
        self._port = port
        self._login = (username, password)
        self._ca_pem = ca_pem
        self._client_id = client_id
        self._will = will
        self._told = told
        self._mid = 0
        self._answers: dict[int, threading.Event] = {}
        self._lock = threading.Lock()
        self._buffer = b""
        self._socket: socket.socket
        self._reader: threading.Thread

    def connect(self) -> None:
        plain = socket.create_connection(("127.0.0.1", self._port), SECONDS)
        plain.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._socket = plain
        if self._ca_pem is not None:
            context = ssl.create_default_context(cadata=self._ca_pem)
            self._socket = context.wrap_socket(plain, server_hostname="localhost")
        self._socket.sendall(self._hello())
        first, body = self._next()
        if first != 0x20 or body[1]:
            raise ConnectionRefusedError(f"{first:#x} {body!r}")
        self._socket.settimeout(None)
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def _hello(self) -> bytes:
        username, password = self._login
        flags, rest = 0x02, _text(self._client_id)
        if self._will is not None:
            topic, payload = self._will
            flags |= 0x24
            rest += _text(topic) + struct.pack(">H", len(payload)) + payload
        if username is not None:
            flags |= 0x80
            rest += _text(username)
        if password is not None:
            flags |= 0x40
            rest += _text(password)
        return _packet(0x10, _text("MQTT") + bytes((4, flags)) + struct.pack(">H", 60) + rest)

    def publish(self, topic: str, payload: bytes | str, qos: int = 1, retain: bool = False) -> None:
        """Until the broker has it, at QoS 1."""
        octets = payload.encode() if isinstance(payload, str) else payload
        first = 0x30 | (qos << 1) | int(retain)
        if not qos:
            self._send(_packet(first, _text(topic) + octets))
            return
        mid, answered = self._number()
        self._send(_packet(first, _text(topic) + struct.pack(">H", mid) + octets))
        assert answered.wait(SECONDS), f"no answer to {topic}"

    def pour(self, messages: list[tuple[str, bytes]]) -> None:
        """At QoS 0, as fast as they go."""
        self._send(b"".join(_packet(0x30, _text(topic) + payload) for topic, payload in messages))

    def subscribe(self, topic_filter: str) -> None:
        mid, answered = self._number()
        self._send(_packet(0x82, struct.pack(">H", mid) + _text(topic_filter) + b"\1"))
        assert answered.wait(SECONDS), f"no answer to {topic_filter}"

    def settle(self) -> None:
        """Until all that the broker had for it before has come."""
        topic = f"settled/{self._client_id}"
        settled = self._settled = threading.Event()
        self.subscribe(topic)
        self.publish(topic, b"")
        assert settled.wait(SECONDS)

    def leave(self) -> None:
        """In order: the broker forgets the will."""
        self._send(_packet(0xE0, b""))
        self.cut()

    def cut(self) -> None:
        """Without a word."""
        with contextlib.suppress(OSError):  # it has ended already
            self._socket.shutdown(socket.SHUT_RDWR)
        self._socket.close()
        self._reader.join(SECONDS)

    def __enter__(self) -> Self:
        self.connect()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.cut()

    def _number(self) -> tuple[int, threading.Event]:
        self._mid = self._mid % 65_535 + 1
        answered = self._answers[self._mid] = threading.Event()
        return self._mid, answered

    def _send(self, packet: bytes) -> None:
        with self._lock:
            self._socket.sendall(packet)

    def _read(self) -> None:
        try:
            while True:
                self._take(*self._next())
        except (OSError, ValueError):
            return

    def _take(self, first: int, body: bytes) -> None:
        if first & 0xF0 in (0x40, 0x90):
            answered = self._answers.pop(int.from_bytes(body[:2], "big"), None)
            if answered is not None:
                answered.set()
        elif first & 0xF0 == 0x30:
            end = 2 + int.from_bytes(body[:2], "big")
            topic, rest = body[2:end].decode(), body[end:]
            if first & 0x06:
                self._send(_packet(0x40, rest[:2]))
                rest = rest[2:]
            if topic == f"settled/{self._client_id}":
                self._settled.set()
            else:
                self._told(topic, rest)

    def _next(self) -> tuple[int, bytes]:
        first = self._take_bytes(1)[0]
        length, shift = 0, 0
        while True:
            octet = self._take_bytes(1)[0]
            length |= (octet & 0x7F) << shift
            shift += 7
            if octet < 0x80:
                return first, self._take_bytes(length)

    def _take_bytes(self, count: int) -> bytes:
        while len(self._buffer) < count:
            data = self._socket.recv(65_536)
            if not data:
                raise ConnectionResetError
            self._buffer += data
        taken, self._buffer = self._buffer[:count], self._buffer[count:]
        return taken
