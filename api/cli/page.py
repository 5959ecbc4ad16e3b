"""`docs/command-line.rst`, made from the parser and the exit codes."""

import argparse
import textwrap
from collections.abc import Iterator

from api.cli.exits import MEANINGS
from api.cli.registry import COMMANDS, parser_for

HEAD = """\
The command line
================

.. This page is made from the commands themselves by ``make docs/command-line.rst``.

``callboard`` runs an agent, and talks to one that runs: over its HTTP API alone, so that it does on
another machine what it does here. ``callboard COMMAND --help`` says what a command takes.

::

    callboard status                              # is it well?
    callboard doctor                              # what is wrong, and what to do about it
    callboard logs -f --min-level warn
    callboard discover modbus --network 10.0.1.0/24 --validate --save
    callboard endpoints test plc-line-1
    callboard browse opc.tcp://10.0.1.50:4840 --depth 5
    callboard write plc-line-1 setpoint 21.5 --verify
    callboard settings set logging.level debug
    callboard backup create --json | jq -r .file
    callboard diagnostics -o case.tar.gz          # for support; secrets masked

Which agent
-----------

``--url``, else ``DEVICE_API_URL``, else ``http://localhost:`` and ``DEVICE_API_PORT`` or 48484. The API
key is ``--api-key`` or, which other users of the machine cannot see, ``API_KEY``. An ``https://`` agent's
certificate is always verified, by the system's authorities or by those in the file ``--ca``
(``CALLBOARD_CA``). Proxies of the environment are not used, and redirects not followed, so that a key
goes to nobody else. ``--timeout`` is how long each answer is waited for; commands that take longer by
nature (backups, restores, factory reset, traces, updates, trying and browsing devices) are waited for
longer. Of ``discover`` it is what the scan may take, 300 seconds unless said otherwise; Ctrl-C ends the
scan, and what it has found is not shown.

Signing in
----------

Users, sessions and, where the agent asks for sessions (``docs/security.rst``), all else need a session:

* ``callboard login`` asks for a password and keeps the session (24 hours at most) in
  ``$XDG_RUNTIME_DIR/callboard/sessions.json``, or below ``$XDG_STATE_HOME`` or ``~/.local/state``,
  readable by its owner alone; a file that others can read is refused. It belongs to the agent's address
  and is sent to no other. ``callboard logout`` ends it.
* ``--user NAME`` signs in for one command and ends the session after it, with the password in the first
  line of ``--password-file``, in ``CALLBOARD_PASSWORD`` (with ``CALLBOARD_USER``, else admin), or asked
  for. No password is ever an argument. New passwords are in ``--new-password-file`` or
  ``CALLBOARD_NEW_PASSWORD``, the passphrase of a backup's key in ``--passphrase-file`` or
  ``CALLBOARD_PASSPHRASE``.

For scripts
-----------

* ``--json``: one JSON document on standard output and nothing else; what follows (``tap``, ``logs -f``)
  is one object a line. Everything said on the way, and every error, is on standard error, one line each.
* Tables are drawn for terminals. In a pipe or a file they are plain columns, nothing folded, cut off or
  coloured; on a terminal ``NO_COLOR`` and ``TERM=dumb`` are respected.
* What cannot be undone asks first. Without a terminal it is refused unless ``--yes`` is said.
* Nothing that an agent, a device or a broker says can move a terminal's cursor: control characters are
  shown as spaces, in JSON as escapes.
* A reader that has enough (``| head``) is no error; an output that cannot be written is.

"""

AFTER_EXITS = """
Commands that ask how something is end with 1 when it is not well: ``status`` and ``health``, ``doctor``,
``buffer`` (messages wait for a destination that is away), ``memory`` (suspected to leak), ``backup
verify``, ``update status`` and ``update --wait`` (failed, or taken back), ``diagnostics`` (not all of it
could be had), ``endpoints test`` (the device is not there, or nothing of it can be read), ``discover`` and
``discovery run`` (a protocol could not be looked for, or not to the end).

Completion
----------

The script is static: completing starts no Python and asks no agent. Make it anew after an update.

::

    callboard completion bash > ~/.local/share/bash-completion/completions/callboard
    callboard completion zsh > ~/.zfunc/_callboard           # with fpath+=~/.zfunc before compinit
    callboard completion fish > ~/.config/fish/completions/callboard.fish

Doctor and diagnostics
----------------------

``callboard doctor`` looks at configuration, security mode and certificate, data directory, lock, key,
disk, database, clock, port, descriptors, memory, the systemd unit, libraries, devices and destinations,
and whether the agent's clock and version are those here. Each finding is *ok*, a *warning* or a
*problem*, with what to do; it ends with 1 when there is a problem (with ``--strict`` also for a warning).
Run it as the user of the agent, with its ``--config`` and environment; of an agent that runs on this
machine it looks at the database that this says is its own.

It changes nothing: the database is opened for reading only, for a limited time, and its log is left
alone; the lock is looked up in ``/proc/locks``, not taken. While an agent runs, devices and destinations
are what the agent says of them. Without one, a TCP connection (TLS where configured) to each is opened
and closed, all at once and for three seconds at most, and nothing is sent; a serial port is looked at and
not opened, for that moves its control lines, at which some devices restart. What is reached by UDP is not
tried.

``callboard diagnostics`` puts together what the agent says of its health, device, host, memory, database,
buffers, settings, endpoints, destinations, subscriptions, actors and last 500 log entries, and the
doctor's findings: as text, as JSON, or as an archive (``-o FILE.tar.gz``, readable by its owner alone).
The agent masks secrets; what looks like one in any text is masked once more. Names, addresses and log
lines are in it. The key is not.

Commands
--------
"""


def page() -> str:
    """The whole page."""
    return "\n".join([HEAD + _exits() + AFTER_EXITS, *_commands()]).rstrip("\n") + "\n"


def _exits() -> str:
    rows = [f"    {code:<4}  {meaning}" for code, meaning in MEANINGS.items()]
    return "Exit codes::\n\n" + "\n".join(rows) + "\n"


def _commands() -> Iterator[str]:
    parser = parser_for(None)
    inner = _inner(parser)
    for command in COMMANDS:
        own = inner[command.name]
        verbs = _inner(own)
        also = f" (also ``{'``, ``'.join(command.aliases)}``)" if command.aliases else ""
        yield f"``callboard {command.name}``: {command.summary}{also}"
        yield ""
        for name, one in (verbs or {"": own}).items():
            for line in _lines(f"{command.name} {name}".rstrip(), one):
                yield from _wrapped(line)
        yield ""


def _lines(name: str, parser: argparse.ArgumentParser) -> Iterator[str]:
    """A command's synopsis and what its options mean, but for those that all have."""
    own = [one for one in parser._actions if not _is_common(parser, one)]
    words = [_synopsis(one) for one in own]
    yield f"* ``{' '.join(['callboard', name, *words])}``" + (f" {parser.description}" if " " in name else "")
    explained = [f"  * ``{_name(one)}``: {one.help}" for one in own if one.help]
    if explained:
        yield from ("", *explained, "")


def _wrapped(line: str) -> list[str]:
    indent = " " * (len(line) - len(line.lstrip()) + 2)
    return textwrap.wrap(line, 110, subsequent_indent=indent, break_on_hyphens=False) or [""]


def _is_common(parser: argparse.ArgumentParser, action: argparse.Action) -> bool:
    if isinstance(action, argparse._HelpAction) or "--json" in action.option_strings:
        return True
    groups = [one for one in parser._action_groups if one.title == "the agent"]
    return any(action in one._group_actions for one in groups)


def _synopsis(action: argparse.Action) -> str:
    value = "" if action.nargs == 0 else f" {_value(action)}"
    text = f"{action.option_strings[-1]}{value}" if action.option_strings else _value(action)
    if action.nargs == "+":
        text = f"{text} ..."
    return text if not action.option_strings and action.nargs != "?" else f"[{text}]"


def _name(action: argparse.Action) -> str:
    return ", ".join(action.option_strings) or _value(action)


def _value(action: argparse.Action) -> str:
    if action.choices is not None:
        return "|".join(str(one) for one in action.choices)
    return str(action.metavar or action.dest.upper())


def _inner(parser: argparse.ArgumentParser) -> dict[str, argparse.ArgumentParser]:
    for action in parser._actions:
        if isinstance(action, argparse._SubParsersAction):
            return dict(action.choices)
    return {}


if __name__ == "__main__":
    import sys

    sys.stdout.write(page())
