"""A run: looks for devices once, and has what was found saved where that is wanted."""

import asyncio
from collections.abc import Sequence
from time import monotonic
from typing import Any

import msgspec
from thespian.actors import ActorAddress

from actors.discovery.matching import matched
from actors.discovery.messages import Discovered, DiscoveredDevice, RunRow, SavedDevices
from actors.discovery.pace import pace
from actors.discovery.planning import Planned, Plans, Wanted, plans
from actors.discovery.probing import TOLD, Hosts, Probing
from actors.discovery.running import ProtocolScanned, run_scan, time_for
from actors.discovery.saving import Missing, adoption, missing_of, seen_of
from actors.discovery.scan_messages import EndScan, RunScan, ScanEnded, ScanProgressed
from actors.endpoints.lines import lines_of
from actors.endpoints.messages import (
    ConfiguredEndpoint,
    ConfiguredListed,
    CountPolls,
    DevicesAdopted,
    ListConfigured,
    PollsCounted,
)
from actors.state.client import StoreClient
from actors.state.messages import Transacted
from actors.system.failure import Failed, Refusal
from actors.system.supervision import Restart
from conf.settings import Settings
from storage import discovery as stored
from storage.discovery import Seen
from storage.timestamps import unix_ms

TICK = 0.5  # seconds between two looks at how far it is
PATIENCE = 60.0  # seconds until what the endpoints do not answer is taken for failed
ALIVE_WITHIN = 3.0  # seconds in which endpoints that may go say whether they are connected


class ScanTick(msgspec.Struct, frozen=True):
    """To itself."""


class AnswerDue(msgspec.Struct, frozen=True):
    """To itself: what was asked at that `step` is to have been answered."""

    step: str


class PlansMade(msgspec.Struct, frozen=True):
    """To itself."""

    plans: Plans | None
    failed: Failed | None = None


class DevicesMatched(msgspec.Struct, frozen=True):
    """To itself."""

    devices: tuple[DiscoveredDevice, ...]


class Scan(StoreClient):
    """Lives for one run: a crash ends it, and its parent tells who waits."""

    RESTART = Restart(policy="temporary", rest=None)

    def __init__(self) -> None:
        super().__init__()
        self.step = "new"
        self.known: tuple[ConfiguredEndpoint, ...] = ()
        self.planned: dict[str, Planned] = {}
        self.probings: dict[str, Probing] = {}
        self.scanned: set[str] = set()
        self.errors: dict[str, str] = {}
        self.devices: tuple[DiscoveredDevice, ...] = ()
        self.cut_short: str | None = None
        self.missing: dict[str, Missing] = {}
        self.asked_alive: dict[str, str] = {}
        """Fingerprints of endpoints that are to say whether they are connected, by their address."""
        self.spared: dict[str, str] = {}

    def receiveMsg_RunScan(self, message: RunScan, sender: ActorAddress) -> None:
        self.start = message
        self.store = message.store
        self.parent = sender
        self.run_row = message.run
        self.began = monotonic()
        self._begin_step("asking what is configured", PATIENCE)
        self.send(message.endpoints, ListConfigured(message.wanted.protocols))
        self.wakeupAfter(TICK, ScanTick())

    def _begin_step(self, step: str, within: float | None = None) -> None:
        """One that may be refused is not told of at once: what is refused is no run."""
        self.step = step
        if self.probings:
            self._tell()
        if within is not None:
            self.wakeupAfter(within, AnswerDue(step))

    def receiveMsg_AnswerDue(self, message: AnswerDue, sender: ActorAddress) -> None:
        if message.step != self.step:
            return
        if message.step == "asking who is connected":
            self._adopt()
        elif message.step == "saving":
            failed = Failed("unavailable", "The endpoints do not answer: look whether it was saved")
            self._end(saving_failed=failed)
        else:
            self._fail(Failed("unavailable", "The endpoints do not answer"))

    # Planning

    def receiveMsg_ConfiguredListed(self, message: ConfiguredListed, sender: ActorAddress) -> None:
        if self.step != "asking what is configured":
            return
        self.known = message.endpoints
        self._begin_step("planning", PATIENCE)
        wanted, settings = self.start.wanted, self.start.settings
        self.run(_plan(wanted, message.endpoints, settings), within=None, then=lambda made: made)

    def receiveMsg_PlansMade(self, message: PlansMade, sender: ActorAddress) -> None:
        if self.step != "planning":
            return
        if message.failed is not None or message.plans is None:
            self._fail(message.failed or Failed("internal", "There is no plan"))
            return
        self.errors |= message.plans.errors
        self.planned = {one.protocol: one for one in message.plans.planned}
        names = self.start.wanted.protocols or tuple(self.planned)
        self.run_row = msgspec.structs.replace(self.run_row, protocol=",".join(names))
        hosts, paced = Hosts(), pace()
        for name, one in self.planned.items():
            probes = max(0, int(one.plan.probes))
            validate = self.start.wanted.validate
            self.probings[name] = Probing(name, paced, hosts, lines_of(name), validate, probes)
        self._begin_step("scanning")
        turns = paced.scans if self.start.waits else None
        for name, one in self.planned.items():
            seconds = self.start.within or time_for(one)
            scanning = run_scan(one, self.probings[name], seconds, turns)
            self.run(scanning, within=None, then=lambda scanned: scanned)
        self._look_whether_scanned()

    # Scanning

    def receiveMsg_ProtocolScanned(self, message: ProtocolScanned, sender: ActorAddress) -> None:
        self.scanned.add(message.protocol)
        if message.error is not None:
            self.errors[message.protocol] = message.error
        self._look_whether_scanned()

    def receiveMsg_EndScan(self, message: EndScan, sender: ActorAddress) -> None:
        self._cut_short(message.reason)

    def _cut_short(self, reason: str) -> None:
        """Tasks let go of what they hold while what they have found is answered. Saving is not cut short."""
        if self.step == "scanning":
            self.abandon()
            self.cut_short = reason
            for name in self.planned.keys() - self.scanned:
                self.errors[name] = reason
                self.probings[name].over = True
            self.scanned = set(self.planned)
            self._look_whether_scanned()
        elif self.step in ("asking what is configured", "planning"):
            self.abandon()
            self._fail(Failed("conflict", f"The scan has ended before it began: {reason}"))

    def _look_whether_scanned(self) -> None:
        if self.step == "scanning" and self.scanned >= set(self.planned):
            self._begin_step("matching")
            self.run(self._matching(), then=lambda found: found)

    def _matching(self) -> Any:
        parts = [
            (
                name,
                list(self.probings[name].devices.values()),
                [one for one in self.known if one.protocol == name],
                self.planned[name].discovery.addressed,
                self.probings[name].known,
            )
            for name in self.planned
        ]
        return _match(parts)

    def receiveMsg_DevicesMatched(self, message: DevicesMatched, sender: ActorAddress) -> None:
        self.devices = message.devices
        keep = self.start.keep
        if keep is None or self._is_left():
            self._end()
        elif keep.prune and self.cut_short is None:
            self._begin_step("asking who was there before")
            scopes = [one.scope for one in self.planned.values()]
            self.ask_store("sightings", stored.sightings, keep.owner, scopes)
        else:
            self._adopt()

    # Saving

    def _sightings_done(self, answer: Transacted) -> None:
        if answer.error is not None:
            self._end(saving_failed=Failed("unavailable", f"It cannot be saved: {answer.error}"))
            return
        for name, one in self.planned.items():
            probing = self.probings[name]
            here = set(probing.devices) | self._read_here(name)
            hidden = self._hidden(name)
            before = [seen for seen in answer.result.get(one.scope, []) if seen.fingerprint not in hidden]
            whole = name not in self.errors and not probing.troubled.anywhere
            self.missing[name] = missing_of(before, here, whole)
        self._ask_who_is_connected()

    def _hidden(self, protocol: str) -> set[str]:
        """Fingerprints of the endpoints whose devices may be where there was trouble."""
        probing = self.probings[protocol]
        return {
            one.fingerprint
            for one in self.known
            if one.protocol == protocol
            and one.fingerprint is not None
            and probing.troubled.hides(one.at, probing.known)
        }

    def _read_here(self, protocol: str) -> set[str]:
        """Fingerprints of the endpoints whose devices were found, under whatever fingerprint."""
        names = {one.endpoint for one in self.devices if one.protocol == protocol}
        return {
            one.fingerprint
            for one in self.known
            if one.protocol == protocol and one.fingerprint is not None and one.configured.name in names
        }

    def _ask_who_is_connected(self) -> None:
        gone = {fingerprint for one in self.missing.values() for fingerprint in one.gone}
        for one in self.known:
            if one.fingerprint in gone and one.fingerprint is not None and one.address is not None:
                self.asked_alive[one.address.addressDetails] = one.fingerprint
                self.spared[one.fingerprint] = "it does not say whether it is connected"
                self.send(one.address, CountPolls())
        if self.asked_alive:
            self._begin_step("asking who is connected", ALIVE_WITHIN)
        else:
            self._adopt()

    def receiveMsg_PollsCounted(self, message: PollsCounted, sender: ActorAddress) -> None:
        fingerprint = self.asked_alive.pop(sender.addressDetails, None)
        if fingerprint is None or self.step != "asking who is connected":
            return
        if message.connected:
            self.spared[fingerprint] = "it is connected"
        else:
            del self.spared[fingerprint]
        if not self.asked_alive:
            self._adopt()

    def _adopt(self) -> None:
        assert self.start.keep is not None
        self._begin_step("saving", PATIENCE)
        self.send(
            self.start.endpoints,
            adoption(self.start.keep, self.devices, self.missing.values(), self.spared),
        )

    def receiveMsg_DevicesAdopted(self, message: DevicesAdopted, sender: ActorAddress) -> None:
        if self.step == "saving":
            keep = self.start.keep
            assert keep is not None
            saved = SavedDevices(
                added=message.added,
                changed=message.changed,
                kept=message.kept,
                removed=message.removed,
                refused=message.refused,
                spared=message.spared,
                dry_run=keep.dry_run,
            )
            seen: tuple[Seen, ...] = ()
            if not keep.dry_run:
                seen = tuple(
                    seen_of(
                        one.scope,
                        self.probings[name].devices,
                        self.missing.get(name),
                        message.gone,
                        self._hidden(name),
                    )
                    for name, one in self.planned.items()
                )
            self._end(saved, seen)

    def receiveMsg_Failed(self, message: Failed, sender: ActorAddress) -> None:
        if sender == self.start.endpoints and self.step == "saving":
            self._end(saving_failed=message)
        elif sender == self.start.endpoints and self.step == "asking what is configured":
            self._fail(message)
        elif sender.addressDetails in self.asked_alive:
            del self.asked_alive[sender.addressDetails]

    # Telling

    def receiveMsg_ScanTick(self, message: ScanTick, sender: ActorAddress) -> None:
        if self.step == "over":
            return
        if self._is_left():
            self._cut_short("cancelled: who had asked for it has left")
        self._tell()
        self.wakeupAfter(TICK, ScanTick())

    def _is_left(self) -> bool:
        return self.start.requester is not None and not self.exists(self.start.requester)

    def _counted(self, **changes: Any) -> RunRow:
        probings = self.probings.values()
        return msgspec.structs.replace(
            self.run_row,
            found=sum(len(one.devices) for one in probings),
            planned=sum(one.planned for one in probings),
            probed=sum(one.probed for one in probings),
            troubles=sum(one.trouble_count for one in probings),
            **changes,
        )

    def _tell(self) -> None:
        row = self._counted()
        told = (
            f"{self.step}: {row.probed} of {row.planned} probes, {row.found} found, {row.troubles} troubles"
        )
        self.health = told if self.probings else self.step
        if row != self.run_row or self.step == "scanning":
            self.run_row = row
            self.send(self.start.watcher, ScanProgressed(row))

    # Ending

    def _fail(self, failed: Failed) -> None:
        self._over(ScanEnded(self._ended("error", failed.message), None, failed))

    def _end(
        self,
        saved: SavedDevices | None = None,
        seen: tuple[Seen, ...] = (),
        saving_failed: Failed | None = None,
    ) -> None:
        errors = dict(sorted(self.errors.items()))
        reasons = [f"{name}: {reason}" for name, reason in errors.items()]
        if saving_failed is not None:
            reasons.append(saving_failed.message)
        error = self.cut_short or "; ".join(reasons) or None
        counts: dict[str, int] = {}
        if saved is not None and not saved.dry_run:
            counts = {
                "saved": len(saved.added) + len(saved.changed),
                "skipped": len(saved.kept) + len(saved.refused),
                "pruned": len(saved.removed),
            }
        run = self._ended("ok" if error is None else "error", error, **counts)
        troubles = [one for probing in self.probings.values() for one in probing.troubles]
        if saving_failed is not None:
            errors["saving"] = saving_failed.message
        result = Discovered(
            run=run, devices=self.devices, errors=errors, troubles=tuple(troubles[:TOLD]), saved=saved
        )
        self._over(ScanEnded(run, result, seen=seen))

    def _ended(self, status: Any, error: str | None, **counts: int) -> RunRow:
        took = round((monotonic() - self.began) * 1000)
        now = unix_ms()
        return self._counted(status=status, error=error, finished_at=now, duration_ms=took, **counts)

    def _over(self, ended: ScanEnded) -> None:
        self.step = "over"
        self.health = "over"
        self.send(self.parent, ended)

    def stopped(self) -> None:
        """Who waits is told; probings that go on are over."""
        super().stopped()
        for probing in self.probings.values():
            probing.over = True
        if self.step != "over" and self.start.requester is not None:
            self.send(self.start.requester, Failed("unavailable", "Interrupted: the scan was stopped"))


async def _plan(wanted: Wanted, known: Sequence[ConfiguredEndpoint], settings: Settings) -> PlansMade:
    try:
        return PlansMade(await plans(wanted, known, settings))
    except Refusal as refusal:
        return PlansMade(None, refusal.failed())


async def _match(parts: Sequence[tuple[str, Any, Any, bool, Any]]) -> DevicesMatched:
    """One protocol after the other, for each takes its slices of the loop's time."""
    found: list[DiscoveredDevice] = []
    for part in parts:
        found += await matched(*part)
        await asyncio.sleep(0)
    return DevicesMatched(tuple(found))
