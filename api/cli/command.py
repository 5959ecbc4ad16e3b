"""The `callboard` command."""

import argparse
import os
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

DEFAULT_PORT = 48484
TIMEOUT_SECONDS = 5
INTERRUPTED = 130
FILTERS = ("endpoint", "device", "metric", "quality", "protocol")


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line; returns the process's exit code."""
    parser = _parser()
    arguments = parser.parse_args(argv)
    if arguments.version:
        from api.version import version

        print(f"callboard {version()}")
        return 0
    if arguments.command == "run":
        try:
            from api.cli.run import run

            return run(arguments.config, arguments.data_dir, arguments.demo)
        except KeyboardInterrupt:  # before the agent was there to be stopped
            return INTERRUPTED
    if arguments.command == "actors":
        return _actors(arguments.url or _default_url(), arguments.api_key or os.environ.get("API_KEY"))
    if arguments.command == "tap":
        try:
            return _tap(arguments)
        except KeyboardInterrupt:  # before there was anything to follow
            return INTERRUPTED
    parser.print_usage(sys.stderr)
    return 2


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="callboard", description="Industrial edge agent")
    parser.add_argument("--version", action="store_true", help="print the version and exit")
    commands = parser.add_subparsers(dest="command", metavar="COMMAND")
    run = commands.add_parser("run", help="run the agent until it is told to stop")
    run.add_argument("--config", type=Path, metavar="FILE", help="a TOML file that overrides the defaults")
    run.add_argument("--data-dir", type=Path, metavar="DIR", help="where the agent keeps its data")
    run.add_argument("--demo", action="store_true", help="with simulated devices and a broker")
    actors = commands.add_parser("actors", help="print the tree of actors of a running agent")
    _add_agent(actors)
    tap = commands.add_parser("tap", help="follow the readings of a running agent")
    for name in FILTERS:
        values = "GOOD, UNCERTAIN or BAD" if name == "quality" else "a `*` stands for any characters"
        tap.add_argument(
            f"--{name}",
            action="append",
            default=[],
            type=str.upper if name == "quality" else str,
            metavar=name.upper(),
            help=f"only of this {name}: {values}; may be repeated, or separated by commas",
        )
    tap.add_argument("--json", action="store_true", help="one JSON object a line, as the agent sends it")
    tap.add_argument("--latest", action="store_true", help="print the latest readings and exit")
    _add_agent(tap)
    return parser


def _add_agent(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--url", help="the agent's base URL (default: http://localhost:48484)")
    parser.add_argument("--api-key", metavar="KEY", help="the API key (default: the variable API_KEY)")


def _tap(arguments: argparse.Namespace) -> int:
    from api.cli.tap import tap

    return tap(
        arguments.url or _default_url(),
        arguments.api_key or os.environ.get("API_KEY"),
        {name: getattr(arguments, name) for name in FILTERS},
        as_json=arguments.json,
        latest=arguments.latest,
    )


def _default_url() -> str:
    port = os.environ.get("DEVICE_API_PORT", "")
    default = f"http://localhost:{port if port.isdecimal() else DEFAULT_PORT}"
    return os.environ.get("DEVICE_API_URL") or default


def _actors(url: str, key: str | None) -> int:
    from http.client import HTTPException

    try:
        print(_get(f"{url.rstrip('/')}/v1/actors?format=text", key), end="")
    except (OSError, HTTPException, ValueError) as error:
        print(f"callboard: no answer from an agent at {url}: {_reason(error)}", file=sys.stderr)
        return 1
    return 0


def _get(url: str, key: str | None) -> str:
    """The text at `url`. Raises `OSError` (which HTTP errors are), `HTTPException` or `ValueError`."""
    from urllib.request import ProxyHandler, Request, build_opener

    request = Request(url, headers={"X-Api-Key": key} if key else {})
    with build_opener(ProxyHandler({})).open(request, timeout=TIMEOUT_SECONDS) as response:
        text: str = response.read().decode()
        return text


def _reason(error: Exception) -> str:
    from urllib.error import HTTPError, URLError

    if isinstance(error, HTTPError):
        with error:
            said = _said(error.read)
        status = f"HTTP {error.code} {error.reason}"
        return status if said in (None, error.reason) else f"{status}: {said}"
    return str(error.reason if isinstance(error, URLError) else error)


def _said(read: Callable[[], bytes]) -> str | None:
    from http.client import HTTPException

    from api.cli.refusals import error_text

    try:
        return error_text(read())
    except (OSError, HTTPException):  # the rest of the answer does not come
        return None
