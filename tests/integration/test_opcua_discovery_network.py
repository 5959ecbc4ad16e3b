"""An agent in a network of its own finds a server that answers to multicast DNS, and asks nobody else."""

import contextlib
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from servers import opcua_announced
from servers.captures import Capture
from servers.inner_agent import InnerAgent
from servers.namespaces import Namespace, Network

AGENT, SERVER = "198.51.100.10", "198.51.100.20"


@contextlib.contextmanager
def announced(host: Namespace, address: str, port: int = 4850) -> Iterator[None]:
    command = host.command(sys.executable, opcua_announced.__file__, address, str(port))
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None
            assert process.stdout.readline() == "ready\n"
            yield
        finally:
            assert process.stdin is not None
            process.stdin.close()


@pytest.fixture
def agent(tmp_path: Path) -> Iterator[tuple[Namespace, InnerAgent]]:
    """In one network with the server."""
    with Network() as network:
        agent, server = network.add("agent"), network.add("server")
        network.join({agent: [f"{AGENT}/24"], server: [f"{SERVER}/24"]})
        for one in (agent, server):
            one.ip("route add 224.0.0.0/4 dev eth0")
        with announced(server, SERVER), InnerAgent(agent, tmp_path / "data") as running:
            yield agent, running
            assert running.stop() == 0


def test_a_server_that_answers_to_multicast_dns_is_found_and_read(agent: tuple[Namespace, InnerAgent]):
    here, running = agent
    with Capture(here) as capture:
        reply = running.post(
            "/v1/discover",
            {"protocols": ["opcua"], "validate": True, "overrides": {"opcua": {"mdns": True}}},
        )
    [device] = reply["devices"]
    assert device["connection"] == {"endpointUrl": f"opc.tcp://{SERVER}:4850/plant"}
    assert device["metadata"]["applicationUri"] == "urn:callboard:test:announced"
    assert device["validated"]
    assert device["confidence"] == "high"
    assert [point["name"] for point in device["dataPoints"]] == ["Level"]
    assert set(capture.sent("tcp", "udp")) <= {SERVER, "224.0.0.251"}
