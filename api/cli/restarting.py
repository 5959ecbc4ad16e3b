"""Waiting until an agent that was told to restart its services runs again."""

import sys
import time
from typing import Any

from api.cli.agent_client import AgentClient
from api.cli.exits import FAILED, CommandError, NoAgent, Refused

WAIT_SECONDS = 60.0
LOOK_SECONDS = 0.1
UNSEEN_SECONDS = 3.0
"""For so long a state of RUNNING may be that of before, where the agent does not begin before it answers."""


def wait_until_restarted(agent: AgentClient, *, has_begun: bool) -> str:
    """The state in the end; what is on the way is said on standard error. `has_begun`: it is not RUNNING any
    more, or again. Raises `CommandError` when it does not run within a minute."""
    deadline = time.monotonic() + WAIT_SECONDS
    quick = time.monotonic() + UNSEEN_SECONDS
    seen, said, state = has_begun, "", "UNKNOWN"
    while time.monotonic() < deadline:
        ready, state = _look(agent)
        seen = seen or not ready
        if state != said:
            said = state
            _say(state)
        if ready and (seen or time.monotonic() > quick):
            return state
        time.sleep(LOOK_SECONDS)
    raise CommandError(f"the agent does not run after {WAIT_SECONDS:.0f} s: it is {state}", FAILED)


def _look(agent: AgentClient) -> tuple[bool, str]:
    try:
        found: Any = agent.get("/v1/readiness", also=(503,))
    except (NoAgent, Refused):
        return False, "away"
    return found.get("ready") is True, str(found.get("state"))


def _say(state: str) -> None:
    print(f"callboard: the agent is {state}", file=sys.stderr, flush=True)
