"""Topics with placeholders, for subscriptions without a topic of their own (spec 02 section 8.2)."""

import re
from typing import Any
from urllib.parse import quote

from actors.mqtt import topics
from actors.mqtt.topics import AMPLE, Room
from actors.publish.destinations.fields import ROOT
from actors.system.failure import Refusal

KEYS = ("topicTemplate", "publishTopicTemplate")
"""Where a `config_json` has one."""

PLACEHOLDERS = ("deviceId", "topic", "endpoint", "protocol", "name", "device")

_PLACEHOLDER = re.compile(r"\{([^{}]*)\}")


def check_template(template: str, field: str, room: Room = AMPLE) -> str:
    """The template itself; raises `Refusal` for an unknown placeholder, or when no topic comes of it."""
    for name in _PLACEHOLDER.findall(template):
        if name not in PLACEHOLDERS:
            known = ", ".join(f"{{{each}}}" for each in PLACEHOLDERS)
            raise Refusal(f"Unknown placeholder: {{{name}}}. Supported: {known}", field)
    topics.check_topic(_PLACEHOLDER.sub("x", template), field, room)
    return template


def refuse_slips(config_json: Any) -> None:
    """Raises `Refusal` for a template in what a client sends that is hardly meant (see `topics`)."""
    for key in KEYS:
        template = config_json.get(key) if isinstance(config_json, dict) else None
        if isinstance(template, str):
            topics.refuse_slips(_PLACEHOLDER.sub("x", template), f"{ROOT}.{key}")


def fill_template(template: str, client_id: str, own_topic: str) -> str:
    """With what is known before a payload is; `own_topic` is the agent's own one for readings."""
    quoted = quote(client_id, safe="", errors="replace")
    return template.replace("{deviceId}", quoted).replace("{topic}", own_topic)
