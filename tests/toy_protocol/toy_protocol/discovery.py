"""Where to look for toys. No network here, and no library."""

from typing import Annotated, Any

import msgspec
from msgspec import Meta

from actors.endpoints.discovering import Discovery, Known, Plan, Scan
from actors.endpoints.targets import Targets, read_targets
from actors.system.checking import checked


class Options(msgspec.Struct, frozen=True):
    """What clients say of a scan."""

    network: str | None = None
    port: Annotated[int, Meta(ge=1, le=65535)] = 7007
    timeout: Annotated[int, Meta(ge=100, le=30_000)] = 1000
    """ms, of each host."""


class ToyPlan(Plan, frozen=True):
    targets: Targets
    port: int
    timeout: float


def _plan(given: dict[str, Any], known: Known, path: str) -> ToyPlan | None:
    options = checked(given, Options, path)
    if options.network is None:
        return None
    targets = read_targets(options.network, f"{path}.network")
    timeout = options.timeout / 1000
    within = (len(targets) / 64 + 1) * timeout
    return ToyPlan(probes=len(targets), within=within, targets=targets, port=options.port, timeout=timeout)


def _scanner() -> Scan:
    from .scanning import scan  # a library would be imported there

    return scan


DISCOVERY = Discovery(options=Options, plan=_plan, scanner=_scanner)
