"""`docs/settings.rst`, made from the schema: `python -m conf.runtime_page docs/settings.rst`."""

import sys
from pathlib import Path
from textwrap import wrap
from typing import Final

import msgspec

from conf.faults import words
from conf.runtime_keys import KEYS, TOP, Key

WIDTH: Final = 118

INTRODUCTION: Final = """\
Settings
========

.. This page is made from ``conf/runtime.py`` by ``make docs/settings.rst``.

What can be changed while the agent runs: ``GET /v1/settings`` shows it, ``PATCH /v1/settings`` changes
it, as does ``callboard settings set``. Everything else is configured in files and the environment
(``conf/agent.toml``), and read once.

A patch is merged into what is set, at any depth: objects are merged, arrays and all else replace what
was, and ``null`` gives the default back, of one setting or of all in a section. It is stored first, in
the target state, and answered when it is on disk and the parts of the agent that it concerns have been
told; nothing has to be restarted. Several clients at a time lose nothing of each other's.

::

    PATCH /v1/settings
    {"logging": {"level": "debug"}, "intervals": {"stateReportMs": 30000}}

A value that is not allowed, or a key in a section that is not known, is refused with 400 and changes
nothing; the reply names the setting (``logging.level``). Keys beside the sections mean nothing, so that a
whole reply may be sent back; what is all but the name of a section is refused. A setting that is sent
counts as set, even where it is sent as it was: ``null`` takes it back.

Some settings have several names; clients may use any. Replies show the first, those of the API reference,
and what clients have used. Of several names in one patch those that say what is already so do not count;
if the others contradict one another, the patch is refused.

What is stored and cannot be understood (another version has stored it, or the key of the database is
gone) counts as not set; the line ``settings-rows`` of the health report names it, and it stays as it is
until a client sets it anew.

**Later** marks what nothing uses yet: it is checked and kept, and has no effect before that part of the
agent exists.
"""

NOTES: Final = {
    "logging": "Where ``logging.level`` is not set, ``agent.log_level`` (``LOG_LEVEL``) counts.",
    "features": (
        "While ``features.enableDevicePublish`` is off, readings are polled, shown and watched for "
        "drift as ever, but those polled meanwhile are not queued and never published. Destinations "
        "and subscriptions can be added, changed, tested and removed all the same; ``status.reason`` "
        "of a destination says why it is not connected. What an outbox holds is subject to its time "
        "to live as ever."
    ),
    "intervals": "Milliseconds.",
    "runtime": "Megabytes are of 1,048,576 bytes; what counts is the resident memory of the agent's process.",
    "anomalyDetection": (
        "An object of at most 262,144 bytes of JSON. It is merged and kept as it is, without a look "
        "at what is in it; arrays, such as ``metrics``, are replaced whole."
    ),
}


def page() -> str:
    """The whole page."""
    return "\n".join([INTRODUCTION, *(_section(top) for top in TOP)])


def _section(top: str) -> str:
    keys = [key for key in KEYS.values() if key.path.partition(".")[0] == top]
    note = "\n".join(wrap(NOTES[top], WIDTH))
    blocks = "\n".join(_block(key) for key in keys)
    return f"{top}\n{'-' * len(top)}\n\n{note}\n\n{blocks}"


def _block(key: Key) -> str:
    others = ", ".join(f"``{name}``" for name in key.names[1:])
    text = key.description
    if others:
        text += f" Also {others}."
    if key.waits_for is not None:
        text += f" **Later**: with {key.waits_for}."
    facts = f"{words(key.kind)[0].upper()}{words(key.kind)[1:]}; {_default(key)}."
    lines = [*wrap(facts, WIDTH - 4), *wrap(text, WIDTH - 4)]
    return "\n".join([f"``{key.path}``", *(f"    {line}" for line in lines), ""])


def _default(key: Key) -> str:
    if key.default is None:
        return "not set by default"
    if key.opaque:
        return "empty by default"
    return f"by default {msgspec.json.encode(key.default).decode()}"


if __name__ == "__main__":
    Path(sys.argv[1]).write_text(page(), "utf-8")
