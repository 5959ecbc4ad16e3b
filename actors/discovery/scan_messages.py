"""What scans are told, and tell."""

import msgspec
from thespian.actors import ActorAddress

from actors.discovery.messages import Discovered, RunRow
from actors.discovery.planning import Wanted
from actors.discovery.saving import Keep
from actors.system.failure import Failed
from conf.settings import Settings
from storage.discovery import Seen


class RunScan(msgspec.Struct, frozen=True, kw_only=True):
    """Start. With a `requester` the scan ends when that leaves. One that `waits` begins when it is its turn
    among those that do. `keep` None: nothing is saved. `within` is in seconds."""

    run: RunRow
    wanted: Wanted
    endpoints: ActorAddress
    store: ActorAddress
    watcher: ActorAddress
    settings: Settings
    requester: ActorAddress | None = None
    within: float | None = None
    waits: bool = False
    keep: Keep | None = None

    def __repr__(self) -> str:
        """Options hold secrets."""
        return f"RunScan({self.run.uuid!r})"


class EndScan(msgspec.Struct, frozen=True):
    """To a scan: what was found until now is all."""

    reason: str


class ScanProgressed(msgspec.Struct, frozen=True):
    """To the watcher."""

    run: RunRow


class ScanEnded(msgspec.Struct, frozen=True):
    """To the parent, which ends the scan. `failed` is why it has not even begun; `seen` is to be stored."""

    run: RunRow
    result: Discovered | None
    failed: Failed | None = None
    seen: tuple[Seen, ...] = ()
