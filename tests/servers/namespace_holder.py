"""Holds the network namespaces of a `servers.namespaces.Network`, as a process that is root where they are.

It is asked by datagrams of JSON on the socket that is its standard input, and answers each by one,
`{"ok": ...}` or `{"error": ...}`. When that is closed, however its other end ended, it ends all processes
that are in its namespaces, and so all of these.
"""

import array
import ctypes
import json
import os
import re
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

_NEW_NETWORK = 0x40000000
_LIBC = ctypes.CDLL(None, use_errno=True)
_LONGEST = 1 << 20
_SYSCTL = Path("/proc/sys/net")
_LOOKS = 4
"""Times in a row that nobody is seen inside."""


class Holder:
    def __init__(self) -> None:
        self._namespaces: list[int] = []

    def add(self, ipv6: bool) -> int:
        """Another one, with its loopback up; returns its descriptor here, which is its name from then on."""
        _checked(_LIBC.unshare(_NEW_NETWORK))
        descriptor = os.open("/proc/self/ns/net", os.O_RDONLY)
        self._namespaces.append(descriptor)
        (_SYSCTL / "ipv4/ip_unprivileged_port_start").write_text("0")
        for which in () if ipv6 else ("default", "all"):
            (_SYSCTL / "ipv6/conf" / which / "disable_ipv6").write_text("1")
        self.ip(descriptor, ["link set lo up"])
        return descriptor

    def ip(self, namespace: int, lines: list[str]) -> str:
        """What `ip` says to those commands."""
        self._enter(namespace)
        done = subprocess.run(["ip", "-batch", "-"], input="\n".join(lines), capture_output=True, text=True)
        if done.returncode:
            raise RuntimeError(f"ip: {done.stderr.strip()}")
        return done.stdout

    def sysctl(self, namespace: int, name: str, value: str) -> None:
        self._enter(namespace)
        (_SYSCTL / name).write_text(value)

    def socket(self, namespace: int, family: int, kind: int, protocol: int, address: Any = None) -> int:
        """A socket there; its descriptor here, for the answer."""
        self._enter(namespace)
        made = socket.socket(family, kind, protocol)
        if address is not None:
            made.bind(tuple(address))
        return made.detach()

    def end(self) -> None:
        """All processes that are inside, or are just entering."""
        inside = {f"net:[{os.fstat(namespace).st_ino}]" for namespace in self._namespaces}
        deadline = time.monotonic() + 5
        empty = 0
        while empty < _LOOKS and time.monotonic() < deadline:
            found = _processes(inside)
            empty = 0 if found else empty + 1
            for process in found:
                try:
                    os.kill(process, signal.SIGKILL)
                except ProcessLookupError:
                    continue
            time.sleep(0.005)

    @staticmethod
    def _enter(namespace: int) -> None:
        _checked(_LIBC.setns(namespace, _NEW_NETWORK))


def _processes(inside: set[str]) -> list[int]:
    found = []
    for entry in os.listdir("/proc"):
        if not entry.isdecimal() or int(entry) == os.getpid():
            continue
        try:
            namespace = os.readlink(f"/proc/{entry}/ns/net")
            command = Path(f"/proc/{entry}/cmdline").read_bytes()
            state = Path(f"/proc/{entry}/stat").read_text()
        except OSError:  # it has ended, or is somebody else's
            continue
        if (namespace in inside or _entering() in command) and not re.search(r"\) [ZX] ", state):
            found.append(int(entry))
    return found


def _entering() -> bytes:
    """Part of the command line of who is about to be inside (`servers.namespaces.Namespace.command`)."""
    return f"--net=/proc/{os.getpid()}/fd/".encode()


def _checked(result: int) -> None:
    if result:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))


def serve(control: socket.socket) -> None:
    holder = Holder()
    try:
        while message := control.recv(_LONGEST):
            asked = json.loads(message)
            name = asked.pop("do")
            descriptors: list[int] = []
            try:
                result = getattr(holder, name)(**asked)
                if name == "socket":
                    descriptors, result = [result], None
                answer = {"ok": result}
            except (OSError, RuntimeError, TypeError, AttributeError) as error:
                answer = {"error": f"{type(error).__name__}: {error}"}
            rights = (socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", descriptors))
            control.sendmsg([json.dumps(answer).encode()], [rights] if descriptors else [])
            for descriptor in descriptors:
                os.close(descriptor)
    except ConnectionError:
        pass  # whoever asked has ended
    finally:
        holder.end()


if __name__ == "__main__":
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # of a terminal: who holds the other end tells it to end
    serve(socket.socket(fileno=os.dup(sys.stdin.fileno())))
