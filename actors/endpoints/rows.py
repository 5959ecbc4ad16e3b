"""What the keeper of endpoints knows of each, found by id, uuid and name."""

from collections.abc import Iterator

import msgspec
from msgspec import Raw
from thespian.actors import ActorAddress

from actors.endpoints import protocols
from actors.endpoints.devices import Devices
from actors.endpoints.messages import EndpointRow
from actors.system.addresses import child_address
from actors.system.failure import Refusal
from conf.settings import Settings
from storage.devices import Device
from storage.endpoints import Body, Packed

NO_DEVICE = "its device is missing in the database"
EMPTY = Raw(b"{}")


class EndpointRows:
    """All endpoints. Finding one costs the same however many there are."""

    def __init__(self) -> None:
        self.devices = Devices()
        self.errors: dict[str, str] = {}
        """Why endpoints cannot run, by name."""
        self._rows: dict[int, EndpointRow] = {}
        self._by_uuid: dict[str, EndpointRow] = {}
        self._by_name: dict[str, EndpointRow] = {}
        self._running: dict[str, dict[int, EndpointRow]] = {}

    def __iter__(self) -> Iterator[EndpointRow]:
        """Oldest first."""
        return iter(self._rows.values())

    def of(self, id: int) -> EndpointRow | None:
        return self._rows.get(id)

    def of_uuid(self, uuid: str) -> EndpointRow | None:
        return self._by_uuid.get(uuid)

    def named(self, name: str) -> EndpointRow | None:
        return self._by_name.get(name)

    def protocols(self) -> list[str]:
        """Those of endpoints that are to run."""
        return list(self._running)

    def running(self, protocol: str) -> list[EndpointRow]:
        """The endpoints of a protocol that are to run."""
        return list(self._running.get(protocol, {}).values())

    def put(self, row: EndpointRow) -> None:
        """Keep it, in the place of the one of the same id if there is one."""
        self._remove(row.id)
        self._rows[row.id] = self._by_uuid[row.uuid] = self._by_name[row.name] = row
        if row.error is not None:
            self.errors[row.name] = row.error
        if row.address is not None:
            self._running.setdefault(row.protocol, {})[row.id] = row

    def drop(self, id: int) -> EndpointRow | None:
        """Forget it, and its devices; returns what it was."""
        row = self._remove(id)
        self._rows.pop(id, None)
        self.devices.drop_endpoint(id)
        return row

    def _remove(self, id: int) -> EndpointRow | None:
        """From everywhere but its place among the others, which a changed row keeps."""
        row = self._rows.get(id)
        if row is None:
            return None
        self._by_uuid.pop(row.uuid, None)
        self._by_name.pop(row.name, None)
        self.errors.pop(row.name, None)
        running = self._running.get(row.protocol, {})
        if running.pop(id, None) is not None and not running:
            del self._running[row.protocol]
        return row


def row_of(packed: Packed, device: Device | None, keeper: ActorAddress) -> EndpointRow:
    """The endpoint as it is answered; it is to run when it has an address."""
    body, error = packed.body, packed.error
    if body is not None:
        error = _fault(body, device)
    address = None
    if error is None and body is not None and body.enabled:
        address = child_address(child_address(keeper, body.protocol), packed.name)
    if error is not None or body is None:
        body = _unknown(device)
    return EndpointRow(
        id=packed.id,
        uuid=packed.uuid,
        name=packed.name,
        protocol=body.protocol,
        enabled=body.enabled,
        poll_interval=body.poll_interval,
        connection=body.connection,
        data_points=body.data_points,
        metadata=body.metadata,
        fingerprint=body.fingerprint,
        created_at=packed.created_at,
        updated_at=packed.updated_at,
        address=address,
        error=error,
    )


def completed(row: EndpointRow, settings: Settings, agent_uuid: str) -> Raw:
    """Its connection, with what files and environment say."""
    try:
        protocol = protocols.find(row.protocol)
    except Refusal:
        return row.connection  # the endpoint will say so
    if protocol.completed is None:
        return row.connection
    given = msgspec.json.decode(row.connection)
    return Raw(msgspec.json.encode(protocol.complete(given, settings, agent_uuid)))


def _fault(body: Body, device: Device | None) -> str | None:
    if device is None:
        return NO_DEVICE
    if body.poll_interval <= 0:
        return f"its stored poll_interval is {body.poll_interval} ms"
    return None


def _unknown(device: Device | None) -> Body:
    """Of what cannot be understood, what its device tells."""
    return Body(
        protocol=device.protocol if device else "unknown",
        connection=EMPTY,
        poll_interval=0,
        enabled=device is not None and device.enabled,
    )
