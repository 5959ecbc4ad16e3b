"""What an agent says when it refuses a request."""

import json
import re

from api.printable import one_line


def error_text(body: bytes) -> str | None:
    """On one line, what the body of an error tells most, the field that it is about, and its hint; None for
    what is not our agent's."""
    try:
        error = json.loads(body)
    except (ValueError, RecursionError):  # not JSON, or not text, or endless brackets
        return None
    if not isinstance(error, dict) or not (error.get("message") or error.get("error")):
        return None
    hint, field = error.get("hint"), error.get("field")
    text = str(error.get("message") or error.get("error"))
    if isinstance(field, str) and re.split(r"[.\[\]]+", field.rstrip("]"))[-1] not in text:
        text = f"{field}: {text}"
    return one_line(f"{text}. {hint}" if hint else text)
