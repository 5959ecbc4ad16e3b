"""`callboard doctor`."""

import argparse
from pathlib import Path
from typing import Any

from api.cli.connecting import add_agent_options, agent_of
from api.cli.exits import FAILED, OK
from api.cli.output import Output


def declare(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--config", type=Path, metavar="FILE", help="as of `callboard run`")
    parser.add_argument("--data-dir", type=Path, metavar="DIR", help="as of `callboard run`")
    parser.add_argument("--strict", action="store_true", help="exit with 1 for warnings, too")
    add_agent_options(parser)
    parser.set_defaults(do=_doctor)


def _doctor(arguments: argparse.Namespace) -> int:
    from api.cli.doctor.examination import examined
    from api.cli.doctor.findings import overall

    with agent_of(arguments) as (agent, output):
        findings = list(examined(agent, arguments.config, arguments.data_dir))
    worst = overall(findings)
    document: dict[str, Any] = {
        "overall": worst,
        "findings": [
            {"check": one.check, "state": one.state, "says": one.says, "do": one.do} for one in findings
        ],
    }
    output.show(document, lambda: _draw(output, document))
    return FAILED if worst == "problem" or (worst == "warning" and arguments.strict) else OK


def _draw(output: Output, document: dict[str, Any]) -> None:
    """A line a finding, and below it what to do."""
    findings = document["findings"]
    for one in findings:
        output.line(f"{one['state']:<8} {one['check']}: {one['says']}", style=one["state"])
        if one["do"]:
            output.line(f"{'':<8} -> {one['do']}")
    counts = {word: sum(one["state"] == word for one in findings) for word in ("problem", "warning")}
    output.line(f"{counts['problem']} problems, {counts['warning']} warnings")
