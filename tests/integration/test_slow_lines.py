"""Over any line on which bytes get through a backlog drains, whatever the size of batches and the limit of
time."""

import asyncio
from collections.abc import Iterator

import pytest
import uvloop
from posting_owner import MS, SOON, InfluxOwner, numbers, until
from servers.influxdb import InfluxDB
from servers.relay import Relay
from servers.slow_reader import SlowReader

from actors.connections.connection import Transient


@pytest.fixture
def server() -> Iterator[InfluxDB]:
    with InfluxDB() as running:
        yield running


def over(server: InfluxDB, port: int, **config_json: object) -> InfluxOwner:
    return InfluxOwner(server.config_json(url=f"http://127.0.0.1:{port}", **{**SOON, **config_json}))


async def drain(owner: InfluxOwner, lines: list[bytes], seconds: float = 9) -> int:
    """Send as a destination does, again after each loss, until all is delivered; returns how many connections
    that took."""
    connections = 0
    async with asyncio.timeout(seconds):
        while len({*owner.done}) < len(lines):
            losses = len(owner.losses)
            try:
                await owner.driver.connect()
            except Transient:
                continue
            connections += 1
            for seq in range(len(lines)):
                if seq not in owner.done:
                    owner.send_payload(seq, "line1", lines[seq])
            await until(lambda seen=losses: len(owner.losses) > seen or len({*owner.done}) == len(lines))
    await owner.driver.close()
    return connections


def backlog(count: int, size: int) -> list[bytes]:
    return [b'device=d n=%d,s="%b" %d' % (seq, b"x" * size, MS + seq) for seq in range(count)]


async def test_a_large_payload_of_which_bytes_move_is_not_given_up(server: InfluxDB) -> None:
    async with SlowReader(server.port, rate=60_000) as line:
        owner = over(server, line.port, timeout=250)
        assert await drain(owner, backlog(1, 120_000)) == 1
        assert (numbers(server.points), owner.losses) == ([0], [])
        assert line.accepted == 1


async def test_a_batch_of_which_bytes_move_is_not_given_up(server: InfluxDB) -> None:
    async with SlowReader(server.port, rate=60_000) as line:
        owner = over(server, line.port, timeout=250)
        assert await drain(owner, backlog(200, 500)) == 1
        assert numbers(server.points) == list(range(200))


def test_bytes_are_seen_moving_on_uvloop_too(server: InfluxDB) -> None:
    async def scenario() -> None:
        await test_a_large_payload_of_which_bytes_move_is_not_given_up(server)

    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(scenario())


@pytest.mark.parametrize("limit", [1, 50, 400])
@pytest.mark.parametrize(("count", "size"), [(1, 100_000), (300, 300), (20, 6_000)])
async def test_a_backlog_drains_over_a_line_that_hides_what_moves(
    server: InfluxDB, count: int, size: int, limit: int
) -> None:
    """A modem or proxy takes everything at once, and passes it on slowly."""
    async with Relay(server.port) as relay:
        relay.requests.delay, relay.requests.chunk = 0.01, 2_000
        owner = over(server, relay.port, timeout=limit, batchSize=1000)
        await drain(owner, backlog(count, size))
        assert {*numbers(server.points)} == set(range(count))
        assert owner.dead == []


async def test_a_backlog_drains_over_a_line_that_breaks_all_the_time(server: InfluxDB) -> None:
    async def cut(relay: Relay) -> None:
        while True:
            await asyncio.sleep(0.2)
            await relay.cut()

    async with Relay(server.port) as relay:
        relay.requests.delay, relay.requests.chunk = 0.01, 1_000
        owner = over(server, relay.port, batchSize=1000)
        cutting = asyncio.create_task(cut(relay))
        await drain(owner, backlog(200, 300))
        cutting.cancel()
        assert {*numbers(server.points)} == set(range(200))


async def test_a_server_that_takes_nothing_is_given_up(server: InfluxDB) -> None:
    async with SlowReader(server.port, rate=60_000) as line:
        owner = over(server, line.port, timeout=250)
        await owner.driver.connect()
        line.rate = 1
        owner.send_payload(0, "line1", backlog(1, 120_000)[0])
        began = asyncio.get_running_loop().time()
        await until(lambda: owner.losses)
        assert asyncio.get_running_loop().time() - began < 2
        assert str(owner.losses[0]) == "Connection timed out"
        await owner.driver.close()
