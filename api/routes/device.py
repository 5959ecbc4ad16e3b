"""The agent's identity (spec 01 section 4)."""

import msgspec

from actors.subsystems.messages import AgentDescribed, DescribeAgent
from api.routing import Call, route


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
    status: str = "Idle"


@route("GET", "/v1/device", always=True, reply=Device, summary="The agent's identity and cloud connection")
async def device(call: Call) -> Device:
    agent = await call.context.request("agent", DescribeAgent(), AgentDescribed)
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
    )
