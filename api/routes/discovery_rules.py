"""Rules of discovery: scans on a schedule (spec 01 section 11)."""

from typing import Annotated, Any, ClassVar

import msgspec
from msgspec import UNSET, Meta, UnsetType

from actors.discovery.messages import (
    AddRule,
    ChangeRule,
    ListRules,
    ListRuns,
    RemoveRule,
    RuleChanged,
    RuleRan,
    RuleRemoved,
    RuleRow,
    RulesListed,
    RunRuleNow,
)
from actors.system.failure import Refusal
from api.decoding import parse, refuse_unstorable
from api.discovery import ScanReply, scan_parts
from api.leaving import while_there
from api.masking import masked
from api.routes.discover import ANSWERING, LONGEST_MS, Truth, truth
from api.routes.discovery_runs import RuleRunsQuery, RunList, listed
from api.routing import Call, route
from storage.discovery import Status
from storage.timestamps import iso

Given = dict[str, Any] | str | None
"""An object, or the same as JSON text."""


class RuleBody(msgspec.Struct, frozen=True):
    """`params_json` are the protocol's options of a scan, `target_json` what endpoints are made with besides
    what was found. `auto_enable` has them made enabled."""

    name: Annotated[str, Meta(min_length=1)]
    protocol: Annotated[str, Meta(min_length=1)]
    interval_seconds: int = 3600
    enabled: bool = True
    auto_enable: bool = False
    params_json: Given = None
    target_json: Given = None

    EXAMPLE: ClassVar[dict[str, Any]] = {
        "name": "Modbus Network Scan",
        "protocol": "modbus",
        "interval_seconds": 3600,
        "enabled": False,
        "auto_enable": False,
        "params_json": {"network": "127.0.0.1/32", "timeout": 200},
        "target_json": None,
    }


class RulePatch(msgspec.Struct, frozen=True):
    name: Annotated[str, Meta(min_length=1)] | UnsetType = UNSET
    protocol: Annotated[str, Meta(min_length=1)] | UnsetType = UNSET
    interval_seconds: int | UnsetType = UNSET
    enabled: bool | UnsetType = UNSET
    auto_enable: bool | UnsetType = UNSET
    params_json: Given | UnsetType = UNSET
    target_json: Given | UnsetType = UNSET

    EXAMPLE: ClassVar[dict[str, Any]] = {"enabled": False, "interval_seconds": 7200}


class RuleView(msgspec.Struct, frozen=True, kw_only=True):
    """Secrets in `params_json` and `target_json` are masked; `error` is why the rule cannot run."""

    uuid: str
    name: str
    enabled: bool
    protocol: str
    interval_seconds: int
    target_json: dict[str, Any] | None
    params_json: dict[str, Any] | None
    auto_enable: bool
    status: Status
    last_run_at: str | None
    next_run_at: str | None
    last_result_json: dict[str, Any] | None
    created_at: str
    updated_at: str
    error: str | UnsetType = UNSET


class RuleReply(RuleView, frozen=True, kw_only=True):
    """The object flat, as the reference has it, and wrapped, as clients read it."""

    rule: RuleView


class RuleList(msgspec.Struct, frozen=True):
    """By name."""

    rules: list[RuleView]


class RunBody(msgspec.Struct, frozen=True, rename="camel"):
    """With `dryRun` endpoints stay as they are, and it is said what would become of them."""

    dry_run: Truth = False


class RuleRun(ScanReply, frozen=True, kw_only=True, rename="camel"):
    """`prunedCount` is how many endpoints were removed, or would be."""

    rule: RuleView
    pruned_count: int


@route("GET", "/v1/discovery-rules", reply=RuleList, summary="Rules of discovery")
async def list_rules(call: Call) -> RuleList:
    found = await call.context.request("discovery", ListRules(), RulesListed)
    return RuleList([rule_view(row) for row in found.rules])


@route(
    "POST",
    "/v1/discovery-rules",
    reply=RuleReply,
    body=RuleBody,
    status=201,
    errors=(409,),
    summary="Add a rule: a scan on a schedule",
)
async def add_rule(call: Call, body: RuleBody) -> RuleReply:
    message = AddRule(
        name=body.name,
        protocol=body.protocol,
        interval_seconds=body.interval_seconds,
        enabled=body.enabled,
        auto_enable=body.auto_enable,
        params_json=_object(body.params_json, "params_json"),
        target_json=_object(body.target_json, "target_json"),
    )
    return _reply(await call.context.request("discovery", message, RuleChanged))


@route(
    "PATCH",
    "/v1/discovery-rules/{uuid}",
    reply=RuleReply,
    body=RulePatch,
    errors=(404, 409),
    summary="Change a rule",
)
async def change_rule(call: Call, body: RulePatch) -> RuleReply:
    message = ChangeRule(
        uuid=call.text("uuid"),
        name=body.name,
        protocol=body.protocol,
        interval_seconds=body.interval_seconds,
        enabled=body.enabled,
        auto_enable=body.auto_enable,
        params_json=_changed(body.params_json, "params_json"),
        target_json=_changed(body.target_json, "target_json"),
    )
    return _reply(await call.context.request("discovery", message, RuleChanged))


@route(
    "DELETE",
    "/v1/discovery-rules/{uuid}",
    reply=None,
    status=204,
    errors=(404,),
    summary="Remove a rule and the history of its runs; endpoints that it has made stay",
)
async def remove_rule(call: Call) -> None:
    await call.context.request("discovery", RemoveRule(call.text("uuid")), RuleRemoved)


@route(
    "POST",
    "/v1/discovery-rules/{uuid}/run",
    reply=RuleRun,
    body=RunBody,
    errors=(404, 409),
    summary="Run a rule now, and wait for what is found; goes on when the client hangs up",
)
async def run_rule(call: Call, body: RunBody) -> RuleRun:
    message = RunRuleNow(call.text("uuid"), truth(body.dry_run))
    within = LONGEST_MS / 1000 + ANSWERING
    running = call.context.request("discovery", message, RuleRan, within=within)
    ran = await while_there(call.request, running)
    parts = scan_parts(ran.result)
    return RuleRun(rule=rule_view(ran.rule), pruned_count=ran.result.pruned, **parts)


@route(
    "GET",
    "/v1/discovery-rules/{uuid}/runs",
    reply=RunList,
    query=RuleRunsQuery,
    errors=(404,),
    summary="The runs of a rule; a hundred are kept",
)
async def list_rule_runs(call: Call, query: RuleRunsQuery) -> RunList:
    return await listed(call, ListRuns(call.text("uuid"), query.limit))


def rule_view(row: RuleRow) -> RuleView:
    fields = msgspec.structs.asdict(row)
    return RuleView(
        **fields
        | {
            "params_json": None if row.params_json is None else masked(row.params_json),
            "target_json": None if row.target_json is None else masked(row.target_json),
            "last_run_at": iso(row.last_run_at),
            "next_run_at": iso(row.next_run_at),
            "error": UNSET if row.error is None else row.error,
        }
    )


def _reply(changed: RuleChanged) -> RuleReply:
    view = rule_view(changed.rule)
    return RuleReply(**msgspec.structs.asdict(view), rule=view)


def _changed(given: Given | UnsetType, field: str) -> dict[str, Any] | UnsetType | None:
    return UNSET if given is UNSET else _object(given, field)


def _object(given: Given, field: str) -> dict[str, Any] | None:
    """Raises `Refusal` for text that is no JSON object; empty text is none."""
    if not isinstance(given, str):
        return given
    if not given.strip():
        return None
    found = parse(given, field, field)
    if found is not None and not isinstance(found, dict):
        raise Refusal(f"{field} must be a JSON object", field)
    refuse_unstorable(found, field)
    return found
