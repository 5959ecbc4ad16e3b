"""The keeper of devices: those that endpoints find are stored, and all are listed and removed."""

from collections import defaultdict
from collections.abc import Iterable
from typing import ClassVar

import msgspec
from thespian.actors import ActorAddress

from actors.endpoints import protocols
from actors.endpoints.messages import (
    DeviceRemoved,
    DeviceRow,
    DevicesFound,
    DevicesListed,
    DevicesSettled,
    EndpointRow,
    ForgetDevice,
    FoundDevice,
    ListDevices,
    RemoveDevice,
)
from actors.endpoints.roster import MAX_DEVICES
from actors.endpoints.rows import EndpointRows, completed
from actors.state.keeper import Keeper
from actors.system.addresses import child_address
from actors.system.failure import Failed, Refusal
from conf.settings import Settings
from storage import devices as stored
from storage.devices import Device, FurtherDevice, KeptDevices, uuid_of


class StoreFound(msgspec.Struct, frozen=True):
    """To itself: store the devices that were found."""


class DeviceKeeper(Keeper):
    """Answers for the devices of all endpoints, which are in `rows`."""

    CHANGES: ClassVar[tuple[type, ...]] = (RemoveDevice, StoreFound)
    rows: EndpointRows
    settings: Settings
    agent_uuid: str

    def __init__(self) -> None:
        super().__init__()
        self.found: dict[str, tuple[ActorAddress, dict[str, FoundDevice]]] = {}
        """What is to be stored: by the endpoint's uuid, whom to tell, and its devices by uuid."""
        self.storing_found = False

    # Answering

    def receiveMsg_ListDevices(self, message: ListDevices, sender: ActorAddress) -> None:
        if message.running and not self.running(child_address(self.myAddress, message.protocol or "")):
            raise Refusal(f"No adapter running for protocol: {message.protocol}", kind="not_found")
        chosen = self.rows.devices if message.name is None else self._meant(message.name, message.protocol)
        shown = sorted(
            (one for one in chosen if message.protocol in (None, one.protocol)),
            key=lambda one: (one.name, one.endpoint_id),
        )
        self.send(sender, DevicesListed([self._device(one) for one in shown]))

    def _meant(self, name: str, protocol: str | None) -> Iterable[Device]:
        """An endpoint's own device of that name; else all of the protocol of that name; else the one of that
        uuid."""
        devices, row = self.rows.devices, self.rows.named(name)
        own = None if row is None else devices.own(row.id)
        if own is not None and protocol in (None, own.protocol):
            return [own]
        named = [one for one in devices.named(name) if protocol in (None, one.protocol)]
        found = devices.of_uuid(name)
        return named or ([] if found is None else [found])

    def _device(self, device: Device) -> DeviceRow:
        row = self.rows.of(device.endpoint_id)
        return DeviceRow(
            **msgspec.structs.asdict(device),
            address=None if row is None else row.address,
            endpoint="" if row is None else row.name,
        )

    # Devices that endpoints find

    def receiveMsg_DevicesFound(self, message: DevicesFound, sender: ActorAddress) -> None:
        """Those of one endpoint cost as much as those of many: what comes while others are stored is stored
        together, next."""
        _, waiting = self.found.setdefault(message.endpoint_uuid, (sender, {}))
        waiting.update({one.uuid: one for one in message.devices})
        if not self.storing_found:
            self.storing_found = True
            self.send(self.myAddress, StoreFound())

    def receiveMsg_StoreFound(self, message: StoreFound, sender: ActorAddress) -> None:
        found, self.found = self.found, {}
        new: list[FurtherDevice] = []
        for uuid, (address, devices) in found.items():
            row = self.rows.of_uuid(uuid)
            if row is None:
                continue
            known = tuple(one for one in devices.values() if self._is_kept(one, row.id))
            if known:
                self.send(address, DevicesSettled(known))
            new += [
                FurtherDevice(row.id, one.uuid, one.identifier, one.name)
                for one in devices.values()
                if one not in known
            ]
        if new:
            self.transact(self.myAddress, self._kept, stored.keep, new, MAX_DEVICES)
        else:
            self.storing_found = False

    def _is_kept(self, found: FoundDevice, endpoint_id: int) -> bool:
        known = self.rows.devices.of_uuid(found.uuid)
        return known is not None and (known.endpoint_id, known.name, known.identifier) == (
            endpoint_id,
            found.name,
            found.identifier,
        )

    def _kept(self, result: KeptDevices) -> StoreFound:
        """Each endpoint is told what became of its devices; then comes what was found meanwhile."""
        kept: defaultdict[int, list[FoundDevice]] = defaultdict(list)
        refused: defaultdict[int, dict[str, str]] = defaultdict(dict)
        for device in result.devices:
            self.rows.devices.put(device)
            kept[device.endpoint_id].append(FoundDevice(device.uuid, device.identifier, device.name))
        for one in result.refused:
            refused[one.device.endpoint_id][one.device.uuid] = one.reason
        for id in kept.keys() | refused.keys():
            row = self.rows.of(id)
            if row is not None and row.address is not None:
                self.send(row.address, DevicesSettled(tuple(kept[id]), refused[id]))
        return StoreFound()

    def receiveMsg_Failed(self, message: Failed, sender: ActorAddress) -> None:
        """Devices that were found are not stored: their endpoints tell of them again."""
        if sender == self.myAddress:
            self.storing_found = False

    def receiveMsg_RemoveDevice(self, message: RemoveDevice, sender: ActorAddress) -> None:
        device = self.rows.devices.of_uuid(message.uuid)
        row = None if device is None else self.rows.of(device.endpoint_id)
        if device is None or row is None:
            raise Refusal(f"Device not found: {message.uuid}", kind="not_found")
        if device == self.rows.devices.own(row.id):
            raise Refusal(f"{device.name} is the endpoint's own device: remove the endpoint", kind="conflict")
        if device.uuid in _configured(row, self.settings, self.agent_uuid):
            text = f"{device.name} is named by the data points of the endpoint {row.name}"
            raise Refusal(text, kind="conflict")

        def removed(count: int) -> DeviceRemoved:
            self.rows.devices.drop(device.uuid)
            if row.address is not None:
                self.send(row.address, ForgetDevice(device.uuid))
            return DeviceRemoved()

        self.transact(sender, removed, stored.remove, device.uuid)


def _configured(row: EndpointRow, settings: Settings, agent_uuid: str) -> set[str]:
    """The uuids of the further devices that an endpoint's configuration names."""
    try:
        protocol = protocols.find(row.protocol)
        connection = msgspec.json.decode(completed(row, settings, agent_uuid))
        checked = protocol.check(connection, msgspec.json.decode(row.data_points) or ())
    except Refusal:
        return set()
    return {one.uuid or uuid_of(row.uuid, one.identifier) for one in checked.devices}
