"""`callboard login` and `logout`."""

import argparse
import os

from api.cli.amounts import moment
from api.cli.connecting import add_agent_options, client_of
from api.cli.exits import OK
from api.cli.kept_sessions import forget, keep, kept_cookie
from api.cli.output import Output
from api.cli.sign_in import DEFAULT_USER, password_of, sign_in, sign_out
from storage.timestamps import unix_ms


def declare(parser: argparse.ArgumentParser) -> None:
    add_agent_options(parser)
    parser.set_defaults(do=_login if parser.prog.endswith("login") else _logout)


def _login(arguments: argparse.Namespace) -> int:
    agent, output = client_of(arguments), Output(as_json=arguments.json)
    user = arguments.user or os.environ.get("CALLBOARD_USER") or DEFAULT_USER
    reply = sign_in(agent, user, password_of(user, arguments.password_file))
    assert agent.cookie is not None
    seconds = reply["seconds"]
    file = keep(agent.address.origin, agent.cookie, user, seconds)
    until = unix_ms() + seconds * 1000
    known = {"username": reply.get("username", user), "role": reply.get("role"), "expires_at": until}
    output.done(
        {**known, "must_change_password": bool(reply.get("must_change_password")), "kept_in": str(file)},
        f"signed in as {user} at {agent.url} until {moment(until)}",
    )
    return OK


def _logout(arguments: argparse.Namespace) -> int:
    """Also when the agent is not there: what is kept here is forgotten in any case."""
    agent, output = client_of(arguments), Output(as_json=arguments.json)
    agent.cookie = kept_cookie(agent.address.origin)
    known = forget(agent.address.origin)
    if agent.cookie:
        sign_out(agent)
    output.done(
        {"ended": known}, f"signed out at {agent.url}" if known else f"there was no session with {agent.url}"
    )
    return OK
