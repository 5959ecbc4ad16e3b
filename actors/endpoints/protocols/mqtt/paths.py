"""Paths into JSON: `motor.temperature`, `phases[0].current`, `["a.b"]`, `[2]`.

A name is letters, digits and anything but `.`, `[`, `]` and quotes; any other is quoted in brackets. An index
counts from 0, from the end when negative.
"""

import re
from typing import Any, Final

MAX_STEPS = 32
MAX_LENGTH = 1024

Path = tuple[str | int, ...]

_NAME = re.compile(r"[^.\[\]\"']+")
_BRACKET = re.compile(r"""\[\s*(?:(-?[0-9]{1,9})|"((?:[^"\\]|\\.)*)"|'((?:[^'\\]|\\.)*)')\s*\]""", re.ASCII)
_ESCAPE = re.compile(r"\\(.)")


class Missing:
    """There is nothing at that path."""


MISSING: Final = Missing()


def parse(text: str) -> Path:
    """Raises `ValueError` with the rest of a sentence that begins with the field."""
    if len(text) > MAX_LENGTH:
        raise ValueError(f"is longer than {MAX_LENGTH} characters")
    steps: list[str | int] = []
    position = 0
    while position < len(text):
        if text[position] == "[":
            found = _BRACKET.match(text, position)
            if found is None:
                raise ValueError(
                    f'must be a path such as motor.temperature, phases[0] or ["a.b"], not {text!r}'
                )
            steps.append(_step(found))
        else:
            if steps and text[position] == ".":
                position += 1
            elif steps:
                raise ValueError(f"must have a dot before {text[position:][:20]!r}")
            found = _NAME.match(text, position)
            if found is None:
                raise ValueError(f"must be a path such as motor.temperature: a name is missing in {text!r}")
            steps.append(found[0].strip())
        position = found.end()
    if not steps:
        raise ValueError("must be a path such as motor.temperature")
    if len(steps) > MAX_STEPS:
        raise ValueError(f"has more than {MAX_STEPS} steps")
    return tuple(steps)


def _step(found: re.Match[str]) -> str | int:
    index, double, single = found.groups()
    if index is not None:
        return int(index)
    return _ESCAPE.sub(r"\1", double if double is not None else single)


def spelled(path: Path) -> str:
    """The shortest text that `parse` makes that path of."""
    text = ""
    for step in path:
        if isinstance(step, int):
            text += f"[{step}]"
        elif _NAME.fullmatch(step) and step == step.strip():
            text += f".{step}" if text else step
        else:
            escaped = step.replace("\\", "\\\\").replace('"', '\\"')
            text += f'["{escaped}"]'
    return text


def find(document: Any, path: Path) -> Any:
    """What is at that path of a JSON document; `MISSING` where nothing is."""
    for step in path:
        if type(step) is str:
            if type(document) is not dict:
                return MISSING
            document = document.get(step, MISSING)
            if document is MISSING:
                return MISSING
        else:
            assert isinstance(step, int)
            if type(document) is not list or not -len(document) <= step < len(document):
                return MISSING
            document = document[step]
    return document
