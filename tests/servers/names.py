"""What a name means, as a resolver that is asked would say."""

import socket
import threading
from typing import Any

import pytest

real = socket.getaddrinfo


class Names:
    """Answers for the names in `known` with their addresses, in that order; for others as the system does.
    Those in `silent` it does not answer for until `released`."""

    def __init__(self, known: dict[str, list[str]]) -> None:
        self.known = known
        self.silent: set[str] = set()
        self.released = threading.Event()
        self.asked: list[str] = []

    def getaddrinfo(self, host: Any, port: Any, *args: Any, **options: Any) -> list[Any]:
        self.asked.append(host)
        if host in self.silent:
            self.released.wait(30)
        if host not in self.known:
            return real(host, port, *args, **options)
        return [
            (
                (socket.AF_INET6, socket.SOCK_STREAM, 6, "", (address, port, 0, 0))
                if ":" in address
                else (socket.AF_INET, socket.SOCK_STREAM, 6, "", (address, port))
            )
            for address in self.known[host]
        ]


def named(monkeypatch: pytest.MonkeyPatch, known: dict[str, list[str]]) -> Names:
    names = Names(known)
    monkeypatch.setattr(socket, "getaddrinfo", names.getaddrinfo)
    return names
