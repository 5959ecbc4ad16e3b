"""What of the library's protocol is used that it does not promise: another version of it fails here first."""

import asyncio
import inspect
import struct
from collections.abc import Iterator
from typing import Any

import pytest
from asyncua import ua
from asyncua.client.ua_client import UASocketProtocol
from asyncua.common.connection import SecureConnection
from asyncua.ua.ua_binary import struct_to_binary
from opcua_sessions import opened, point, until
from servers.opcua import KINDS, OpcUaServer

from actors.endpoints.protocols.opcua import decoding
from actors.endpoints.protocols.opcua.channel import Channel
from actors.endpoints.protocols.opcua.posting import INTERNALS, PostingProtocol, Service


@pytest.fixture(scope="module", params=KINDS)
def server(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[OpcUaServer]:
    with OpcUaServer(tmp_path_factory.mktemp("opcua"), request.param, interval_ms=50) as server:
        yield server


def test_the_internals_are_as_they_were():
    protocol = UASocketProtocol()
    assert all(hasattr(protocol, name) for name in INTERNALS)
    assert PostingProtocol().direct
    assert isinstance(protocol._connection, SecureConnection)
    assert (protocol._request_id, protocol._request_handle, protocol._callbackmap) == (0, 0, {})
    parameters = inspect.signature(SecureConnection.message_to_binary).parameters
    assert list(parameters) == ["self", "message", "message_type", "request_id"]


async def test_a_posted_request_is_byte_for_byte_the_librarys():
    sent: list[bytes] = []

    class Transport:
        def write(self, message: bytes) -> None:
            sent.append(message)

    protocols = PostingProtocol(), UASocketProtocol()
    for protocol in protocols:
        protocol.transport = Transport()
        protocol.authentication_token = ua.NodeId(1234567, 2)
    request = ua.ReadRequest()
    request.Parameters.NodesToRead = [ua.ReadValueId(NodeId=ua.NodeId("x", 2), AttributeId=13)]
    protocols[0].post(Service("Read"), struct_to_binary(request.Parameters), 2.5)
    protocols[1]._send_request(request, 2.5)
    # All but the time in the header, which comes after type and token.
    stamp = slice(24 + 4 + 7, 24 + 4 + 7 + 8)
    ours, theirs = (bytearray(message) for message in sent)
    (ticks,) = struct.unpack("<q", ours[stamp])
    assert (
        abs(
            ua.win_epoch_to_datetime(ticks) - ua.win_epoch_to_datetime(*struct.unpack("<q", theirs[stamp]))
        ).total_seconds()
        < 5
    )
    ours[stamp] = theirs[stamp] = bytes(8)
    assert ours == theirs
    assert [list(protocol._callbackmap) for protocol in protocols] == [[1], [1]]


@pytest.mark.parametrize("direct", [True, False])
async def test_a_session_works_both_ways(server: OpcUaServer, direct: bool, monkeypatch: pytest.MonkeyPatch):
    make = PostingProtocol.__init__

    def made(self: PostingProtocol, *arguments: Any, **options: Any) -> None:
        make(self, *arguments, **options)
        self.direct = direct

    monkeypatch.setattr(PostingProtocol, "__init__", made)
    points = [point("a", "s=Counter.0"), point("b", "s=Counter.1")]
    async with opened(server.url, points) as pushed:
        await until(lambda: len(set(pushed.heard.values("a"))) > 5 and len(set(pushed.heard.values("b"))) > 5)
    async with opened(server.url, points, useSubscription=False) as polled:
        values = (await polled.session.read(1)).values
        assert values[1] == values[0] + 1


async def test_answers_are_told_apart_and_a_lost_connection_ends_all_waits(server: OpcUaServer):
    lost: list[Any] = []
    async with opened(server.url, []) as session:
        channel = Channel(session.endpoint.connection, server.url, lost.append)
        await channel.open()
        answers = [channel.post(Service("Read"), read("i=2258"), 3) for _ in range(20)]
        found = [decoding.results(bytes(await answer)) for answer in answers]
        assert all(len(one.values) == 1 for one in found)
        waiting = channel.post(Service("Publish"), struct.pack("<i", 0), 0)
        channel.drop()
        with pytest.raises(Exception):  # noqa: B017, PT011 - of whatever kind
            async with asyncio.timeout(3):
                await waiting


def read(node: str) -> bytes:
    request = ua.ReadParameters()
    request.NodesToRead = [ua.ReadValueId(NodeId=ua.NodeId.from_string(node), AttributeId=13)]
    return bytes(struct_to_binary(request))
