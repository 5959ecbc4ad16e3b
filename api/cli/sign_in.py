"""Signing in, and where passwords come from: a terminal, a file or the environment, and never an argument,
which every user of the machine could read."""

import contextlib
import os
import sys
from http.cookies import CookieError, SimpleCookie
from pathlib import Path
from typing import Any

from api.cli.agent_client import AgentClient
from api.cli.exits import USAGE, CommandError, NoAgent, Refused

DEFAULT_USER = "admin"
SIGN_IN_SECONDS = 15.0
"""Checking a password is slow on purpose, and on a small machine with others waiting it takes seconds."""


def sign_in(agent: AgentClient, user: str, password: str) -> Any:
    """Take a session along from now on; returns the agent's reply, with the `seconds` that it is good for."""
    if agent.address.is_overheard:
        text = (
            f"the password goes to {agent.address.host} unencrypted; use https:// where others are in between"
        )
        print(f"callboard: {text}", file=sys.stderr)
    body = {"username": user, "password": password}
    waits = max(agent.timeout, SIGN_IN_SECONDS)
    reply, headers = agent.exchange("POST", "/v1/auth/login", body, timeout=waits)
    token, seconds = _session_of(headers.get("Set-Cookie", ""))
    if token is None or not isinstance(reply, dict):
        raise NoAgent(agent.url, "it gave no session")
    agent.cookie = token
    if reply.get("must_change_password"):
        print("callboard: this password must be changed: callboard users passwd", file=sys.stderr)
    return {**reply, "seconds": seconds}


def sign_out(agent: AgentClient) -> None:
    """End the session, which would end by itself, so that nothing is said when that fails."""
    with contextlib.suppress(NoAgent, Refused):
        agent.call("POST", "/v1/auth/logout")
    agent.cookie = None


def password_of(user: str, file: Path | None, variable: str = "CALLBOARD_PASSWORD") -> str:
    """From the file, the variable, or whoever sits at the terminal. Raises `CommandError`."""
    if file is not None:
        return _first_line(file)
    if given := os.environ.get(variable):
        return given
    return _asked(f"Password of {user}: ", variable)


def new_password_of(user: str, file: Path | None) -> str:
    """As `password_of`, but asked for twice, and with a variable of its own."""
    variable = "CALLBOARD_NEW_PASSWORD"
    if file is not None:
        return _first_line(file)
    if given := os.environ.get(variable):
        return given
    first = _asked(f"New password of {user}: ", variable)
    if _asked("Again: ", variable) != first:
        raise CommandError("the two are not the same", USAGE)
    return first


def _first_line(file: Path) -> str:
    try:
        text = file.read_text("utf-8")
    except OSError as error:
        raise CommandError(f"{str(file)!r} cannot be read: {error.strerror}", USAGE) from error
    except UnicodeDecodeError as error:
        raise CommandError(f"{str(file)!r} is not UTF-8 text", USAGE) from error
    password = text.split("\n", 1)[0].removesuffix("\r")
    if not password:
        raise CommandError(f"{str(file)!r} has no password in its first line", USAGE)
    return password


def _asked(prompt: str, variable: str) -> str:
    if not sys.stdin or not sys.stdin.isatty():
        text = f"there is no terminal to ask for a password: set {variable} or name a file with the password"
        raise CommandError(text, USAGE)
    from getpass import getpass

    try:
        return getpass(prompt, stream=sys.stderr)
    except EOFError as error:
        raise CommandError("no password was given", USAGE) from error


def _session_of(header: str) -> tuple[str | None, int]:
    """Token and seconds of a session's cookie."""
    try:
        found = SimpleCookie(header).get("admin_session")
    except CookieError:
        found = None
    if found is None or not found.value.isalnum():
        return None, 0
    age = found["max-age"]
    return found.value, int(age) if age.isdecimal() else 86_400
