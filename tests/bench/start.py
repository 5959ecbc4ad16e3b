"""Starting with full outboxes: how soon the agent answers and runs, and what memory that takes."""

import itertools
import os
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import closing
from pathlib import Path

import msgspec
from agent import START_S, Agent
from figures import Figure
from rig import WARM_UP_S
from servers.mosquitto import free_port

from actors.publish.rows import DestinationBody
from storage import outbox, target_state
from storage.database import open_database
from storage.outbox import OutboxRow

DESTINATIONS = 4
PAYLOAD_BYTES = (1_000, 2_000, 4_000, 8_000)
ROWS = 5_000
"""In a transaction."""


def measure_start(command: Sequence[str], megabytes: int) -> list[Figure]:
    """With `megabytes` (10^6) of payloads, evenly in the outboxes of brokers that refuse connections."""
    with tempfile.TemporaryDirectory(prefix="bench-") as directory:
        folder = Path(directory)
        stored = fill(folder / "data" / "agent.sqlite", megabytes)
        limits = folder / "agent.toml"
        limits.write_text(f"[publish]\nmax_bytes = {2 * megabytes * 1_000_000}\n")
        with Agent(folder, [*command, "--config", str(limits)]) as agent:
            answers_after = _wait_until_it_answers(agent)
            running_after = agent.wait_until_running()
            rss_mb = max(agent.rss_mb(), agent.watch(WARM_UP_S))
            waiting = agent.api.get("/v1/buffer/status")["mqttBufferBytes"]
    if waiting != stored:
        raise RuntimeError(f"{waiting} of {stored} bytes are in the outboxes")
    return [
        Figure("start", "answers after s", answers_after),
        Figure("start", "running after s", running_after),
        Figure("start", "RSS MB", rss_mb),
    ]


def fill(path: Path, megabytes: int) -> int:
    """Make the database and what waits in it; returns the bytes of the payloads."""
    stored = 0
    with closing(open_database(path)) as database:
        for number in range(DESTINATIONS):
            config = {"host": "127.0.0.1", "port": free_port()}
            body = msgspec.to_builtins(DestinationBody("mqtt", config, enabled=True))
            row = target_state.insert(database, "destination", f"bench-{number}", body)
            waiting = _rows(megabytes * 1_000_000 // DESTINATIONS)
            while chunk := list(itertools.islice(waiting, ROWS)):
                outbox.commit(database, row.id, chunk, [])
                stored += sum(len(one.payload) for one in chunk)
    return stored


def _rows(size: int) -> Iterator[OutboxRow]:
    content = os.urandom(max(PAYLOAD_BYTES))
    now = time.time_ns() // 1_000_000
    for seq in range(1, size * len(PAYLOAD_BYTES) // sum(PAYLOAD_BYTES) + 1):
        yield OutboxRow(seq, "bench", content[: PAYLOAD_BYTES[seq % len(PAYLOAD_BYTES)]], now)


def _wait_until_it_answers(agent: Agent) -> float:
    """Seconds from exec to an answer of /ping. Raises RuntimeError after START_S."""
    while not _answers(agent):
        if agent.ended() or time.monotonic() - agent.exec_at > START_S:
            raise RuntimeError(f"the agent does not answer: {agent.last_words()}")
        time.sleep(0.01)
    return time.monotonic() - agent.exec_at


def _answers(agent: Agent) -> bool:
    try:
        status, _ = agent.api.request("GET", "/ping")
    except OSError:
        return False
    return status == 200
