"""What a preview warns of."""

from collections.abc import Iterable, Iterator, Sequence
from itertools import islice

from actors.publish import formats
from actors.publish.filter_reasons import why_nothing
from actors.publish.preview_messages import PreviewWarning
from actors.publish.preview_plan import Found, Plan
from actors.publish.rows import SWITCHED_OFF
from actors.publish.selection import passing
from actors.publish.subscription_route import EVENTS, SubscriptionRoute
from actors.publish.topics import Target, shortens
from actors.readings.batch import Source
from actors.readings.filters import spelled
from actors.readings.interest import Interest, indices, places, select
from actors.readings.source_topics import level

EXPLAINED = 20
"""Filters that are looked at one by one."""

NAMED = 3
"""Names that a warning lists."""


def warnings(plan: Plan, found: Found) -> list[PreviewWarning]:
    """In the order in which the readings take their way."""
    return [
        *_of_switches(plan),
        *(_of_selection(plan, found) if found.sources else _nothing_read()),
        *_of_readings(plan, found),
        *_of_names(found),
        *_of_topics(plan, found),
        *_of_size(plan, found),
    ]


def _of_switches(plan: Plan) -> Iterator[PreviewWarning]:
    if not plan.publishing:
        yield PreviewWarning("publishing-disabled", SWITCHED_OFF)
    if not plan.enabled:
        yield PreviewWarning("subscription-disabled", "the subscription is disabled")
    if not plan.destination_enabled:
        yield PreviewWarning("destination-disabled", f"its destination, {plan.destination}, is disabled")


def _nothing_read() -> Iterator[PreviewWarning]:
    yield PreviewWarning("nothing-read", "no endpoint has been read yet")


def _of_selection(plan: Plan, found: Found) -> Iterator[PreviewWarning]:
    for wanted in plan.filters:
        if wanted.startswith(EVENTS):
            yield PreviewWarning("filter-of-events", f"{wanted} selects events, of which there is no preview")
    asked = [wanted for wanted in plan.filters if not wanted.startswith(EVENTS)]
    fruitless = [wanted for wanted in asked[:EXPLAINED] if _selects_nothing(wanted, found.sources)]
    for wanted in fruitless:
        yield PreviewWarning("filter-selects-nothing", why_nothing(wanted, found.sources))
    yield from _of_unknown(plan.start.route, found.sources)
    if not found.selected and (len(fruitless) < len(asked) or not plan.filters):
        yield PreviewWarning("nothing-selected", "no point is selected by all conditions together")


def _selects_nothing(topic_filter: str, sources: Iterable[Source]) -> bool:
    interest = Interest(topics=(spelled(topic_filter),))
    return all(select(interest, source) == () for source in sources)


def _of_unknown(route: SubscriptionRoute, sources: Sequence[Source]) -> Iterator[PreviewWarning]:
    devices = {name for source in sources for name in (source.endpoint, source.device)}
    for name in dict.fromkeys([*route.include_devices, *route.exclude_devices]):
        if name not in devices:
            yield PreviewWarning("device-unknown", f"no endpoint or device that was read is called {name}")
    asked = dict.fromkeys([*route.include_metrics, *route.exclude_metrics])
    if asked:
        metrics = {point.name for source in sources for point in source.points}
        for name in asked:
            if name not in metrics:
                yield PreviewWarning("metric-unknown", f"no metric that was read is called {name}")


def _of_readings(plan: Plan, found: Found) -> Iterator[PreviewWarning]:
    wanted = plan.start.route.qualities
    read = [(one.batch, one.positions) for one in found.selected]
    total = left = sum(len(places(positions, batch)) for batch, positions in read)
    if wanted:
        kept = [(batch, passing(wanted, batch, positions)) for batch, positions in read]
        left = sum(len(places(positions, batch)) for batch, positions in kept)
    if left < total:
        kinds = ", ".join(wanted)
        yield PreviewWarning(
            "quality-left-out", f"the last readings of {total - left} of {total} points are not {kinds}"
        )
    if left and found.size is None:
        name = plan.start.route.payload_format
        yield PreviewWarning("nothing-to-tell", f"the format {name} has nothing to tell of the last readings")


def _of_names(found: Found) -> Iterator[PreviewWarning]:
    changed: dict[str, None] = {}
    for one in found.selected:
        source = one.source
        metrics = (source.points[index].name for index in indices(one.points, source))
        for name in (source.endpoint, source.device, *metrics):
            if level(name) != name:
                changed[name] = None
    if changed:
        examples = [f"{name!r} is {level(name)!r}" for name in islice(changed, NAMED)]
        yield PreviewWarning("name-changed", f"in topics {_listed(examples, len(changed))}")


def _of_topics(plan: Plan, found: Found) -> Iterator[PreviewWarning]:
    target, own = plan.start.target, formats.find(plan.start.route.payload_format)
    sources = [one.source for one in found.selected]
    long = [
        source.endpoint
        for source in sources
        if shortens(target, source.protocol, source.endpoint, own.device(source))
    ]
    if long:
        examples = [f"{name[:40]!r}" for name in long[:NAMED]]
        yield PreviewWarning(
            "topic-shortened",
            f"topics would be longer than {target.max_bytes} bytes, and are shortened, of "
            f"{_listed(examples, len(long))}",
        )
    if target.by_name:
        owners = {topic: _who(target, sources) for topic, sources in found.by_topic.items()}
        shared = {topic: names for topic, names in owners.items() if len(names) > 1}
        for topic, names in islice(shared.items(), NAMED):
            listed = _listed([repr(name) for name in names[:NAMED]], len(names))
            yield PreviewWarning("topic-shared", f"one topic, {topic}, is that of {listed}")


def _who(target: Target, sources: Iterable[Source]) -> list[str]:
    """Who shares a topic that was to be of one only: endpoints, or devices if it names those."""
    named = dict.fromkeys((one.endpoint, one.device if "{device}" in target.topic else "") for one in sources)
    return [name if device in ("", name) else f"{name} ({device})" for name, device in named]


def _of_size(plan: Plan, found: Found) -> Iterator[PreviewWarning]:
    limit = plan.owner.type.max_payload(plan.owner.checked)
    if found.size is None or limit is None:
        return
    route = plan.start.route
    polls = 1 if formats.find(route.payload_format).per_poll else route.buffer_size
    if found.size > limit:
        yield PreviewWarning(
            "payload-too-large", f"the payload has {found.size} bytes, {limit} is the most allowed"
        )
    elif found.size * polls > limit and not route.max_points_per_message:
        yield PreviewWarning(
            "payload-too-large",
            f"{polls} polls together may have {found.size * polls} bytes, {limit} is the most allowed",
        )


def _listed(names: Sequence[str], count: int) -> str:
    more = count - len(names)
    return ", ".join(names) + (f" and {more} more" if more > 0 else "")
