"""`callboard reboot`, `shutdown` and `factory-reset`."""

import argparse
from time import monotonic

from api.cli.asking import confirm
from api.cli.connecting import add_agent_options, agent_of
from api.cli.exits import OK
from api.cli.kept_sessions import forget
from api.cli.restarting import wait_until_restarted

RESET_SECONDS = 150.0


def declare(parser: argparse.ArgumentParser) -> None:
    add_agent_options(parser)
    does = {"reboot": _reboot, "shutdown": _shutdown, "factory-reset": _factory_reset}
    name = parser.prog.rpartition(" ")[2]
    parser.set_defaults(do=does[name])
    if name == "reboot":
        parser.add_argument("--no-wait", action="store_true", help="do not wait until it runs again")
    else:
        parser.add_argument("--yes", action="store_true", help="do not ask")
    if name == "factory-reset":
        parser.add_argument("--no-backup", action="store_true", help="without a backup before")


def _reboot(arguments: argparse.Namespace) -> int:
    with agent_of(arguments) as (agent, output):
        began = monotonic()
        agent.call("POST", "/v1/reboot")
        if arguments.no_wait:
            output.done({"status": "restarting"}, "the agent restarts its services")
            return OK
        state = wait_until_restarted(agent, has_begun=True)
        took = round(monotonic() - began, 3)
        output.done({"status": "restarted", "state": state, "seconds": took}, f"the agent is {state} again")
    return OK


def _shutdown(arguments: argparse.Namespace) -> int:
    confirm("Shut the machine down?", yes=arguments.yes)
    with agent_of(arguments) as (agent, output):
        reply = agent.call("POST", "/v1/shutdown")
        output.done(reply, "the machine shuts down")
    return OK


def _factory_reset(arguments: argparse.Namespace) -> int:
    confirm("Delete all configuration, users and stored readings of the agent?", yes=arguments.yes)
    with agent_of(arguments) as (agent, output):
        body = {"backup": not arguments.no_backup}
        reply = agent.call("POST", "/v1/factory-reset", body, timeout=max(agent.timeout, RESET_SECONDS))
        state = wait_until_restarted(agent, has_begun=True)
        forget(agent.address.origin)
        output.done({**(reply or {}), "state": state}, f"the agent is as new, and {state}")
    return OK
