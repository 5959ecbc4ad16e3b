"""`callboard sessions`: who is signed in."""

import argparse

from api.cli.agent_client import segment
from api.cli.amounts import moment
from api.cli.connecting import add_verb, add_verbs, agent_of
from api.cli.exits import OK, USAGE, CommandError

SESSIONS = "/v1/admin/sessions"


def declare(parser: argparse.ArgumentParser) -> None:
    verbs = add_verbs(parser)
    add_verb(verbs, "list", "list sessions", _list)
    end = add_verb(verbs, "end", "end one session, or all of a user", _end)
    end.add_argument("id", nargs="?", metavar="ID", help="as the list shows it")
    end.add_argument("--of", metavar="USER", help="all of this user")


def _list(arguments: argparse.Namespace) -> int:
    with agent_of(arguments) as (agent, output):
        reply = agent.get(SESSIONS)
        rows = [
            (
                one.get("id"),
                one.get("username"),
                moment(one.get("created_at")),
                moment(one.get("expires_at")),
                one.get("peer"),
                one.get("user_agent"),
                one.get("current"),
            )
            for one in reply.get("sessions", ())
        ]
        columns = ("id", "user", "since", "until", "from", "client", "this one")
        output.show(reply, lambda: output.table(columns, rows))
    return OK


def _end(arguments: argparse.Namespace) -> int:
    if (arguments.id is None) == (arguments.of is None):
        raise CommandError("sessions end: name a session, or a user with --of", USAGE)
    with agent_of(arguments) as (agent, output):
        if arguments.id is not None:
            reply = agent.call("DELETE", f"{SESSIONS}/{segment(arguments.id)}")
            output.done(reply, "the session is ended")
        else:
            reply = agent.call("DELETE", SESSIONS, query={"username": arguments.of})
            output.done(reply, f"{reply.get('ended', 0)} sessions of {arguments.of} are ended")
    return OK
