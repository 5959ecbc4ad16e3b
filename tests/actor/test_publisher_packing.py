"""A destination whose backlog is packed on disk: nothing lost, nothing twice, in order."""

import asyncio
from pathlib import Path

import pytest
from publishing_rig import Rig, Sites
from publishing_system import limits, numbers_of

from storage import disk, packing
from storage.database import Database


@pytest.fixture(autouse=True)
def small_groups(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(packing, "GROUP_ROWS", 20)


async def fill(rig: Rig, sites: Sites, *numbers: int) -> int:
    """Have these wait for a site that is away, most of them packed."""
    id = await rig.begin()
    sites["a"].leave()
    for start in range(0, len(numbers), 100):
        rig.poll(*numbers[start : start + 100])
        await rig.until(lambda: len(rig.stored(id)) >= min(start + 100, len(numbers)))  # noqa: B023
    await packed(rig, len(numbers))
    return id


async def packed(rig: Rig, rows: int) -> None:
    await rig.until(lambda: rig.groups() >= rows // 20 - 1)


@pytest.mark.parametrize("memory_bytes", [3000, 1_000_000])
async def test_backlog_that_was_packed_arrives_in_order_and_once(
    tmp_path: Path, sites: Sites, memory_bytes: int
) -> None:
    rig = Rig(tmp_path, sites)
    rig.limits = limits(memory_bytes=memory_bytes)
    async with rig:
        id = await fill(rig, sites, *range(500))
        report = await rig.reported(id, lambda report: report.rows == 500)
        payload = len(rig.stored_payloads(id)[0])
        assert 0 < report.bytes < 500 * payload
        sites["a"].come_back()
        rig.poll(*range(500, 600))
        await rig.settle(id)
        assert sites["a"].numbers == list(range(600))
        report = await rig.reported(id, lambda report: report.delivered == 600)
        assert (report.rows, report.bytes) == (0, 0)
        assert rig.groups() == 0


async def test_backlog_that_was_packed_survives_a_crash(tmp_path: Path, sites: Sites) -> None:
    rig = Rig(tmp_path, sites)
    rig.limits = limits(memory_bytes=3000)
    async with rig:
        id = await fill(rig, sites, *range(300))
        await rig.end()
        await rig.start()
        assert (await rig.report(id)).rows == 300
        rig.poll(*range(300, 400))
        await rig.until(lambda: len(rig.stored(id)) == 400)
        sites["a"].come_back()
        await rig.settle(id)
        assert sites["a"].numbers == list(range(400))


async def test_orderly_stop_amid_groups_loses_nothing_and_repeats_nothing(
    tmp_path: Path, sites: Sites
) -> None:
    """What was acknowledged is not in order: of a window, every third."""
    rig = Rig(tmp_path, sites)
    rig.limits = limits(memory_bytes=6000)
    async with rig:
        id = await fill(rig, sites, *range(300))
        delivered: list[int] = []
        for _ in range(4):
            site = sites["a"]
            site.acknowledging = False
            site.received.clear()
            site.come_back()
            await rig.until(lambda: len(sites["a"].received) >= 4)
            site.acknowledge(3)
            delivered += site.numbers[:3]
            await rig.stop()
            assert rig.stored(id) == [number for number in range(300) if number not in delivered]
            site.leave()
            await rig.start()
        sites["a"].acknowledging = True
        sites["a"].received.clear()
        sites["a"].come_back()
        await rig.settle(id)
        assert delivered + sites["a"].numbers == list(range(300))


async def test_rows_that_expire_or_are_too_many_go_though_they_are_packed(
    tmp_path: Path, sites: Sites
) -> None:
    rig = Rig(tmp_path, sites)
    rig.limits = limits(memory_bytes=3000, max_rows=75)
    async with rig:
        id = await rig.begin()
        sites["a"].leave()
        for start in range(0, 400, 40):
            rig.poll(*range(start, start + 40))
            await asyncio.sleep(0.05)
        await rig.reported(id, lambda report: report.dropped_quota == 325)
        await rig.until(lambda: rig.stored(id) == list(range(325, 400)))
        assert rig.groups() > 0
        sites["a"].come_back()
        await rig.settle(id)
        assert sites["a"].numbers == list(range(325, 400))


async def test_damaged_group_is_told_and_the_others_arrive(
    tmp_path: Path, sites: Sites, caplog: pytest.LogCaptureFixture
) -> None:
    rig = Rig(tmp_path, sites)
    rig.limits = limits(memory_bytes=3000)
    async with rig:
        id = await fill(rig, sites, *range(300))
        await rig.transact(spoil)
        sites["a"].come_back()
        await rig.settle(id)
        assert sites["a"].numbers == [*range(100), *range(120, 300)]
        report = await rig.reported(id, lambda report: report.rows == 0)
        assert report.latest_error == "20 stored readings are gone from the database"
        assert report.bytes == 0
        assert "20 stored payloads cannot be read and are skipped" in caplog.text


def spoil(database: Database) -> None:
    """The sixth group."""
    database.db.conn.execute(
        "UPDATE outbox_group_data SET data = zeroblob(100) WHERE group_id ="
        " (SELECT id FROM outbox_groups ORDER BY first_seq LIMIT 1 OFFSET 5)"
    )


async def test_share_of_the_disk_drops_the_oldest_of_who_has_most_and_says_so(
    tmp_path: Path, sites: Sites, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(disk, "FRESH", 0.0)
    space = 10**9
    monkeypatch.setattr(disk, "_space", lambda path: space)
    rig = Rig(tmp_path, sites)
    rig.limits = limits(disk_percent=1)
    async with rig:
        id = await fill(rig, sites, *range(1000))
        assert (await rig.report(id)).dropped_quota == 0
        space = 1_000_000
        for number in range(1000, 1060):
            rig.poll(number)
            await asyncio.sleep(0.01)
        report = await rig.reported(id, lambda report: report.dropped_quota > 0)
        await rig.reported(id, lambda report: 0 < report.bytes <= 10_500)
        assert caplog.text.count("outbox is over its share of the disk, the oldest readings are dropped") == 1
        sites["a"].come_back()
        await rig.settle(id)
        report = await rig.reported(id, lambda report: report.rows == 0)
        assert report.dropped_quota + len(sites["a"].numbers) == 1060
        assert sites["a"].numbers == list(range(report.dropped_quota, 1060))
        assert numbers_of(sites["a"].payloads[-1]) == [1059]
