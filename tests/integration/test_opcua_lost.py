"""A notification that is lost on the way, on two servers."""

from collections.abc import Iterator
from itertools import pairwise

import pytest
from opcua_sessions import opened, point, until
from servers.opcua import KINDS, OpcUaServer

from actors.endpoints.protocols.opcua import decoding
from actors.endpoints.protocols.opcua.decoding import Notification


@pytest.fixture(scope="module", params=KINDS)
def server(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[OpcUaServer]:
    with OpcUaServer(tmp_path_factory.mktemp("opcua"), request.param, interval_ms=20) as server:
        yield server


async def test_it_is_asked_for_again_and_nothing_is_missing_or_out_of_order(
    server: OpcUaServer, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    decode, seen, lost = decoding.published, 0, 0

    def published(body: bytes) -> Notification:
        """The third and fourth with values are keep-alives, as far as anybody can tell."""
        nonlocal seen, lost
        found = decode(body)
        if found.values and (seen := seen + 1) in (3, 4):
            lost += len(found.values)
            return Notification(0, found.sequence, [], [], None, [], [], None, True, ())
        return found

    monkeypatch.setattr(decoding, "published", published)
    async with opened(server.url, [point("a", "s=Counter.0", queueSize=1000)]) as one:
        await until(lambda: seen > 12)
        await until(lambda: len(one.heard.told) > 20)
    assert lost
    assert "are missing" in caplog.text
    values = one.heard.values("a")
    assert {later - earlier for earlier, later in pairwise(values)} == {1}
