"""What a check finds."""

from collections.abc import Callable, Iterable, Iterator
from typing import Literal

import msgspec

State = Literal["ok", "warning", "problem"]
ORDER: tuple[State, ...] = ("ok", "warning", "problem")


class Finding(msgspec.Struct, frozen=True):
    """`says` what was found and what it means, `do` what to do about it, where there is something to do."""

    check: str
    state: State
    says: str
    do: str | None = None


Check = Callable[[], Iterable[Finding]]


def ok(check: str, says: str) -> Finding:
    return Finding(check, "ok", says)


def warning(check: str, says: str, do: str) -> Finding:
    return Finding(check, "warning", says, do)


def problem(check: str, says: str, do: str) -> Finding:
    return Finding(check, "problem", says, do)


def overall(findings: Iterable[Finding]) -> State:
    """The worst of them."""
    return max((finding.state for finding in findings), key=ORDER.index, default="ok")


def found_by(name: str, check: Check) -> Iterator[Finding]:
    """What a check finds; one that fails itself is a finding, and no other is kept from being made."""
    try:
        yield from check()
    except Exception as error:  # noqa: BLE001 - it meets whatever is wrong with a machine
        text = f"could not be looked at: {type(error).__name__}: {error}"
        yield warning(name, text, "report this with the output of `callboard diagnostics`")
