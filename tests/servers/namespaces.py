"""Networks of the tests' own: namespaces that are joined by virtual cables, and nothing else.

They need no name, no right beyond a user namespace for who is not root, and no clearing up: they go when
their holder process does, which ends with this one, however this one ends, and takes along what runs inside.
"""

import contextlib
import ctypes
import json
import os
import select
import shutil
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Self

_HOLDER = Path(__file__).with_name("namespace_holder.py")
_PATH = f"{os.environ.get('PATH', os.defpath)}:/usr/sbin:/sbin"
_ANSWERING = 20.0  # seconds
_NEW_NETWORK = 0x40000000
_REAL_SOCKET = socket.socket


class Namespace:
    """A host, or several in one. `interfaces` are named eth0, eth1, … in the order in which they were
    plugged in, each with its addresses (`198.51.100.1/24`)."""

    def __init__(self, network: "Network", name: str, handle: int) -> None:
        self.name = name
        self.interfaces: list[list[str]] = []
        self._network = network
        self._handle = handle

    @property
    def address(self) -> str:
        """The first."""
        return self.interfaces[0][0].partition("/")[0]

    @property
    def path(self) -> str:
        """The namespace as a file."""
        return f"/proc/{self._network.holder}/fd/{self._handle}"

    def command(self, *words: str | Path) -> list[str]:
        """That command as one that runs inside, in the same process."""
        user = [f"--user=/proc/{self._network.holder}/ns/user", "--preserve-credentials"]
        entering = [*([] if self._network.as_root else user), f"--net={self.path}"]
        return [_tool("nsenter"), *entering, "--", *map(str, words)]

    def run(self, *words: str | Path) -> str:
        """What it says on standard output; raises when it fails."""
        done = subprocess.run(self.command(*words), capture_output=True, text=True, timeout=_ANSWERING)
        if done.returncode:
            raise RuntimeError(f"{words[0]} in {self.name}: {done.stderr.strip()}")
        return done.stdout

    def ip(self, *lines: str) -> str:
        """What `ip` says to these commands, without its own name (`addr add 198.51.100.9/24 dev eth0`)."""
        said: str = self._network.ask("ip", namespace=self._handle, lines=lines)
        return said

    def sysctl(self, name: str, value: str | int) -> None:
        """`name` is below `net`: `ipv4/ip_forward`."""
        self._network.ask("sysctl", namespace=self._handle, name=name, value=str(value))

    def socket(
        self,
        family: int = socket.AF_INET,
        kind: int = socket.SOCK_STREAM,
        protocol: int = 0,
        address: Sequence[Any] | None = None,
    ) -> socket.socket:
        """One of this process that is inside, bound to `address`."""
        return _REAL_SOCKET(fileno=self._descriptor(family, kind, protocol, address))

    @contextlib.contextmanager
    def sockets_made_here(self) -> Iterator[None]:
        """Within it all IP sockets that this process makes by way of Python's `socket` are inside, whichever
        thread makes them (not those of uvloop and of libraries in other languages)."""
        inside = self

        class Socket(_REAL_SOCKET):
            def __init__(
                self, family: int = -1, type: int = -1, proto: int = -1, fileno: int | None = None
            ) -> None:
                if fileno is None and family in (-1, socket.AF_INET, socket.AF_INET6):
                    family, type = max(family, socket.AF_INET), max(type, socket.SOCK_STREAM)
                    fileno = inside._descriptor(family, type, max(proto, 0), None)
                super().__init__(family, type, proto, fileno)

        socket.socket = Socket  # type: ignore[misc]
        try:
            yield
        finally:
            socket.socket = _REAL_SOCKET  # type: ignore[misc]

    def enter(self) -> None:
        """Move the calling thread inside, for good, whatever it opens then is there. Only for root."""
        descriptor = os.open(self.path, os.O_RDONLY)
        try:
            if ctypes.CDLL(None, use_errno=True).setns(descriptor, _NEW_NETWORK):
                number = ctypes.get_errno()
                raise OSError(number, os.strerror(number))
        finally:
            os.close(descriptor)

    def _descriptor(self, family: int, kind: int, protocol: int, address: Sequence[Any] | None) -> int:
        options = kind & (socket.SOCK_NONBLOCK | socket.SOCK_CLOEXEC)
        made = self._network.ask_for_socket(
            namespace=self._handle, family=family, kind=kind & ~options, protocol=protocol, address=address
        )
        os.set_blocking(made, not options & socket.SOCK_NONBLOCK)
        return made


class Network:
    """Namespaces, and what joins them. A context manager; usable from any thread."""

    def __init__(self, ipv6: bool = False) -> None:
        self.as_root = os.geteuid() == 0
        self._ipv6 = ipv6
        self._cables = 0
        self._lock = threading.Lock()
        self._holder: subprocess.Popen[bytes] | None = None
        self._control: socket.socket | None = None

    @property
    def holder(self) -> int:
        """The process that has it."""
        assert self._holder is not None
        return self._holder.pid

    def __enter__(self) -> Self:
        _tool("ip")
        self._control, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        user = [] if self.as_root else ["--user", "--map-root-user"]
        # Unless it becomes another program inside, the user that owns it may not look at it.
        command = [_tool("unshare"), *user, "--net", sys.executable, "-I", "-S", str(_HOLDER)]
        with theirs:
            self._holder = subprocess.Popen(
                command,
                stdin=theirs,
                stdout=subprocess.DEVNULL,
                env=os.environ | {"PATH": _PATH},
                start_new_session=True,
            )
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        assert self._control is not None
        assert self._holder is not None
        self._control.close()
        try:
            self._holder.wait(10)
        finally:
            self._holder.kill()
            self._holder.wait()

    def add(self, name: str) -> Namespace:
        """A host with nothing plugged in."""
        return Namespace(self, name, self.ask("add", ipv6=self._ipv6))

    def join(self, members: Mapping[Namespace, Sequence[str]]) -> None:
        """Plug them in, each with its addresses, at the ends of a cable or, more than two, at a switch."""
        if len(members) == 2:
            (one, two) = members
            self._plug(one, two, "eth")
        else:
            switch = self.add("switch")
            switch.ip("link add hub type bridge", "link set hub up")
            for one in members:
                self._plug(one, switch, "port")
                switch.ip(f"link set port{len(switch.interfaces)} master hub up")
                switch.interfaces.append([])
        for one, addresses in members.items():
            device = f"eth{len(one.interfaces)}"
            one.interfaces.append(list(addresses))
            one.ip(*(f"addr add {_placed(each, device)}" for each in addresses), f"link set {device} up")

    def _plug(self, one: Namespace, two: Namespace, name: str) -> None:
        here, there = f"eth{len(one.interfaces)}", f"{name}{len(two.interfaces)}"
        one.ip(f"link add {here} type veth peer name {there} netns {two.path}")

    def ask(self, do: str, **arguments: Any) -> Any:
        """Have the holder do that, one of its methods."""
        result, descriptors = self._exchange(do, arguments)
        assert not descriptors
        return result

    def ask_for_socket(self, **arguments: Any) -> int:
        """The descriptor, which is the caller's."""
        _, [descriptor] = self._exchange("socket", arguments)
        return descriptor

    def _exchange(self, do: str, arguments: dict[str, Any]) -> tuple[Any, list[int]]:
        assert self._control is not None
        with self._lock:
            self._control.send(json.dumps({"do": do, **arguments}).encode())
            ready, _, _ = select.select([self._control], [], [], _ANSWERING)
            if not ready:
                raise TimeoutError(f"the holder of the namespaces does not answer: {do}")
            message, descriptors, _, _ = socket.recv_fds(self._control, 1 << 20, 1)
        if not message:
            raise RuntimeError(_refusal(self.as_root))
        answer = json.loads(message)
        if "error" in answer:
            raise RuntimeError(f"{do}: {answer['error']}")
        return answer["ok"], descriptors


def _placed(address: str, device: str) -> str:
    """What `ip` reads; flags of the address come last (`fd77::1/64 nodad`)."""
    place, _, flags = address.partition(" ")
    return f"{place} dev {device} {flags}"


def _tool(name: str) -> str:
    found = shutil.which(name, path=_PATH)
    if found is None:
        raise RuntimeError(f"These tests need {name}: make servers")
    return found


def _refusal(as_root: bool) -> str:
    if as_root:
        return "There are no network namespaces here: these tests need root's right to make some"
    return (
        "There are no network namespaces here: these tests need root, or user namespaces for everybody "
        "(sysctl user.max_user_namespaces, kernel.unprivileged_userns_clone, "
        "kernel.apparmor_restrict_unprivileged_userns)"
    )
