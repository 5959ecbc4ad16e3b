"""What clients send to be imported: endpoints with the rows that they are found at."""

from typing import Any, Final

import msgspec

from actors.endpoints.messages import AddEndpoint
from actors.system.failure import Failed, Refusal
from actors.system.masks import refuse_masks
from api.decoding import convert_object, parse, refuse_unstorable
from api.files.faults import Fault, Faulty
from api.routes.endpoints import EndpointBody

MAX_ENDPOINTS: Final = 5000


class Place(msgspec.Struct, frozen=True):
    """Where an endpoint is in a file: its fields at `row`, those of its data points at `point_rows` where
    they have rows of their own."""

    row: int
    point_rows: tuple[int, ...] | None = None

    def fault(self, failed: Failed) -> Fault:
        """The refusal of the endpoint, by row and column of the file."""
        row, field = self._find(failed.field)
        return Fault(row, failed.message, field, failed.kind)

    def _find(self, field: str | None) -> tuple[int, str | None]:
        if self.point_rows is None or field is None or not field.startswith("data_points["):
            return self.row, field
        index, _, key = field.removeprefix("data_points[").partition("]")
        return self.point_rows[int(index)], f"point{key or '.name'}"


class Entry(msgspec.Struct, frozen=True):
    """An endpoint to import, as it was given."""

    given: Any
    place: Place


def json_entries(content: bytes) -> list[Entry]:
    """An array of endpoints, or an object with one. Raises `Refusal`."""
    body = parse(content, "The body")
    if isinstance(body, dict):
        if "endpoints" not in body:
            raise Refusal("endpoints is required", "endpoints")
        body = body["endpoints"]
    if not isinstance(body, list):
        raise Refusal("endpoints must be an array of objects", "endpoints")
    return [Entry(one, Place(row)) for row, one in enumerate(body, 1)]


def read(entries: list[Entry]) -> list[AddEndpoint]:
    """Every entry as an endpoint. Raises `Refusal` when there are too many, `Faulty` with what is wrong."""
    if len(entries) > MAX_ENDPOINTS:
        raise Refusal(
            f"An import may have at most {MAX_ENDPOINTS} endpoints, not {len(entries)}", "endpoints"
        )
    endpoints: list[AddEndpoint] = []
    faults: list[Fault] = []
    for entry in entries:
        try:
            endpoints.append(_endpoint(entry.given))
        except Refusal as refusal:
            faults.append(entry.place.fault(refusal.failed()))
    if faults:
        raise Faulty(faults)
    return endpoints


def _endpoint(given: Any) -> AddEndpoint:
    """Raises `Refusal`."""
    if not isinstance(given, dict):
        raise Refusal("an endpoint must be an object")
    refuse_unstorable(given)
    body = convert_object(given, EndpointBody)
    refuse_masks(body.connection, "connection")
    return AddEndpoint(**msgspec.structs.asdict(body))
