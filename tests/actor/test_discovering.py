"""Scans that somebody asks for."""

import asyncio
from pathlib import Path
from typing import Any

import pytest
from discovery_rig import DiscoveryRig, discovering
from puppets import SECONDS, spawn, until

from actors.discovery.messages import (
    CancelRun,
    Discover,
    Discovered,
    FollowRuns,
    ListRuns,
    RunCancelled,
    RunRow,
    RunsListed,
    RunsProgressed,
)
from actors.endpoints.discovering import Found, Plan


@pytest.fixture
async def rig(monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    async with discovering(monkeypatch, tmp_path) as rig:
        yield rig


async def test_a_scan_finds_what_is_there_and_stores_nothing(rig: DiscoveryRig):
    rig.plant.put("10.0.0.2")
    rig.plant.put("10.0.0.5", confidence="medium")

    found = await rig.discover()

    assert {one.connection["host"]: one.confidence for one in found.devices} == {
        "10.0.0.2": "low",
        "10.0.0.5": "medium",
    }
    assert (found.run.status, found.run.found, found.run.planned, found.run.probed) == ("ok", 2, 6, 6)
    assert found.errors == {}
    assert found.saved is None
    assert await rig.rows() == {}
    await until(lambda: rig.scans() == [])


async def test_validated_devices_are_of_high_confidence(rig: DiscoveryRig):
    rig.plant.put("10.0.0.2")

    [device] = (await rig.discover(validate=True)).devices

    assert (device.validated, device.confidence) == (True, "high")


async def test_an_option_that_is_not_right_is_refused_with_its_field(rig: DiscoveryRig):
    for given, field in [
        ({"network": "10.0.0.0/8"}, "overrides.fake.network"),
        ({"netwrok": "10.0.0.0/29"}, "overrides.fake.netwrok"),
    ]:
        failed = await rig.refused(Discover(("fake",), overrides={"fake": given}))
        assert (failed.kind, failed.field) == ("invalid", field)
    assert (await rig.refused(Discover(("fkae",)))).field == "protocols[0]"
    listed = await rig.ask(ListRuns(), RunsListed)
    assert listed.runs == [], "what is refused has never run"
    assert (await rig.refused(Discover(overrides={"fkae": {}}))).field == "overrides.fkae"
    assert rig.plant.scans == 0


async def test_what_was_asked_for_and_has_nothing_to_look_for_is_an_error(rig: DiscoveryRig):
    found = await rig.discover(None)

    assert found.devices == ()
    assert "nothing is configured" in found.errors["fake"]


async def test_settings_that_are_not_right_are_no_matter_of_other_protocols(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
):
    async with discovering(monkeypatch, tmp_path, ("fake", "other")) as rig:
        rig.plant.configured = ("10.0.0.0/8",)
        rig.plants["other"].configured = ("10.0.0.2",)
        rig.plants["other"].put("10.0.0.2")

        found = await rig.ask(Discover(), Discovered)

        assert len(found.devices) == 1
        assert list(found.errors) == ["fake"]


async def test_who_leaves_ends_the_scan(rig: DiscoveryRig):
    rig.plant.gate.clear()
    asking = asyncio.create_task(rig.discover())
    await until(lambda: rig.plant.asked)

    asking.cancel()

    await until(lambda: rig.plant.ended == 1)
    await until(lambda: rig.scans() == [])
    [run] = await rig.runs()
    assert run.status == "error"
    assert "left" in (run.error or "")


async def test_a_cancelled_scan_answers_what_it_has_found(rig: DiscoveryRig):
    rig.plant.put("10.0.0.2")
    rig.plant.put("10.0.0.9")
    asking = asyncio.create_task(rig.discover("10.0.0.2,10.0.0.9"))
    await until(lambda: rig.plant.probing is not None)
    await asking
    rig.plant.gate.clear()
    rig.plant.asked.clear()
    asking = asyncio.create_task(rig.discover("10.0.0.2,10.0.0.9"))
    await until(lambda: len(rig.plant.asked) == 2)
    rig.plant.probing.found(rig.plant.devices["10.0.0.9"])
    [run] = [run for run in await rig.runs() if run.status == "running"]

    await rig.ask(CancelRun(run.uuid), RunCancelled)

    found = await asking
    assert [one.connection["host"] for one in found.devices] == ["10.0.0.9"]
    assert found.errors == {"fake": "cancelled"}
    assert (found.run.status, found.run.error) == ("error", "cancelled")
    assert (await rig.refused(CancelRun(run.uuid))).kind == "not_found"


async def test_a_scan_that_raises_costs_no_other(monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    async with discovering(monkeypatch, tmp_path, ("fake", "other")) as rig:
        rig.plant.fault = ValueError("boom")
        rig.plant.put("10.0.0.2")
        rig.plants["other"].put("10.0.0.3")
        network = {"network": "10.0.0.0/29"}

        found = await rig.ask(Discover(overrides={"fake": network, "other": network}), Discovered)

        assert {one.protocol for one in found.devices} == {"fake", "other"}
        assert found.errors == {"fake": "ValueError: boom"}
        assert found.run.protocol == "fake,other"


async def test_devices_that_endpoints_read_are_known_however_they_were_added(rig: DiscoveryRig):
    for host in ("10.0.0.2", "127.0.0.1", "10.0.0.4"):
        rig.plant.put(host)
    await rig.add("by-address", "10.0.0.2")
    await rig.add("by-name", "localhost")
    fingerprint = rig.plant.devices["10.0.0.4"].fingerprint
    await rig.add("moved", "10.0.0.99", fingerprint=fingerprint)

    found = await rig.discover("10.0.0.2,127.0.0.1,10.0.0.4,10.0.0.5")

    assert {one.connection["host"]: (one.known, one.endpoint) for one in found.devices} == {
        "10.0.0.2": (True, "by-address"),
        "127.0.0.1": (True, "by-name"),
        "10.0.0.4": (True, "moved"),
    }
    assert rig.plant.known is not None
    assert [one.name for one in rig.plant.known.endpoints] == ["by-address", "by-name", "moved"]


async def test_too_many_at_once_are_refused(rig: DiscoveryRig):
    rig.plant.gate.clear()
    asking = [asyncio.create_task(rig.discover()) for _ in range(8)]
    await until(lambda: len(rig.scans()) == 8)

    failed = await rig.refused(Discover(("fake",)))

    assert failed.kind == "unavailable"
    rig.plant.gate.set()
    assert all(found.run.status == "ok" for found in await asyncio.gather(*asking))


async def test_a_scan_ends_in_time_and_what_it_has_found_counts(rig: DiscoveryRig):
    rig.plant.gate.clear()
    asking = asyncio.create_task(rig.discover(within=1.0))
    await until(lambda: len(rig.plant.asked) == 6)
    rig.plant.put("10.0.0.2")
    rig.plant.probing.found(rig.plant.devices["10.0.0.2"])

    found = await asyncio.wait_for(asking, SECONDS)

    assert [one.connection["host"] for one in found.devices] == ["10.0.0.2"]
    assert "within 1 s" in found.errors["fake"]
    assert rig.plant.ended == 1


async def test_a_crash_of_the_keeper_costs_no_scan(rig: DiscoveryRig):
    rig.plant.put("10.0.0.2")
    rig.plant.gate.clear()
    asking = asyncio.create_task(rig.discover())
    await until(lambda: rig.plant.asked)

    await rig.crash("/agent/discovery")
    await until(lambda: rig.keeper().loaded)
    rig.plant.gate.set()

    assert len((await asking).devices) == 1


async def test_a_crash_of_the_scan_is_told(rig: DiscoveryRig):
    rig.plant.gate.clear()
    message = Discover(("fake",), overrides={"fake": {"network": "10.0.0.1"}})
    asking = asyncio.create_task(rig.refused(message))
    await until(lambda: rig.plant.asked)
    [scan] = rig.scans()

    rig.base.crash(rig.base.mailboxes[scan], RuntimeError("boom"))

    assert (await asking).kind == "unavailable"
    [run] = await rig.runs()
    assert run.error == "the scan has crashed"


@pytest.mark.parametrize("plan", [[], Plan(-1, 1), Plan(1, float("nan")), Plan("1", 1), ValueError("odd")])
async def test_a_plan_of_another_package_that_cannot_be_is_its_own_matter(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, plan: Any
):
    async with discovering(monkeypatch, tmp_path, ("fake", "other")) as rig:
        rig.plant.configured = rig.plants["other"].configured = ("10.0.0.2",)
        rig.plant.put("10.0.0.2")

        def planned(options: Any, known: Any, path: str) -> Any:
            if isinstance(plan, Exception):
                raise plan
            return plan

        rig.plants["other"].plan = planned
        rig.guarded.add("other")

        found = await rig.ask(Discover(("fake", "other")), Discovered)

        assert len(found.devices) == 1
        assert "plan" in found.errors["other"] or "odd" in found.errors["other"]


@pytest.mark.parametrize(
    "device",
    [
        None,
        Found(identity="", name="x", connection={}),
        Found(identity="a", name="x", connection=[]),
        Found(identity="a", name="x", connection={"a": object()}),
        Found(identity="a", name="x", connection={}, confidence="sure"),
        Found(identity="a", name="x", connection={"a": "x" * 5_000_000}),
        Found(identity="a", name="\ud800", connection={}),
    ],
    ids=range(7),
)
async def test_a_device_that_cannot_be_is_told_and_costs_no_other(rig: DiscoveryRig, device: Any):
    rig.plant.put("10.0.0.2")
    rig.plant.gate.clear()
    asking = asyncio.create_task(rig.discover())
    await until(lambda: rig.plant.asked)

    rig.plant.probing.found(device)
    rig.plant.gate.set()

    found = await asking
    assert len(found.devices) == 1
    assert found.errors == {}
    [trouble] = found.troubles
    assert trouble.reason.startswith("what was found cannot be used")


async def following(rig: DiscoveryRig) -> list[RunsProgressed]:
    """What a follower is told from now on."""
    told: list[RunsProgressed] = []
    follower, _ = spawn(rig.base, "follower", None)
    rig.base.mailboxes[follower.addressDetails].instance.receiveMessage = lambda message, sender: told.append(
        message
    )
    rig.base.tell(follower, "")
    rig.base.mailboxes[follower.addressDetails].instance.send(rig.discovery, FollowRuns())
    await until(lambda: any(isinstance(one, RunsProgressed) for one in told))
    return told


async def test_nobody_is_told_of_a_scan_that_is_refused(rig: DiscoveryRig):
    told = await following(rig)
    await rig.refused(Discover(("fake",), overrides={"fake": {"network": "10.0.0.0/8"}}))
    await rig.discover()

    def runs() -> list[RunRow]:
        return [run for one in told if isinstance(one, RunsProgressed) for run in one.runs]

    await until(lambda: "ok" in [run.status for run in runs()])
    assert len({run.uuid for run in runs()}) == 1


async def test_who_follows_is_told_now_and_then_what_has_changed(rig: DiscoveryRig):
    told = await following(rig)
    rig.plant.gate.clear()
    asking = asyncio.create_task(rig.discover())
    await until(lambda: any(isinstance(one, RunsProgressed) and one.runs for one in told))
    rig.plant.gate.set()
    await asking

    def statuses() -> list[str]:
        return [run.status for one in told if isinstance(one, RunsProgressed) for run in one.runs]

    await until(lambda: "ok" in statuses())
    assert statuses()[0] == "running"
    assert len(statuses()) < 10
    await rig.crash("/agent/discovery")
    told.clear()
    await rig.discover()
    await until(lambda: "ok" in statuses())
