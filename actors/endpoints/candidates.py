"""Endpoints that somebody wants to add: checked each by itself, before anybody looks at what there is."""

import asyncio
from collections.abc import Sequence
from time import perf_counter
from typing import Any

import msgspec

from actors.endpoints import protocols
from actors.endpoints.accounts import Account
from actors.endpoints.accounts import check as check_account
from actors.endpoints.messages import AddEndpoint, ImportFault
from actors.endpoints.protocol import Protocol
from actors.endpoints.roster import MAX_DEVICES
from actors.state.names import check_name
from actors.system.failure import Refusal
from actors.system.masks import refuse_masks
from conf.settings import Settings
from storage.endpoints import NewDevice, NewEndpoint

SLICE = 0.002  # seconds of checking before others have their turn


class Candidates(msgspec.Struct, frozen=True):
    """What became of an import: those that can be added as far as they themselves go, by position."""

    good: dict[int, NewEndpoint]
    faults: list[ImportFault]
    accounts: dict[int, Account] = {}
    """What their devices log in with at the agent's own broker."""


def candidate(given: AddEndpoint, settings: Settings, agent_uuid: str) -> NewEndpoint:
    """What is to be stored. Raises `Refusal`."""
    check_name(given.name)
    refuse_masks(given.connection, "connection")
    protocol = protocols.find(given.protocol)
    checked = protocol.accept(
        protocol.complete(given.connection, settings, agent_uuid), given.data_points or []
    )
    check_interval(given.poll_interval)
    devices = tuple(NewDevice(one.identifier, one.name, one.uuid) for one in checked.devices)
    _check_devices(devices, given.data_points or [])
    body = {
        "protocol": given.protocol,
        "connection": given.connection,
        "poll_interval": given.poll_interval,
        "enabled": given.enabled,
        "data_points": given.data_points,
        "metadata": given.metadata,
        "fingerprint": given.fingerprint,
    }
    return NewEndpoint(given.name, body, checked.identifier, given.protocol, devices)


def _check_devices(devices: Sequence[NewDevice], data_points: Sequence[dict[str, Any]]) -> None:
    if len(devices) >= MAX_DEVICES:
        raise Refusal(f"an endpoint has at most {MAX_DEVICES} devices, not {len(devices) + 1}", "data_points")
    known: set[str] = set()
    for one in devices:
        if one.uuid is not None:
            if one.uuid in known:
                field = _place_of(one.uuid, data_points)
                raise Refusal(f"two devices have the uuid {one.uuid}", field)
            known.add(one.uuid)


def device_taken(new: NewEndpoint, uuid: str, whose: str) -> Refusal:
    """The configuration gives one of its devices the uuid of another endpoint's."""
    message = f"{uuid} is the uuid of a device of the endpoint {whose}"
    return Refusal(message, _place_of(uuid, new.body["data_points"] or ()), "conflict")


def _place_of(uuid: str, data_points: Sequence[dict[str, Any]]) -> str:
    """The field that says so."""
    for index, point in enumerate(data_points):
        for key, value in point.items():
            if value == uuid:
                return f"data_points[{index}].{key}"
    return "data_points"


def account_of(new: NewEndpoint, settings: Settings) -> Account | None:
    """Where the broker's files are kept. Raises `Refusal`."""
    protocol = protocols.find(new.protocol)
    if settings.mosquitto.auth_dir is None or protocol.account is None:
        return None
    account = protocol.account(new.body["connection"], new.body["data_points"] or ())
    if account is not None:
        check_account(account)
    return account


async def candidates(given: Sequence[AddEndpoint], settings: Settings, agent_uuid: str) -> Candidates:
    """Thousands of them keep others waiting for no longer than a slice."""
    found = Candidates({}, [], {})
    until = perf_counter() + SLICE
    for position, one in enumerate(given):
        try:
            new = candidate(one, settings, agent_uuid)
            account = account_of(new, settings)
            found.good[position] = new
            if account is not None:
                found.accounts[position] = account
        except Refusal as refusal:
            found.faults.append(ImportFault(position, refusal.failed()))
        if perf_counter() > until:
            await asyncio.sleep(0)
            until = perf_counter() + SLICE
    return found


def check_interval(interval: int) -> None:
    """Raises `Refusal`."""
    low, high = Protocol.INTERVAL_MS
    if not low <= interval <= high:
        raise Refusal(f"poll_interval must be {low} to {high} ms, not {interval}", "poll_interval")


def taken(name: str) -> Refusal:
    """There is an endpoint of that name."""
    return Refusal(f"Endpoint already exists: {name}", "name", "conflict")
