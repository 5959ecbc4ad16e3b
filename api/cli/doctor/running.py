"""What a running agent says about itself, its devices and its destinations."""

from collections.abc import Iterator
from datetime import datetime
from email.utils import parsedate_to_datetime
from typing import Any

from api.cli.agent_client import AgentClient
from api.cli.amounts import duration
from api.cli.doctor.findings import Finding, ok, problem, warning
from api.version import version
from storage.timestamps import unix_ms

LATE_FACTOR = 10
LATE_MS = 60_000
CLOCK_SLACK_MS = 60_000


def check_agent(agent: AgentClient) -> Iterator[Finding]:
    """Raises `NoAgent` when nobody answers."""
    health, headers = agent.exchange("GET", "/v1/health/report", also=(500,))
    state = health.get("state")
    if health.get("ready") is True:
        yield ok("agent", f"{state} at {agent.url}")
    else:
        yield problem("agent", f"{state} at {agent.url}, and not ready", "callboard logs --level error")
    for one in (health.get("report") or {}).get("subsystems", ()):
        if one.get("healthy"):
            continue
        text = f"{one.get('name')} is not well: {one.get('lastError') or one.get('description')}"
        make = problem if one.get("critical") else warning
        yield make("agent", text, "callboard health; callboard logs --level error")
    yield from _clock(headers.get("Date"))


def check_versions(agent: AgentClient) -> Iterator[Finding]:
    theirs = (agent.get_if_known("/v1/device") or {}).get("agentVersion")
    if theirs is not None and theirs != version():
        text = f"the agent is of version {theirs}, and this command of {version()}"
        yield warning("version", text, "use the command that was installed with the agent")


def _clock(date: str | None) -> Iterator[Finding]:
    """The agent's, as its answers are dated, against ours."""
    try:
        theirs = parsedate_to_datetime(date or "").timestamp() * 1000
    except ValueError:
        return
    if abs(theirs - unix_ms()) > CLOCK_SLACK_MS:
        apart = duration(abs(theirs - unix_ms()) / 1000)
        text = f"the agent's clock and the one here are {apart} apart"
        yield warning("clock", text, "set right the one that is wrong: readings are stamped with the agent's")


def check_endpoints(agent: AgentClient) -> Iterator[Finding]:
    reply = agent.get_if_known("/v1/endpoints")
    if reply is None:
        return
    rows = reply.get("endpoints", ())
    if not rows:
        yield ok("devices", "no endpoints are configured")
    for one in rows:
        yield _endpoint(one)


def _endpoint(one: dict[str, Any]) -> Finding:
    check = "devices"
    name, health = one.get("name"), one.get("health") or {}
    if not one.get("enabled"):
        return ok(check, f"{name} is disabled")
    if health.get("status") != "connected":
        text = (
            f"{name} is {health.get('status', 'not known')}: {health.get('lastError') or 'no reason given'}"
        )
        return problem(check, text, "look at power, cable and address; callboard endpoints show " + str(name))
    age = _age_ms(health.get("lastSeen") or one.get("lastSeenAt"))
    due = max(LATE_MS, LATE_FACTOR * int(one.get("poll_interval") or 0))
    if age is not None and age > due:
        text = f"{name} has given no reading for {duration(age / 1000)}"
        return warning(check, text, f"callboard tap --endpoint {name}; callboard endpoints show {name}")
    quality = health.get("communicationQuality")
    if isinstance(quality, int | float) and quality < 90:
        text = f"{name} answers {quality} % of its polls: {health.get('lastError') or 'no reason given'}"
        return warning(check, text, "look at the line, or poll less often")
    return ok(
        check, f"{name}: last reading {duration(age / 1000) + ' ago' if age is not None else 'not yet'}"
    )


def check_destinations(agent: AgentClient) -> Iterator[Finding]:
    reply = agent.get_if_known("/v1/publish/destinations")
    if reply is None:
        return
    rows = reply.get("publishers", ())
    if not rows:
        text = "no destination is configured: readings go nowhere"
        yield warning("destinations", text, "add one: POST /v1/publish/destinations")
    for one in rows:
        yield _destination(one)


def _destination(one: dict[str, Any]) -> Finding:
    check = "destinations"
    name, status = one.get("name"), one.get("status") or {}
    health, waiting = status.get("health"), status.get("rows") or 0
    if not one.get("enabled"):
        return ok(check, f"{name} is disabled")
    held = f", and {waiting} messages wait for it" if waiting else ""
    if health != "connected":
        text = f"{name} is {health}{held}: {one.get('last_error') or 'no reason given'}"
        return problem(check, text, "look at its address and credentials, and whether it runs")
    dropped = (status.get("dropped_quota") or 0) + (status.get("dropped_expired") or 0)
    if dropped:
        text = f"{name} is connected, and {dropped} messages were dropped since the start"
        return warning(check, text, "it was away for too long, or is too slow: callboard buffer")
    return ok(check, f"{name} is connected{held}")


def database_of(agent: AgentClient) -> str | None:
    """Where the agent has its database, if it says so."""
    reply = agent.get_if_known("/v1/db/stats")
    path = reply.get("path") if isinstance(reply, dict) else None
    return path if isinstance(path, str) else None


def _age_ms(time: Any) -> float | None:
    if isinstance(time, int | float):
        return max(0.0, unix_ms() - time)
    if not isinstance(time, str):
        return None
    try:
        return max(0.0, unix_ms() - datetime.fromisoformat(time).timestamp() * 1000)
    except ValueError:
        return None
