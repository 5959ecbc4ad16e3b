"""A plant of 300 hosts on a network of its own, for scans: devices of all protocols, hosts of other kinds,
dead, slow and hostile ones, and in front of them the host of the agent."""

from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from ipaddress import IPv4Address
from pathlib import Path
from types import TracebackType
from typing import Any, NamedTuple, Self

from servers.namespaces import Namespace, Network
from servers.told_process import ToldProcess
from servers.told_program import module_command

PREFIX = 22
CLIENT = "10.77.0.1"
FIRST = IPv4Address("10.77.0.11")
HOSTS = 300
RANGE = f"{FIRST}-{FIRST + HOSTS - 1}"
"""What a scan is told to look at."""
CLIENT_IPV6 = "fd77::ffff"

GONE, SILENT = "gone", "silent"
"""Hosts that are not there at all, and such that are and drop what comes."""


class Host(NamedTuple):
    """`kind` is what it is to people; `options` what `servers.plant_devices` makes of it, None: nothing."""

    address: str
    kind: str
    options: dict[str, Any] | None = None


def sunspec(model: str, serial: str, power: int) -> dict[str, Any]:
    """The registers of an inverter: the common model, an inverter of three phases with integers, the end."""
    common = [
        0x5375,
        0x6E53,
        1,
        66,
        *_text("Callboard", 16),
        *_text(model, 16),
        *_text("", 8),
        *_text("1.0", 8),
    ]
    common += [*_text(serial, 16), 1, 0]
    inverter = [0xFFFF] * 50
    inverter[0:5] = 30, 10, 10, 10, 0xFFFF
    inverter[5:12] = 4000, 4000, 4000, 2300, 2300, 2300, 0xFFFF
    inverter[12:16] = power, 0, 5000, 0xFFFE
    inverter[22:25] = 0, 12_345, 0
    return {"40000": [*common, 103, 50, *inverter, 0xFFFF, 0]}


def _text(text: str, words: int) -> list[int]:
    octets = text.encode().ljust(2 * words, b"\0")
    return [int.from_bytes(octets[place : place + 2], "big") for place in range(0, 2 * words, 2)]


def modbus(kind: str, **options: Any) -> dict[str, Any]:
    return {"kind": "modbus", "ports": [502], "what": kind, **options}


def _modbus_hosts() -> Iterator[tuple[str, dict[str, Any]]]:
    """Kinds of Modbus devices, with how many units each has to be found in `units`."""
    for number in range(30):
        identity = {"0": "Callboard", "1": f"PLC-{number}", "2": "1.0"} if number % 2 else None
        yield "modbus", modbus("plain", units=[1], identity=identity)
    for number in range(6):
        yield "modbus gateway", modbus("gateway", units=[1, 2, 5, 9], missing=11 if number % 2 else None)
    for number in range(4):
        yield (
            "modbus sunspec",
            modbus(
                "sunspec",
                units=[1],
                blocks=sunspec(f"Inverter {number}", f"S{number:04}", 500 + number),
                registers=0,
            ),
        )
    for _ in range(6):
        yield "modbus single", modbus("single", units=[1], connections=1)
    for _ in range(4):
        yield "modbus everybody", modbus("everybody", units=None)
    for _ in range(4):
        yield "modbus refusing", modbus("refusing", units=[1], registers=0)
    for _ in range(4):
        yield "modbus slow", modbus("slow", units=[1], delay=0.08)
    for _ in range(2):
        yield "modbus dripping", modbus("dripping", units=[1], drip=0.005)


_HOSTILE = (
    "tarpit",
    "banner",
    "garbage",
    "echo",
    "reset",
    "reset-when-asked",
    "closes",
    "http",
    "ssh",
    "full",
    "opcua-refuses",
    "opcua-greets",
)
_EACH_HOSTILE = 3
_SILENT, _REFUSING = 40, 50


def three_hundred(own: dict[str, int] | None = None) -> list[Host]:
    """Kinds in turn, so that neighbours differ and each part of the range has some of all. `own` says how
    many hosts there are to be of kinds of the caller's own, at whose addresses there is nothing yet."""
    kinds: list[tuple[str, dict[str, Any] | None]] = list(_modbus_hosts())
    kinds += [(kind, {"kind": kind}) for kind in _HOSTILE for _ in range(_EACH_HOSTILE)]
    kinds += [(kind, None) for kind, count in (own or {}).items() for _ in range(count)]
    kinds += [(SILENT, None)] * _SILENT + [("refusing", None)] * _REFUSING
    kinds += [(GONE, None)] * (HOSTS - len(kinds))
    assert len(kinds) == HOSTS
    step = 7  # has no divisor in common with the number of hosts
    return [host_at(FIRST + place, *kinds[place * step % HOSTS]) for place in range(HOSTS)]


def with_forward(hosts: Sequence[Host], kind: str, target: str) -> list[Host]:
    """The same hosts; the one of that kind is another way to the host of the kind `target`."""
    [address] = [host.address for host in hosts if host.kind == target]
    options = {"kind": "forward", "target": address, "ports": [4840]}
    return [
        host if host.kind != kind else host_at(IPv4Address(host.address), kind, options) for host in hosts
    ]


def host_at(address: IPv4Address | str, kind: str, options: dict[str, Any] | None) -> Host:
    return Host(str(address), kind, options and {**options, "address": str(address)})


class Plant:
    """Those `hosts`, and beside them `bait`, Modbus devices that nobody is to touch. `client` is where the
    agent runs. Hosts may have addresses of IPv6, too, of the network that `CLIENT_IPV6` is in."""

    def __init__(self, directory: Path, hosts: Sequence[Host]) -> None:
        self.hosts = list(hosts)
        last = max(IPv4Address(host.address) for host in hosts if ":" not in host.address)
        self.bait = [host_at(last + place, "bait", modbus("bait", units=None)) for place in range(1, 11)]
        self.client: Namespace
        self.plant: Namespace
        self.devices = ToldProcess("the plant", directory / "plant.log")
        self._stack = ExitStack()

    @property
    def addresses(self) -> list[str]:
        """Of the hosts, whether anybody is there or not."""
        return [host.address for host in self.hosts]

    @property
    def kinds(self) -> Counter[str]:
        return Counter(host.kind for host in self.hosts)

    def at(self, *kinds: str) -> list[str]:
        """The addresses of hosts of these kinds."""
        return [host.address for host in self.hosts if host.kind in kinds]

    def units(self) -> set[tuple[str, int]]:
        """The Modbus devices that are there to be found: by address and unit."""
        return {
            (host.address, unit)
            for host in self.hosts
            if host.options is not None and host.options["kind"] == "modbus"
            for unit in host.options["units"] or [1]
        }

    def counts(self) -> dict[str, dict[str, Any]]:
        """What the light hosts have seen, by address: `accepted` connections, those `open` now, at most at a
        time (`peak`), `requests`, what was `odd`, and the least seconds between two requests (`gap`)."""
        found: dict[str, dict[str, Any]] = self.devices.ask("counts")
        return found

    def __enter__(self) -> Self:
        with ExitStack() as stack:
            ipv6 = any(":" in host.address for host in self.hosts)
            network = stack.enter_context(Network(ipv6))
            self.client, self.plant = network.add("client"), network.add("plant")
            there = [host.address for host in [*self.hosts, *self.bait] if host.kind != GONE]
            own = [f"{CLIENT}/{PREFIX}", *([f"{CLIENT_IPV6}/64 nodad"] if ipv6 else [])]
            addresses = [
                f"{address}/64 nodad" if ":" in address else f"{address}/{PREFIX}" for address in there
            ]
            network.join({self.client: own, self.plant: addresses})
            self.plant.ip(*(f"rule add from {address} blackhole" for address in self.at(SILENT)))
            command, environment = module_command("plant_devices")
            light = [host.options for host in [*self.hosts, *self.bait] if host.options is not None]
            self.devices.begin(self.plant.command(*command), {"hosts": light}, environment)
            stack.callback(self.devices.kill)
            self._stack = stack.pop_all()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stack.close()
