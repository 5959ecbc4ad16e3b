"""What an agent says when it refuses a request."""

import json

from api.printable import one_line


def error_text(body: bytes) -> str | None:
    """On one line, what the body of an error tells most, and its hint; None for what is not our agent's."""
    try:
        error = json.loads(body)
    except (ValueError, RecursionError):  # not JSON, or not text, or endless brackets
        return None
    if not isinstance(error, dict) or not (error.get("message") or error.get("error")):
        return None
    hint = error.get("hint")
    text = str(error.get("message") or error.get("error"))
    return one_line(f"{text}. {hint}" if hint else text)
