"""What running endpoints say of themselves, gathered for listings."""

from collections.abc import Mapping, Sequence
from typing import Any

import msgspec
from msgspec import UNSET, UnsetType

from actors.endpoints.messages import (
    DeviceRow,
    DevicesReported,
    EndpointRow,
    HealthReported,
    ReportDevices,
    ReportHealth,
)
from api.context import Context
from storage.timestamps import iso

_NO_ANSWER = "The device's actor did not answer"
_UNHEARD = "Not heard of since its endpoint began"


class DeviceHealth(msgspec.Struct, frozen=True, rename="camel"):
    """The live part of a listed endpoint (spec 01 section 6); `quality` is the word for the number."""

    status: str
    connected: bool
    communication_quality: float
    quality: str
    last_seen: str | None
    last_poll: str | None
    last_error: str | None
    response_time_ms: float | None


class DeviceStatus(msgspec.Struct, frozen=True, rename="camel", kw_only=True):
    """A device as its adapter sees it (spec 01 section 7)."""

    device_name: str
    status: str
    connected: bool
    last_poll: str | None = None
    last_seen: str | None = None
    error_count: int = 0
    last_error: str | None = None
    response_time_ms: float | None = None
    poll_success_rate: float
    registers_updated: int = 0
    communication_quality: float
    quality: str
    polls_skipped: int = 0
    metrics: dict[str, Any] | UnsetType = UNSET
    registers: list[dict[str, Any]] | UnsetType = UNSET
    identification: dict[str, str] | UnsetType = UNSET


DISABLED = DeviceHealth(
    status="disabled",
    connected=False,
    communication_quality=0.0,
    quality="disabled",
    last_seen=None,
    last_poll=None,
    last_error=None,
    response_time_ms=None,
)


def broken(error: str) -> DeviceHealth:
    """Of an endpoint that cannot run as it is stored."""
    return msgspec.structs.replace(DISABLED, status="error", quality="offline", last_error=error)


async def ask_health(context: Context, rows: Sequence[EndpointRow]) -> list[HealthReported | None]:
    """One report a row, asked for at once; None for a row that does not run or does not answer soon."""
    running = [row.address for row in rows if row.enabled and row.address is not None]
    reports = iter(await context.peek_each(running, ReportHealth(), HealthReported))
    return [next(reports) if row.enabled and row.address is not None else None for row in rows]


class Unheard(msgspec.Struct, frozen=True):
    """Instead of a report, of a device that has not been heard of since its endpoint began."""


UNHEARD = Unheard()


async def ask_devices(context: Context, rows: Sequence[DeviceRow]) -> list[HealthReported | Unheard | None]:
    """The same of devices: each endpoint is asked once, of all its devices."""
    addresses = {
        row.address.addressDetails: row.address for row in rows if row.enabled and row.address is not None
    }
    answers = await context.peek_each(list(addresses.values()), ReportDevices(), DevicesReported)
    told = dict(zip(addresses, answers, strict=True))
    return [_report(row, told) for row in rows]


def _report(row: DeviceRow, told: Mapping[str, DevicesReported | None]) -> HealthReported | Unheard | None:
    if not row.enabled or row.address is None:
        return None
    answer = told[row.address.addressDetails]
    return None if answer is None else answer.devices.get(row.uuid, UNHEARD)


def health_of(report: HealthReported) -> DeviceHealth:
    return DeviceHealth(
        status=report.status,
        connected=report.connected,
        communication_quality=report.communication_quality,
        quality=report.quality_word,
        last_seen=iso(report.last_seen),
        last_poll=iso(report.last_poll),
        last_error=report.last_error,
        response_time_ms=report.response_time_ms,
    )


def status_of(
    name: str,
    report: HealthReported,
    metrics: dict[str, Any] | UnsetType = UNSET,
    registers: list[dict[str, Any]] | UnsetType = UNSET,
    identification: dict[str, str] | None = None,
) -> DeviceStatus:
    return DeviceStatus(
        device_name=name,
        status=report.status,
        connected=report.connected,
        last_poll=iso(report.last_poll),
        last_seen=iso(report.last_seen),
        error_count=report.error_count,
        last_error=report.last_error,
        response_time_ms=report.response_time_ms,
        poll_success_rate=report.poll_success_rate,
        registers_updated=report.registers_updated,
        communication_quality=report.communication_quality,
        quality=report.quality_word,
        polls_skipped=report.polls_skipped,
        metrics=metrics,
        registers=registers,
        identification=identification or UNSET,
    )


def device_status(row: DeviceRow, report: HealthReported | Unheard | None) -> DeviceStatus:
    """The status of a device as `ask_devices` has found it."""
    if isinstance(report, HealthReported):
        return status_of(row.name, report)
    return silent_status(row, _NO_ANSWER if report is None else _UNHEARD)


def silent_status(row: DeviceRow, reason: str = _NO_ANSWER) -> DeviceStatus:
    """The status of a device that is disabled, or of which nobody can say anything for that reason."""
    return DeviceStatus(
        device_name=row.name,
        status="disconnected" if row.enabled else "disabled",
        connected=False,
        last_error=reason if row.enabled else None,
        poll_success_rate=0.0,
        communication_quality=0.0,
        quality="offline" if row.enabled else "disabled",
    )
