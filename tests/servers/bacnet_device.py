"""Two BACnet/IP devices of different authors, bacpypes3's and one built upon node-bacnet.

Each is a process of its own that is asked by JSON lines and ends with this one, however this one ends.
Objects are named `analog-input,1`, properties `present-value`.
"""

from ipaddress import ip_interface
from pathlib import Path
from types import TracebackType
from typing import Any, Literal, Self

from servers.namespaces import Namespace
from servers.node import node_command
from servers.told_process import ToldProcess
from servers.told_program import module_command
from servers.udp_relay import free_udp_port

Kind = Literal["bacpypes3", "node"]
KINDS: tuple[Kind, ...] = ("bacpypes3", "node")
PORT = 47808


def entry(
    type: str,
    instance: int,
    value: Any = None,
    *,
    name: str | None = None,
    units: str | None = None,
    states: list[str] | None = None,
    **properties: Any,
) -> dict[str, Any]:
    """An object; `value` as JSON (of a binary one `active`). Underscores in names of further properties stand
    for hyphens."""
    further = {key.replace("_", "-"): given for key, given in properties.items()}
    return {
        "type": type,
        "instance": instance,
        "value": value,
        "name": name,
        "units": units,
        "states": states,
        "properties": further,
    }


OBJECTS = [
    entry("analog-input", 1, 21.5, name="Supply air", units="degrees-celsius"),
    entry("analog-output", 1, 40.0, name="Valve", units="percent"),
    entry("analog-value", 1, 22.0, name="Setpoint", units="degrees-celsius"),
    entry("binary-input", 1, "active", name="Fan runs"),
    entry("binary-output", 1, "inactive", name="Fan"),
    entry("binary-value", 1, "inactive", name="Enable"),
    entry("multi-state-input", 1, 2, name="Mode now", states=["off", "heat", "cool"]),
    entry("multi-state-output", 1, 1, name="Stage", states=["off", "one", "two"]),
    entry("multi-state-value", 1, 3, name="Mode", states=["off", "heat", "cool"]),
    entry("characterstring-value", 1, "Küche", name="Room"),
    entry("integer-value", 1, -70_000, name="Offset"),
    entry("positive-integer-value", 1, 4_000_000_000, name="Pulses"),
    entry("large-analog-value", 1, 1e12 + 0.5, name="Energy", units="kilowatt-hours"),
    entry(
        "accumulator",
        1,
        12_345,
        name="Meter",
        units="kilowatt-hours",
        max_pres_value=1 << 31,
    ),
    entry("trend-log", 1, name="Log"),
]
"""One of each type that both have, and those that only bacpypes3 has (from the characterstring-value on)."""
PLAIN = OBJECTS[:9]


class BacnetDevice(ToldProcess):
    """One device, or one process of several (`others`), each as `described` makes it, at UDP `port` of
    `address`, whose network has a prefix of so many bits: 32 is none, so that broadcasts do not reach it.
    Inside `namespace`, if any.

    What all can do (`ask`, `tell`; `device` is the instance where it is not the first):
    `set(object, value, property, priority)` (null releases), `read(object, property)`, `written()`: what
    clients have written, as objects of `object`, `property`, `value`, `priority`; `forget()` those and the
    counts; `counts()`: requests by service, as the standard writes it (`readPropertyMultiple`);
    `refuse(service, kind, reason)`: `kind` is `reject`, `abort` or the class of an error; `accept(service)`;
    `delay(seconds)` before each answer; `silence(on)`; `subscriptions()`; `drop_subscriptions()`;
    `i_am(address)`: everybody if None.

    Only bacpypes3's: `add(**entry)`, `remove(object)`, `record(object, value, time_ms, status, log_status,
    keep)`: one more in a trend log, its times UTC.
    """

    def __init__(
        self,
        directory: Path,
        kind: Kind = "bacpypes3",
        *,
        address: str = "127.0.0.1",
        port: int | None = None,
        instance: int = 1001,
        objects: list[dict[str, Any]] | None = None,
        namespace: Namespace | None = None,
        others: list[dict[str, Any]] | None = None,
        **options: Any,
    ) -> None:
        self.kind = kind
        self.address = address
        self.port = port if port is not None else free_udp_port()
        self.instance = instance
        self._namespace = namespace
        wanted = PLAIN if objects is None and kind == "node" else objects
        own = described(instance, wanted, address=address, port=self.port, **options)
        self.config: dict[str, Any] = {"devices": [own, *(others or [])]}
        super().__init__(f"{kind}'s device", directory / f"bacnet-{instance}-{self.port}.log")

    def start(self) -> None:
        """Start it and wait until it answers."""
        if self.kind == "node":
            command, environment = node_command("bacnet_node", "device.js")
        else:
            command, environment = module_command("bacnet_bacpypes")
        if self._namespace is not None:
            command = self._namespace.command(*command)
        self.begin(command, self.config, environment)

    def restart(self) -> None:
        self.kill()
        self.start()

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.kill()


def described(instance: int, objects: list[dict[str, Any]] | None = None, **options: Any) -> dict[str, Any]:
    """A device of a process. `options`: `address`, `port`, `prefix`; `name`, `description`, `vendorName`,
    `modelName`; `segmentation` (`segmented-both`, `no-segmentation`, …), `maxApdu` (octets), `rpm` and `cov`:
    whether it knows these services.

    Of bacpypes3's only: `bbmd`: it is one; `foreign`: the BBMD (`host:port`) where it registers; `behind`:
    the number of a network behind a router, with its `mac` (hex) there. The router is the device that has an
    `address` and is `behind` too, with its own `networkNumber` if any."""
    if options.get("prefix", 32) < 32:
        network = ip_interface(f"{options['address']}/{options['prefix']}").network
        options["broadcast"] = str(network.broadcast_address)
    return {"instance": instance, "objects": OBJECTS if objects is None else objects, **options}
