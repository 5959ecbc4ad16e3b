"""What is to become of devices that a scan has found, and of those that it has not. Plain."""

from collections.abc import Collection, Iterable, Mapping
from typing import Any, Final

import msgspec

from actors.discovery.messages import DiscoveredDevice
from actors.discovery.probing import Sighted
from actors.endpoints.messages import AdoptDevice, AdoptDevices
from storage.discovery import Seen, Sighting

MISSED: Final = 2
"""Whole scans in a row that have not found a device, until it counts as gone."""


class Keep(msgspec.Struct, frozen=True):
    """How what is found is saved. `owner` is the rule, or whose scans these are instead; `template` is what
    new endpoints get (`target_json`)."""

    owner: str
    enabled: bool = False
    template: dict[str, Any] | None = None
    prune: bool = True
    dry_run: bool = False

    def __repr__(self) -> str:
        """Templates hold secrets."""
        return f"Keep({self.owner!r})"


class Missing(msgspec.Struct, frozen=True):
    """Fingerprints of devices that a whole scan has not found: all of them, and those of them that count as
    gone."""

    missed: tuple[str, ...] = ()
    gone: tuple[str, ...] = ()


def missing_of(before: Iterable[Sighting], here: Collection[str], whole: bool) -> Missing:
    """`before` are those that were found before in the same scope, but for whom trouble hides, `here` who is
    now. A scan that has failed, was cut short or has met trouble that may hide anybody says nothing of who is
    not there, nor does one that has found nobody: the cable may be out."""
    if not whole or not here:
        return Missing()
    missed = [one for one in before if one.fingerprint not in here]
    return Missing(
        tuple(one.fingerprint for one in missed),
        tuple(one.fingerprint for one in missed if one.missed + 1 >= MISSED),
    )


def adoption(
    keep: Keep, devices: Iterable[DiscoveredDevice], missing: Iterable[Missing], spared: Mapping[str, str]
) -> AdoptDevices:
    """What the endpoints are asked to make of it."""
    return AdoptDevices(
        owner=keep.owner,
        devices=tuple(
            AdoptDevice(
                name=one.name,
                protocol=one.protocol,
                fingerprint=one.fingerprint,
                connection=one.connection,
                data_points=one.data_points,
                metadata=one.metadata,
                endpoint=one.endpoint,
                others=one.others,
            )
            for one in devices
        ),
        enabled=keep.enabled,
        template=keep.template,
        remove=tuple(fingerprint for one in missing for fingerprint in one.gone),
        spare=dict(spared),
        dry_run=keep.dry_run,
    )


def seen_of(
    scope: str,
    devices: Mapping[str, Sighted],
    missing: Missing | None,
    gone: Collection[str],
    hidden: Iterable[str] = (),
) -> Seen:
    """What is kept of it; `gone` are fingerprints that no endpoint has any more."""
    missing = missing or Missing()
    return Seen(
        scope=scope,
        found={fingerprint: one.device.name for fingerprint, one in devices.items()},
        missed=tuple(one for one in missing.missed if one not in gone),
        gone=tuple(one for one in missing.gone if one in gone),
        hidden=tuple(hidden),
    )
