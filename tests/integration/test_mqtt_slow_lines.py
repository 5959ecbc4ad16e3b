"""A broker at the end of a slow line is not one that is gone. Times are a fiftieth of those of the field."""

import asyncio
import contextlib
import socket
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from mqtt_owner import Owner, subscriber, until
from mqtt_schemes import SCHEMES, mosquitto, to
from servers.relay import Relay

from actors.connections import dialing
from actors.mqtt import silence

SECONDS = 0.4
"""That a broker may be silent for."""
PAYLOAD = 16_000


@pytest.mark.parametrize("scheme", SCHEMES)
async def test_a_large_message_over_a_slow_line_arrives_once_and_at_the_first_attempt(
    tmp_path: Path, scheme: str
) -> None:
    """All of it is in the relay at once, where nobody sees it move."""
    received: list[tuple[str, bytes, int]] = []
    with mosquitto(tmp_path, scheme) as broker:
        listener = await subscriber(broker.plain_port, received)
        async with Relay(broker.port) as relay:
            owner = Owner(to(broker, scheme, relay.port), acknowledge_seconds=SECONDS)
            relay.requests.chunk, relay.requests.delay = 800, 0.1
            await owner.driver.connect()
            owner.send(1, "plant", bytes(PAYLOAD))
            owner.send(2, "plant", b"small")
            began = time.monotonic()
            await until(lambda: owner.seqs == [1, 2] or owner.losses, 15)
            assert owner.losses == []
            assert time.monotonic() - began > 4 * SECONDS, "the line was not slow"
            assert (len(received), relay.accepted) == (2, 1)
            await owner.driver.close()
        await listener.disconnect()


@pytest.mark.parametrize("scheme", SCHEMES)
async def test_a_line_on_which_bytes_are_seen_to_move_may_take_as_long_as_it_likes(
    tmp_path: Path, scheme: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """However much of it lies in buffers of this host, above TLS and below."""
    monkeypatch.setattr(silence, "RATE", 1e9)
    with mosquitto(tmp_path, scheme) as broker:
        async with Relay(broker.port, buffer=16_384) as relay:
            owner = Owner(to(broker, scheme, relay.port), acknowledge_seconds=SECONDS)
            relay.requests.chunk, relay.requests.delay = 16_384, 0.04
            await owner.driver.connect()
            owner.send(1, "plant", bytes(1_000_000))
            began = time.monotonic()
            await until(lambda: owner.seqs == [1] or owner.losses, 15)
            assert owner.losses == []
            assert time.monotonic() - began > 4 * SECONDS, "the line was not slow"
            await owner.driver.close()


async def test_a_short_keepalive_does_not_end_a_connection_whose_ping_waits_its_turn(tmp_path: Path) -> None:
    with mosquitto(tmp_path, "mqtt") as broker:
        async with Relay(broker.port) as relay:
            owner = Owner(to(broker, "mqtt", relay.port, keepalive=1))
            relay.requests.chunk, relay.requests.delay = 800, 0.1
            await owner.driver.connect()
            owner.send(1, "plant", bytes(40_000))
            await until(lambda: owner.seqs == [1] or owner.losses, 15)
            assert owner.losses == []
            await owner.driver.close()


@pytest.mark.parametrize("way", [lambda relay: relay.requests, lambda relay: relay.answers])
async def test_a_line_that_stalls_for_a_while_is_not_given_up(
    tmp_path: Path, way: Callable[[Relay], object]
) -> None:
    with mosquitto(tmp_path, "mqtt") as broker:
        async with Relay(broker.port) as relay:
            owner = Owner(to(broker, "mqtt", relay.port), acknowledge_seconds=SECONDS)
            await owner.driver.connect()
            for seq in range(3):
                with way(relay).held():  # type: ignore[attr-defined]
                    owner.send(seq, "plant", b"x")
                    await asyncio.sleep(0.75 * SECONDS)
                await until(lambda seq=seq: seq in owner.seqs or owner.losses)
            assert owner.losses == []
            await owner.driver.close()


@pytest.mark.parametrize("scheme", SCHEMES)
async def test_a_broker_that_is_gone_without_a_word_is_noticed_all_the_same(
    tmp_path: Path, scheme: str
) -> None:
    with mosquitto(tmp_path, scheme) as broker:
        async with Relay(broker.port) as relay:
            owner = Owner(to(broker, scheme, relay.port), acknowledge_seconds=SECONDS)
            await owner.driver.connect()
            with relay.requests.held():
                began = time.monotonic()
                for seq in range(100):
                    owner.send(seq, "plant", b"x" * 10)
                await until(lambda: owner.losses)
                assert SECONDS <= time.monotonic() - began < 2 * SECONDS
            assert owner.losses == [f"no acknowledgement for {SECONDS:g} s"]


async def test_a_line_slower_than_believed_is_believed_the_next_time(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(silence, "RATE", 15_000.0)
    with mosquitto(tmp_path, "mqtt") as broker:
        async with Relay(broker.port) as relay:
            owner = Owner(to(broker, "mqtt", relay.port), acknowledge_seconds=SECONDS)
            relay.requests.chunk, relay.requests.delay = 800, 0.1
            attempts = 0
            while owner.seqs != [1] and attempts < 4:
                attempts += 1
                await owner.driver.connect()
                owner.send(1, "plant", bytes(24_000))
                await until(lambda seen=attempts: owner.seqs == [1] or len(owner.losses) == seen, 15)
            assert attempts > 1, "the line was not slow"
            assert owner.seqs == [1]
            await owner.driver.close()


@pytest.mark.parametrize("scheme", SCHEMES)
async def test_a_line_that_was_cut_for_a_while_is_tried_again_soon(
    tmp_path: Path, scheme: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """TCP by itself would send again 3.3 and then 6.7 seconds after the cut. Before Linux 6.15 it does, and
    the connection may be lost; the payload is not."""
    monkeypatch.setattr(dialing, "LONGEST_WAIT_MS", 1000)
    with mosquitto(tmp_path, scheme) as broker:
        async with Relay(broker.port) as relay:
            owner = Owner(to(broker, scheme, relay.port), acknowledge_seconds=4)
            await owner.driver.connect()
            with relay.cut_off():
                owner.send(1, "plant", bytes(20_000))
                await asyncio.sleep(3.6)
            await until(lambda: owner.seqs == [1] or owner.losses)
            if tries_again_soon():
                assert owner.losses == []
            elif owner.losses:
                await owner.driver.connect()
                owner.send(1, "plant", bytes(20_000))
            await until(lambda: owner.seqs == [1])
            await owner.driver.close()


def tries_again_soon() -> bool:
    """Whether TCP here can be told to."""
    with socket.socket() as probe, contextlib.suppress(OSError):
        probe.setsockopt(socket.IPPROTO_TCP, dialing._TCP_RTO_MAX_MS, 1000)
        return True
    return False
