"""What `discovery` is asked. Requests are answered by the reply named beside them or by `Failed`.

Times are Unix ms.
"""

from typing import Any, ClassVar, Literal

import msgspec
from msgspec import UNSET, UnsetType

from actors.endpoints.discovering import Confidence
from storage.discovery import Status, Trigger


class Discover(msgspec.Struct, frozen=True):
    """To `discovery`: look for devices now; replies `Discovered` when the scan has ended, which may take
    minutes. A requester that leaves ends it.

    `protocols` None are all for which there is something to look for. `force` is for clients that send it: no
    scan is refused for one before it. `overrides` are options by protocol. Nothing is stored, unless `save`;
    with `prune` too, what an earlier saved scan of the same options has found, and neither this one nor the
    one before it, is removed. With `dry_run` it is only told what would be. `within` are the seconds that the
    whole may take.
    """

    protocols: tuple[str, ...] | None = None
    validate: bool = False
    force: bool = False
    overrides: dict[str, dict[str, Any]] = {}
    save: bool = False
    prune: bool = False
    dry_run: bool = False
    within: float | None = None

    def __repr__(self) -> str:
        """Options hold secrets."""
        return f"Discover(protocols={self.protocols!r})"


class DiscoveredDevice(msgspec.Struct, frozen=True, kw_only=True):
    """What was found (spec 03 section 8.1). `known` says that an endpoint reads it already: `endpoint` is its
    name. `connection` may hold secrets."""

    name: str
    protocol: str
    fingerprint: str
    connection: dict[str, Any]
    data_points: tuple[dict[str, Any], ...] = ()
    confidence: Confidence
    discovered_at: int
    validated: bool = False
    validation_data: dict[str, Any] | None = None
    metadata: dict[str, Any] = {}
    known: bool = False
    endpoint: str | None = None
    others: tuple[dict[str, Any], ...] = ()
    """Connections by which it was found, too"""

    def __repr__(self) -> str:
        return f"DiscoveredDevice(name={self.name!r}, protocol={self.protocol!r})"


class ScanTrouble(msgspec.Struct, frozen=True):
    """Something was there, or should have been, and could not be asked."""

    protocol: str
    where: str
    reason: str


class SavedDevices(msgspec.Struct, frozen=True):
    """What became of endpoints, by name; with a dry run, what would. `kept` are those that stay as they are;
    `refused` are devices that no endpoint can be made of, with the reason; `spared` are endpoints that were
    to be removed and are not, with the reason."""

    added: tuple[str, ...] = ()
    changed: tuple[str, ...] = ()
    kept: tuple[str, ...] = ()
    removed: tuple[str, ...] = ()
    refused: dict[str, str] = {}
    spared: dict[str, str] = {}
    dry_run: bool = False


class RunRow(msgspec.Struct, frozen=True, kw_only=True):
    """A run, as the API shows it. `protocol` are several names with commas between, where it is of several.
    One that was cancelled, or interrupted, is an error that says so. `planned` and `probed` are None of those
    that ended before the agent was started."""

    uuid: str
    rule_uuid: str | None
    rule_name: str | None
    protocol: str
    trigger: Trigger
    started_at: int
    finished_at: int | None = None
    duration_ms: int | None = None
    status: Literal["running", "ok", "error"] = "running"
    found: int = 0
    saved: int = 0
    skipped: int = 0
    pruned: int = 0
    error: str | None = None
    planned: int | None = None
    probed: int | None = None
    troubles: int | None = None
    id: int | None = None


class Discovered(msgspec.Struct, frozen=True, kw_only=True):
    """`errors` is why a protocol's scan has failed, or has not ended, by protocol: what it had found until
    then counts. `troubles` are a hundred at most of those that were met. `saved` is None where nothing was
    to be."""

    run: RunRow
    devices: tuple[DiscoveredDevice, ...] = ()
    errors: dict[str, str] = {}
    troubles: tuple[ScanTrouble, ...] = ()
    saved: SavedDevices | None = None

    @property
    def pruned(self) -> int:
        """How many endpoints were removed, or would be."""
        return 0 if self.saved is None else len(self.saved.removed)


class CancelRun(msgspec.Struct, frozen=True):
    """To `discovery`, of a run under way; replies `RunCancelled`. Who waits for it gets what was found."""

    uuid: str


class RunCancelled(msgspec.Struct, frozen=True):
    pass


class ListRuns(msgspec.Struct, frozen=True):
    """To `discovery`: the latest runs, those under way among them, of one rule or of all; replies
    `RunsListed`. Those that no rule has made are known until the agent ends."""

    rule_uuid: str | None = None
    limit: int = 20


class RunsListed(msgspec.Struct, frozen=True):
    """Newest first."""

    runs: list[RunRow]


class FollowRuns(msgspec.Struct, frozen=True):
    """To `discovery`: the sender gets `RunsProgressed` from now on, as the only one; first of all the runs
    under way."""


class UnfollowRuns(msgspec.Struct, frozen=True):
    """To `discovery`: nobody follows them any more."""


class RunsProgressed(msgspec.Struct, frozen=True):
    """Runs as they are now, those that have changed since the last of these: each once, twice a second at
    most."""

    TELEMETRY: ClassVar = True

    runs: list[RunRow]


class RuleRow(msgspec.Struct, frozen=True, kw_only=True):
    """A rule, as the API shows it (spec 01 section 11). `params_json` and `target_json` may hold secrets;
    `error` is why it cannot run, None where it can."""

    uuid: str
    name: str
    enabled: bool
    protocol: str
    interval_seconds: int
    target_json: dict[str, Any] | None
    params_json: dict[str, Any] | None
    auto_enable: bool
    status: Status
    last_run_at: int | None
    next_run_at: int | None
    last_result_json: dict[str, Any] | None
    created_at: str
    updated_at: str
    error: str | None = None

    def __repr__(self) -> str:
        return f"RuleRow(uuid={self.uuid!r}, name={self.name!r}, protocol={self.protocol!r})"


class ListRules(msgspec.Struct, frozen=True):
    """To `discovery`; replies `RulesListed`."""


class RulesListed(msgspec.Struct, frozen=True):
    """By name."""

    rules: list[RuleRow]


class AddRule(msgspec.Struct, frozen=True, kw_only=True):
    """To `discovery`; replies `RuleChanged`. Values are as the client sent them."""

    name: str
    protocol: str
    interval_seconds: int = 3600
    enabled: bool = True
    auto_enable: bool = False
    params_json: dict[str, Any] | None = None
    target_json: dict[str, Any] | None = None

    def __repr__(self) -> str:
        return f"AddRule(name={self.name!r}, protocol={self.protocol!r})"


class ChangeRule(msgspec.Struct, frozen=True, kw_only=True):
    """To `discovery`; replies `RuleChanged`. A secret that comes as it is shown stays as it is."""

    uuid: str
    name: str | UnsetType = UNSET
    protocol: str | UnsetType = UNSET
    interval_seconds: int | UnsetType = UNSET
    enabled: bool | UnsetType = UNSET
    auto_enable: bool | UnsetType = UNSET
    params_json: dict[str, Any] | UnsetType | None = UNSET
    target_json: dict[str, Any] | UnsetType | None = UNSET

    def __repr__(self) -> str:
        return f"ChangeRule(uuid={self.uuid!r})"


class RuleChanged(msgspec.Struct, frozen=True):
    rule: RuleRow


class RemoveRule(msgspec.Struct, frozen=True):
    """To `discovery`: the rule and the history of its runs; endpoints that it has made stay. Replies
    `RuleRemoved`."""

    uuid: str


class RuleRemoved(msgspec.Struct, frozen=True):
    pass


class RunRuleNow(msgspec.Struct, frozen=True):
    """To `discovery`; replies `RuleRan` when the run has ended, which may take minutes; `Failed`: "conflict"
    while it is running. It goes on when the requester leaves. With `dry_run` nothing is stored but the run
    itself."""

    uuid: str
    dry_run: bool = False


class RuleRan(msgspec.Struct, frozen=True):
    rule: RuleRow
    result: Discovered
