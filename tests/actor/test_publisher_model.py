"""Destinations and the publisher crash while destinations are enabled, disabled and changed, in every order:
in the end what is enabled delivers, and what is disabled is gone."""

import asyncio
import random
from pathlib import Path

import pytest
from publishing_rig import Rig, Sites

SEEDS = range(25)


class Trouble:
    def __init__(self, rig: Rig, id: int, seed: int) -> None:
        self.rig = rig
        self.id = id
        self.random = random.Random(seed)
        self.enabled = True
        self.host = "a"
        self.changes: list[asyncio.Future[object]] = []

    async def go_on(self, times: int) -> None:
        moves = [self.switch, self.move, self.rename, self.crash_destination, self.crash_publisher]
        for _ in range(times):
            self.random.choice(moves)()
            for _ in range(self.random.choice([0, 0, 1, 3])):
                await asyncio.sleep(0)
            if self.random.random() < 0.3:
                await asyncio.sleep(0.02)

    def change(self, **fields: object) -> None:
        self.changes.append(asyncio.ensure_future(self.rig.change_destination(self.id, **fields)))

    def switch(self) -> None:
        self.change(enabled=self.random.random() < 0.5)

    def move(self) -> None:
        self.change(config_json={"host": self.random.choice("ab")})

    def rename(self) -> None:
        self.change(name=f"name-{self.random.randrange(1000)}")

    def crash_destination(self) -> None:
        self._crash(self.rig.destination(self.id).addressDetails)

    def crash_publisher(self) -> None:
        self._crash(self.rig.publisher.addressDetails)

    def _crash(self, path: str) -> None:
        cell = self.rig.base.mailboxes.get(path)
        if cell is not None:
            self.rig.base.crash(cell, RuntimeError("boom"))


@pytest.mark.parametrize("seed", SEEDS)
async def test_what_was_said_last_is_what_is(
    tmp_path: Path, sites: Sites, seed: int, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("CRITICAL")
    monkeypatch.setattr("actors.system.supervision.random.uniform", lambda low, high: 0.0)
    async with Rig(tmp_path, sites) as rig:
        cell = rig.base.mailboxes[rig.publisher.addressDetails]
        assert cell.crashes is not None
        cell.crashes.policy = cell.crashes.policy.__class__(max_restarts=None, keep_children=True)
        id = await rig.begin()
        trouble = Trouble(rig, id, seed)
        await trouble.go_on(12)
        await asyncio.gather(*trouble.changes, return_exceptions=True)
        enabled = bool(seed % 2)
        await rig.change_destination(id, enabled=enabled, config_json={"host": "b"}, name="last")
        trouble.crash_destination()
        if not enabled:
            await rig.until(lambda: rig.node(id) is None)
            await rig.until(lambda: not sites["a"].connected and not sites["b"].connected)
            return
        await rig.until(lambda: rig.health(id) == "connected" and sites["b"].connected)
        await rig.routed()
        rig.poll(4711)
        await rig.until(lambda: 4711 in sites["b"].numbers)
        assert [len(sites["a"].connected), len(sites["b"].connected)] == [0, 1]
