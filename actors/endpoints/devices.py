"""What the keeper of endpoints knows of their devices, found by endpoint, uuid and name."""

from collections.abc import Iterator

from storage.devices import Device


class Devices:
    """All devices. Finding those of one endpoint, or of one name, costs the same however many others there
    are. Names are unique within nothing but the endpoint's own: an endpoint may find two of one name."""

    def __init__(self) -> None:
        self._of_endpoint: dict[int, dict[str, Device]] = {}
        """By uuid, the endpoint's own first."""
        self._by_uuid: dict[str, Device] = {}
        self._named: dict[str, dict[str, Device]] = {}

    def __iter__(self) -> Iterator[Device]:
        return iter(self._by_uuid.values())

    def __len__(self) -> int:
        return len(self._by_uuid)

    def own(self, endpoint_id: int) -> Device | None:
        """The one that the endpoint is named for: the first that it got."""
        return next(iter(self._of_endpoint.get(endpoint_id, {}).values()), None)

    def of(self, endpoint_id: int) -> list[Device]:
        return list(self._of_endpoint.get(endpoint_id, {}).values())

    def of_uuid(self, uuid: str) -> Device | None:
        return self._by_uuid.get(uuid)

    def named(self, name: str) -> list[Device]:
        return list(self._named.get(name, {}).values())

    def put(self, device: Device) -> None:
        """Keep it, in the place of the one of the same uuid if there is one."""
        known = self._by_uuid.get(device.uuid)
        if known is not None and known.name != device.name:
            self._unname(known)
        self._by_uuid[device.uuid] = device
        self._of_endpoint.setdefault(device.endpoint_id, {})[device.uuid] = device
        self._named.setdefault(device.name, {})[device.uuid] = device

    def drop(self, uuid: str) -> None:
        device = self._by_uuid.pop(uuid, None)
        if device is None:
            return
        self._unname(device)
        others = self._of_endpoint[device.endpoint_id]
        del others[uuid]
        if not others:
            del self._of_endpoint[device.endpoint_id]

    def drop_endpoint(self, endpoint_id: int) -> None:
        for uuid in list(self._of_endpoint.get(endpoint_id, {})):
            self.drop(uuid)

    def _unname(self, device: Device) -> None:
        same = self._named[device.name]
        del same[device.uuid]
        if not same:
            del self._named[device.name]
