"""The real servers of the plant of 300 hosts: OPC UA, BACnet of two authors, snmpd, mosquitto."""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, ExitStack, contextmanager
from pathlib import Path
from typing import Any

from servers.bacnet_device import OBJECTS, BacnetDevice, described
from servers.mosquitto import Mosquitto
from servers.opcua import NODES, OpcUaServer
from servers.opcua_certificates import Identity
from servers.plant_hosts import PREFIX, Host, Plant, three_hundred, with_forward
from servers.snmpd import Snmpd

OWN = {
    "opcua": 1,
    "opcua's other name": 1,
    "bacnet": 12,
    "bacnet node": 1,
    "snmp": 3,
    "mqtt": 2,
}
"""Of what the hosts are, and how many. There is one way more to the OPC UA server, which tells clients that
it is where one of the bait is."""
BACNET_FROM = 7000


def hosts() -> list[Host]:
    return with_forward(three_hundred(OWN), "opcua's other name", "opcua")


def opcua_uris(plant: Plant) -> set[str]:
    """Of the servers that are there."""
    return {f"urn:plant:{host}" for host in plant.at("opcua")}


def bacnet_instances(plant: Plant) -> dict[str, int]:
    """By address."""
    return {address: BACNET_FROM + place for place, address in enumerate(plant.at("bacnet", "bacnet node"))}


@contextmanager
def running(plant: Plant, directory: Path) -> Iterator[dict[str, Any]]:
    """All of them, in the plant. Yields them by address; the first of BACnet is those at the others, too."""
    made = dict(_servers(plant, directory))
    with ExitStack() as stack:
        with ThreadPoolExecutor(4) as threads:
            for entered in threads.map(lambda one: one.__enter__(), made.values()):
                assert entered is not None
        for one in made.values():
            stack.push(one)
        yield made


def _servers(plant: Plant, directory: Path) -> Iterator[tuple[str, AbstractContextManager[Any]]]:
    for host in plant.hosts:
        (directory / host.address).mkdir()
    for address in plant.at("opcua"):
        yield (
            address,
            OpcUaServer(
                directory / address,
                "asyncua",  # node-opcua's waits 15 s for a name server where there is none
                identity=Identity(address, uri=f"urn:plant:{address}"),
                nodes=NODES[:2],
                variables=3,
                interval_ms=0,
                address=address,
                port=4840,
                advertised_host=plant.bait[0].address,
                namespace=plant.plant,
            ),
        )
    instances = bacnet_instances(plant)
    local = {"prefix": PREFIX, "port": 47808}
    [node] = plant.at("bacnet node")
    here, *others = plant.at("bacnet")
    yield (
        here,
        BacnetDevice(
            directory,
            address=here,
            instance=instances[here],
            objects=OBJECTS[:3],
            namespace=plant.plant,
            others=[described(instances[one], OBJECTS[:3], address=one, **local) for one in others],
            **local,
        ),
    )
    yield (
        node,
        BacnetDevice(
            directory, "node", address=node, port=47808, instance=instances[node], namespace=plant.plant
        ),
    )
    for address in plant.at("snmp"):
        yield address, Snmpd(directory / address, address, 161, plant.plant)
    for address in plant.at("mqtt"):
        yield address, Mosquitto(directory / address, 1883, address=address, namespace=plant.plant)
