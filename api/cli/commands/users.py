"""`callboard users`: who may sign in."""

import argparse
from pathlib import Path
from typing import Any

from api.cli.agent_client import segment
from api.cli.amounts import moment
from api.cli.asking import confirm
from api.cli.connecting import add_verb, add_verbs, agent_of
from api.cli.exits import OK, USAGE, CommandError
from api.cli.output import Output
from api.cli.sign_in import new_password_of, password_of

USERS = "/v1/admin/users"
ROLES = ("viewer", "operator", "admin")


def declare(parser: argparse.ArgumentParser) -> None:
    verbs = add_verbs(parser)
    add_verb(verbs, "list", "list users", _list)
    add = add_verb(verbs, "add", "add a user", _add)
    change = add_verb(verbs, "set", "change a user's role, or lock a user out", _set)
    remove = add_verb(verbs, "remove", "remove a user, whose sessions end", _remove)
    for one in (add, change, remove):
        one.add_argument("name", metavar="USER")
    password = add_verb(verbs, "passwd", "change your password, or another user's", _passwd)
    password.add_argument("name", nargs="?", metavar="USER", help="default: who is signed in")
    for one in (add, password):
        one.add_argument(
            "--new-password-file",
            type=Path,
            metavar="FILE",
            help="holds the new password (default: the variable CALLBOARD_NEW_PASSWORD, or asked for)",
        )
    add.add_argument("--role", choices=ROLES, default="operator", help="default: operator")
    change.add_argument("--role", choices=ROLES)
    active = change.add_mutually_exclusive_group()
    active.add_argument("--enable", dest="active", action="store_true", default=None)
    active.add_argument("--disable", dest="active", action="store_false", help="sessions end")
    remove.add_argument("--yes", action="store_true", help="do not ask")


def _list(arguments: argparse.Namespace) -> int:
    with agent_of(arguments) as (agent, output):
        users = agent.get(USERS)
        output.show(users, lambda: _draw(output, users.get("users", ())))
    return OK


def _draw(output: Output, users: list[dict[str, Any]]) -> None:
    rows = [
        (
            user.get("username"),
            user.get("role"),
            user.get("is_active"),
            user.get("must_change_password"),
            moment(user.get("created_at")),
        )
        for user in users
    ]
    output.table(("user", "role", "active", "must change password", "since"), rows)


def _add(arguments: argparse.Namespace) -> int:
    with agent_of(arguments) as (agent, output):
        password = new_password_of(arguments.name, arguments.new_password_file)
        body = {"username": arguments.name, "password": password, "role": arguments.role}
        user = agent.call("POST", USERS, body)
        output.done(user, f"{arguments.name} may sign in as {arguments.role}")
    return OK


def _set(arguments: argparse.Namespace) -> int:
    changes = {"role": arguments.role, "is_active": arguments.active}
    body = {name: value for name, value in changes.items() if value is not None}
    if not body:
        raise CommandError("users set: say --role, --enable or --disable", USAGE)
    with agent_of(arguments) as (agent, output):
        user = agent.call("PATCH", f"{USERS}/{segment(arguments.name)}", body)
        output.done(user, f"{arguments.name} is changed")
    return OK


def _remove(arguments: argparse.Namespace) -> int:
    confirm(f"Remove the user {arguments.name}?", yes=arguments.yes)
    with agent_of(arguments) as (agent, output):
        reply = agent.call("DELETE", f"{USERS}/{segment(arguments.name)}")
        output.done(reply, f"{arguments.name} is removed")
    return OK


def _passwd(arguments: argparse.Namespace) -> int:
    """Over the session that is kept, which goes on then, as no other of that user does."""
    with agent_of(arguments, kept_first=True) as (agent, output):
        own = str(agent.get("/v1/auth/me").get("username"))
        name = arguments.name or own
        if name != own:
            body = {"password": new_password_of(name, arguments.new_password_file)}
            reply = agent.call("PATCH", f"{USERS}/{segment(name)}", body)
        else:
            current = password_of(own, arguments.password_file)
            new = new_password_of(own, arguments.new_password_file)
            reply = agent.call(
                "POST",
                "/v1/auth/password",
                {"current_password": current, "new_password": new},
                timeout=max(agent.timeout, 15.0),
            )
        output.done(reply, f"the password of {name} is changed")
    return OK
