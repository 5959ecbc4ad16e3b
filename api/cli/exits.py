"""What the command line's exit codes mean, and how a command ends with one."""

from collections.abc import Mapping
from typing import Final

OK: Final = 0
FAILED: Final = 1
USAGE: Final = 2
NO_AGENT: Final = 3
REFUSED: Final = 4
NOT_FOUND: Final = 5
NOT_NOW: Final = 6
INTERRUPTED: Final = 130

MEANINGS: Final[Mapping[int, str]] = {
    OK: "done; what was asked for is well",
    FAILED: "the agent could not do it, or what was asked for is not well",
    USAGE: "wrong usage or configuration, or a value that the agent does not accept",
    NO_AGENT: "no answer from an agent: nobody listens, it is somebody else, it took too long, or its"
    " certificate is not trusted",
    REFUSED: "not authorised: the API key or the session is missing, wrong, over or of too low a role",
    NOT_FOUND: "what was named is not there",
    NOT_NOW: "not possible as things stand (a conflict, too many tries) or not yet (the agent is starting)",
    INTERRUPTED: "interrupted (Ctrl-C)",
}

_BY_STATUS: Final[Mapping[int, int]] = {
    400: USAGE,
    401: REFUSED,
    403: REFUSED,
    404: NOT_FOUND,
    409: NOT_NOW,
    412: NOT_NOW,
    413: USAGE,
    415: USAGE,
    422: USAGE,
    425: NOT_NOW,
    429: NOT_NOW,
    503: NOT_NOW,
}


class CommandError(Exception):
    """Ends the command with one line on standard error and an exit code."""

    def __init__(self, text: str, code: int = FAILED) -> None:
        super().__init__(text)
        self.code = code


class NoAgent(CommandError):
    """Nobody has answered, or somebody who is no agent."""

    def __init__(self, url: str, reason: str) -> None:
        super().__init__(f"no answer from an agent at {url}: {reason}", NO_AGENT)


class Refused(CommandError):
    """The agent has answered with an error status."""

    def __init__(self, status: int, text: str) -> None:
        super().__init__(text, _BY_STATUS.get(status, FAILED))
        self.status = status


class ReaderGone(Exception):
    """Nobody reads the output any more, which is no error."""
