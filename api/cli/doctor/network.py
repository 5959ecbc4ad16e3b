"""The port of the API, and whether devices and destinations can be reached from here.

A connection is opened and closed again; nothing is sent. A serial port is not even opened, for that moves its
control lines, at which some devices restart.
"""

import contextlib
import errno
import os
import queue
import socket
import ssl
import stat
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import closing
from functools import partial
from time import monotonic
from typing import Any, NamedTuple
from urllib.parse import urlsplit

from api.cli.doctor.findings import Finding, ok, problem, warning

REACH_SECONDS = 3.0
AT_ONCE = 32
_PORTS = {
    "mqtt": 1883,
    "tcp": 1883,
    "mqtts": 8883,
    "ssl": 8883,
    "http": 80,
    "ws": 80,
    "https": 443,
    "wss": 443,
    "opc.tcp": 4840,
}
_TLS = frozenset({"mqtts", "ssl", "https", "wss"})
_DEFAULTS = {"modbus": 502, "mqtt": 1883, "azure-iot": 8883, "aws-iot": 8883, "gcp-iot": 8883}
_ALWAYS_TLS = frozenset({"azure-iot", "aws-iot", "gcp-iot"})


class Place(NamedTuple):
    """Where something is: a host and a port, or a serial device."""

    host: str = ""
    port: int = 0
    tls: bool = False
    device: str = ""


def check_port(host: str, port: int) -> Iterator[Finding]:
    """Whether an agent could listen on it, while none answers there."""
    check = "port"
    if port == 0:
        yield ok(check, "any that is free")
        return
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with closing(socket.socket(family, socket.SOCK_STREAM)) as trial:
        trial.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            trial.bind((host, port))
        except OSError as error:
            advice = {
                errno.EADDRINUSE: f"look for who has it: ss -ltnp 'sport = :{port}'; or set DEVICE_API_PORT",
                errno.EACCES: "take a port above 1023, or allow it: AmbientCapabilities=CAP_NET_BIND_SERVICE",
                errno.EADDRNOTAVAIL: "set DEVICE_API_HOST to an address of this machine",
            }
            text = f"{host}:{port} cannot be listened on: {os.strerror(error.errno or 0)}"
            yield problem(check, text, advice.get(error.errno or 0, "set another DEVICE_API_PORT"))
            return
    yield ok(check, f"{host}:{port} is free")


def place_of(kind: str, body: Mapping[str, Any]) -> Place | None:
    """Where a configured device or destination is; None when its configuration does not say it."""
    url = next((body[name] for name in ("brokerUrl", "url", "endpointUrl") if body.get(name)), None)
    if isinstance(url, str) and "://" in url:
        return _of_url(url)
    text = body.get("connectionString")
    parts = dict(one.partition("=")[::2] for one in text.split(";")) if isinstance(text, str) else {}
    host = body.get("host") or body.get("hostName") or parts.get("HostName") or body.get("endpoint")
    device = body.get("serialPort") or body.get("device")
    port = body.get("port")
    if isinstance(port, str) and port.startswith("/"):
        device = port
    if isinstance(device, str) and device:
        return Place(device=device)
    if str(body.get("transport", body.get("type", ""))).lower() == "udp":
        return None
    number = (
        port if isinstance(port, int) else int(str(port)) if str(port).isdecimal() else _DEFAULTS.get(kind)
    )
    if isinstance(host, str) and host and number:
        return Place(host, number, kind in _ALWAYS_TLS)
    return None


def _of_url(url: str) -> Place | None:
    try:
        parts = urlsplit(url)
        port = parts.port or _PORTS.get(parts.scheme.lower())
    except ValueError:
        return None
    return Place(parts.hostname, port, parts.scheme.lower() in _TLS) if parts.hostname and port else None


def check_places(check: str, places: Sequence[tuple[str, Place]]) -> Iterator[Finding]:
    """All of them at once, each for a short time."""
    if not places:
        return
    yield from _all_at_once([partial(_reached, check, *one) for one in places], check)


def _all_at_once(looks: Sequence[Callable[[], Finding]], check: str) -> Iterator[Finding]:
    """What they find, in their order. Who asks a name server that is away waits for longer than anybody has:
    such threads are left behind, and end with the process."""
    found: dict[int, Finding] = {}
    waiting = queue.SimpleQueue[int]()
    for number in range(len(looks)):
        waiting.put(number)

    def work() -> None:
        with contextlib.suppress(queue.Empty):
            while True:
                number = waiting.get_nowait()
                found[number] = looks[number]()

    workers = [threading.Thread(target=work, daemon=True) for _ in range(min(AT_ONCE, len(looks)))]
    for one in workers:
        one.start()
    rounds = -(-len(looks) // AT_ONCE)
    deadline = monotonic() + rounds * (REACH_SECONDS + 1.0)
    for one in workers:
        one.join(max(0.0, deadline - monotonic()))
    undecided = len(looks) - len(found)
    for number in sorted(found):
        yield found[number]
    if undecided:
        text = f"{undecided} more could not be looked at in time"
        yield problem(check, text, "look at the name servers: resolvectl status")


def _reached(check: str, name: str, place: Place) -> Finding:
    if place.device:
        return _serial(check, name, place.device)
    where = f"{name} at {place.host}:{place.port}"
    try:
        with closing(socket.create_connection((place.host, place.port), REACH_SECONDS)) as plain:
            if place.tls:
                ssl.create_default_context().wrap_socket(plain, server_hostname=place.host).close()
    except ssl.SSLCertVerificationError as error:
        text = f"{where}: its certificate is not trusted here ({error.verify_message})"
        return warning(check, text, "fine where its configuration names an authority of its own")
    except ssl.SSLError as error:
        return warning(
            check, f"{where}: no TLS: {error.reason or error}", "look at the port and at what listens"
        )
    except socket.gaierror as error:
        text = f"{where}: the name is not known: {error.strerror}"
        return problem(check, text, "look at the name, and at the name servers: resolvectl status")
    except TimeoutError:
        advice = "look at power and cable, at the address, and for a firewall between"
        return problem(check, f"{where}: nobody answers", advice)
    except (OSError, UnicodeError) as error:  # the latter of what can be no name
        text = f"{where}: {getattr(error, 'strerror', None) or error}"
        return problem(check, text, "look whether it runs and listens on this port, and at the address")
    return ok(check, f"{where}: can be reached")


def _serial(check: str, name: str, device: str) -> Finding:
    where = f"{name} at {device}"
    try:
        found = os.stat(device)
    except OSError as error:
        text = f"{where}: {error.strerror}"
        return problem(check, text, "look at the adapter: dmesg | tail; a name under /dev/serial/by-id stays")
    if not stat.S_ISCHR(found.st_mode):
        return problem(check, f"{where}: is not a device", "name a serial port")
    if not os.access(device, os.R_OK | os.W_OK):
        text = f"{where}: may not be opened by this user"
        return problem(
            check, text, f"add the agent's user to its group: usermod -aG {_group(found.st_gid)} USER"
        )
    return ok(check, f"{where}: is there and may be opened")


def _group(gid: int) -> str:
    from grp import getgrgid

    try:
        return getgrgid(gid).gr_name
    except KeyError:
        return str(gid)
