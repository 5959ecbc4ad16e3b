"""What has gone wrong for people who looked for OPC UA servers with other products: each rebuilt with a small
fake, with the link of the report."""

import asyncio
from pathlib import Path
from time import monotonic
from typing import Any

import pytest
from probing import Tried, search
from servers.black_hole import black_hole
from servers.mosquitto import free_port
from servers.opcua import OpcUaServer
from servers.opcua_directory import HTTPS, application, directory, endpoint, talking

from actors.endpoints.protocols.opcua import PROTOCOL, told


async def found(validate: bool = False, **options: Any) -> Tried:
    assert PROTOCOL.discovery is not None
    return await search(PROTOCOL.discovery, {"timeout": 1000, **options}, validate=validate)


async def test_the_first_of_several_endpoints_has_a_name_that_nobody_knows():
    """gopcua: `could not resolve address tben-lx-plc:4840`, while the fourth endpoint, by its address, would
    have done.

    https://github.com/gopcua/opcua/issues/494
    """
    async with directory() as server:
        server.endpoints = [endpoint("opc.tcp://tben-lx-plc:4840"), endpoint(server.url)]
        assert (await found(discoveryUrls=server.url)).only.connection == {"endpointUrl": server.url}


async def test_a_server_calls_itself_localhost():
    """OPC Foundation's .NET stack: a remote client was sent to its own machine.

    https://github.com/OPCFoundation/UA-.NETStandard/issues/1134
    """
    async with directory("127.0.0.2") as server:
        server.endpoints = [endpoint(f"opc.tcp://localhost:{server.port}/UA")]
        server.servers = [application("urn:example:server", f"opc.tcp://localhost:{server.port}/UA")]
        tried = await found(discoveryUrls=server.url)
        assert tried.only.connection == {"endpointUrl": f"{server.url}/UA"}
        assert server.connections == 1


async def test_two_servers_with_one_uri_are_both_there():
    """open62541: of two servers with the same application URI a discovery server showed one.

    https://github.com/open62541/open62541/issues/3698
    """
    async with directory() as lds, directory() as one, directory() as other:
        lds.endpoints = [endpoint(lds.url, "urn:lds", discovery=True)]
        lds.servers = [application("urn:example:server", one.url, other.url)]
        one.endpoints, other.endpoints = [endpoint(one.url)], [endpoint(other.url)]
        assert len((await found(discoveryUrls=lds.url)).devices) == 2


async def test_a_server_that_has_restarted_is_the_same(tmp_path: Path):
    """Azure Industrial IoT: after each restart there was one more device.

    https://github.com/Azure/Industrial-IoT/issues/574
    """
    with OpcUaServer(tmp_path, "asyncua", interval_ms=0) as server:
        before = (await found(discoveryUrls=server.url, timeout=5000)).only
        server.restart()
        assert (await found(discoveryUrls=server.url, timeout=5000)).only.identity == before.identity


async def test_endpoints_over_https_are_none_of_ours():
    """UA-LDS tells one server twice, its HTTPS port as `opc.tcp`; Azure's gateway took HTTP endpoints.

    https://github.com/OPCFoundation/UA-LDS/issues/63
    https://github.com/Azure/Industrial-IoT/issues/9
    """

    async def https(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read(100)
        writer.write(bytes.fromhex("15030100020232"))  # TLS: an alert
        await writer.drain()
        writer.close()

    async with directory() as lds, directory() as server, talking(https) as port:
        lds.endpoints = [endpoint(lds.url, "urn:lds", discovery=True)]
        lds.network = [f"{server.url}/UA", f"opc.tcp://127.0.0.1:{port}/UA", "opc.https://127.0.0.1:443/UA"]
        server.endpoints = [
            endpoint(f"https://127.0.0.1:{port}/UA", transport=HTTPS),
            endpoint(f"{server.url}/UA"),
        ]
        tried = await found(discoveryUrls=lds.url)
        assert tried.only.connection == {"endpointUrl": f"{server.url}/UA"}
        assert [where for where, _ in tried.troubles] == [f"127.0.0.1:{port}/UA"]


@pytest.mark.parametrize(
    ("text", "host", "port", "path"),
    [
        ("opc.tcp://192.168.1.123.:4840/abc/def", "192.168.1.123", 4840, "/abc/def"),
        ("opc.tcp://192\\.168\\.0\\.50.local:4840", "192.168.0.50", 4840, ""),
        ("opc.tcp://[FE80::C428:8880:F2EF:D81C%8].local.:48010", "fe80::c428:8880:f2ef:d81c%8", 48010, ""),
        ("opc.tcp://PLC-1.local.:4840/", "plc-1.local", 4840, ""),
        ("opc.tcp://plc", "plc", 4840, ""),
    ],
)
def test_discovery_servers_spell_hosts_as_they_like(text: str, host: str, port: int, path: str):
    """UA-LDS: a dot after an address, backslashes in it, `.local` behind it.

    https://github.com/OPCFoundation/UA-LDS/issues/76
    https://github.com/OPCFoundation/UA-LDS/issues/74
    https://github.com/OPCFoundation/UA-.NETStandard-Samples/issues/653
    """
    place = told.place(text)
    assert place is not None
    assert (place.host, place.port, place.path) == (host, port, path)


@pytest.mark.parametrize(
    "text",
    [
        "",
        None,
        "opc.tcp://",
        "opc.tcp://:4840",
        "opc.tcp://a:0",
        "opc.tcp://a:99999",
        "http://a",
        "opc.tcp://a b",
    ],
)
def test_what_is_no_url_leads_nowhere(text: str | None):
    assert told.place(text) is None


async def test_a_server_that_is_switched_off_costs_the_time_that_was_said():
    """open62541: 20 s, whatever the time-out was.

    https://github.com/open62541/open62541/issues/1011
    """
    port = free_port()
    with black_hole("127.0.0.1", port):
        began = monotonic()
        tried = await found(discoveryUrls=f"opc.tcp://127.0.0.1:{port}", timeout=200)
        assert monotonic() - began < 1.5
        assert len(tried.troubles) == 1


async def test_a_server_that_only_offers_encryption_is_found():
    """open62541: GetEndpoints failed where nothing but encrypted connections was offered.

    https://github.com/open62541/open62541/issues/617
    """
    async with directory() as server:
        server.endpoints = [endpoint(server.url, secured=True)]
        tried = await found(discoveryUrls=server.url, validate=True)
        assert tried.only.connection == {
            "endpointUrl": server.url,
            "securityMode": "SignAndEncrypt",
            "securityPolicy": "Basic256Sha256",
        }
        PROTOCOL.accept(tried.only.connection, [])
        assert server.connections == 1


async def test_a_server_that_refuses_is_asked_once():
    """ASNeG's stack asked again at once, and again; LibUA met `BadEncodingLimitsExceeded`.

    https://github.com/ASNeG/OpcUaStack/issues/220
    https://github.com/nauful/LibUA/issues/159
    """
    async with directory() as server:
        server.endpoints = 0x8008_0000
        tried = await found(discoveryUrls=server.url)
        assert [reason for _, reason in tried.troubles] == [
            "asking for its endpoints: BadEncodingLimitsExceeded"
        ]
        assert (server.connections, server.asked) == (1, ["GetEndpoints"])


async def test_a_server_without_the_other_services_is_found():
    """open62541 without multicast: `BadServiceNotSupported` for FindServersOnNetwork was the end of it.

    https://github.com/open62541/open62541/issues/972
    """
    async with directory() as server:
        server.servers = 0x800B_0000
        assert (await found(discoveryUrls=server.url)).only.name == f"opcua_127.0.0.1_{server.port}"


async def test_a_server_without_a_uri_is_known_by_its_address():
    """node-opcua's discovery server left the application URI out.

    https://github.com/node-opcua/node-opcua/pull/327
    """
    async with directory() as one, directory() as other:
        one.endpoints, other.endpoints = [endpoint(one.url, None)], [endpoint(other.url, None)]
        tried = await found(discoveryUrls=[one.url, other.url])
        assert sorted(tried.devices) == sorted(f"opcua:127.0.0.1:{each.port}" for each in (one, other))


async def test_a_server_that_tells_only_of_itself_ends_the_search():
    """UA-LDS tells of itself, too.

    https://github.com/OPCFoundation/UA-LDS/issues/19
    """
    async with directory() as lds:
        lds.endpoints = [endpoint(lds.url, "urn:lds", discovery=True)]
        lds.servers = [application("urn:lds", lds.url, discovery=True)]
        tried = await found(discoveryUrls=lds.url)
        assert lds.connections == 1
        assert [reason for _, reason in tried.troubles] == [
            "it is a discovery server, and tells of no server to ask"
        ]
