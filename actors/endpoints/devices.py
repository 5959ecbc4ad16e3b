"""What the keeper of endpoints knows of their devices, found by endpoint, uuid and name."""

from collections.abc import Iterator

from storage.devices import Device


class Devices:
    """All devices. Finding those of one endpoint, or of one name, costs the same however many others there
    are; and most endpoints have no other than their own."""

    def __init__(self) -> None:
        self._own: dict[int, Device] = {}
        """By the endpoint's id."""
        self._further: dict[int, dict[str, Device]] = {}
        self._by_uuid: dict[str, Device] = {}
        self._named: dict[str, dict[str, Device]] = {}
        """Further ones: an own one is found by its endpoint's name."""

    def __iter__(self) -> Iterator[Device]:
        return iter(self._by_uuid.values())

    def __len__(self) -> int:
        return len(self._by_uuid)

    def own(self, endpoint_id: int) -> Device | None:
        """The one that the endpoint is named for: the first that it got."""
        return self._own.get(endpoint_id)

    def of(self, endpoint_id: int) -> list[Device]:
        """Its own first."""
        own = self._own.get(endpoint_id)
        return [*(() if own is None else (own,)), *self._further.get(endpoint_id, {}).values()]

    def of_uuid(self, uuid: str) -> Device | None:
        return self._by_uuid.get(uuid)

    def named(self, name: str) -> list[Device]:
        """Further devices of that name, of any endpoint."""
        return list(self._named.get(name, {}).values())

    def put(self, device: Device) -> None:
        """Keep it, in the place of the one of the same uuid if there is one."""
        known = self._by_uuid.get(device.uuid)
        self._by_uuid[device.uuid] = device
        if self._own.setdefault(device.endpoint_id, device).uuid == device.uuid:
            self._own[device.endpoint_id] = device
            return
        if known is not None and known.name != device.name:
            self._unname(known)
        self._further.setdefault(device.endpoint_id, {})[device.uuid] = device
        self._named.setdefault(device.name, {})[device.uuid] = device

    def drop(self, uuid: str) -> None:
        """Of a further one."""
        device = self._by_uuid.get(uuid)
        others = {} if device is None else self._further.get(device.endpoint_id, {})
        if device is None or uuid not in others:
            return
        del self._by_uuid[uuid], others[uuid]
        if not others:
            del self._further[device.endpoint_id]
        self._unname(device)

    def drop_endpoint(self, endpoint_id: int) -> None:
        for uuid in list(self._further.get(endpoint_id, {})):
            self.drop(uuid)
        own = self._own.pop(endpoint_id, None)
        if own is not None:
            del self._by_uuid[own.uuid]

    def _unname(self, device: Device) -> None:
        same = self._named[device.name]
        del same[device.uuid]
        if not same:
            del self._named[device.name]
