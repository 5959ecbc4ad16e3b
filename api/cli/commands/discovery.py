"""`callboard discovery`: scans on a schedule, and how scans went."""

import argparse
import re
from pathlib import Path
from typing import Any

from api.cli.agent_client import TIMEOUT_SECONDS, AgentClient, segment
from api.cli.amounts import duration, moment
from api.cli.asking import confirm
from api.cli.commands.discover import add_options, options_of
from api.cli.connecting import add_verb, add_verbs, agent_of, whole_number
from api.cli.exits import FAILED, NOT_FOUND, OK, USAGE, CommandError
from api.cli.given import document_of
from api.cli.scanning import draw_found, draw_runs, scan, tell_errors

RULES, RUNS = "/v1/discovery-rules", "/v1/discovery-runs"
RUNNING_SECONDS = 600.0
_SPAN = re.compile(r"([0-9]{1,9})([smhd]?)")
_SECONDS = {"": 1, "s": 1, "m": 60, "h": 3600, "d": 86_400}


def declare(parser: argparse.ArgumentParser) -> None:
    verbs = add_verbs(parser)
    add_verb(verbs, "rules", "list rules, each a scan on a schedule", _rules)
    runs = add_verb(verbs, "runs", "list the latest scans, those under way among them", _runs)
    runs.add_argument("--rule", metavar="RULE", help="only of this rule: name or uuid")
    runs.add_argument(
        "-n", "--lines", type=whole_number(1, 1000), default=20, metavar="N", help="(default: 20)"
    )
    add = add_verb(verbs, "add", "add a rule", _add)
    add.add_argument("name", metavar="NAME", help="of the new rule")
    add.add_argument("protocol", metavar="PROTOCOL")
    add_options(add)
    add.add_argument("--every", type=_span, metavar="TIME", help="30m, 6h, 1d (default: 1h)")
    add.add_argument("--auto-enable", action="store_true", help="poll what is found at once")
    add.add_argument("--disabled", action="store_true", help="do not run it by itself yet")
    add.add_argument(
        "--target",
        type=Path,
        metavar="FILE",
        help="JSON of what the endpoints are to have besides; - is standard input",
    )
    run = add_verb(verbs, "run", "run a rule now", _run, RUNNING_SECONDS)
    run.add_argument("--dry-run", action="store_true", help="only say what would become of endpoints")
    enable = add_verb(verbs, "enable", "run a rule on its schedule", _enable)
    disable = add_verb(verbs, "disable", "do not run a rule by itself any more", _disable)
    remove = add_verb(verbs, "remove", "remove a rule and the history of its runs", _remove)
    for one in (run, enable, disable, remove):
        one.add_argument("name", metavar="RULE", help="name or uuid")
    remove.add_argument("--yes", action="store_true", help="do not ask")
    cancel = add_verb(verbs, "cancel", "end a scan that is under way; what it has found counts", _cancel)
    cancel.add_argument("uuid", metavar="RUN", help="uuid, as `runs` shows it")


def _span(text: str) -> int:
    found = _SPAN.fullmatch(text)
    if found is None:
        raise argparse.ArgumentTypeError(f"{text!r} is not a time such as 30m, 6h or 1d")
    return int(found[1]) * _SECONDS[found[2]]


def _rules(arguments: argparse.Namespace) -> int:
    with agent_of(arguments) as (agent, output):
        reply = agent.get(RULES)
        rows = [
            (
                one.get("name"),
                one.get("protocol"),
                one.get("enabled"),
                duration(one.get("interval_seconds")),
                one.get("status"),
                moment(one.get("last_run_at")),
                moment(one.get("next_run_at")),
                (one.get("last_result_json") or {}).get("found"),
                one.get("error") or (one.get("last_result_json") or {}).get("error"),
            )
            for one in reply.get("rules", ())
        ]
        columns = ("rule", "protocol", "enabled", "every", "status", "last run", "next", "found", "error")
        output.show(reply, lambda: output.table(columns, rows))
    return OK


def _runs(arguments: argparse.Namespace) -> int:
    with agent_of(arguments) as (agent, output):
        query = {"limit": str(arguments.lines)}
        path = f"{RULES}/{segment(_uuid(agent, arguments.rule))}/runs" if arguments.rule else RUNS
        reply = agent.get(path, query)
        output.show(reply, lambda: draw_runs(output, reply.get("runs", ())))
    return OK


def _uuid(agent: AgentClient, name: str) -> str:
    """Raises `CommandError`, also when several are meant."""
    found = [one for one in agent.get(RULES).get("rules", ()) if name in (one.get("uuid"), one.get("name"))]
    if not found:
        raise CommandError(f"Discovery rule not found: {name}", NOT_FOUND)
    if len(found) > 1:
        uuids = ", ".join(str(one.get("uuid")) for one in found)
        raise CommandError(f"Several rules have the name {name}; say which by its uuid: {uuids}", USAGE)
    return str(found[0].get("uuid"))


def _add(arguments: argparse.Namespace) -> int:
    body: dict[str, Any] = {
        "name": arguments.name,
        "protocol": arguments.protocol,
        "enabled": not arguments.disabled,
        "auto_enable": arguments.auto_enable,
    }
    if arguments.every is not None:
        body["interval_seconds"] = arguments.every
    if options := options_of(arguments):
        body["params_json"] = options
    if arguments.target is not None:
        body["target_json"] = document_of(arguments.target, "--target")
    with agent_of(arguments) as (agent, output):
        reply = agent.call("POST", RULES, body)
        output.done(reply, f"{reply.get('name')} is added, and {_when(reply)}")
    return OK


def _run(arguments: argparse.Namespace) -> int:
    seconds = arguments.timeout
    with agent_of(arguments) as (agent, output):
        agent.timeout = min(seconds, TIMEOUT_SECONDS)
        uuid = _uuid(agent, arguments.name)
        body = {"dryRun": arguments.dry_run}
        reply = scan(agent, f"{RULES}/{segment(uuid)}/run", body, seconds, rule=uuid)
        output.show(reply, lambda: draw_found(output, reply))
        return FAILED if tell_errors(reply) else OK


def _enable(arguments: argparse.Namespace) -> int:
    return _switch(arguments, enabled=True)


def _disable(arguments: argparse.Namespace) -> int:
    return _switch(arguments, enabled=False)


def _switch(arguments: argparse.Namespace, *, enabled: bool) -> int:
    with agent_of(arguments) as (agent, output):
        path = f"{RULES}/{segment(_uuid(agent, arguments.name))}"
        reply = agent.call("PATCH", path, {"enabled": enabled})
        output.done(reply, f"{arguments.name} {_when(reply)}")
    return OK


def _when(rule: dict[str, Any]) -> str:
    at = rule.get("next_run_at")
    return "does not run by itself" if at is None else f"runs next at {moment(at)}"


def _remove(arguments: argparse.Namespace) -> int:
    confirm(f"Remove the rule {arguments.name} and the history of its runs?", yes=arguments.yes)
    with agent_of(arguments) as (agent, output):
        uuid = _uuid(agent, arguments.name)
        agent.call("DELETE", f"{RULES}/{segment(uuid)}")
        output.done({"uuid": uuid, "removed": True}, f"{arguments.name} is removed")
    return OK


def _cancel(arguments: argparse.Namespace) -> int:
    with agent_of(arguments) as (agent, output):
        agent.call("DELETE", f"{RUNS}/{segment(arguments.uuid)}")
        output.done({"uuid": arguments.uuid, "cancelled": True}, "it ends")
    return OK
