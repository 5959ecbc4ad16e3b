"""Endpoints made of devices that a scan has found. Plain.

What discovery has set is noted beside it (`metadata.discovery`): an endpoint that is not as noted any more
was edited by somebody, and what was edited stays as it is.
"""

import asyncio
from collections.abc import Collection, Iterable, Mapping
from hashlib import sha256
from time import perf_counter
from typing import Annotated, Any, Final

import msgspec
from msgspec import Meta
from thespian.actors import ActorAddress

from actors.endpoints import protocols
from actors.endpoints.candidates import SLICE, candidate, check_interval
from actors.endpoints.messages import AddEndpoint, AdoptDevice, AdoptDevices, DevicesAdopted, EndpointRow
from actors.system.checking import checked, refuse_unknown
from actors.system.failure import Refusal
from conf.annotations import also
from conf.fields import Flag
from conf.settings import Settings
from conf.texts import without_controls
from storage.endpoints import ChangedEndpoint, NewEndpoint

MARK: Final = "discovery"
"""The key of `metadata`."""
NAME_LENGTH: Final = 150
MOST: Final = 4096
"""Endpoints of one owner: where devices have another name each day, a rule would make more and more."""


class Template(msgspec.Struct, frozen=True):
    """What new endpoints get besides what was found (`target_json`): `connection` and `metadata` are added to
    that, and win; `data_points`, where there are any, take the place of those found."""

    connection: dict[str, Any] = {}
    poll_interval: Annotated[int, also("pollInterval"), Meta(description="ms")] = 5000
    enabled: Flag = False
    data_points: Annotated[list[dict[str, Any]], also("dataPoints")] = []
    metadata: dict[str, Any] = {}


def read_template(given: Mapping[str, Any] | None, protocol: str, path: str) -> Template:
    """Raises `Refusal` naming the field, found at `path`; of a protocol that is not available here, what only
    that can say is not looked at."""
    if given is None:
        return Template()
    refuse_unknown(given, Template, path)
    template = checked(given, Template, path)
    if MARK in template.metadata:
        raise Refusal(f"{MARK} is what discovery itself notes there", f"{path}.metadata.{MARK}")
    try:
        check_interval(template.poll_interval)
        known = protocols.look_up(protocol)
        if known.protocol is not None and known.unavailable is None:
            example = known.protocol.example
            points = template.data_points or list(example.data_points)
            known.protocol.accept(dict(example.connection) | template.connection, points)
    except Refusal as refusal:
        field = path if refusal.field is None else f"{path}.{refusal.field}"
        raise Refusal(refusal.message, field, refusal.kind) from refusal
    return template


class Mark(msgspec.Struct, frozen=True, rename="camel"):
    """`metadata.discovery`: who has found it, and what was set. `connection` and `data_points` are hashes."""

    owner: str
    connection: str
    data_points: str
    poll_interval: int
    enabled: bool


class Prepared(msgspec.Struct, frozen=True):
    """A device as it would be if there were no endpoint of it; `refusal` is why there can be none."""

    device: AdoptDevice
    new: NewEndpoint | None
    refusal: str | None = None
    others: tuple[str, ...] = ()
    """Hashes of further connections that it might have"""


class AdoptPrepared(msgspec.Struct, frozen=True):
    """To the keeper itself: the devices are checked as far as they themselves go; `requester` gets the
    reply."""

    message: AdoptDevices
    prepared: tuple[Prepared, ...]
    requester: ActorAddress

    def __repr__(self) -> str:
        """Connections hold secrets."""
        return f"AdoptPrepared({self.message!r})"


async def prepare(
    message: AdoptDevices, requester: ActorAddress, settings: Settings, agent_uuid: str
) -> AdoptPrepared:
    """Thousands of them keep others waiting for no longer than a slice."""
    found = []
    until = perf_counter() + SLICE
    for device in message.devices:
        found.append(_prepared(device, message, settings, agent_uuid))
        if perf_counter() > until:
            await asyncio.sleep(0)
            until = perf_counter() + SLICE
    return AdoptPrepared(message, tuple(found), requester)


def _prepared(device: AdoptDevice, message: AdoptDevices, settings: Settings, agent_uuid: str) -> Prepared:
    try:
        template = checked(message.template or {}, Template, "target_json")
        points = template.data_points or list(device.data_points)
        connection = device.connection | template.connection
        mark = Mark(
            owner=message.owner,
            connection=hashed(connection),
            data_points=hashed(points),
            poll_interval=template.poll_interval,
            enabled=message.enabled or template.enabled,
        )
        given = AddEndpoint(
            name=_name(device),
            protocol=device.protocol,
            connection=connection,
            poll_interval=mark.poll_interval,
            enabled=mark.enabled,
            data_points=points or None,
            metadata=device.metadata | template.metadata | {MARK: msgspec.to_builtins(mark)},
            fingerprint=device.fingerprint,
        )
        others = tuple(hashed(other | template.connection) for other in device.others)
        return Prepared(device, candidate(given, settings, agent_uuid), others=others)
    except Refusal as refusal:
        return Prepared(device, None, refusal.message)


def _name(device: AdoptDevice) -> str:
    name = " ".join(without_controls(device.name)[:NAME_LENGTH].split())
    return name or f"{device.protocol}-{device.fingerprint[:8]}"


def hashed(value: Any) -> str:
    """Equal for equal JSON."""
    return sha256(msgspec.json.encode(value, order="deterministic")).hexdigest()[:16]


class Adoption(msgspec.Struct, frozen=True):
    """What is to be stored, and what is answered when it is."""

    new: tuple[NewEndpoint, ...]
    changes: tuple[ChangedEndpoint, ...]
    removals: tuple[int, ...]
    reply: DevicesAdopted


def decide(
    message: AdoptDevices,
    prepared: Iterable[Prepared],
    rows: Collection[EndpointRow],
    refused: Mapping[str, str] = {},
) -> Adoption:
    """By fingerprint; a device that is told to be another endpoint's (`AdoptDevice.endpoint`) is left to
    that. `refused` are devices that cannot be added for what others have, by fingerprint."""
    by_fingerprint = {(row.protocol, row.fingerprint): row for row in rows if row.fingerprint is not None}
    names = {row.name for row in rows}
    new: list[NewEndpoint] = []
    changes: dict[str, ChangedEndpoint] = {}
    kept: list[str] = []
    refusals: dict[str, str] = {}
    for one in prepared:
        device = one.device
        row = by_fingerprint.get((device.protocol, device.fingerprint))
        if row is not None and device.endpoint not in (None, row.name) and device.endpoint in names:
            kept.append(device.endpoint)
        elif row is not None:
            change = None if one.new is None else _change(row, one.new, one.others)
            if change is None:
                kept.append(row.name)
            else:
                changes[row.name] = change
        elif device.endpoint is not None and device.endpoint in names:
            kept.append(device.endpoint)
        elif one.new is None or device.fingerprint in refused:
            refusals[device.name] = refused.get(device.fingerprint) or one.refusal or "it cannot be added"
        else:
            added = msgspec.structs.replace(one.new, name=_unique(one.new.name, device.fingerprint, names))
            names.add(added.name)
            by_fingerprint[device.protocol, device.fingerprint] = _standing_for(added)
            new.append(added)
    removals, removed, spared, gone = _removals(message, rows)
    if new:
        room = max(0, MOST - _made(message.owner, rows))
        reason = f"{MOST} endpoints were made in that name already"
        refusals |= dict.fromkeys((one.name for one in new[room:]), reason)
        del new[room:]
    reply = DevicesAdopted(
        added=tuple(one.name for one in new),
        changed=tuple(changes),
        kept=tuple(kept),
        removed=tuple(removed),
        refused=refusals,
        spared=spared,
        gone=tuple(gone),
    )
    return Adoption(tuple(new), tuple(changes.values()), tuple(removals), reply)


def _made(owner: str, rows: Iterable[EndpointRow]) -> int:
    marks = (mark_of(msgspec.json.decode(row.metadata)) for row in rows if row.error is None)
    return sum(mark is not None and mark.owner == owner for mark in marks)


def _standing_for(new: NewEndpoint) -> EndpointRow:
    """Of an endpoint that is about to be: a device that was told twice is one."""
    empty = msgspec.Raw(b"null")
    return EndpointRow(
        id=0,
        uuid="",
        name=new.name,
        protocol=new.protocol,
        enabled=False,
        poll_interval=0,
        connection=empty,
        data_points=empty,
        metadata=empty,
        fingerprint=None,
        created_at="",
        updated_at="",
        error="it is about to be added",
    )


def _unique(name: str, fingerprint: str, names: Collection[str]) -> str:
    if name not in names:
        return name
    tried, number = f"{name}-{fingerprint[:8]}", 2
    while tried in names:
        tried, number = f"{name}-{fingerprint[:8]}-{number}", number + 1
    return tried


def _change(row: EndpointRow, new: NewEndpoint, others: Collection[str]) -> ChangedEndpoint | None:
    """What discovery had set, where the device is now; points, where there are none. All else stays, a
    connection too by which the device still answers: `others` are their hashes."""
    if row.error is not None:
        return None
    metadata = msgspec.json.decode(row.metadata) or {}
    mark = mark_of(metadata)
    fresh = mark_of(new.body["metadata"])
    connection, points = msgspec.json.decode(row.connection), msgspec.json.decode(row.data_points) or []
    changes: dict[str, Any] = {}
    if mark is None or fresh is None:  # it was added by somebody who knew its fingerprint
        if points or not new.body["data_points"]:
            return None
        return ChangedEndpoint(row.id, {"data_points": new.body["data_points"]}, None, new.devices)
    moved = fresh.connection != mark.connection and mark.connection not in others
    if moved and mark.connection == hashed(connection):
        changes["connection"] = new.body["connection"]
        mark = msgspec.structs.replace(mark, connection=fresh.connection)
    if not points and new.body["data_points"]:
        changes["data_points"] = new.body["data_points"]
        mark = msgspec.structs.replace(mark, data_points=fresh.data_points)
    if not changes:
        return None
    changes["metadata"] = metadata | {MARK: msgspec.to_builtins(mark)}
    identifier = new.identifier if "connection" in changes else None
    return ChangedEndpoint(row.id, changes, identifier, new.devices if "data_points" in changes else ())


def mark_of(metadata: Any) -> Mark | None:
    """None where discovery has not made the endpoint, or somebody has edited what it says of that."""
    try:
        return msgspec.convert(metadata[MARK], Mark)
    except (msgspec.ValidationError, KeyError, TypeError):
        return None


def edited(row: EndpointRow, mark: Mark) -> bool:
    """Whether somebody has changed what discovery had set."""
    return (
        row.enabled != mark.enabled
        or row.poll_interval != mark.poll_interval
        or hashed(msgspec.json.decode(row.connection)) != mark.connection
        or hashed(msgspec.json.decode(row.data_points) or []) != mark.data_points
    )


def _removals(
    message: AdoptDevices, rows: Iterable[EndpointRow]
) -> tuple[list[int], list[str], dict[str, str], list[str]]:
    """Ids and names of endpoints that go; those that are spared, with the reason; fingerprints that are no
    endpoint's any more."""
    wanted = set(message.remove)
    there: set[str] = set()
    ids: list[int] = []
    names: list[str] = []
    spared: dict[str, str] = {}
    for row in rows if wanted else ():
        if row.fingerprint not in wanted or row.fingerprint is None:
            continue
        reason = _why_to_stay(row, message)
        if reason is None:
            ids.append(row.id)
            names.append(row.name)
        else:
            there.add(row.fingerprint)
            spared[row.name] = reason
    return ids, names, spared, [one for one in message.remove if one not in there]


def _why_to_stay(row: EndpointRow, message: AdoptDevices) -> str | None:
    mark = None if row.error is not None else mark_of(msgspec.json.decode(row.metadata))
    if mark is None or mark.owner != message.owner:
        return "it was not made by this rule"
    if edited(row, mark):
        return "somebody has edited it"
    return message.spare.get(row.fingerprint or "")
