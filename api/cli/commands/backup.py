"""`callboard backup`."""

import argparse
import os
from pathlib import Path
from typing import Any

from api.cli.agent_client import AgentClient, segment
from api.cli.amounts import moment, size
from api.cli.asking import confirm
from api.cli.connecting import add_verb, add_verbs, agent_of, whole_number
from api.cli.exits import FAILED, OK, USAGE, CommandError, Refused
from api.cli.output import Output
from api.cli.private_files import written_whole
from api.cli.restarting import wait_until_restarted
from api.cli.sign_in import new_password_of, password_of

BACKUPS = "/v1/backups"
LONG_SECONDS = 300.0
"""Copying and checking a database of gigabytes takes minutes on a slow card."""


def declare(parser: argparse.ArgumentParser) -> None:
    verbs = add_verbs(parser)
    add_verb(verbs, "list", "list backups", _list)
    create = add_verb(verbs, "create", "make a backup now", _create)
    create.add_argument(
        "--with-key", action="store_true", help="with the master key, encrypted by a passphrase"
    )
    verify = add_verb(verbs, "verify", "check a backup's content and checksum", _verify)
    download = add_verb(verbs, "download", "fetch a backup", _download)
    restore = add_verb(verbs, "restore", "go back to a backup; the agent restarts its services", _restore)
    delete = add_verb(verbs, "delete", "delete a backup", _delete)
    for one in (verify, download, restore, delete):
        one.add_argument("file", metavar="BACKUP", help="as the list shows it")
    for one in (create, restore):
        one.add_argument(
            "--passphrase-file",
            type=Path,
            metavar="FILE",
            help="holds the passphrase of the key in it (default: the variable CALLBOARD_PASSPHRASE)",
        )
    download.add_argument("--output", "-o", type=Path, metavar="FILE", help="where to (default: its name)")
    restore.add_argument(
        "--identity",
        choices=("keep", "take"),
        help="of another agent's backup: keep this agent's uuid and name, or take its own (default: keep)",
    )
    for one in (restore, delete):
        one.add_argument("--yes", action="store_true", help="do not ask")
    upload = add_verb(verbs, "upload", "give the agent a backup that was fetched before", _upload)
    upload.add_argument("path", type=Path, metavar="FILE")
    plan = add_verb(verbs, "schedule", "show or change when backups are made", _schedule)
    switch = plan.add_mutually_exclusive_group()
    switch.add_argument("--on", dest="enabled", action="store_true", default=None)
    switch.add_argument("--off", dest="enabled", action="store_false")
    plan.add_argument("--every", type=whole_number(1, 8760), metavar="HOURS")
    plan.add_argument("--keep", type=whole_number(1, 100), metavar="COUNT", help="the oldest are deleted")


def _list(arguments: argparse.Namespace) -> int:
    with agent_of(arguments) as (agent, output):
        reply = agent.get(BACKUPS)
        rows = [
            (
                one.get("file"),
                size(one.get("size_bytes")),
                moment(one.get("created_at")),
                one.get("trigger"),
                one.get("version"),
                one.get("has_key"),
                one.get("error"),
            )
            for one in reply.get("backups", ())
        ]
        columns = ("backup", "size", "made", "by", "version", "with key", "error")
        output.show(reply, lambda: output.table(columns, rows))
    return OK


def _create(arguments: argparse.Namespace) -> int:
    body = {}
    if arguments.with_key or arguments.passphrase_file:
        body["passphrase"] = _passphrase(arguments, new=True)
    with agent_of(arguments) as (agent, output):
        made = agent.call("POST", BACKUPS, body, timeout=max(agent.timeout, LONG_SECONDS))
        output.done(made, f"{made.get('file')} ({size(made.get('size_bytes'))})")
    return OK


def _verify(arguments: argparse.Namespace) -> int:
    with agent_of(arguments) as (agent, output):
        path = f"{BACKUPS}/{segment(arguments.file)}/verify"
        found = agent.call("POST", path, timeout=max(agent.timeout, LONG_SECONDS))
        output.show(found, lambda: _draw_problems(output, found))
        return OK if found.get("ok") is True else FAILED


def _draw_problems(output: Output, found: dict[str, Any]) -> None:
    output.line(f"{found.get('file')}: {'all is well' if found.get('ok') is True else 'cannot be restored'}")
    for problem in found.get("problems", ()):
        output.line(f"  {problem}")


def _download(arguments: argparse.Namespace) -> int:
    target: Path = arguments.output or Path(Path(arguments.file).name)
    if target.exists():
        raise CommandError(f"{target}: is there already", USAGE)
    with agent_of(arguments) as (agent, output), written_whole(target) as file:
        length = agent.download(f"{BACKUPS}/{segment(arguments.file)}", file)
    output.done({"file": str(target), "size_bytes": length}, f"{target} ({size(length)})")
    return OK


def _upload(arguments: argparse.Namespace) -> int:
    try:
        file = arguments.path.open("rb")
    except OSError as error:
        raise CommandError(f"{arguments.path}: cannot be read: {error.strerror}", USAGE) from error
    with file, agent_of(arguments) as (agent, output):
        agent.timeout = max(agent.timeout, LONG_SECONDS)
        length = os.fstat(file.fileno()).st_size
        kept = agent.upload(f"{BACKUPS}/upload", file, length)
        output.done(kept, f"{kept.get('file', arguments.path.name)} ({size(length)})")
    return OK


def _restore(arguments: argparse.Namespace) -> int:
    confirm(f"Go back to {arguments.file}? What was configured since is no more.", yes=arguments.yes)
    body: dict[str, Any] = {}
    if arguments.identity:
        body["keep_identity"] = arguments.identity == "keep"
    if arguments.passphrase_file or os.environ.get("CALLBOARD_PASSPHRASE"):
        body["passphrase"] = _passphrase(arguments, new=False)
    with agent_of(arguments) as (agent, output):
        path = f"{BACKUPS}/{segment(arguments.file)}/restore"
        reply = agent.call("POST", path, body, timeout=max(agent.timeout, LONG_SECONDS))
        state = wait_until_restarted(agent, has_begun=False)
        _check_restored(agent)
        output.done({**reply, "state": state}, f"{arguments.file} is restored; the agent is {state}")
    return OK


def _check_restored(agent: AgentClient) -> None:
    """Raises `CommandError` when the agent runs on what it had. Who has no session in what was restored is
    not told."""
    try:
        last = agent.get(BACKUPS).get("last_restore") or {}
    except Refused:
        return
    if last.get("ok") is False:
        raise CommandError(f"nothing was restored: {last.get('error')}", FAILED)


def _delete(arguments: argparse.Namespace) -> int:
    confirm(f"Delete {arguments.file}?", yes=arguments.yes)
    with agent_of(arguments) as (agent, output):
        reply = agent.call("DELETE", f"{BACKUPS}/{segment(arguments.file)}")
        output.done(reply, f"{arguments.file} is deleted")
    return OK


def _schedule(arguments: argparse.Namespace) -> int:
    changes = {
        "enabled": arguments.enabled,
        "interval_hours": arguments.every,
        "keep_count": arguments.keep,
    }
    body = {name: value for name, value in changes.items() if value is not None}
    with agent_of(arguments) as (agent, output):
        plan = _changed(agent, body) if body else agent.get(f"{BACKUPS}/schedule")
        rows = [
            ("on", plan.get("enabled")),
            ("every", f"{plan.get('interval_hours')} h"),
            ("keeps", plan.get("keep_count")),
            ("last", moment(plan.get("last_run_at"))),
            ("next", moment(plan.get("next_run_at"))),
            ("last error", plan.get("last_error")),
        ]
        output.show(plan, lambda: output.pairs(rows))
    return OK


def _changed(agent: AgentClient, body: dict[str, Any]) -> Any:
    return agent.call("PATCH", f"{BACKUPS}/schedule", body)


def _passphrase(arguments: argparse.Namespace, *, new: bool) -> str:
    file, variable = arguments.passphrase_file, "CALLBOARD_PASSPHRASE"
    if new and file is None and not os.environ.get(variable):
        return new_password_of("the backup", None)
    return password_of("the backup", file, variable)
