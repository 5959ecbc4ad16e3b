"""The commands there are: a name, a sentence, and the module that is imported when it is asked for."""

import argparse
from collections.abc import Sequence
from importlib import import_module
from typing import Final, NamedTuple


class Command(NamedTuple):
    """`module` has `declare(parser)`, which adds options and sets `do`, a function of the parsed
    arguments that returns the exit code. `aliases` are what the original's command line calls it."""

    name: str
    summary: str
    module: str
    aliases: tuple[str, ...] = ()


COMMANDS: Final = (
    Command("run", "run the agent until it is told to stop", "agent"),
    Command("status", "say whether a running agent is well", "status"),
    Command("health", "show every check of the agent's health", "status"),
    Command("version", "show the versions of this command and of the agent", "status"),
    Command("actors", "print the tree of actors of a running agent", "actors"),
    Command("tap", "follow the readings of a running agent", "tap"),
    Command("logs", "show or follow the agent's log", "logs"),
    Command("doctor", "look for what is wrong and say what to do, with or without a running agent", "doctor"),
    Command("diagnostics", "collect what support needs to know, secrets masked", "diagnostics", ("diag",)),
    Command("discover", "look for devices, and save them as endpoints", "discover"),
    Command("discovery", "manage scans on a schedule, and see how scans went", "discovery"),
    Command("endpoints", "manage, try, import and export endpoints", "endpoints"),
    Command("devices", "list devices, or remove one that was found", "devices"),
    Command("browse", "show what a device has to read, as a tree", "browse"),
    Command("write", "write one value to a device", "devices"),
    Command("protocols", "list protocols, or show the fields of their endpoints", "protocols"),
    Command("destinations", "list where readings go", "destinations"),
    Command("buffer", "show what waits for its destination", "destinations"),
    Command("memory", "show the agent's memory, and who takes it", "memory"),
    Command("settings", "read or change settings", "settings"),
    Command("login", "sign in, and stay signed in", "signing"),
    Command("logout", "end the session that was kept", "signing"),
    Command("users", "manage who may sign in", "users"),
    Command("sessions", "list or end sessions", "sessions"),
    Command("backup", "make, check, fetch and restore backups", "backup"),
    Command("update", "update the agent, or see how an update went", "update"),
    Command("reboot", "restart the agent's services and wait until they run", "power", ("restart",)),
    Command("shutdown", "shut the machine down", "power"),
    Command("factory-reset", "delete everything but the agent's identity", "power"),
    Command("completion", "print a script that completes commands in a shell", "completion"),
)


def parser_for(argv: Sequence[str] | None) -> argparse.ArgumentParser:
    """A parser that knows the options of the commands named in `argv`, or of all when that is None: what
    nobody has asked for is not imported."""
    parser = argparse.ArgumentParser(
        prog="callboard", description="Industrial edge agent", allow_abbrev=False
    )
    parser.add_argument(
        "--version", dest="show_version", action="store_true", help="print the version and exit"
    )
    commands = parser.add_subparsers(dest="command", metavar="COMMAND")
    for command in COMMANDS:
        added = commands.add_parser(
            command.name,
            help=command.summary,
            description=command.summary,
            allow_abbrev=False,
            aliases=command.aliases,
        )
        if argv is None or not {command.name, *command.aliases}.isdisjoint(argv):
            import_module(f"api.cli.commands.{command.module}").declare(added)
    return parser
