"""Topics that filters are matched against, and names as levels of topics."""

import re
from collections.abc import Sequence

from conf.texts import without_controls

_RESERVED = re.compile(r"[/+#]")


def level(name: str) -> str:
    """The name as one level of a topic that every broker takes, of a source topic and a published one alike.

    `_` stands for `/`, `+`, `#`, what is no character to be seen, blanks at either end, and an empty name; so
    different names may become the same level.
    """
    if "/" in name or "+" in name or "#" in name:  # sooner found than by the pattern
        name = _RESERVED.sub("_", name)
    if name and name.isprintable() and name[0] != " " != name[-1]:
        return name
    seen = without_controls(name)
    inner = seen.strip()
    if not inner:
        return "_" * max(1, len(seen))
    start = seen.index(inner)
    return "_" * start + inner + "_" * (len(seen) - start - len(inner))


def levels(name: str) -> list[str]:
    """The name as levels of a topic, each `/` in it beginning another."""
    return [level(part) for part in name.split("/")]


def prefixes(protocol: str, endpoint: str, device: str) -> tuple[str, ...]:
    """What the topics of a source begin with, up to the names of its points (`Source.prefixes`).

    A name with a `/` is one level, and, as filters that were written for it have it, several.
    """
    forms = [(level(endpoint), level(device))]
    if "/" in endpoint or "/" in device:
        forms.append(("/".join(levels(endpoint)), "/".join(levels(device))))
    ways = [way for first, second in forms for way in (f"{protocol}/{first}/{second}/", f"sensors/{first}/")]
    return tuple(dict.fromkeys(ways))


def endings(metric: str) -> list[Sequence[str]]:
    """What the topics of a point end with, level by level; several as in `prefixes`."""
    return [(level(metric),), levels(metric)] if "/" in metric else [(level(metric),)]
