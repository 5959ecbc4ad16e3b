"""Topics of the Iotistica cloud (spec 02 section 9), and what stands for them while not provisioned."""

import re
from base64 import urlsafe_b64encode
from functools import lru_cache
from uuid import UUID

from actors.publish.destinations.driver import Identity
from actors.publish.messages import Cloud
from actors.publish.topics import short_level

MAX_ID = 200
MAX_ROOT = len("i//a/") + 2 * MAX_ID

_UUID = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}", re.IGNORECASE)
_TWELVE_HEX = re.compile(r"[0-9a-f]{12}", re.IGNORECASE)


def short_id(id: str) -> str:
    """The id as topics spell it: 22 characters for a UUID, 8 for 12 hex digits, others as any name is."""
    if _UUID.fullmatch(id):
        return _base64(UUID(id).bytes)
    if _TWELVE_HEX.fullmatch(id):
        return _base64(bytes.fromhex(id))
    return short_level(id, MAX_ID)


def root(cloud: Cloud) -> str:
    """What all topics of this agent begin with, without a slash at the end."""
    return _root(cloud.tenant, cloud.agent)


@lru_cache(1)
def _root(tenant: str, agent: str) -> str:
    return f"i/{short_id(tenant)}/a/{short_id(agent)}"


def readings(identity: Identity) -> str:
    """The agent's own topic for readings, a template with `{protocol}` for `topics.fill`."""
    if identity.cloud is None:
        return f"local/{short_level(identity.agent_uuid, MAX_ID)}/{{protocol}}"
    return f"{root(identity.cloud)}/endpoints/{{protocol}}"


def _base64(octets: bytes) -> str:
    return urlsafe_b64encode(octets).rstrip(b"=").decode()
