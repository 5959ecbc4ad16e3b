"""The health report: what subsystems say of themselves, and what the tree of actors shows."""

from collections.abc import Iterable, Mapping, Sequence

import msgspec

from actors.subsystems.descriptor import Subsystem
from actors.subsystems.messages import Check, SubsystemChecked
from actors.system.ailments import Ailment
from storage.timestamps import unix_ms

FAILED_CHECKS = 2
"""In a row: as often a critical line fails before the agent does."""
LAG = 1.0  # seconds by which the event loop may be late
TOLD = 5  # actors that one line speaks of


class _State(msgspec.Struct):
    """What is known of a subsystem; each is why it is not healthy, None when it is not a reason."""

    failed: str | None = "has not started"
    silent: str | None = None
    ill: str | None = None
    said: str | None = None
    awaited: bool = False
    description: str | None = None

    @property
    def error(self) -> str | None:
        """An ailment says most, for it is why the others are."""
        return self.ill or self.failed or self.silent or self.said


class _Count(msgspec.Struct):
    failures: int = 0
    last_error: str | None = None


def failing(checks: Iterable[Check]) -> list[str]:
    """The critical lines over which the agent is not healthy. It is again as soon as they are: nothing is
    latched. (The reference's arbiter latches until a restart.)"""
    return [one.name for one in checks if one.critical and one.consecutive_failures >= FAILED_CHECKS]


class HealthBook:
    """Kept by the root. A check lasts from one `tally` to the next; `report` may be asked for at any time."""

    def __init__(self, subsystems: Sequence[Subsystem]) -> None:
        self._subsystems = subsystems
        self._states = {one.name: _State() for one in subsystems}
        self._said: dict[str, tuple[str, Check]] = {}
        self._ailing: dict[str, str] = {}
        self._blocking: str | None = None
        self._dropping: str | None = None
        self._unclaimed: str | None = None
        self._clock: str | None = None
        self._counts: dict[str, _Count] = {}

    # Events

    def started(self, name: str) -> None:
        self._states[name].failed = None

    def failed(self, name: str, error: str) -> None:
        self._states[name].failed = error

    def stored(self, kinds: Mapping[str, int]) -> None:
        """How many rows of each kind there are: those that nobody keeps are left alone, and spoken of."""
        kept = {kind for one in self._subsystems for kind in one.kinds}
        found = [f"{count} of kind {kind!r}" for kind, count in sorted(kinds.items()) if kind not in kept]
        self._unclaimed = f"left alone, not known to this version: {', '.join(found)}" if found else None

    def unwanted(self, name: str) -> None:
        """It is switched off, which is no failure."""
        self._begin(name, _State(failed=None, description="switched off"))

    def ended(self, name: str) -> None:
        """What it has said is not true any more."""
        self._begin(name, _State(failed="has ended"))

    def _begin(self, name: str, state: _State) -> None:
        self._states[name] = state
        self._said = {key: said for key, said in self._said.items() if said[0] != name}

    # A check

    def asked(self, name: str) -> None:
        self._states[name].awaited = True

    def answered(self, name: str, answer: SubsystemChecked) -> None:
        """What a subsystem says replaces all that it has said before."""
        state = self._states[name]
        state.awaited, state.silent = False, None
        state.said, state.description = answer.error, answer.description
        self._said = {key: said for key, said in self._said.items() if said[0] != name}
        self._said |= {check.name: (name, check) for check in answer.checks}

    def examined(self, ailments: Iterable[Ailment], lag: float, clock: str | None = None) -> None:
        """What is wrong with the tree now; `lag` is the loop's, in seconds, `clock` what is to be said of the
        clock."""
        self._clock = clock
        found = list(ailments)
        failing = _by_path(one for one in found if one.sort == "failing")
        for name, state in self._states.items():
            state.ill = failing.pop(name, None)
        self._ailing = failing
        late = f"{lag:.1f} s late" if lag >= LAG else None
        self._blocking = _told(one for one in found if one.sort == "blocking") or late
        self._dropping = _told(one for one in found if one.sort == "dropping")

    def tally(self, running: bool) -> None:
        """A check is over: count whose health it found wanting. While the agent is not `running` that is as
        it should be, and counts for nothing."""
        for state in self._states.values():
            if state.awaited:
                state.silent = "no answer"
        lines = self._lines()
        self._counts = {name: self._counts.get(name, _Count()) for name in lines}
        for name, check in lines.items():
            count = self._counts[name]
            count.failures = 0 if check.healthy or not running else count.failures + 1
            count.last_error = check.last_error or count.last_error

    def report(self, lifecycle: str) -> list[Check]:
        """Every line; what is not healthy has failed at least once. An agent that starts or stops is not
        ready, and that is all; one in ERROR has failed."""
        now = unix_ms()
        lines = self._lines()
        lines["lifecycle"] = Check("lifecycle", lifecycle == "RUNNING", critical=True)
        self._counts["lifecycle"] = _Count(FAILED_CHECKS if lifecycle == "ERROR" else 1)
        return [
            msgspec.structs.replace(
                check,
                last_check=now,
                consecutive_failures=0 if check.healthy else max(1, self._count(name).failures),
                last_error=check.last_error or self._count(name).last_error,
            )
            for name, check in lines.items()
        ]

    def _count(self, name: str) -> _Count:
        return self._counts.get(name, _Count())

    def _lines(self) -> dict[str, Check]:
        lines: dict[str, Check] = {}
        for one in self._subsystems:
            state = self._states[one.name]
            name, error = one.check_name, state.error
            lines[name] = Check(
                name, error is None, one.critical, description=state.description, last_error=error
            )
        lines["event-loop"] = _line("event-loop", self._blocking)
        lines["mailboxes"] = _line("mailboxes", self._dropping)
        lines["clock"] = _line("clock", self._clock and f"it {self._clock}")
        lines |= {name: check for name, (_, check) in self._said.items()}
        if self._unclaimed is not None:
            lines["stored-rows"] = _line("stored-rows", self._unclaimed)
        for path, what in self._ailing.items():
            lines[path or "agent"] = _line(path or "agent", what)
        return lines


def _by_path(ailments: Iterable[Ailment]) -> dict[str, str]:
    found: dict[str, str] = {}
    for path, _, what in ailments:
        found[path] = f"{found[path]}; {what}" if path in found else what
    return found


def _told(ailments: Iterable[Ailment]) -> str | None:
    """The first few, each with its actor."""
    told = [f"{path or 'agent'} {what}" for path, _, what in ailments]
    more = f" and {len(told) - TOLD} more" if len(told) > TOLD else ""
    return "; ".join(told[:TOLD]) + more if told else None


def _line(name: str, error: str | None) -> Check:
    return Check(name, error is None, last_error=error)
