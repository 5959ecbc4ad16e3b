"""The settings that change while the agent runs (spec 01 section 14)."""

from typing import Annotated, Any, ClassVar, Final

import msgspec
from msgspec import UNSET, Meta, UnsetType

from actors.settings.messages import ChangeSettings, ReportSettings, SettingsReported
from actors.subsystems.messages import AgentDescribed, DescribeAgent
from api.routing import Call, route
from conf.runtime_keys import TOP, described

_SHOWN: Final = {top: Meta(extra_json_schema=described(top, null=False)) for top in TOP}
_GIVEN: Final = {top: Meta(extra_json_schema=described(top, null=True)) for top in TOP}

Object = dict[str, Any]


class ShownAgent(msgspec.Struct, frozen=True, rename="camel"):
    """Who it is; nothing of it can be set here."""

    uuid: str
    name: str
    version: str
    type: str
    provisioned: bool
    api_endpoint: str | UnsetType = UNSET
    mac_address: str | UnsetType = UNSET
    os_version: str | UnsetType = UNSET


class ShownSettings(msgspec.Struct, frozen=True, rename="camel", kw_only=True):
    """Every setting that has a value, the defaults too."""

    logging: Annotated[Object, _SHOWN["logging"]]
    features: Annotated[Object, _SHOWN["features"]]
    intervals: Annotated[Object, _SHOWN["intervals"]]
    runtime: Annotated[Object, _SHOWN["runtime"]]
    anomaly_detection: Annotated[Object, _SHOWN["anomalyDetection"]] | UnsetType = UNSET
    agent: ShownAgent


class Settings(msgspec.Struct, frozen=True):
    settings: ShownSettings


class SettingsReply(ShownSettings, frozen=True, kw_only=True):
    """The object flat, as the reference has it, and wrapped, as clients read it."""

    settings: ShownSettings


class SettingsPatch(msgspec.Struct, frozen=True, rename="camel"):
    """Merged into what is set; null gives back the default. Other keys mean nothing: a whole reply may be
    sent back."""

    logging: Annotated[Object, _GIVEN["logging"]] | UnsetType | None = UNSET
    features: Annotated[Object, _GIVEN["features"]] | UnsetType | None = UNSET
    intervals: Annotated[Object, _GIVEN["intervals"]] | UnsetType | None = UNSET
    runtime: Annotated[Object, _GIVEN["runtime"]] | UnsetType | None = UNSET
    anomaly_detection: Annotated[Object, _GIVEN["anomalyDetection"]] | UnsetType | None = UNSET
    settings: Object | UnsetType = UNSET

    EXAMPLE: ClassVar[dict[str, Any]] = {
        "logging": {"level": "debug"},
        "intervals": {"stateReportMs": 30_000},
    }


@route("GET", "/v1/settings", reply=Settings, summary="The settings, and who the agent is")
async def list_settings(call: Call) -> Settings:
    reported = await call.context.request("settings", ReportSettings(), SettingsReported)
    return Settings(await _shown(call, reported))


@route(
    "PATCH",
    "/v1/settings",
    reply=SettingsReply,
    body=SettingsPatch,
    summary="Change settings; they take effect at once",
)
async def change_settings(call: Call, body: SettingsPatch) -> SettingsReply:
    message = ChangeSettings(msgspec.to_builtins(body))
    changed = await call.context.request("settings", message, SettingsReported)
    shown = await _shown(call, changed)
    flat = {name: getattr(shown, name) for name in ShownSettings.__struct_fields__}
    return SettingsReply(**flat, settings=shown)


async def _shown(call: Call, reported: SettingsReported) -> ShownSettings:
    """The root is asked after it was told of a change: its answer shows that it has put that into effect."""
    agent = await call.context.request("agent", DescribeAgent(), AgentDescribed)
    identity = ShownAgent(
        uuid=agent.uuid,
        name=agent.name,
        version=agent.version,
        type=agent.type,
        provisioned=agent.provisioned,
        api_endpoint=agent.api_endpoint or UNSET,
        mac_address=agent.mac_address or UNSET,
        os_version=agent.os_version or UNSET,
    )
    return msgspec.convert(reported.settings | {"agent": msgspec.to_builtins(identity)}, ShownSettings)
