"""Topic filters with names for levels: `plant/{device}/state`, `plant/+/{metric}`, `plant/#`."""

from typing import NamedTuple

import msgspec

from conf.texts import has_controls
from conf.topic_filters import MAX_BYTES

DEVICE, METRIC = "{device}", "{metric}"
_NAMED = {DEVICE: "device", METRIC: "metric"}
MAX_LEVELS = 200
"""mosquitto ends the connection over more."""
_KEPT = ("$share", "$queue", "$exclusive", "$delayed", "$CONTROL", "$local")


class Found(NamedTuple):
    """What the levels of a topic are: those that are named, and what the wildcards stood for."""

    device: str | None
    metric: str | None
    wild: tuple[str, ...]


class Pattern(msgspec.Struct, frozen=True):
    """`levels` as the client wrote them."""

    levels: tuple[str, ...]

    @property
    def text(self) -> str:
        return "/".join(self.levels)

    @property
    def filter(self) -> str:
        """What to subscribe to."""
        return "/".join("+" if level in _NAMED else level for level in self.levels)

    @property
    def is_exact(self) -> bool:
        """Whether it is one topic."""
        return not any(level in ("+", "#") or level in _NAMED for level in self.levels)

    @property
    def names_device(self) -> bool:
        return DEVICE in self.levels

    def match(self, topic: str) -> Found | None:
        """Whether that is one of its topics. `a/#` has `a` among them; `$...` is none of a leading
        wildcard's."""
        parts = topic.split("/")
        if topic.startswith("$") and self.levels[0] != parts[0]:
            return None
        device = metric = None
        wild: list[str] = []
        for position, level in enumerate(self.levels):
            if level == "#":
                return Found(device, metric, (*wild, *parts[position:]))
            if position == len(parts):
                return None
            part = parts[position]
            if level == DEVICE:
                device = part
            elif level == METRIC:
                metric = part
            elif level == "+":
                wild.append(part)
            elif level != part:
                return None
        return Found(device, metric, tuple(wild)) if len(parts) == len(self.levels) else None


def parse(text: str) -> Pattern:
    """Raises `ValueError` with the rest of a sentence that begins with the field."""
    text = text.strip()
    if not text:
        raise ValueError("must be a topic or a topic filter")
    if has_controls(text):
        raise ValueError("must not hold line ends or other control characters")
    if len(text.encode()) > MAX_BYTES:
        raise ValueError(f"is longer than {MAX_BYTES} bytes")
    levels = tuple(text.split("/"))
    if len(levels) > MAX_LEVELS:
        raise ValueError(f"has more than {MAX_LEVELS} levels")
    if levels[0] in _KEPT:
        raise ValueError(f"must not begin with {levels[0]}; a shared subscription has its group in `group`")
    for number, level in enumerate(levels, 1):
        if "#" in level and (level != "#" or number != len(levels)):
            raise ValueError("must have # as the whole last level only")
        if "+" in level and level != "+":
            raise ValueError("must have + as a whole level only")
        if ("{" in level or "}" in level) and level not in _NAMED:
            raise ValueError("may have {device} and {metric} as whole levels, and no other braces")
    for name in _NAMED:
        if levels.count(name) > 1:
            raise ValueError(f"has {name} twice")
    return Pattern(levels)


def below(pattern: Pattern) -> Pattern:
    """All topics below one as well; what has wildcards already says itself what is meant."""
    if not pattern.is_exact:
        return pattern
    levels = pattern.levels[:-1] if len(pattern.levels) > 1 and not pattern.levels[-1] else pattern.levels
    return Pattern((*levels, "#"))


def covers(one: str, other: str) -> bool:
    """Whether every topic that the second filter has is the first's, too."""
    if other[0] == "$" != one[0]:
        return False
    mine, theirs = one.split("/"), other.split("/")
    for position, level in enumerate(mine):
        if level == "#":
            return True
        if position == len(theirs) or theirs[position] == "#":
            return False
        if level != "+" and level != theirs[position]:
            return False
    return len(mine) == len(theirs)
