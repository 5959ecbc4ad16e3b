"""All endpoints as a file; `docs/endpoints.rst` says what is in it."""

from collections.abc import Sequence
from typing import Any, ClassVar, Literal

import msgspec
from aiohttp import web

from actors.endpoints.messages import (
    AddEndpoint,
    EndpointRow,
    EndpointsImported,
    EndpointsListed,
    ImportEndpoints,
    ListEndpoints,
)
from api.decoding import JSON
from api.files import table
from api.files.faults import Faulty, ImportErrors, refused
from api.files.upload import Place, json_entries, read
from api.masking import shown
from api.portions import json_list, unhurried
from api.routes.endpoints import EndpointBody, Object, ObjectOrNull, ObjectsOrNull
from api.routing import Call, Upload, route

CSV = "text/csv"


class ExportQuery(msgspec.Struct, frozen=True):
    format: Literal["json", "csv"] = "json"
    protocol: str | None = None


class EndpointCopy(msgspec.Struct, frozen=True):
    """An endpoint as it can be imported; secrets in `connection` are masked."""

    name: str
    protocol: str
    connection: Object
    poll_interval: int
    enabled: bool
    data_points: ObjectsOrNull
    metadata: ObjectOrNull
    fingerprint: str | None


class EndpointFile(msgspec.Struct, frozen=True):
    endpoints: list[EndpointCopy]


class ImportFile(msgspec.Struct, frozen=True):
    """What a listing or an export has besides is left alone."""

    endpoints: list[EndpointBody]

    EXAMPLE: ClassVar[dict[str, Any]] = {"endpoints": [EndpointBody.EXAMPLE]}


class Imported(msgspec.Struct, frozen=True):
    message: str
    imported: int


@route(
    "GET",
    "/v1/endpoints/export",
    reply=EndpointFile,
    query=ExportQuery,
    files=(CSV,),
    summary="All endpoints as a file that can be imported",
)
async def export_endpoints(call: Call, query: ExportQuery) -> web.Response:
    listed = await call.context.request("endpoints", ListEndpoints(query.protocol or None), EndpointsListed)
    rows = [row for row in listed.endpoints if row.error is None]
    if query.format == "csv":
        response = web.Response(body=await _table(rows), content_type=CSV, charset="utf-8")
    else:
        response = await json_list("endpoints", rows, _copy)
    response.headers["Content-Disposition"] = f'attachment; filename="endpoints.{query.format}"'
    return response


@route(
    "POST",
    "/v1/endpoints/import",
    reply=Imported,
    accepts={JSON: ImportFile | list[EndpointBody], CSV: str},
    status=201,
    also={400: ImportErrors, 409: ImportErrors},
    summary="Add the endpoints of a file, all of them or none",
)
async def import_endpoints(call: Call, body: Upload) -> Imported:
    try:
        places, endpoints = await body.decode(_read)
    except Faulty as faulty:
        raise refused(faulty.faults) from faulty
    reply = await call.context.request("endpoints", ImportEndpoints(endpoints), EndpointsImported)
    if reply.faults:
        raise refused([places[one.position].fault(one.failed) for one in reply.faults])
    return Imported(f"Imported {reply.imported} endpoint(s)", reply.imported)


def _read(media_type: str, content: bytes) -> tuple[list[Place], list[AddEndpoint]]:
    entries = table.entries(content) if media_type == CSV else json_entries(content)
    return [entry.place for entry in entries], read(entries)


def _copy(row: EndpointRow) -> EndpointCopy:
    return EndpointCopy(
        name=row.name,
        protocol=row.protocol,
        connection=shown(row.connection),
        poll_interval=row.poll_interval,
        enabled=row.enabled,
        data_points=row.data_points,
        metadata=row.metadata,
        fingerprint=row.fingerprint,
    )


async def _table(rows: Sequence[EndpointRow]) -> bytes:
    """All at once they would take as much memory as the agent has."""
    header = table.Header()
    async for row in unhurried(rows):
        header.add(_given(row))
    parts = [table.write(header.titles)]
    async for row in unhurried(rows):
        parts.append(table.rows(_given(row), header.titles))
    return "".join(parts).encode()


def _given(row: EndpointRow) -> dict[str, Any]:
    given: dict[str, Any] = msgspec.json.decode(msgspec.json.encode(_copy(row)))
    return given
