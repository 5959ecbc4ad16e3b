"""The agent's identity (spec 01 section 4)."""

import msgspec

from actors.subsystems.messages import AgentDescribed, DescribeAgent
from actors.update.messages import ReportUpdate, UpdateReported, UpdateState
from api.routing import Call, route


class DeviceUpdate(msgspec.Struct, frozen=True):
    """The update under way, else what became of the latest; `GET /v1/update/status` says more."""

    state: UpdateState
    reason: str | None
    from_: str | None = msgspec.field(name="from")
    to: str | None


class Device(msgspec.Struct, frozen=True):
    """Named field by field, so that a secret of the agent can never slip in."""

    uuid: str
    name: str
    type: str
    provisioned: bool
    provisioning_state: str = msgspec.field(name="provisioningState")
    api_endpoint: str | None = msgspec.field(name="apiEndpoint")
    apps: int
    is_online: bool
    agent_version: str = msgspec.field(name="agentVersion")
    mac_address: str | None = msgspec.field(name="macAddress")
    os_version: str | None = msgspec.field(name="osVersion")
    created_at: str | None = msgspec.field(name="createdAt")
    update: DeviceUpdate | None
    status: str = "Idle"


def _update(report: UpdateReported) -> DeviceUpdate:
    return DeviceUpdate(report.state, report.reason, report.origin, report.target)


@route("GET", "/v1/device", always=True, reply=Device, summary="The agent's identity and cloud connection")
async def device(call: Call) -> Device:
    agent = await call.context.request("agent", DescribeAgent(), AgentDescribed)
    update = await call.context.peek("update", ReportUpdate(), UpdateReported)
    return Device(
        uuid=agent.uuid,
        name=agent.name,
        type=agent.type,
        provisioned=agent.provisioned,
        provisioning_state=agent.provisioning_state,
        api_endpoint=agent.api_endpoint,
        apps=agent.apps,
        is_online=agent.is_online,
        agent_version=agent.version,
        mac_address=agent.mac_address,
        os_version=agent.os_version,
        created_at=agent.created_at,
        update=None if update is None else _update(update),
    )
