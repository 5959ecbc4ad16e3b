"""Names that people give to what is stored: they are seen in logs, on terminals, in paths and in topics."""

from actors.system.failure import Refusal
from conf.texts import has_controls

NAME_LENGTH = 200


def check_name(name: str) -> None:
    """Raises `Refusal` for what cannot be a name."""
    if not name.strip():
        raise Refusal("name is required", "name")
    if len(name) > NAME_LENGTH:
        raise Refusal(f"name is longer than {NAME_LENGTH} characters", "name")
    if has_controls(name):
        raise Refusal("name must not hold line ends or other control characters", "name")
