"""A broker whose name has several addresses, of which some lead nowhere."""

import asyncio
import contextlib
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from mqtt_owner import Owner, until
from mqtt_schemes import SCHEMES, mosquitto, to
from servers.black_hole import black_hole
from servers.names import named
from servers.relay import Relay

from actors.connections import dialing
from actors.connections.connection import Transient

NAME = "localhost"  # which is in the certificate


@contextlib.asynccontextmanager
async def broker_at(directory: Path, scheme: str) -> AsyncIterator["At"]:
    """A broker that is at 127.0.0.1 alone; mosquitto's websockets are at every address."""
    with mosquitto(directory, scheme) as broker:
        async with Relay(broker.port) as relay:
            config = {**to(broker, scheme), "brokerUrl": f"{scheme}://{NAME}:{relay.port}"}
            yield At(relay.port, config)


class At:
    def __init__(self, port: int, config_json: dict[str, Any]) -> None:
        self.port = port
        self._config_json = config_json

    def owner(self, **options: Any) -> Owner:
        return Owner(self._config_json, **options)


async def works(owner: Owner) -> None:
    await owner.driver.connect()
    owner.send(1, "plant", b"x")
    await until(lambda: owner.seqs == [1])
    await owner.driver.close()


@pytest.mark.parametrize("scheme", SCHEMES)
async def test_an_address_that_leads_nowhere_does_not_hide_the_one_that_works(
    tmp_path: Path, scheme: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    named(monkeypatch, {NAME: ["::1", "127.0.0.1"]})
    async with broker_at(tmp_path, scheme) as broker:
        with black_hole("::1", broker.port):
            await works(broker.owner(connect_seconds=3))


@pytest.mark.parametrize("scheme", SCHEMES)
async def test_an_address_that_refuses_is_passed_over(
    tmp_path: Path, scheme: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    named(monkeypatch, {NAME: ["127.0.0.2", "::1", "127.0.0.1"]})
    async with broker_at(tmp_path, scheme) as broker:
        await works(broker.owner(connect_seconds=3))


@pytest.mark.parametrize("scheme", SCHEMES)
async def test_an_address_that_accepts_and_says_nothing_is_not_tried_first_again(
    tmp_path: Path, scheme: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    named(monkeypatch, {NAME: ["127.0.0.2", "127.0.0.1"]})

    async def silence(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(ConnectionError):
            await reader.read()
        writer.close()

    async with (
        broker_at(tmp_path, scheme) as broker,
        await asyncio.start_server(silence, "127.0.0.2", broker.port),
    ):
        owner = broker.owner(connect_seconds=0.7)
        with pytest.raises(Transient, match="did not answer the MQTT login"):
            await owner.driver.connect()
        await works(owner)


@pytest.mark.parametrize("scheme", SCHEMES)
async def test_a_name_that_is_not_resolved_in_time_is_said(
    tmp_path: Path, scheme: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    names = named(monkeypatch, {})
    names.silent = {NAME}
    monkeypatch.setattr(dialing, "RESOLVE_SECONDS", 0.1)
    try:
        async with broker_at(tmp_path, scheme) as broker:
            with pytest.raises(Transient, match="is not resolved within"):
                await broker.owner().driver.connect()
    finally:
        names.released.set()
