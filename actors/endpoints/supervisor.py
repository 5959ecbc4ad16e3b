"""The endpoints supervisor: keeper of the endpoint configuration, parent of the adapters."""

import logging
from collections.abc import Iterable, Iterator, Sequence
from functools import partial
from itertools import chain, islice
from typing import Any

import msgspec
from msgspec import UNSET, UnsetType
from thespian.actors import ActorAddress

from actors.endpoints.accounts import Account, Accounts
from actors.endpoints.adapter_keeper import AdapterKeeper, RunEndpoints
from actors.endpoints.adopting import AdoptPrepared, Prepared, decide, prepare
from actors.endpoints.browsing import Browser
from actors.endpoints.candidates import (
    Candidates,
    account_of,
    candidate,
    candidates,
    check_interval,
    device_taken,
    taken,
)
from actors.endpoints.configured import configured
from actors.endpoints.device_keeper import DeviceKeeper
from actors.endpoints.messages import (
    AddEndpoint,
    AdoptDevices,
    BrowseDevice,
    ChangeEndpoint,
    DevicesAdopted,
    EndpointChanged,
    EndpointRow,
    EndpointsImported,
    EndpointsListed,
    EndpointsRemoved,
    ImportEndpoints,
    ImportFault,
    ListConfigured,
    ListDevices,
    ListEndpoints,
    RemoveAllEndpoints,
    RemoveEndpoint,
    TryEndpoint,
    TryStoredEndpoint,
)
from actors.endpoints.rows import EndpointRows, row_of
from actors.endpoints.trying import Trier
from actors.state.rows import summary
from actors.subsystems.messages import Check, SubsystemChecked
from actors.system.failure import Refusal
from actors.system.supervision import Restart
from storage import endpoints as stored
from storage import target_state
from storage.devices import Device
from storage.endpoints import Adopted, NewEndpoint, Packed
from storage.target_state import Row

log = logging.getLogger(__name__)


class AddCandidates(msgspec.Struct, frozen=True):
    """To itself: an import is checked as far as its endpoints themselves go; `requester` gets the reply."""

    candidates: Candidates
    requester: ActorAddress


class Endpoints(AdapterKeeper):
    """Answers for all endpoints; every change is stored before it takes effect, and costs what it changes."""

    RESTART = Restart(keep_children=True)
    CHANGES = (
        AddEndpoint,
        ChangeEndpoint,
        RemoveEndpoint,
        RemoveAllEndpoints,
        AddCandidates,
        AdoptPrepared,
        *DeviceKeeper.CHANGES,
    )
    REQUESTS = (
        *CHANGES,
        AdoptDevices,
        ImportEndpoints,
        ListConfigured,
        ListEndpoints,
        ListDevices,
        TryStoredEndpoint,
    )

    def __init__(self) -> None:
        super().__init__()
        self.browser = Browser()
        self.trier = Trier()

    def receiveMsg_RunEndpoints(self, message: RunEndpoints, sender: ActorAddress) -> None:
        self.config = message
        self.settings, self.agent_uuid = message.settings, message.agent_uuid
        self.store = message.store
        self.begin()

    def load(self) -> tuple[Any, ...]:
        return (stored.load,)

    def take(self, stored: tuple[list[Packed], list[Device]]) -> None:
        self.rows = EndpointRows()
        packed, devices = stored
        for device in devices:
            self.rows.devices.put(device)
        for one in packed:
            self._put(one)
        wanted = self.rows.protocols()
        own = [self.broker_users] if self.keeps_accounts else []
        self.keep_only([*own, *(self.adapter(protocol) for protocol in wanted)])
        if self.keeps_accounts:
            self.begin_accounts()
        for protocol in wanted:
            self.tell_adapter(protocol)

    def checked(self) -> SubsystemChecked:
        broken = summary("endpoints", self.rows.errors)
        rows = [Check("endpoints-rows", False, last_error=broken)] if broken else []
        return SubsystemChecked(checks=[*rows, *self.account_checks()])

    # Changing

    def receiveMsg_AddEndpoint(self, message: AddEndpoint, sender: ActorAddress) -> None:
        if self.rows.named(message.name) is not None:
            raise taken(message.name)
        new = candidate(message, self.config.settings, self.config.agent_uuid)
        for refusal in self._taken_devices(new):
            raise refusal
        taken_account = self.account_refusal(account_of(new, self.settings))
        if taken_account is not None:
            raise taken_account
        self.transact(
            sender,
            self._added,
            stored.add_endpoint,
            new.name,
            new.body,
            new.identifier,
            new.protocol,
            new.devices,
        )

    def _taken_devices(self, new: NewEndpoint) -> Iterator[Refusal]:
        for one in new.devices:
            known = self.rows.devices.of_uuid(one.uuid) if one.uuid is not None else None
            if known is not None:
                owner = self.rows.of(known.endpoint_id)
                yield device_taken(new, known.uuid, known.name if owner is None else owner.name)

    def _added(self, result: tuple[Row, list[Device]]) -> EndpointChanged:
        row, devices = result
        for device in devices:
            self.rows.devices.put(device)
        return self._changed(row)

    def receiveMsg_ChangeEndpoint(self, message: ChangeEndpoint, sender: ActorAddress) -> None:
        row = self._find(message.key)
        if row.error is not None:
            raise Refusal(f"{row.error}: remove it, and add it anew", kind="conflict")
        changes: dict[str, Any] = {}
        if message.enabled is not UNSET:
            changes["enabled"] = message.enabled
        if message.poll_interval is not UNSET:
            check_interval(message.poll_interval)
            changes["poll_interval"] = message.poll_interval

        def changed(row: Row) -> EndpointChanged:
            for device in self.rows.devices.of(row.id):
                self.rows.devices.put(msgspec.structs.replace(device, enabled=row.body["enabled"]))
            return self._changed(row)

        self.transact(sender, changed, stored.change_endpoint, row.id, changes)

    def _changed(self, stored_row: Row) -> EndpointChanged:
        before = self.rows.of(stored_row.id)
        row = self._put(stored.pack(stored_row))
        self.bring_in_line([row], [before] if before is not None else [])
        return EndpointChanged(row)

    def receiveMsg_RemoveEndpoint(self, message: RemoveEndpoint, sender: ActorAddress) -> None:
        row = self.rows.of_uuid(message.uuid)
        if row is None:
            raise Refusal(f"Endpoint not found: {message.uuid}", kind="not_found")
        self._remove([row.id], sender)

    def receiveMsg_RemoveAllEndpoints(self, message: RemoveAllEndpoints, sender: ActorAddress) -> None:
        self._remove([row.id for row in self.rows], sender)

    def _remove(self, ids: list[int], requester: ActorAddress) -> None:
        def removed(count: int) -> EndpointsRemoved:
            gone = [row for id in ids if (row := self.rows.drop(id)) is not None]
            for row in gone:
                self.account_gone(row.id)
            self.bring_in_line([], gone)
            return EndpointsRemoved(count)

        self.transact(requester, removed, target_state.delete, ids)

    def _find(self, key: str) -> EndpointRow:
        row = self.rows.of_uuid(key) or self.rows.named(key)
        if row is None:
            raise Refusal(f"Endpoint not found: {key}", kind="not_found")
        return row

    # Importing

    def receiveMsg_ImportEndpoints(self, message: ImportEndpoints, sender: ActorAddress) -> None:
        """What takes long comes first, and keeps no other change waiting."""
        self.run(
            candidates(message.endpoints, self.config.settings, self.config.agent_uuid),
            then=lambda found: AddCandidates(found, sender),
            within=None,
        )

    def receiveMsg_AddCandidates(self, message: AddCandidates, sender: ActorAddress) -> None:
        found, requester = message.candidates, message.requester
        if not self.exists(requester):
            return  # it was told that it failed: that is to stay true
        faults = sorted([*found.faults, *self._taken(found)], key=lambda fault: fault.position)
        if faults:
            self.send(requester, EndpointsImported(0, faults))
        else:
            accounts = [found.accounts.get(position) for position in found.good]
            new = list(found.good.values())
            self.transact(requester, partial(self._imported, accounts), stored.add_endpoints, new)

    def _taken(self, found: Candidates) -> Iterable[ImportFault]:
        """Those whose name, or the uuid of one of whose devices, an endpoint has, or one before them."""
        names: set[str] = set()
        uuids: dict[str, str] = {}
        before = Accounts()
        for position, new in found.good.items():
            if new.name in names or self.rows.named(new.name) is not None:
                yield ImportFault(position, taken(new.name).failed())
            names.add(new.name)
            given = [one.uuid for one in new.devices if one.uuid is not None]
            twice = (device_taken(new, uuid, uuids[uuid]) for uuid in given if uuid in uuids)
            of_account = self.account_refusal(found.accounts.get(position), before)
            of_accounts = () if of_account is None else (of_account,)
            for refusal in islice(chain(self._taken_devices(new), twice, of_accounts), 1):
                yield ImportFault(position, refusal.failed())
            uuids |= dict.fromkeys(given, new.name)

    def _imported(
        self, accounts: Sequence[Account | None], added: Sequence[tuple[Packed, list[Device]]]
    ) -> EndpointsImported:
        for _, devices in added:
            for device in devices:
                self.rows.devices.put(device)
        rows = [self._put(packed, account) for (packed, _), account in zip(added, accounts, strict=True)]
        self.bring_in_line(rows, [])
        return EndpointsImported(len(added))

    # Adopting what was found

    def receiveMsg_AdoptDevices(self, message: AdoptDevices, sender: ActorAddress) -> None:
        """As with an import, what takes long comes first."""
        preparing = prepare(message, sender, self.settings, self.agent_uuid)
        self.run(preparing, then=lambda prepared: prepared, within=None)

    def receiveMsg_AdoptPrepared(self, message: AdoptPrepared, sender: ActorAddress) -> None:
        requester = message.requester
        if not self.exists(requester):
            return
        refused = self._cannot_be_added(message.prepared)
        found = decide(message.message, message.prepared, list(self.rows), refused)
        if message.message.dry_run or not (found.new or found.changes or found.removals):
            self.send(requester, found.reply)
            return

        def adopted(result: Adopted) -> DevicesAdopted:
            gone = [row for id in found.removals if (row := self.rows.drop(id)) is not None]
            for row in gone:
                self.account_gone(row.id)
            before = [row for one in found.changes if (row := self.rows.of(one.id)) is not None]
            now = []
            for packed, devices in (*result.changed, *result.added):
                for device in devices:
                    self.rows.devices.put(device)
                now.append(self._put(packed))
            self.bring_in_line(now, [*before, *gone])
            return found.reply

        self.transact(requester, adopted, stored.adopt, found.new, found.changes, found.removals)

    def _cannot_be_added(self, prepared: Iterable[Prepared]) -> dict[str, str]:
        """Devices with what an endpoint has already, or one before them, by fingerprint."""
        refused: dict[str, str] = {}
        before = Accounts()
        for one in prepared:
            if one.new is None:
                continue
            try:
                for refusal in self._taken_devices(one.new):
                    raise refusal
                of_account = self.account_refusal(account_of(one.new, self.settings), before)
                if of_account is not None:
                    raise of_account
            except Refusal as refusal:
                refused[one.device.fingerprint] = refusal.message
        return refused

    # Answering

    def receiveMsg_ListEndpoints(self, message: ListEndpoints, sender: ActorAddress) -> None:
        chosen = [row for row in self.rows if message.protocol in (None, row.protocol)]
        self.send(sender, EndpointsListed(sorted(chosen, key=lambda row: row.name)))

    def receiveMsg_ListConfigured(self, message: ListConfigured, sender: ActorAddress) -> None:
        chosen = [row for row in self.rows if message.protocols is None or row.protocol in message.protocols]
        self.run(configured(chosen, self.settings, self.agent_uuid), reply_to=sender, within=None)

    # Its rows

    def _put(self, packed: Packed, account: Account | UnsetType | None = UNSET) -> EndpointRow:
        row = row_of(packed, self.rows.devices.own(packed.id), self.myAddress)
        self.rows.put(row)
        if self.loaded:
            self.account_changed(row, account)
        if row.error is not None:
            log.error("endpoint %s cannot run: %s", row.name, row.error)
        return row

    def receiveMsg_BrowseDevice(self, message: BrowseDevice, sender: ActorAddress) -> None:
        """It needs no row, and waits for none."""
        folder = self.folder(message.protocol)
        browsing = self.browser.browse(message, self.settings, self.agent_uuid, folder)
        self.run(browsing, reply_to=sender)

    def receiveMsg_TryEndpoint(self, message: TryEndpoint, sender: ActorAddress) -> None:
        """As `BrowseDevice`."""
        folder = self.folder(message.protocol)
        self.run(self.trier.check(message, self.settings, self.agent_uuid, folder), reply_to=sender)

    def receiveMsg_TryStoredEndpoint(self, message: TryStoredEndpoint, sender: ActorAddress) -> None:
        row = self._find(message.key)
        if row.error is not None:
            raise Refusal(row.error, kind="conflict")
        connection = msgspec.json.decode(row.connection)
        points = msgspec.json.decode(row.data_points) or []
        self.receiveMsg_TryEndpoint(TryEndpoint(row.protocol, connection, points, stored=True), sender)
