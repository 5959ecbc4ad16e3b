"""Sessions over networks that hold back, cut, slow down and garble what passes."""

import asyncio
import random
import time
from collections.abc import AsyncIterator, Iterator

import pytest
from opcua_sessions import Opened, opened, point, until
from servers.opcua import OpcUaServer
from servers.relay import Relay

COUNTERS = [point(f"c{n}", f"s=Counter.{n}") for n in range(10)]


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[OpcUaServer]:
    with OpcUaServer(tmp_path_factory.mktemp("opcua"), "node", interval_ms=100) as server:
        yield server


@pytest.fixture
async def relay(server: OpcUaServer) -> AsyncIterator[Relay]:
    async with Relay(server.port) as relay:
        yield relay


def through(relay: Relay, **connection: object) -> Opened:
    return opened(f"opc.tcp://127.0.0.1:{relay.port}", COUNTERS, **connection)


async def moving(one: Opened) -> None:
    """Every point is told again, and GOOD."""
    one.heard.told.clear()
    await until(lambda: len({told.point for told in one.heard.told if told.code is None}) == 10, 10)


async def test_a_cable_that_is_pulled_is_noticed_and_its_values_come_when_it_is_back(relay: Relay) -> None:
    async with through(relay, keepAliveInterval=2000, queueSize=100) as one:
        await moving(one)
        with relay.answers.held(), relay.requests.held():
            began = time.monotonic()
            await until(lambda: one.heard.losses)
            assert time.monotonic() - began < 3
            assert one.heard.losses[0].code == "TIMEOUT"
        await one.reconnected()
        await moving(one)
        assert one.session._channel.resumed
        values = [told.value for told in one.heard.of("c0")]
        await until(lambda: len(set(one.heard.values("c0"))) > len(set(values)))


async def test_a_slow_line_is_no_lost_one(relay: Relay) -> None:
    async with through(relay, keepAliveInterval=1500, connectionTimeout=10_000) as one:
        relay.answers.delay, relay.answers.chunk = 0.2, 400
        await asyncio.sleep(3)
        await moving(one)
        assert one.heard.losses == []


@pytest.mark.parametrize("seed", range(6))
async def test_whatever_comes_instead_of_an_answer_ends_the_connection_and_no_more(
    relay: Relay, seed: int
) -> None:
    noise = random.Random(seed)
    garbage = [
        noise.randbytes(200),
        b"MSGF" + (24).to_bytes(4, "little") + noise.randbytes(16),
        b"MSGF" + (1 << 31).to_bytes(4, "little") + noise.randbytes(100),
        b"ERRF" + (16).to_bytes(4, "little") + (0x80AE_0000).to_bytes(4, "little") + b"\xff\xff\xff\xff",
        b"HELF" + (8).to_bytes(4, "little"),
        b"\0" * 64,
    ][seed]
    async with through(relay, keepAliveInterval=1000) as one:
        await moving(one)
        relay.inject(garbage)
        await until(lambda: one.heard.losses)
        assert one.heard.losses[0].code
        await one.reconnected()
        await moving(one)
        assert len(one.heard.losses) == 1


class Frames:
    """A way back whose frames are dropped, sent twice or swapped, when `trick` says so; once."""

    def __init__(self) -> None:
        self.trick: str | None = None

    async def copy(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        behind = b""
        try:
            while True:
                head = await reader.readexactly(8)
                frame = head + await reader.readexactly(int.from_bytes(head[4:], "little") - 8)
                trick, self.trick = self.trick, None
                if trick == "swapped":
                    behind = frame
                elif trick != "dropped":
                    writer.write(frame * 2 if trick == "twice" else frame + behind)
                    behind = b""
                await writer.drain()
        except asyncio.IncompleteReadError:
            return


@pytest.mark.parametrize("trick", ["dropped", "twice", "swapped"])
async def test_report_answers_that_are_lost_or_come_twice_or_too_soon(relay: Relay, trick: str) -> None:
    """gopcua/opcua 839, FreeOpcUa/async-opcua 102: the session goes on, and no old value comes last."""
    frames = Frames()
    relay.answers = frames  # type: ignore[assignment]
    async with through(relay, keepAliveInterval=1000, queueSize=100) as one:
        await moving(one)
        one.heard.told.clear()
        frames.trick = trick
        await until(lambda: one.heard.losses)
        await one.reconnected()
        seen = max(one.heard.values("c0"), default=0)
        await until(lambda: max(one.heard.values("c0"), default=0) > seen + 3)
        values = [told.value for told in one.heard.of("c0") if told.code is None]
        assert values[-1] == max(values)
        await moving(one)
        assert len(one.heard.losses) == 1
