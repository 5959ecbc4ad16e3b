"""The drift detector of one protocol: watches the fields of its devices."""

import logging
from collections import deque
from collections.abc import Iterable, Sequence
from typing import Final

import msgspec
from thespian.actors import ActorAddress

from actors.outputs import baseline, reports
from actors.outputs.baseline import Baseline
from actors.outputs.drift import Drift, Watch
from actors.outputs.messages import BaselinesListed, BaselinesRemoved, ListBaselines, RemoveBaselines
from actors.outputs.options import DriftOptions
from actors.readings.batch import Batch, Source
from actors.readings.interest import Interest
from actors.readings.messages import EventRaised, Observe
from actors.readings.source_topics import level
from actors.state.client import StoreClient
from actors.state.messages import Transact, Transacted
from actors.system.failure import Failed
from storage import drift as stored
from storage.drift import DriftEvent, StoredBaseline

log = logging.getLogger(__name__)

SAVE_INTERVAL = 30.0  # seconds
AT_ONCE: Final = 50
"""How many baselines are written in one go."""
MAX_DEVICES: Final = 10_000
"""How many devices are watched; the one that has been silent for longest gives way."""


class RunDetector(msgspec.Struct, frozen=True):
    """Start, and again whenever the options change."""

    protocol: str
    options: DriftOptions
    store: ActorAddress
    router: ActorAddress


class SaveDue(msgspec.Struct, frozen=True):
    """To itself."""


class DriftDetector(StoreClient):
    """Gets every batch of its protocol; tells the router what has changed, and keeps baselines and events.

    Baselines are stored when something about them has changed, their counts alone only at the end.
    """

    def __init__(self) -> None:
        super().__init__()
        self.watches: dict[str, Watch] = {}
        self.loaded = False
        self.watching = False
        self.started = False
        self.saving: list[Watch] = []
        self.due: deque[Watch] = deque()
        self.unsaved: deque[DriftEvent] = deque(maxlen=stored.EVENTS)
        self.storing: list[DriftEvent] = []
        self.removals: deque[tuple[list[str], ActorAddress]] = deque()

    def receiveMsg_RunDetector(self, message: RunDetector, sender: ActorAddress) -> None:
        self.store = message.store
        self.router = message.router
        self.protocol = message.protocol
        self.options = message.options
        for watch in self.watches.values():
            watch.adopt(message.options)
        if not self.started:
            self.started = True
            self.send(self.router, Observe(self.myAddress, Interest(topics=(self.protocol,))))
            self.ask_store("load", stored.load, self.protocol)
            self.wakeupAfter(SAVE_INTERVAL, SaveDue())
        self._ready()

    def _ready(self) -> None:
        self.watching = self.loaded and self.options.enabled
        if not self.options.enabled:
            self.health = "disabled"
        elif self.store_error is not None:
            self.health = f"degraded: {self.store_error}"
        elif not self.loaded:
            self.health = "waits for its baselines"
        else:
            self.health = f"{len(self.watches)} devices"

    # Watching

    def receiveMsg_Batch(self, message: Batch, sender: ActorAddress) -> None:
        if not self.watching:
            return
        source = message.source
        watch = self.watches.get(source.device_uuid) or self._watch(source)
        found = watch.observe(message, self.clock.steady(message.timestamp))
        if found:
            watch.device = source.device
            self._report(watch, found)

    def _watch(self, source: Source) -> Watch:
        if len(self.watches) >= MAX_DEVICES:
            silent = min(self.watches.values(), key=lambda watch: watch.latest)
            del self.watches[silent.device_uuid]
        watch = Watch(source.device_uuid, source.device, Baseline(), self.options)
        self.watches[source.device_uuid] = watch
        self._ready()
        return watch

    def _report(self, watch: Watch, found: Sequence[Drift]) -> None:
        events = [reports.event_of(drift, self.protocol, watch) for drift in found]
        shown = self.options.log_sample_size
        for event in events[:shown]:
            log.warning("schema drift: %s", reports.told(event))
        if len(events) > shown:
            log.warning(
                "schema drift: %s %s: %d changes more", self.protocol, watch.device, len(events) - shown
            )
        for event in events:
            if event.drift_type in self.options.alert_on_drift_types:
                body = {"type": "schema-drift", **msgspec.to_builtins(event)}
                self.send(self.router, EventRaised(f"events/drift/{level(self.protocol)}", body))
        self.unsaved.extend(events)
        self._store_events()

    # Asking

    def receiveMsg_ListBaselines(self, message: ListBaselines, sender: ActorAddress) -> None:
        rows = [reports.baseline_row(watch, self.protocol) for watch in self.watches.values()]
        self.send(sender, BaselinesListed(sorted(rows, key=lambda row: (row.device, row.device_uuid))))

    def receiveMsg_RemoveBaselines(self, message: RemoveBaselines, sender: ActorAddress) -> None:
        if not self.loaded:
            self.send(sender, Failed("unavailable", "The baselines are not loaded yet"))
            return
        wanted = message.device
        found = [
            watch.device_uuid
            for watch in self.watches.values()
            if wanted in (None, watch.device_uuid, watch.device)
        ]
        if wanted is not None and not found:
            self.send(sender, Failed("not_found", f"Baseline not found: {wanted}", "device"))
            return
        self.removals.append((found, sender))
        self._remove_next()

    def _remove_next(self) -> None:
        if self.removals and not self.is_asked("removal"):
            self.ask_store("removal", stored.remove, self.protocol, self.removals[0][0])

    def _removal_done(self, message: Transacted) -> None:
        uuids, requester = self.removals.popleft()
        if message.error is not None:
            self.send(requester, Failed("unavailable", str(message.error)))
        else:
            for uuid in uuids:
                self.watches.pop(uuid, None)
            self.send(requester, BaselinesRemoved(len(uuids)))
        self._remove_next()
        self._ready()

    # Storing

    def receiveMsg_SaveDue(self, message: SaveDue, sender: ActorAddress) -> None:
        if not self.loaded:
            if not self.is_asked("load"):
                self.ask_store("load", stored.load, self.protocol)
        else:
            self._save()
            self._store_events()
        self._ready()
        self.wakeupAfter(SAVE_INTERVAL, SaveDue())

    def _load_done(self, message: Transacted) -> None:
        if message.error is None:
            for row in message.result:
                self.watches[row.device_uuid] = self._restored(row)
            self.loaded = True
        self._ready()

    def _restored(self, row: StoredBaseline) -> Watch:
        try:
            found = baseline.decode(row.body)
        except msgspec.MsgspecError as error:
            log.warning("%s %s: what is usual is learnt anew: %s", self.protocol, row.device, error)
            found = Baseline()
        return Watch(row.device_uuid, row.device, found, self.options)

    def _save(self) -> None:
        """Not during a removal: what is being removed would come back."""
        if not self.is_asked("save") and not self.is_asked("removal"):
            self.due = deque(watch for watch in self.watches.values() if watch.changed)
            self._save_some()

    def _save_some(self) -> None:
        """Thousands in one go would hold everybody up."""
        if not self.due or self.is_asked("removal") or not self.store_answers():
            return
        self.saving = [self.due.popleft() for _ in range(min(AT_ONCE, len(self.due)))]
        for watch in self.saving:
            watch.changed = False
        self.ask_store("save", stored.save, self.protocol, _rows(self.saving))

    def _save_done(self, message: Transacted) -> None:
        saved, self.saving = self.saving, []
        self._ready()
        if message.error is None:
            self._save_some()
        else:
            for watch in saved:
                watch.changed = True

    def _store_events(self) -> None:
        if self.unsaved and not self.is_asked("events") and self.store_answers():
            self.storing = list(self.unsaved)
            self.unsaved.clear()
            self.ask_store("events", stored.add_events, self.protocol, self.storing)

    def _events_done(self, message: Transacted) -> None:
        tried, self.storing = self.storing, []
        if message.error is None:
            self._store_events()
        else:
            self.unsaved = deque([*tried, *self.unsaved], maxlen=stored.EVENTS)
        self._ready()

    def storing_failed(self, error: Exception) -> None:
        if self.store_error is None:
            log.warning("%s: baselines and drift events cannot be stored: %s", self.protocol, error)
        super().storing_failed(error)

    def stopped(self) -> None:
        """What was counted since the last time is stored too; the answer finds nobody. Who waits is told.
        Baselines of devices that have not been seen stay as old as they are."""
        for _, requester in self.removals:
            self.send(requester, Failed("unavailable", "Interrupted: look whether they were removed"))
        going = {uuid for uuids, _ in self.removals for uuid in uuids}
        kept = [
            watch
            for watch in self.watches.values()
            if watch.last_seen is not None and watch.device_uuid not in going
        ]
        if kept:
            self.send(self.store, Transact(("stopped", 0), stored.save, (self.protocol, _rows(kept))))
        events = [*self.storing, *self.unsaved]
        if events:
            self.send(self.store, Transact(("stopped", 0), stored.add_events, (self.protocol, events)))


def _rows(watches: Iterable[Watch]) -> list[StoredBaseline]:
    rows = []
    for watch in watches:
        watch.settle()
        rows.append(StoredBaseline(watch.device_uuid, watch.device, baseline.encode(watch.baseline)))
    return rows
