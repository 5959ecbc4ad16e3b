"""`callboard status`, `health` and `version`: whether the agent is well."""

import argparse
from typing import Any

from api.cli.agent_client import AgentClient
from api.cli.amounts import duration, moment, size
from api.cli.connecting import add_agent_options, agent_of
from api.cli.exits import FAILED, OK, NoAgent, Refused
from api.cli.output import Output
from api.version import version


def declare(parser: argparse.ArgumentParser) -> None:
    add_agent_options(parser)
    does = {"status": _status, "health": _health, "version": _version}
    parser.set_defaults(do=does[parser.prog.rpartition(" ")[2]])


def _status(arguments: argparse.Namespace) -> int:
    with agent_of(arguments) as (agent, output):
        status = status_of(agent)
        output.show(status, lambda: _draw_status(output, status))
        return OK if _is_well(status["health"]) else FAILED


def status_of(agent: AgentClient) -> dict[str, Any]:
    """What the agent says about itself; None where it is not ready to say it."""
    health = agent.get("/v1/health/report", also=(500,))
    return {
        "url": agent.url,
        "health": health,
        "device": agent.get_if_known("/v1/device"),
        "stats": agent.get_if_known("/v1/dashboard/stats"),
        "buffer": agent.get_if_known("/v1/buffer/status"),
        "endpoints": _endpoint_counts(agent.get_if_known("/v1/endpoints")),
    }


def _endpoint_counts(reply: Any) -> dict[str, int] | None:
    if not isinstance(reply, dict):
        return None
    counts: dict[str, int] = {}
    for one in reply.get("endpoints", ()):
        word = (one.get("health") or {}).get("status", "unknown")
        counts[word] = counts.get(word, 0) + 1
    return dict(sorted(counts.items()))


def _is_well(health: Any) -> bool:
    return isinstance(health, dict) and health.get("overall") == "healthy" and health.get("ready") is True


def _draw_status(output: Output, status: dict[str, Any]) -> None:
    health, device = status["health"], status["device"] or {}
    stats, buffer = status["stats"] or {}, status["buffer"] or {}
    output.pairs(
        [
            ("agent", device.get("name")),
            ("uuid", device.get("uuid")),
            ("version", device.get("agentVersion")),
            ("state", health.get("state")),
            ("health", health.get("overall")),
            *_failures(health),
            ("machine up", duration(stats.get("uptime"))),
            ("cpu", _percent(stats.get("cpu_usage"))),
            ("memory", _percent(stats.get("memory_percent"))),
            ("storage", _percent(stats.get("storage_percent"))),
            ("endpoints", _listed(status["endpoints"])),
            ("waiting", _waiting(buffer)),
        ]
    )


def _failures(health: dict[str, Any]) -> list[tuple[str, str]]:
    lines = (health.get("report") or {}).get("subsystems", ())
    return [
        (f"  {one['name']}", one.get("lastError") or one.get("description") or "unhealthy")
        for one in lines
        if not one.get("healthy")
    ]


def _percent(number: Any) -> str:
    return f"{number:.0f} %" if isinstance(number, int | float) else "-"


def _listed(counts: dict[str, int] | None) -> str:
    if counts is None:
        return "-"
    return ", ".join(f"{count} {word}" for word, count in counts.items()) or "none"


def _waiting(buffer: dict[str, Any]) -> str:
    count = buffer.get("mqttMessageBufferCount")
    return "-" if count is None else f"{count} messages, {size(buffer.get('mqttBufferBytes'))}"


def _health(arguments: argparse.Namespace) -> int:
    with agent_of(arguments) as (agent, output):
        health = agent.get("/v1/health/report", also=(500,))
        output.show(health, lambda: _draw_health(output, health))
        return OK if _is_well(health) else FAILED


def _draw_health(output: Output, health: dict[str, Any]) -> None:
    output.pairs([("state", health.get("state")), ("health", health.get("overall"))])
    output.line()
    rows = [
        (
            one.get("name"),
            "ok" if one.get("healthy") else "problem",
            one.get("critical"),
            moment(one.get("lastCheck")),
            one.get("lastError") or one.get("description"),
        )
        for one in (health.get("report") or {}).get("subsystems", ())
    ]
    output.table(("subsystem", "health", "critical", "checked", "says"), rows, "no checks yet")


def _version(arguments: argparse.Namespace) -> int:
    """Without an agent, only this command's; that is no error."""
    theirs = None
    try:
        with agent_of(arguments) as (agent, _):
            theirs = (agent.get("/v1/device") or {}).get("agentVersion")
    except (NoAgent, Refused):
        pass
    output = Output(as_json=arguments.json)
    found = {"command": version(), "agent": theirs}
    output.show(found, lambda: output.pairs(list(found.items())))
    return OK
