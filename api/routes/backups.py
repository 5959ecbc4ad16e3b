"""Backups of the database (spec 07 A 3); `docs/backups.rst` says what is in them."""

import asyncio
from contextlib import suppress
from pathlib import Path
from typing import Annotated, Any, NoReturn

import msgspec
from aiohttp import hdrs, web
from msgspec import UNSET, Meta, UnsetType

from actors.backups.messages import (
    AcceptUpload,
    BackupDeleted,
    BackupFound,
    BackupMade,
    BackupsListed,
    ChangeBegun,
    ChangeSchedule,
    DeleteBackup,
    DescribeSchedule,
    FindBackup,
    FindUploadPlace,
    ListBackups,
    MakeBackup,
    PassphrasesThrottled,
    RestoreBackup,
    ScheduleDescribed,
    UploadPlaced,
    VerifyBackup,
)
from actors.system.failure import Refusal
from api.errors import ApiError, Error
from api.routing import Call, route, take, too_large
from api.sessions import is_administrator
from storage.backup_files import Backup
from storage.backup_schedule import COUNT, HOURS
from storage.backups import Verified
from storage.outcomes import Outcome
from storage.passphrases import LONGEST, SHORTEST
from storage.timestamps import iso

SQLITE = "application/vnd.sqlite3"
LARGEST_UPLOAD = 4 * 1024 * 1024 * 1024
"""Bytes; the disk's room is the other limit."""

PIECE = 1024 * 1024
STILL = "It takes longer than a request may: GET /v1/backups shows it once it is done"

CHECKING = "Checking the backup takes longer than a request may"

Passphrase = Annotated[str, Meta(min_length=SHORTEST, max_length=LONGEST)]


class BackupEntry(msgspec.Struct, frozen=True):
    """`error` says what is wrong with one that cannot be used."""

    file: str
    size_bytes: int
    created_at: str | None
    sha256: str | None
    trigger: str | None
    version: str | None
    has_key: bool
    uuid: str | None
    error: str | None


class LastRestore(msgspec.Struct, frozen=True):
    """`what` is restore or factory-reset; `ok` is null while it goes on."""

    what: str
    file: str | None
    begun_at: str
    finished_at: str | None
    ok: bool | None
    error: str | None


class BackupList(msgspec.Struct, frozen=True):
    backups: list[BackupEntry]
    last_restore: LastRestore | None


class NewBackup(msgspec.Struct, frozen=True):
    """With a `passphrase` the master key is in it, encrypted."""

    passphrase: Passphrase | None = None


class Restore(msgspec.Struct, frozen=True):
    """`keep_identity`: this agent keeps its uuid and name; null: unless the backup is its own. Users come
    back for an administrator who is signed in only: others could make themselves one by a backup."""

    passphrase: Annotated[str, Meta(max_length=LONGEST)] | None = None
    keep_identity: bool | None = None


class Restoring(msgspec.Struct, frozen=True):
    status: str
    file: str


class VerifiedReply(msgspec.Struct, frozen=True):
    file: str
    ok: bool
    problems: list[str]
    needs_passphrase: bool


class Deleted(msgspec.Struct, frozen=True):
    deleted: bool


class SchedulePatch(msgspec.Struct, frozen=True):
    enabled: bool | UnsetType = UNSET
    interval_hours: HOURS | UnsetType = UNSET
    keep_count: COUNT | UnsetType = UNSET


class ScheduleReply(msgspec.Struct, frozen=True):
    enabled: bool
    interval_hours: int
    keep_count: int
    last_run_at: str | None
    next_run_at: str | None
    last_error: str | None


@route("GET", "/v1/backups", reply=BackupList, role="admin", summary="All backups, the newest first")
async def list_backups(call: Call) -> BackupList:
    found = await call.context.request("backups", ListBackups(), BackupsListed)
    return BackupList([_entry(one) for one in found.backups], _last(found.last))


@route(
    "POST",
    "/v1/backups",
    reply=BackupEntry,
    body=NewBackup,
    status=201,
    errors=(409,),
    role="admin",
    summary="Make a backup",
)
async def make_backup(call: Call, body: NewBackup) -> BackupEntry:
    message = MakeBackup("manual", body.passphrase)
    made = await call.context.request("backups", message, BackupMade, silence=STILL)
    return _entry(made.backup)


@route(
    "GET",
    "/v1/backups/schedule",
    reply=ScheduleReply,
    role="admin",
    summary="When backups are made by themselves",
)
async def show_schedule(call: Call) -> ScheduleReply:
    return _schedule(await call.context.request("backups", DescribeSchedule(), ScheduleDescribed))


@route(
    "PATCH",
    "/v1/backups/schedule",
    reply=ScheduleReply,
    body=SchedulePatch,
    role="admin",
    summary="Change when backups are made by themselves",
)
async def change_schedule(call: Call, body: SchedulePatch) -> ScheduleReply:
    message = ChangeSchedule(body.enabled, body.interval_hours, body.keep_count)
    return _schedule(await call.context.request("backups", message, ScheduleDescribed))


@route(
    "POST",
    "/v1/backups/upload",
    reply=BackupEntry,
    raw="application/octet-stream",
    status=201,
    errors=(409,),
    role="admin",
    summary="Take in a backup, such as one that was downloaded from another agent",
)
async def upload_backup(call: Call) -> BackupEntry:
    length = call.request.content_length
    if length is not None and length > LARGEST_UPLOAD:
        raise too_large(LARGEST_UPLOAD)
    place = await call.context.request("backups", FindUploadPlace(length), UploadPlaced)
    try:
        if not await _receive(call.request, place):
            raise Refusal("The body is the file of a backup, and there is none")
        made = await call.context.request("backups", AcceptUpload(place.path), BackupMade, silence=STILL)
    finally:
        with suppress(OSError):
            place.path.unlink(missing_ok=True)
    return _entry(made.backup)


@route(
    "GET",
    "/v1/backups/{file}",
    reply=bytes,
    kept=SQLITE,
    errors=(404,),
    role="admin",
    summary="Download a backup",
)
async def download_backup(call: Call) -> web.FileResponse:
    file = call.text("file")
    found = await call.context.request("backups", FindBackup(file), BackupFound)
    return web.FileResponse(
        found.path,
        headers={
            hdrs.CONTENT_TYPE: SQLITE,
            hdrs.CONTENT_DISPOSITION: f'attachment; filename="{file}"',
            hdrs.CACHE_CONTROL: "no-store",
            "X-Content-Type-Options": "nosniff",
        },
    )


@route(
    "DELETE", "/v1/backups/{file}", reply=Deleted, errors=(404, 409), role="admin", summary="Delete a backup"
)
async def delete_backup(call: Call) -> Deleted:
    await call.context.request("backups", DeleteBackup(call.text("file")), BackupDeleted)
    return Deleted(True)


@route(
    "POST",
    "/v1/backups/{file}/verify",
    reply=VerifiedReply,
    errors=(404, 409),
    role="admin",
    summary="Whether a backup is whole, and can be restored here",
)
async def verify_backup(call: Call) -> VerifiedReply:
    found = await call.context.request("backups", VerifyBackup(call.text("file")), Verified)
    return VerifiedReply(found.file, found.ok, found.problems, found.needs_passphrase)


@route(
    "POST",
    "/v1/backups/{file}/restore",
    reply=Restoring,
    body=Restore,
    status=202,
    errors=(404, 409, 429),
    role="admin",
    summary="Restore a backup; the agent restarts over it",
)
async def restore_backup(call: Call, body: Restore) -> Restoring:
    file = call.text("file")
    users = await is_administrator(call.context, call.request)
    message = RestoreBackup(file, body.passphrase, body.keep_identity, users)
    either: Any = ChangeBegun | PassphrasesThrottled
    answer = await call.context.request("backups", message, either, silence=CHECKING)
    if isinstance(answer, PassphrasesThrottled):
        _refuse_for_now(answer.seconds)
    return Restoring("restoring", file)


def _refuse_for_now(seconds: int) -> NoReturn:
    body = Error("Too many wrong passphrases", hint=f"Try again in {seconds} s")
    raise ApiError(429, body, {"Retry-After": str(seconds)})


async def _receive(request: web.Request, place: UploadPlaced) -> int:
    """Write the body to its place; how many bytes it had."""
    size = 0
    pieces = bytearray()
    async for piece in take(request, min(place.room, LARGEST_UPLOAD)):
        pieces += piece
        if len(pieces) >= PIECE:
            size += await asyncio.to_thread(_append, place.path, bytes(pieces))
            pieces.clear()
    return size + await asyncio.to_thread(_append, place.path, bytes(pieces))


def _append(path: Path, content: bytes) -> int:
    with path.open("ab") as file:
        return file.write(content)


def _entry(backup: Backup) -> BackupEntry:
    return BackupEntry(**msgspec.structs.asdict(backup))


def _last(outcome: Outcome | None) -> LastRestore | None:
    if outcome is None:
        return None
    return LastRestore(
        outcome.what, outcome.file, outcome.begun_at, outcome.finished_at, outcome.ok, outcome.error
    )


def _schedule(found: ScheduleDescribed) -> ScheduleReply:
    return ScheduleReply(
        found.enabled,
        found.interval_hours,
        found.keep_count,
        iso(found.last_run_at),
        iso(found.next_run_at),
        found.last_error,
    )
