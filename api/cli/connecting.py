"""How commands reach the agent: the options that all of them have, and who they are to it."""

import argparse
import contextlib
import os
from collections.abc import Callable, Iterator
from pathlib import Path

from api.cli.agent_client import TIMEOUT_SECONDS, AgentClient
from api.cli.kept_sessions import kept_cookie
from api.cli.output import Output
from api.cli.sign_in import DEFAULT_USER, password_of, sign_in, sign_out

DEFAULT_PORT = 48484
LONGEST_SECONDS = 3600.0


def add_agent_options(
    parser: argparse.ArgumentParser, *, json: bool = True, timeout: float = TIMEOUT_SECONDS
) -> None:
    """`--url` and the like."""
    if json:
        parser.add_argument(
            "--json", action="store_true", help="print JSON, and nothing else, on standard output"
        )
    group = parser.add_argument_group("the agent")
    group.add_argument("--url", help="the agent's base URL (default: http://localhost:48484)")
    group.add_argument("--api-key", metavar="KEY", help="the API key (default: the variable API_KEY)")
    group.add_argument("--ca", type=Path, metavar="FILE", help="who vouches for an https:// agent (PEM)")
    group.add_argument(
        "--timeout",
        type=_seconds,
        default=timeout,
        metavar="SECONDS",
        help=f"how long to wait for an answer (default: {timeout:g})",
    )
    group.add_argument("--user", metavar="NAME", help="sign in as this user, for this command only")
    group.add_argument("--password-file", type=Path, metavar="FILE", help="holds that user's password")


@contextlib.contextmanager
def agent_of(
    arguments: argparse.Namespace, *, kept_first: bool = False
) -> Iterator[tuple[AgentClient, Output]]:
    """The agent and the output that a command's options name. Who has said who they are is signed in for as
    long as the command takes; else a session that `callboard login` has kept goes along, if there is one.
    With `kept_first` it does also where the environment has a password."""
    output = Output(as_json=getattr(arguments, "json", False))
    agent = client_of(arguments)
    agent.cookie = kept_cookie(agent.address.origin)
    if not _is_named(arguments) or (kept_first and agent.cookie and not arguments.user):
        yield agent, output
        return
    user = arguments.user or os.environ.get("CALLBOARD_USER") or DEFAULT_USER
    sign_in(agent, user, password_of(user, arguments.password_file))
    try:
        yield agent, output
    finally:
        sign_out(agent)


def client_of(arguments: argparse.Namespace) -> AgentClient:
    """The agent, without a session."""
    key = arguments.api_key or os.environ.get("API_KEY")
    return AgentClient(
        arguments.url or default_url(), key, ca=arguments.ca or _ca(), timeout=arguments.timeout
    )


def default_url() -> str:
    port = os.environ.get("DEVICE_API_PORT", "")
    default = f"http://localhost:{port if port.isdecimal() else DEFAULT_PORT}"
    return os.environ.get("DEVICE_API_URL") or default


def _is_named(arguments: argparse.Namespace) -> bool:
    return bool(arguments.user or arguments.password_file or os.environ.get("CALLBOARD_PASSWORD"))


def _ca() -> Path | None:
    named = os.environ.get("CALLBOARD_CA")
    return Path(named) if named else None


def _seconds(text: str) -> float:
    try:
        seconds = float(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(f"{text!r} is not a number") from error
    if not 0 < seconds <= LONGEST_SECONDS:
        raise argparse.ArgumentTypeError(f"{text} is not above 0 and at most {LONGEST_SECONDS:.0f}")
    return seconds


def whole_number(least: int, most: int) -> "_Whole":
    """For argparse: a number from `least` to `most`."""
    return _Whole(least, most)


class _Whole:
    def __init__(self, least: int, most: int) -> None:
        self._least, self._most = least, most

    def __call__(self, text: str) -> int:
        if text.lstrip("+-").isdecimal() and self._least <= int(text) <= self._most:
            return int(text)
        raise argparse.ArgumentTypeError(f"{text!r} is not a number from {self._least} to {self._most}")


def add_verb(
    verbs: "argparse._SubParsersAction[argparse.ArgumentParser]",
    name: str,
    summary: str,
    do: Callable[[argparse.Namespace], int],
    timeout: float = TIMEOUT_SECONDS,
) -> argparse.ArgumentParser:
    """A command under a command, with the options of all."""
    parser = verbs.add_parser(name, help=summary, description=summary, allow_abbrev=False)
    add_agent_options(parser, timeout=timeout)
    parser.set_defaults(do=do)
    return parser


def add_verbs(parser: argparse.ArgumentParser) -> "argparse._SubParsersAction[argparse.ArgumentParser]":
    """Room for commands under a command, of which one must be named."""
    return parser.add_subparsers(dest="verb", metavar="VERB", required=True)
