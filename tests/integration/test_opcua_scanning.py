"""Which OPC UA servers are found, what is told of them, and what those cost who are none."""

import asyncio
import struct
from collections.abc import Iterator
from pathlib import Path
from time import monotonic
from typing import Any

import pytest
from asyncua import Server, ua
from probing import SETTINGS, Tried, search
from servers.black_hole import black_hole
from servers.mosquitto import free_port
from servers.opcua import EVERYTHING, KINDS, OpcUaServer
from servers.opcua_certificates import Identity
from servers.opcua_directory import application, directory, endpoint, talking
from servers.relay import Relay

from actors.endpoints.discovering import At, Configured, Known
from actors.endpoints.lines import Lines
from actors.endpoints.protocols.opcua import PROTOCOL, announced, scanning

assert PROTOCOL.discovery is not None


async def found(*configured: Configured, validate: bool = False, **options: Any) -> Tried:
    assert PROTOCOL.discovery is not None
    return await search(PROTOCOL.discovery, {"timeout": 1000, **options}, *configured, validate=validate)


def identities(tried: Tried) -> list[str]:
    return sorted(tried.devices)


@pytest.fixture(scope="module", params=KINDS)
def server(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[OpcUaServer]:
    identity = Identity("plant", uri=f"urn:callboard:test:{request.param}")
    with OpcUaServer(
        tmp_path_factory.mktemp("opcua"),
        request.param,
        identity=identity,
        security=EVERYTHING,
        users={"operator": "secret"},
        interval_ms=0,
    ) as server:
        yield server


async def test_a_server_is_found_by_its_url(server: OpcUaServer):
    tried = await found(discoveryUrls=server.url, timeout=5000)
    device = tried.only
    assert device.identity == f"opcua:urn:callboard:test:{server.kind}"
    assert device.name == f"opcua_127.0.0.1_{server.port}"
    assert device.connection == {"endpointUrl": server.url}
    assert device.confidence == "medium"
    assert not device.validated
    assert device.data_points == ()
    told = device.metadata
    assert told["endpointUrl"] == server.url
    assert told["applicationUri"] == f"urn:callboard:test:{server.kind}"
    assert told["serverCertificateThumbprint"] == server.identity.thumbprint
    assert (told["selectedSecurityMode"], told["selectedSecurityPolicy"]) == ("None", "None")
    assert told["discoveryMethod"] == "endpoint_discovery"
    assert {(one["securityPolicy"], one["securityMode"]) for one in told["availableEndpoints"]} == set(
        EVERYTHING
    )
    assert tried.troubles == []
    PROTOCOL.accept(device.connection, device.data_points)


async def test_a_server_that_may_be_read_is(server: OpcUaServer):
    tried = await found(discoveryUrls=server.url, timeout=5000, validate=True)
    device = tried.only
    assert device.validated
    points = {one["name"]: one for one in device.data_points}
    assert points["TypeDouble"] == {
        "name": "TypeDouble",
        "nodeId": "nsu=urn:callboard:plant;s=Type.Double",
        "dataType": "number",
    }
    assert points["TypeBoolean"]["dataType"] == "boolean"
    assert "dataType" not in points["Matrix"]
    assert device.validation_data is not None
    assert device.validation_data["values"]["TypeInt32"] == -70_000
    assert device.validation_data["readableCount"] == len(points)
    assert device.metadata["subscriptions"] is True
    assert "ServerStatus" not in points
    PROTOCOL.accept(device.connection, device.data_points)
    assert server.ask("counts")["sessions"] == 0


async def test_no_more_variables_are_proposed_than_wanted(server: OpcUaServer):
    tried = await found(discoveryUrls=server.url, timeout=5000, maxNodes=3, validate=True)
    assert len(tried.only.data_points) == 3
    assert tried.only.validation_data is not None
    assert tried.only.validation_data["complete"] is False


async def test_of_a_server_that_an_endpoint_reads_what_is_known_is_told(server: OpcUaServer):
    point = {"name": "a", "nodeId": "ns=2;s=Type.Double"}
    configured = Configured("press", True, {"endpointUrl": server.url, "username": "x"}, (point,))
    tried = await found(configured, timeout=5000, validate=True)
    assert tried.only.metadata["endpoint"] == "press"
    assert tried.only.connection == {"endpointUrl": server.url, "username": "x"}
    assert tried.only.data_points == (point,)
    assert not tried.only.validated


async def test_a_security_that_is_wanted_is_selected(server: OpcUaServer):
    tried = await found(
        discoveryUrls=server.url,
        timeout=5000,
        securityMode="SignAndEncrypt",
        securityPolicy="Basic256Sha256",
        certificateTrustMode="trust-on-first-use",
        validate=True,
    )
    assert tried.only.connection == {
        "endpointUrl": server.url,
        "securityMode": "SignAndEncrypt",
        "securityPolicy": "Basic256Sha256",
        "certificateTrustMode": "trust-on-first-use",
    }
    assert tried.only.validation_data == {"reason": "somebody has to trust its certificate first"}


async def test_a_server_that_is_pinned_is_read_over_its_security(server: OpcUaServer, tmp_path: Path):
    assert PROTOCOL.discovery is not None
    lines = Lines()
    lines.folder = tmp_path
    options = {
        "discoveryUrls": [server.url],
        "securityMode": "SignAndEncrypt",
        "securityPolicy": "Basic256Sha256",
        "expectedServerThumbprint": server.identity.thumbprint,
        "username": "operator",
        "password": "secret",
    }
    tried = await search(PROTOCOL.discovery, options, lines=lines, validate=True)
    assert tried.troubles == []
    assert tried.only.validated
    assert tried.only.connection["username"] == "operator"


async def test_units_are_proposed_and_circles_are_gone_round_once():
    """https://github.com/united-manufacturing-hub/benthos-umh/pull/117,
    https://github.com/open62541/open62541/issues/521 (a child that has its parent among its children)"""
    server = Server()
    await server.init()
    url = f"opc.tcp://127.0.0.1:{free_port()}"
    server.set_endpoint(url)
    index = await server.register_namespace("urn:plant")
    line = await server.nodes.objects.add_folder(index, "Line")
    press = await line.add_object(index, "Server")
    server.iserver.aspace[press.nodeid].references.append(
        ua.ReferenceDescription(
            ReferenceTypeId=ua.NodeId(ua.ObjectIds.Organizes),
            IsForward=True,
            NodeId=line.nodeid,
            BrowseName=ua.QualifiedName("Line", index),
            NodeClass=ua.NodeClass.Object,
        )
    )
    level = await press.add_variable(ua.NodeId("level", index), "Level", 5.5)
    await level.add_property(0, "EngineeringUnits", ua.EUInformation(DisplayName=ua.LocalizedText("mm")))
    await press.add_property(index, "Maker", "Acme")
    async with server:
        tried = await found(discoveryUrls=url, timeout=5000, validate=True)
    assert tried.troubles == []
    assert tried.only.data_points == (
        {"name": "Level", "nodeId": "nsu=urn:plant;s=level", "dataType": "number", "unit": "mm"},
    )
    assert tried.only.validation_data is not None
    assert tried.only.validation_data["values"] == {"Level": 5.5}


# One server, or several


async def test_servers_with_one_uri_are_all_found_wherever_they_are():
    async with directory("127.0.0.2", 48401) as one, directory("127.0.0.3", 48401) as other:
        tried = await found(network="127.0.0.2-3", port=48401)
        assert identities(tried) == [
            "opcua:urn:example:server@127.0.0.2:48401",
            "opcua:urn:example:server@127.0.0.3:48401",
        ]
        assert all(device.metadata["applicationUriShared"] for device in tried.devices.values())
        assert one.connections == other.connections == 1


async def test_a_server_alone_with_its_uri_is_known_by_that():
    async with directory() as one:
        assert (await found(discoveryUrls=one.url)).only.identity == "opcua:urn:example:server"


async def test_a_server_that_says_that_it_is_at_two_addresses_is_one():
    async with directory("127.0.0.2", 48402) as one, directory("127.0.0.3", 48402) as other:
        one.endpoints = other.endpoints = [endpoint(one.url), endpoint(other.url)]
        tried = await found(network="127.0.0.2-3", port=48402)
        assert tried.only.identity == "opcua:urn:example:server"
        assert tried.only.metadata["alsoAt"] == [other.url]


async def test_a_copy_that_still_names_the_address_of_the_original_is_another_server():
    async with directory("127.0.0.2", 48403) as one, directory("127.0.0.3", 48403) as other:
        one.endpoints = other.endpoints = [endpoint(one.url)]
        assert len((await found(network="127.0.0.2-3", port=48403)).devices) == 2


async def test_a_server_that_was_started_at_one_moment_is_one(tmp_path: Path):
    with OpcUaServer(tmp_path, "asyncua", interval_ms=0) as server:
        async with Relay(server.port) as relay:
            there = f"opc.tcp://127.0.0.1:{relay.port}"
            tried = await found(discoveryUrls=[server.url, there], timeout=5000)
            assert tried.only.identity == "opcua:urn:callboard:test:plant"
            assert tried.only.metadata["alsoAt"] == [there]


async def test_two_spellings_of_a_host_are_one_server():
    async with directory() as one:
        tried = await search(
            PROTOCOL.discovery,  # type: ignore[arg-type]
            {"discoveryUrls": [one.url, f"opc.tcp://plc.example:{one.port}"]},
            names={"plc.example": "127.0.0.1"},
        )
        assert tried.only.connection == {"endpointUrl": one.url}


# Whom servers know


async def test_a_server_behind_a_name_that_is_not_known_is_one_where_it_answered():
    async with directory() as one:
        one.endpoints = [endpoint("opc.tcp://0.0.0.0:4840/UA/"), endpoint("opc.tcp://DESKTOP-1:4840/UA/")]
        assert (await found(discoveryUrls=one.url)).only.connection == {"endpointUrl": f"{one.url}/UA/"}


async def test_servers_that_a_discovery_server_knows_on_its_machine_are_asked_where_it_is():
    async with directory() as lds, directory() as one:
        lds.endpoints = [endpoint(lds.url, "urn:lds", discovery=True)]
        lds.servers = [application("urn:a", f"opc.tcp://DESKTOP-1:{one.port}/UA")]
        one.endpoints = [endpoint(f"opc.tcp://DESKTOP-1:{one.port}/UA", "urn:a")]
        tried = await found(discoveryUrls=lds.url)
        assert tried.only.connection == {"endpointUrl": f"{one.url}/UA"}
        assert one.urls[0] == f"{one.url}/UA"
        assert tried.further == 1


async def test_servers_elsewhere_are_asked_only_where_that_was_asked_for():
    async with (
        directory("127.0.0.2", 48404) as lds,
        directory("127.0.0.3", 48404) as near,
        directory("127.0.0.9", 48404) as far,
    ):
        lds.endpoints = [endpoint(lds.url, "urn:lds", discovery=True)]
        lds.network = [near.url, far.url, "opc.tcp://nobody.invalid:4840", "opc.https://127.0.0.3:443"]
        near.endpoints = [endpoint(near.url, "urn:near")]
        tried = await found(hosts=["127.0.0.2", "127.0.0.3"], port=48404)
        assert identities(tried) == ["opcua:urn:near"]
        assert far.connections == 0
        assert sorted(reason for _, reason in tried.troubles) == [
            "tells of 127.0.0.9:48404, which was not asked for",
            "tells of nobody.invalid:4840, whose address is not known here",
        ]


async def test_servers_that_tell_of_each_other_for_ever_are_each_asked_once():
    async with directory() as one, directory() as other:
        for mine, theirs in ((one, other), (other, one)):
            mine.endpoints = [endpoint(mine.url, f"urn:{mine.port}", discovery=True)]
            mine.servers = [application("urn:next", theirs.url)]
        tried = await found(discoveryUrls=one.url)
        assert (one.connections, other.connections) == (1, 1)
        assert tried.devices == {}


async def test_a_server_that_tells_of_thousands_of_others_is_followed_so_far():
    async with directory() as lds:
        lds.endpoints = [endpoint(lds.url, "urn:lds", discovery=True)]
        lds.servers = [application(f"urn:{n}", f"opc.tcp://127.0.0.1:{n + 1}") for n in range(1000)]
        tried = await found(discoveryUrls=lds.url)
        assert tried.further <= scanning.MOST_TOLD


async def test_servers_that_answer_to_multicast_dns_are_found(monkeypatch: pytest.MonkeyPatch):
    from zeroconf import ServiceInfo
    from zeroconf.asyncio import AsyncZeroconf

    monkeypatch.setattr(announced, "interfaces", ["127.0.0.1"])
    monkeypatch.setattr(announced, "LISTENING", 1.0)
    async with directory() as one, directory() as other:
        zeroconf = AsyncZeroconf(interfaces=["127.0.0.1"])
        for name, address, server in (("one", "127.0.0.1", one), ("far", "192.0.2.7", other)):
            info = ServiceInfo(
                announced.SERVICE,
                f"{name} on it.{announced.SERVICE}",
                server.port,
                properties={"path": "/UA/Server", "caps": "DA"},
                server=f"callboard-{name}.local.",
                parsed_addresses=[address],
            )
            await zeroconf.async_register_service(info, cooperating_responders=True)
        try:
            tried = await found(mdns=True)
            assert tried.only.connection == {"endpointUrl": f"{one.url}/UA/Server"}
            assert other.connections == 0
        finally:
            await zeroconf.async_close()


# Who is none


async def none_found(serve: Any, **options: Any) -> tuple[Tried, float]:
    async with talking(serve) as port:
        began = monotonic()
        tried = await found(discoveryUrls=f"opc.tcp://127.0.0.1:{port}", timeout=300, **options)
        assert tried.devices == {}
        assert len(tried.troubles) == 1
        return tried, monotonic() - began


async def test_who_says_nothing_costs_so_much_time():
    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await asyncio.sleep(60)

    tried, seconds = await none_found(serve)
    assert "is no OPC UA server: it does not answer to a hello" in tried.troubles[0][1]
    assert seconds < 2


async def test_a_web_server_is_none():
    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read(100)
        writer.write(b"HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\n\r\n")
        await writer.drain()
        await asyncio.sleep(60)

    tried, seconds = await none_found(serve)
    assert "it answers something else to a hello" in tried.troubles[0][1]
    assert seconds < 1


async def test_a_banner_without_end_is_not_listened_to():
    sent = 0

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal sent
        while True:
            writer.write(b"SSH-2.0-OpenSSH_9.2\r\n" * 1000)
            sent += 21_000
            await writer.drain()

    _, seconds = await none_found(serve)
    assert seconds < 1
    assert sent < 20_000_000


@pytest.mark.parametrize("kind", [b"MSGC", b"ACKF", b"ERRF"])
async def test_chunks_without_end_are_not_taken(kind: bytes):
    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while True:
            writer.write(kind + struct.pack("<I", 60_000) + bytes(59_992))
            await writer.drain()

    _, seconds = await none_found(serve)
    assert seconds < 2


async def test_an_octet_a_moment_ends_in_time():
    async with directory() as one:
        one.pieces, one.pause = 1, 0.05
        began = monotonic()
        tried = await found(discoveryUrls=one.url, timeout=400)
        assert monotonic() - began < 3
        assert tried.devices == {}
        assert len(tried.troubles) == 1


async def test_an_answer_that_is_too_large_is_not_taken():
    async with directory() as one:
        one.endpoints = [endpoint(one.url, certificate=bytes(60_000)) for _ in range(30)]
        tried = await found(discoveryUrls=one.url)
        assert tried.devices == {}
        assert len(tried.troubles) == 1


async def test_a_large_answer_is():
    async with directory() as one:
        one.endpoints = [endpoint(one.url, certificate=bytes(6000)) for _ in range(60)]
        assert (await found(discoveryUrls=one.url)).only.metadata["serverCertificateThumbprint"] is None


async def test_nobody_there_is_worth_a_word_only_where_somebody_was_named():
    port = free_port()
    with black_hole("127.0.0.4", port):
        assert (await found(network="127.0.0.2/30", port=port, timeout=200)).troubles == []
        tried = await found(discoveryUrls=f"opc.tcp://127.0.0.4:{port}", timeout=200)
        assert [where for where, _ in tried.troubles] == [f"127.0.0.4:{port}"]
        assert tried.nobody == [f"127.0.0.4:{port}"]
    assert (await found(discoveryUrls=f"opc.tcp://127.0.0.4:{port}")).nobody == [f"127.0.0.4:{port}"]
    named = await found(discoveryUrls=f"opc.tcp://localhost:{port}")
    assert (len(named.troubles), named.nobody) == (1, [])  # the name may lead elsewhere today


async def test_who_says_hello_and_nothing_else_is_somebody_in_a_network_too():
    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readexactly(8)
        writer.write(struct.pack("<4sIIIIII", b"ACKF", 28, 0, 65536, 65536, 0, 0))
        await asyncio.sleep(60)

    async with talking(serve) as port:
        tried = await found(network="127.0.0.1/32", port=port, timeout=200)
    assert [where for where, _ in tried.troubles] == [f"127.0.0.1:{port}"]
    assert tried.nobody == []
    assert tried.places == [At("127.0.0.1", port)]


async def test_who_is_none_costs_no_other():
    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"\x00" * 100)
        await writer.drain()

    async with directory("127.0.0.2", 48405), talking(serve, "127.0.0.3", 48405):
        tried = await found(network="127.0.0.0/29", port=48405, timeout=500)
        assert tried.only.name == "opcua_127.0.0.2_48405"


async def test_what_was_found_counts_when_the_search_is_cut_short():
    async def silent(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await asyncio.sleep(60)

    assert PROTOCOL.discovery is not None
    async with directory() as one, talking(silent) as port:
        urls = [one.url, f"opc.tcp://127.0.0.1:{port}"]
        plan = PROTOCOL.discovery.plan({"discoveryUrls": urls}, Known(SETTINGS), "")
        tried = Tried()
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.5):
                await PROTOCOL.discovery.scanner()(plan, tried)
        assert tried.only.identity == "opcua:urn:example:server"


async def test_credentials_are_for_servers_that_were_named():
    async with directory("127.0.0.2", 48406):
        by_network = await found(network="127.0.0.0/29", port=48406, username="u", password="p", timeout=300)
        assert by_network.only.connection == {"endpointUrl": "opc.tcp://127.0.0.2:48406"}
        named = await found(host="127.0.0.2", port=48406, username="u", password="p")
        assert named.only.connection["password"] == "p"


async def test_a_server_that_lets_nobody_in_is_found_all_the_same():
    async with directory() as one:
        tried = await found(discoveryUrls=one.url, validate=True)
        assert tried.only.validation_data == {"reason": "it lets nobody in without a user (UserName)"}
        assert one.connections == 1
