"""What is told of a device whose topics a broker has handed out, and whether its endpoint reads the same."""

import logging
from collections.abc import Sequence
from typing import Any, Final

from actors.endpoints.discovering import Confidence, Found
from actors.endpoints.listener import Nobody
from actors.system.failure import Refusal
from storage.timestamps import unix_ms

from . import patterns, points
from .connection import Connection, read_connection
from .discovery import Listening, Sample, Search
from .grouping import Group
from .intake import Intake
from .points import Checked
from .proposing import data_points

log = logging.getLogger(__name__)

_TOLD: Final = 50
"""Topics and values of a device that are told."""
_LONGEST: Final = 200


def found(group: Group, search: Search, sample: Sample, validate: bool) -> Found | None:
    """None where nothing can be read of it."""
    proposed = data_points(group.fields, group.base)
    kinds = {one.topic.name: one.kind for one in group.looks}
    if not proposed and not group.automatic and not any(kind == "binary" for kind in kinds.values()):
        return None
    connection = {**sample.given, **_topic(group, proposed), **group.connection}
    checked = _checked(group, connection, proposed)
    if checked is None:
        return None
    values = None if group.automatic or not proposed else _read(group, *checked)
    live = sum(one.topic.live for one in group.looks)
    metadata = {
        "discoveryMethod": "topic_sampling",
        "convention": group.convention,
        "topics": dict(list(kinds.items())[:_TOLD]),
        "messages": sum(one.topic.count for one in group.looks),
        "retainedOnly": not live and any(one.topic.count for one in group.looks),
        **group.metadata,
    }
    stale = [one.topic.name for one in group.looks if not one.topic.live]
    if stale and live:
        metadata["retainedTopics"] = stale[:_TOLD]
    reader = _reader(group, search.known, sample)
    if reader is not None:
        metadata["endpoint"] = reader
    confidence: Confidence = "high" if live else "low"
    at = f"@{sample.connection.address}" if sample.foreign else ""
    return Found(
        identity=f"mqtt:{group.base}{at}",
        name=f"mqtt_{group.base.strip('/').replace('/', '_')}",
        connection=connection,
        data_points=tuple(proposed),
        confidence=confidence,
        metadata=metadata,
        validated=bool(validate and live and values),
        validation_data={"values": values} if validate and values else None,
    )


def _topic(group: Group, proposed: list[dict[str, Any]]) -> dict[str, Any]:
    """The endpoint's own topic; none where its data points say it all, and lie elsewhere."""
    base = patterns.Pattern(tuple(group.base.split("/")))
    below = patterns.below(base)
    topics = [one["topic"] for one in proposed] or [one.topic.name for one in group.looks]
    return {"topic": group.base} if all(below.match(each) is not None for each in topics) else {}


class _Heard(Nobody):
    def __init__(self) -> None:
        self.values: dict[tuple[str, int], Any] = {}

    def changed(
        self,
        device: str,
        indices: Sequence[int],
        values: list[Any],
        codes: list[str | None] | None = None,
        times: list[int | None] | None = None,
    ) -> None:
        for place, index in enumerate(indices):
            if codes is None or codes[place] is None:
                self.values[device, index] = values[place]


def _checked(
    group: Group, connection: dict[str, Any], proposed: list[dict[str, Any]]
) -> tuple[Connection, Checked] | None:
    """As its endpoint has them; None where it could not be one."""
    try:
        checked = read_connection(connection if "brokerUrl" in connection else {**connection, "host": "h"})
        return checked, points.read_points(proposed)
    except Refusal as refusal:
        log.debug("%s: what was found cannot be an endpoint: %s", group.base, refusal)
        return None


def _read(group: Group, checked: Connection, made: Checked) -> dict[str, Any]:
    """What its endpoint makes of the latest payloads, by metric."""
    heard = _Heard()
    intake = Intake(checked, Checked(made.points, made.devices, made.rules), heard)
    for one in group.looks:
        if one.topic.samples:
            intake.take(one.topic.name, one.topic.samples[-1], False, unix_ms())
    names = [point.name for point in made.points]
    return {
        names[index]: value[:_LONGEST] if isinstance(value, str) else value
        for (device, index), value in list(heard.values.items())[:_TOLD]
        if not device and index < len(names)
    }


def _reader(group: Group, known: tuple[Listening, ...], sample: Sample) -> str | None:
    """The endpoint that reads it already."""
    broker = sample.connection.broker
    for one in known:
        theirs = one.connection.broker
        if (theirs.host, theirs.port) == (broker.host, broker.port) and all(
            any(patterns.covers(wanted, look.topic.name) for wanted in one.filters) for look in group.looks
        ):
            return one.name
    return None
