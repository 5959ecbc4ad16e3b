"""What subscriptions cost, end to end: several to two brokers, and a second one beside the first."""

import statistics
from collections.abc import Sequence
from functools import partial

from agent import Agent, Wanted
from figures import Figure
from loads import Window, load_figures, watch
from rig import DECODED, ONE, Load, Rig, rig, start_agent

FIVE = (
    *ONE,
    Wanted(0, "readings", "custom", "json"),
    Wanted(0, "copy", "tags", "json"),
    Wanted(1, DECODED, "tags", "json"),
    Wanted(1, "packed", "custom", "msgpack+deflate"),
)
SECOND = Wanted(0, "copy", "tags", "json")

WINDOW_S = 2
SETTLE_S = 0.5
TURNS = (0, 1, 2, 2, 1, 0)
"""How many subscriptions there are in the windows of a round; up and down, for what else the machine does
changes slowly."""
ROUNDS = 6


def measure_five(name: str, command: Sequence[str], load: Load, seconds: float) -> list[Figure]:
    """Five subscriptions on two destinations."""
    start = partial(start_agent, command, FIVE)
    with rig(load, start, [_others(0), _others(1)]) as running:
        window = watch(running, seconds)
        arrived = (
            Figure(name, f"{each.broker + 1}/{each.topic} messages/s", _messages(window, each))
            for each in FIVE
        )
        return [*load_figures(name, running, window), *arrived]


def _others(broker: int) -> list[str]:
    return [each.topic for each in FIVE if each.broker == broker and each.topic != DECODED]


def _messages(window: Window, wanted: Wanted) -> float:
    """Messages a second on a subscription's topic."""
    report = window.reports[wanted.broker]
    decoded = report.messages + report.duplicates + report.unreadable
    return (decoded if wanted.topic == DECODED else report.counted.get(wanted.topic, 0)) / window.seconds


def measure_second(name: str, command: Sequence[str], load: Load) -> list[Figure]:
    """No subscription, one, and two of equal format and compression, in turn; medians of the rounds."""
    start = partial(start_agent, command, (*ONE, SECOND))
    with rig(load, start, [[SECOND.topic]]) as running:
        rounds = [_round(running) for _ in range(ROUNDS)]
    first = statistics.median(one - none for none, one, _ in rounds)
    second = statistics.median(two - one for _, one, two in rounds)
    return [
        Figure(name, "CPU ms/s without", statistics.median(none for none, _, _ in rounds)),
        Figure(name, "CPU ms/s first", first),
        Figure(name, "CPU ms/s second", second),
        Figure(name, "second / first", second / first if first > 0 else None),
    ]


def _round(running: Rig[Agent]) -> list[float]:
    """CPU ms a second with 0, 1 and 2 subscriptions."""
    taken: list[list[float]] = [[], [], []]
    for count in TURNS:
        for index, subscription in enumerate(running.subject.subscriptions):
            running.subject.enable(subscription, index < count)
        running.subject.watch(SETTLE_S)
        window = watch(running, WINDOW_S)
        _check(window, running.load, count)
        taken[count].append(1000 * window.cpu_s / window.seconds)
    return [statistics.mean(cpu) for cpu in taken]


def _check(window: Window, load: Load, count: int) -> None:
    """Raises RuntimeError unless as many subscriptions as there should be have published all."""
    polls = load.devices * 1000 / load.interval_ms
    for wanted, expected in zip((*ONE, SECOND), (polls if count > n else 0 for n in (0, 1)), strict=True):
        seen = _messages(window, wanted)
        if abs(seen - expected) > 0.05 * polls:
            raise RuntimeError(f"{seen:.0f} messages/s on {wanted.topic} with {count} subscriptions")
