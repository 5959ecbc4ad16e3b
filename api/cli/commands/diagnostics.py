"""`callboard diagnostics`: all that support needs to know, in one text or one archive."""

import argparse
import io
import json
import os
import platform
import tarfile
from pathlib import Path
from typing import Any

from api.cli.agent_client import AgentClient
from api.cli.connecting import add_agent_options, agent_of
from api.cli.exits import FAILED, OK, USAGE, CommandError, Refused
from api.cli.output import Output, harmless, write_lines
from api.cli.private_files import written_whole
from api.version import version
from storage.timestamps import iso, unix_ms

ROUTES = {
    "health": "/v1/health/report",
    "device": "/v1/device",
    "stats": "/v1/dashboard/stats",
    "memory": "/v1/memory",
    "database": "/v1/db/stats",
    "buffer": "/v1/buffer/status",
    "settings": "/v1/settings",
    "endpoints": "/v1/endpoints",
    "destinations": "/v1/publish/destinations",
    "subscriptions": "/v1/publish/subscriptions",
    "update": "/v1/update/status",
    "actors": "/v1/actors",
    "logs": "/v1/logs?limit=500",
}


def declare(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--output", "-o", type=Path, metavar="FILE", help="a .tar.gz, or any other name for one JSON text"
    )
    parser.add_argument("--config", type=Path, metavar="FILE", help="as of `callboard run`")
    parser.add_argument("--data-dir", type=Path, metavar="DIR", help="as of `callboard run`")
    add_agent_options(parser)
    parser.set_defaults(do=_diagnostics)


def _diagnostics(arguments: argparse.Namespace) -> int:
    """1 when the agent did not say all of it; what there is, is there."""
    target: Path | None = arguments.output
    if target is not None and target.exists():
        raise CommandError(f"{target}: is there already", USAGE)
    with agent_of(arguments) as (agent, output):
        found = collected(agent, arguments.config, arguments.data_dir)
    complete = not found["missing"]
    if target is None:
        _print(output, found)
        return OK if complete else FAILED
    with written_whole(target) as file:
        if target.name.endswith((".tar.gz", ".tgz")):
            file.write(_archive(found))
        else:
            file.write(_text(found))
    output.done(
        {"file": str(target), "missing": found["missing"]},
        f"{target}; secrets are masked, but names, addresses and log lines are in it",
    )
    return OK if complete else FAILED


def collected(agent: AgentClient, config: Path | None, data_dir: Path | None) -> dict[str, Any]:
    """Everything, masked. `missing` says what could not be had, and why."""
    from api.cli.doctor.examination import examined
    from api.cli.safe_to_send import safe

    findings = [
        {"check": one.check, "state": one.state, "says": one.says, "do": one.do}
        for one in examined(agent, config, data_dir)
    ]
    found: dict[str, Any] = {
        "made_at": iso(unix_ms()),
        "command_version": version(),
        "url": agent.url,
        "made_on": {"system": platform.platform(), "machine": platform.machine(), "cores": os.cpu_count()},
        "missing": {},
        "doctor": findings,
    }
    for name, path in ROUTES.items():
        try:
            found[name] = agent.get(path, also=(500,) if name == "health" else ())
        except Refused as refused:
            found["missing"][name] = str(refused)
        except CommandError as error:
            found["missing"] |= {one: str(error) for one in ROUTES if one not in found}
            break
    return safe(found)


def _print(output: Output, found: dict[str, Any]) -> None:
    if output.as_json:
        output.document(found)
        return
    for name, part in found.items():
        write_lines([f"== {name}", harmless(json.dumps(part, indent=2, ensure_ascii=False)), ""])


def _text(part: Any) -> bytes:
    return (json.dumps(part, indent=2) + "\n").encode()


def _archive(found: dict[str, Any]) -> bytes:
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w:gz") as archive:
        for name, part in found.items():
            text = _text(part)
            entry = tarfile.TarInfo(f"callboard-diagnostics/{name}.json")
            entry.size, entry.mtime, entry.mode = len(text), unix_ms() // 1000, 0o600
            archive.addfile(entry, io.BytesIO(text))
    return packed.getvalue()
