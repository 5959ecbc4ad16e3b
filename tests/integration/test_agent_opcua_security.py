"""A real agent, and an OPC UA server that wants security."""

import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding
from servers.agent import AgentProcess
from servers.opcua import OpcUaServer
from servers.opcua_certificates import Identity

DEVICE = "/v1/adapters/opcua/devices/press"
PASSWORD = "hush-8f3e1"


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[OpcUaServer]:
    security = (("None", "None"), ("Basic256Sha256", "SignAndEncrypt"))
    users = {"operator": PASSWORD}
    with OpcUaServer(
        tmp_path_factory.mktemp("opcua"), "node", security=security, users=users, trusted=()
    ) as server:
        yield server


def until(found: Callable[[], Any], right: Callable[[Any], bool], seconds: float = 15.0) -> Any:
    deadline = time.monotonic() + seconds
    while not right(now := found()):
        assert time.monotonic() < deadline, now
        time.sleep(0.05)
    return now


def test_trust_is_made_on_both_sides(agent: AgentProcess, server: OpcUaServer) -> None:
    connection = {
        "endpointUrl": server.url,
        "securityMode": "SignAndEncrypt",
        "securityPolicy": "Basic256Sha256",
        "username": "operator",
        "password": PASSWORD,
    }
    points = [{"name": "speed", "nodeId": "ns=2;s=Type.Double"}]
    endpoint = {"name": "press", "protocol": "opcua", "connection": connection, "data_points": points}

    # The server is not known: its thumbprint is told.
    agent.post("/v1/endpoints", {**endpoint, "poll_interval": 200})
    device = until(lambda: agent.get(DEVICE), lambda one: one["lastError"])
    assert server.identity.thumbprint in device["lastError"]
    agent.delete("/v1/endpoints")

    # The agent is not known.
    endpoint["connection"] = connection | {"expectedServerThumbprint": server.identity.thumbprint}
    agent.post("/v1/endpoints", {**endpoint, "poll_interval": 200})
    device = until(lambda: agent.get(DEVICE), lambda one: one["lastError"])
    assert "trust this agent's certificate" in device["lastError"]
    agent.delete("/v1/endpoints")
    own = Path(agent.data_dir) / "opcua" / "own"
    assert (own / "key.pem").stat().st_mode & 0o777 == 0o600
    certificate = x509.load_der_x509_certificate((own / "callboard-1.der").read_bytes())

    # Now it is.
    server.config["trusted"] = (certificate.public_bytes(Encoding.PEM).decode(),)
    server.restart()
    agent.post("/v1/endpoints", {**endpoint, "poll_interval": 200})
    until(
        lambda: agent.get(DEVICE), lambda one: one["connected"] and one["registers"][0]["lastValue"] == 2.25
    )
    shown = agent.get("/v1/endpoints")
    assert PASSWORD not in str(shown)
    assert PASSWORD not in agent.log.read_text()


def test_what_makes_no_sense_is_refused_with_its_field(agent: AgentProcess) -> None:
    connection = {"endpointUrl": "opc.tcp://plc", "securityMode": "Sign"}
    status, body = agent.request(
        "POST", "/v1/endpoints", {"name": "x", "protocol": "opcua", "connection": connection}
    )
    assert (status, body["field"]) == (400, "connection.securityPolicy")


def test_a_users_key_is_shown_to_nobody(agent: AgentProcess, server: OpcUaServer) -> None:
    user = Identity("operator", uri="urn:operator", number=2)
    connection = {"endpointUrl": server.url, "userCertificate": user.pem, "userKey": user.key_pem}
    agent.post("/v1/endpoints", {"name": "x", "protocol": "opcua", "connection": connection})
    listed = str(agent.get("/v1/endpoints"))
    line = user.key_pem.splitlines()[5]
    assert line not in listed
    assert "BEGIN CERTIFICATE" in listed
    assert line not in agent.log.read_text()
