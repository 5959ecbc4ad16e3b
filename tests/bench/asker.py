"""HTTP clients that ask for one path over and over, each when it has the whole answer to its last question.

A process of its own; prints one JSON line (`Asked`) and ends. It reads answers into one buffer and looks at
nothing but their heads: the agent is what is to be measured.
"""

import argparse
import selectors
import socket
import sys
import time

import msgspec

BUFFER = bytearray(4 << 20)


class Asked(msgspec.Struct, frozen=True):
    """Answers of status 200 a second; milliseconds that they took; bytes of one with its head."""

    per_second: float
    p50: float
    p99: float
    size: int


class Client:
    def __init__(self, port: int, path: str) -> None:
        self._question = f"GET {path} HTTP/1.1\r\nHost: localhost:{port}\r\n\r\n".encode()
        self.socket = socket.create_connection(("127.0.0.1", port))
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.socket.setblocking(False)
        self.ask()

    def ask(self) -> None:
        self.asked_at = time.perf_counter()
        self._head, self._left = b"", None
        self.socket.send(self._question)

    def receive(self) -> bool:
        """Whether the answer is whole. Raises RuntimeError for another than 200."""
        count = self.socket.recv_into(BUFFER)
        if not count:
            raise RuntimeError("the agent has closed a connection")
        if self._left is None:
            self._head += bytes(BUFFER[:count])
            head, end, rest = self._head.partition(b"\r\n\r\n")
            if not end:
                return False
            self._left = _length(head)
            count = len(rest)
            self.size = len(self._head) - count + self._left
        self._left -= count
        return self._left == 0


def _length(head: bytes) -> int:
    status, *lines = head.lower().split(b"\r\n")
    if b" 200 " not in status:
        raise RuntimeError(f"answered with {status.decode()}")
    return next(int(line.partition(b":")[2]) for line in lines if line.startswith(b"content-length:"))


def ask(port: int, path: str, clients: int, seconds: float) -> Asked:
    took, size = [], 0
    with selectors.DefaultSelector() as selector:
        for _ in range(clients):
            client = Client(port, path)
            selector.register(client.socket, selectors.EVENT_READ, client)
        until = time.perf_counter() + seconds
        while (now := time.perf_counter()) < until:
            for key, _ in selector.select(until - now):
                if key.data.receive():
                    took.append(time.perf_counter() - key.data.asked_at)
                    size = key.data.size
                    key.data.ask()
    took.sort()
    return Asked(len(took) / seconds, took[len(took) // 2] * 1000, took[int(len(took) * 0.99)] * 1000, size)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--path", required=True)
    parser.add_argument("--clients", type=int, required=True)
    parser.add_argument("--seconds", type=float, required=True)
    options = parser.parse_args()
    asked = ask(options.port, options.path, options.clients, options.seconds)
    sys.stdout.write(msgspec.json.encode(asked).decode() + "\n")


if __name__ == "__main__":
    main()
