"""Topics with placeholders, for subscriptions without a topic of their own (spec 02 section 8.2)."""

import re
from urllib.parse import quote

from actors.publish import topics
from actors.system.failure import Refusal

PLACEHOLDERS = ("deviceId", "topic", "endpoint", "protocol", "name", "device")

_PLACEHOLDER = re.compile(r"\{([^{}]*)\}")


def check_template(template: str, field: str) -> str:
    """The template itself; raises `Refusal` for an unknown placeholder, or when no topic comes of it."""
    for name in _PLACEHOLDER.findall(template):
        if name not in PLACEHOLDERS:
            known = ", ".join(f"{{{each}}}" for each in PLACEHOLDERS)
            raise Refusal(f"Unknown placeholder: {{{name}}}. Supported: {known}", field)
    topics.check_topic(_PLACEHOLDER.sub("x", template), field)
    return template


def fill_template(template: str, client_id: str, own_topic: str) -> str:
    """With what is known before a payload is; `own_topic` is the agent's own one for readings."""
    return template.replace("{deviceId}", quote(client_id, safe="")).replace("{topic}", own_topic)
