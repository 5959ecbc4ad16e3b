"""A scan as it is watched: the request that waits for it, and how far it is meanwhile."""

import contextlib
import json
import sys
import threading
from collections.abc import Callable, Iterator, Mapping
from time import monotonic
from typing import Any

from api.cli.agent_client import AgentClient
from api.cli.amounts import moment
from api.cli.event_stream import say
from api.cli.exits import CommandError
from api.cli.output import Output
from api.printable import one_line

ANSWERING = 30.0
"""Seconds beyond the scan's own time."""
JOINING = 2.0
"""Seconds until a scan is begun though nobody tells how far it is."""
SETTLING = 0.2
EVERY = 5.0
"""Seconds between two lines where there is no terminal."""

NOTHING = "there is nowhere to look: no endpoint is configured; say where by --network or --option"

Show = Callable[[Mapping[str, Any]], None]


def scan(agent: AgentClient, path: str, body: Any, seconds: float, rule: str | None = None) -> Any:
    """What a scan of at most so many seconds finds; `rule` is the uuid of the one that it is of. Interrupted
    it hangs up, which ends a scan that no rule makes. What goes on is on standard error."""
    try:
        with _shown() as show:
            _Watching(agent, rule, show).begin()
            return agent.call("POST", path, body, timeout=seconds + ANSWERING)
    except KeyboardInterrupt:
        say("the scan is ended" if rule is None else "the rule goes on; `callboard discovery cancel` ends it")
        raise


class _Watching:
    """Follows the runs of discovery in a thread, to show the one that begins now. Without it the scan is as
    good."""

    def __init__(self, agent: AgentClient, rule: str | None, show: Show) -> None:
        self._agent = agent
        self._rule = rule
        self._show = show
        self._joined = threading.Event()
        self._begun = False
        self._others: set[str] = set()
        self._own: str | None = None

    def begin(self) -> None:
        threading.Thread(target=self._follow, daemon=True).start()
        self._joined.wait(JOINING)
        self._begun = True

    def _follow(self) -> None:
        # Whatever becomes of it, the request that waits for the scan says what is wrong.
        with contextlib.suppress(CommandError, OSError, ValueError, AttributeError):
            for name, data in self._agent.stream("/v1/discovery-runs/stream"):
                if name == "run":
                    self._told(json.loads(data))
                elif not name:
                    threading.Timer(SETTLING, self._joined.set).start()
        self._joined.set()

    def _told(self, run: dict[str, Any]) -> None:
        uuid = str(run.get("uuid"))
        if not self._begun or run.get("rule_uuid") != self._rule:
            self._others.add(uuid)
        elif self._own is None and uuid not in self._others:
            self._own = uuid
        if uuid == self._own:
            self._show(run)


@contextlib.contextmanager
def _shown() -> Iterator[Show]:
    if not sys.stderr.isatty():
        yield _Lines()
        return
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

    columns = (TextColumn("{task.description}"), BarColumn(), TextColumn("{task.fields[asked]}"))
    with Progress(*columns, TimeElapsedColumn(), console=Console(stderr=True), transient=True) as progress:
        task = progress.add_task("looking", total=None, asked="")

        def show(run: Mapping[str, Any]) -> None:
            planned, probed = run.get("planned"), run.get("probed") or 0
            asked = f"{probed} of {planned} asked, {run.get('found')} found"
            description = one_line(str(run.get("protocol")))
            progress.update(
                task, description=description, total=planned or None, completed=probed, asked=asked
            )

        yield show


class _Lines:
    """A line now and then, where there is no terminal to draw a bar on."""

    def __init__(self) -> None:
        self._next = monotonic() + EVERY

    def __call__(self, run: Mapping[str, Any]) -> None:
        if monotonic() >= self._next:
            self._next = monotonic() + EVERY
            asked = f"{run.get('probed')} of {run.get('planned')} asked, {run.get('found')} found"
            say(one_line(f"{run.get('protocol')}: {asked}"))


# What was found


def draw_found(output: Output, reply: dict[str, Any]) -> None:
    columns = ("device", "protocol", "at", "confidence", "read", "points", "endpoint")
    rows = [
        (
            one.get("name"),
            one.get("protocol"),
            where(one.get("connection") or {}),
            one.get("confidence"),
            one.get("validated"),
            len(one.get("dataPoints") or ()),
            one.get("endpoint"),
        )
        for one in reply.get("devices", ())
    ]
    nobody = "nobody was found" if (reply.get("run") or {}).get("protocol") else NOTHING
    output.table(columns, rows, nobody)
    if saved := reply.get("saved"):
        output.line()
        _draw_saved(output, saved)


def _draw_saved(output: Output, saved: dict[str, Any]) -> None:
    would = "would be " if saved.get("dryRun") else ""
    for what, done in (("added", "added"), ("changed", "changed"), ("removed", "removed")):
        if names := saved.get(what):
            output.line(f"{len(names)} {would}{done}: {', '.join(map(str, names))}")
    for what, done in (("refused", "cannot be added"), ("spared", "not removed")):
        for name, reason in (saved.get(what) or {}).items():
            output.line(f"{name}: {done}: {reason}")
    if not any(saved.get(what) for what in ("added", "changed", "removed")):
        output.line("no endpoint was changed" if not would else "no endpoint would be changed")


def tell_errors(reply: dict[str, Any]) -> bool:
    """On standard error; returns whether a protocol's scan has failed."""
    errors = reply.get("errors") or ()
    for one in errors:
        place, protocol = str(one.get("where") or ""), str(one.get("protocol"))
        words = [place] if place.startswith(f"{protocol}:") else [protocol, *([place] if place else [])]
        say(one_line(f"{' '.join(words)}: {one.get('error')}"))
    beyond = ((reply.get("run") or {}).get("troubles") or 0) - sum(1 for one in errors if "where" in one)
    if beyond > 0:
        say(f"and {beyond} more places that could not be asked")
    return any("where" not in one for one in errors)


def where(connection: dict[str, Any]) -> str:
    """A connection in few words."""
    rest = {
        key: value
        for key, value in connection.items()
        if isinstance(value, str | int) and value not in ("", None)
    }
    url = next((rest.pop(key) for key in ("endpointUrl", "brokerUrl", "serialPort") if key in rest), None)
    place = str(url) if url is not None else str(rest.pop("host", ""))
    if url is None and "port" in rest:
        place = f"{f'[{place}]' if ':' in place else place}:{rest.pop('port')}"
    return " ".join([place, *(f"{key}={value}" for key, value in rest.items())]).strip()


def draw_runs(output: Output, runs: Any) -> None:
    columns = ("run", "protocol", "rule", "by", "began", "status", "took", "asked", "found", "saved", "error")
    rows = [
        (
            one.get("uuid"),
            one.get("protocol"),
            one.get("rule_name"),
            one.get("trigger"),
            moment(one.get("started_at")),
            one.get("status"),
            None if one.get("duration_ms") is None else f"{one['duration_ms'] / 1000:.1f} s",
            None if one.get("planned") is None else f"{one.get('probed')} of {one['planned']}",
            one.get("found"),
            one.get("saved"),
            one.get("error"),
        )
        for one in runs
    ]
    output.table(columns, rows, "no runs")
