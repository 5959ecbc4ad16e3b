"""Discovery as the API shows it (spec 01 section 11, 03 section 8.1)."""

from typing import Any, Literal

import msgspec
from msgspec import UNSET, UnsetType

from actors.discovery.messages import Discovered, DiscoveredDevice, RunRow, SavedDevices
from actors.endpoints.discovering import Confidence
from api.masking import masked
from storage.discovery import Trigger
from storage.timestamps import iso

Outcome = Literal["running", "success", "error"]


class DeviceView(msgspec.Struct, frozen=True, rename="camel"):
    """A device that was found; secrets in `connection` are masked. `known` says that an endpoint reads it
    already, `endpoint` which."""

    name: str
    protocol: str
    fingerprint: str
    connection: dict[str, Any]
    data_points: tuple[dict[str, Any], ...]
    confidence: Confidence
    discovered_at: str | None
    validated: bool
    metadata: dict[str, Any]
    known: bool
    validation_data: dict[str, Any] | UnsetType = UNSET
    endpoint: str | UnsetType = UNSET
    others: list[dict[str, Any]] | UnsetType = UNSET
    """Connections by which it was found, too"""


class ScanError(msgspec.Struct, frozen=True):
    """Why a protocol's scan has failed or has not ended; with `where`, what could not be asked there."""

    protocol: str
    error: str
    where: str | UnsetType = UNSET


class RunView(msgspec.Struct, frozen=True):
    """A run, in the words of the reference (`status`, `devices_found`) and of clients (`outcome`, `found`).
    `protocol` may be several names with commas between. `planned` and `probed` count what there is to ask,
    and what was asked so far; they and `troubles` are null of a run of an earlier start."""

    uuid: str
    id: int | None
    rule_uuid: str | None
    rule_name: str | None
    protocol: str
    trigger: Trigger
    started_at: str | None
    finished_at: str | None
    duration_ms: int | None
    status: Outcome
    outcome: Literal["running", "ok", "error"]
    devices_found: int
    found: int
    saved: int
    skipped: int
    pruned: int
    error: str | None
    planned: int | None
    probed: int | None
    troubles: int | None


class SavedView(msgspec.Struct, frozen=True, rename="camel"):
    """What became of endpoints, by name; with `dryRun`, what would. `refused` and `spared` are with the
    reason."""

    added: tuple[str, ...]
    changed: tuple[str, ...]
    kept: tuple[str, ...]
    removed: tuple[str, ...]
    refused: dict[str, str]
    spared: dict[str, str]
    dry_run: bool


class ScanReply(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """`errors` are those of whole protocols, then the first hundred of single places; `run.troubles` counts
    them all."""

    devices: list[DeviceView]
    errors: list[ScanError]
    run: RunView
    saved: SavedView | UnsetType = UNSET


def device_view(device: DiscoveredDevice) -> DeviceView:
    return DeviceView(
        name=device.name,
        protocol=device.protocol,
        fingerprint=device.fingerprint,
        connection=masked(device.connection),
        data_points=device.data_points,
        confidence=device.confidence,
        discovered_at=iso(device.discovered_at),
        validated=device.validated,
        metadata=device.metadata,
        known=device.known,
        validation_data=UNSET if device.validation_data is None else device.validation_data,
        endpoint=UNSET if device.endpoint is None else device.endpoint,
        others=[masked(one) for one in device.others] or UNSET,
    )


def errors_of(found: Discovered) -> list[ScanError]:
    whole = [ScanError(protocol, reason) for protocol, reason in found.errors.items()]
    return whole + [ScanError(one.protocol, one.reason, one.where) for one in found.troubles]


def run_view(row: RunRow) -> RunView:
    fields = msgspec.structs.asdict(row)
    return RunView(
        **fields
        | {
            "started_at": iso(row.started_at),
            "finished_at": iso(row.finished_at),
            "status": "success" if row.status == "ok" else row.status,
            "outcome": row.status,
            "devices_found": row.found,
        }
    )


def saved_view(saved: SavedDevices | None) -> SavedView | UnsetType:
    return UNSET if saved is None else SavedView(**msgspec.structs.asdict(saved))


def scan_parts(found: Discovered) -> dict[str, Any]:
    """The fields of a `ScanReply`."""
    return {
        "devices": [device_view(one) for one in found.devices],
        "errors": errors_of(found),
        "run": run_view(found.run),
        "saved": saved_view(found.saved),
    }
