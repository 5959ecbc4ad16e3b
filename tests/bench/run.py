"""Benchmarks of the agent, end to end and on this machine; docs/benchmarks.rst says what each figure means.

Devices, a mosquitto with its default settings, a counting subscriber and the agent run as processes of
their own. A missed target does not fail the run; a benchmark that could not be carried out does.
"""

import argparse
import resource
import sys
import tempfile
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path

sys.path.insert(1, str(Path(__file__).parents[1]))  # where `servers` is

from agent import Agent, default_command
from asking import measure_asking
from bacnet import measure_bacnet_agent
from diagnosing import measure_diagnosing
from figures import Figure, show, write_json
from loads import measure_floor, measure_load
from many import measure_many
from opcua import measure_opcua, measure_opcua_again, measure_opcua_latency, measure_opcua_library
from outage import measure_outage
from processes import in_own_group
from restarts import measure_restarts
from rig import LOADS, ONE, WARM_UP_S, Load, start_agent
from scripts import (
    measure_actors,
    measure_backups,
    measure_bacnet,
    measure_changes,
    measure_field_reconnects,
    measure_formats,
    measure_ingest,
    measure_polls,
    measure_reconnects,
    measure_sharing,
    measure_snmp,
    measure_waiting,
)
from start import measure_start
from subscriptions import measure_five, measure_second

WATCHED = Load(200, 50, 1_000)

RESTARTED = Load(devices=20, registers=50, interval_ms=100)


def measure_idle(command: Sequence[str]) -> list[Figure]:
    with tempfile.TemporaryDirectory(prefix="bench-") as directory, Agent(Path(directory), command) as agent:
        running_after = agent.wait_until_running()
        agent.watch(WARM_UP_S)
        return [
            Figure("idle", "RSS MB", agent.rss_mb()),
            Figure("idle", "running after s", running_after),
        ]


def benchmarks(
    command: Sequence[str], seconds: float, outbox_mb: int, waiting_s: int, restarts: int
) -> dict[str, Callable[[], list[Figure]]]:
    agent = partial(start_agent, command, ONE)
    return {
        **{name: partial(measure_load, name, load, agent, seconds) for name, load in LOADS.items()},
        "w5": partial(measure_many, "w5", command, LOADS["w5"], seconds),
        "w2x5": partial(measure_five, "w2x5", command, LOADS["w2"], seconds),
        "second": partial(measure_second, "second", command, LOADS["w2"]),
        "outage": partial(measure_outage, "outage", LOADS["w2"], agent),
        "outage-w3": partial(measure_outage, "outage-w3", LOADS["w3"], agent),
        "waiting": partial(measure_waiting, waiting_s),
        "asking": partial(measure_asking, "asking", LOADS["w2"], agent, seconds),
        "metrics": partial(measure_diagnosing, "metrics", WATCHED, agent, seconds),
        "actors": measure_actors,
        "formats": measure_formats,
        "sharing": measure_sharing,
        "changes": measure_changes,
        "mqtt-ingest": measure_ingest,
        "polls": measure_polls,
        "reconnects": measure_reconnects,
        "field-reconnects": measure_field_reconnects,
        "restarts": partial(measure_restarts, "restarts", RESTARTED, agent, restarts),
        "opcua": partial(measure_opcua, command, seconds),
        "opcua-again": partial(measure_opcua_again, command),
        "opcua-latency": partial(measure_opcua_latency, command),
        "opcua-library": measure_opcua_library,
        "snmp": measure_snmp,
        "bacnet": measure_bacnet,
        "bacnet-agent": partial(measure_bacnet_agent, command),
        "backup": measure_backups,
        "idle": partial(measure_idle, command),
        "start": partial(measure_start, command, outbox_mb),
        "floor": measure_floor,
    }


def run(options: argparse.Namespace) -> int:
    command = options.agent.split() if options.agent else default_command()
    found = benchmarks(command, options.seconds, options.outbox_mb, options.waiting_s, options.restarts)
    unknown = set(options.only or ()) - set(found)
    if unknown:
        print(f"no such benchmark: {', '.join(sorted(unknown))}; there are {', '.join(found)}")
        return 2
    figures: list[Figure] = []
    failed = False
    for name in options.only or found:
        print(f"{name} ...", file=sys.stderr, flush=True)
        try:
            figures += found[name]()
        except (OSError, RuntimeError) as error:
            failed = True
            print(f"{name} could not be measured: {error}", file=sys.stderr)
    show(figures)
    if options.json:
        write_json(figures, options.json)
    return int(failed)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument(
        "--only",
        type=lambda names: names.split(","),
        help="some of w1,w2,w3,w4,w5,w2x5,second,outage,outage-w3,waiting,asking,metrics,actors,formats,"
        "sharing,changes,mqtt-ingest,polls,reconnects,field-reconnects,restarts,opcua,opcua-again,opcua-latency,"
        "opcua-library,bacnet,bacnet-agent,snmp,backup,idle,start,floor",
    )
    parser.add_argument("--seconds", type=float, default=20, help="measured time of a load (default 20)")
    parser.add_argument(
        "--outbox-mb", type=int, default=1400, help="what waits in the outboxes of start (default 1400)"
    )
    parser.add_argument(
        "--waiting-s", type=int, default=600, help="simulated time of waiting (default 600; a day is 86400)"
    )
    parser.add_argument("--restarts", type=int, default=1000, help="soft restarts in a row (default 1000)")
    parser.add_argument("--json", type=Path, help="write the figures to this file too")
    parser.add_argument(
        "--agent", help="command that starts the agent (default: `callboard run` beside this python)"
    )
    options = parser.parse_args()
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
    return in_own_group(lambda: run(options))


if __name__ == "__main__":
    sys.exit(main())
