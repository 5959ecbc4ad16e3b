"""How a version on trial is doing."""

from actors.subsystems.messages import StateReported
from actors.update.layout import Trial


def failing(report: StateReported) -> frozenset[str]:
    """The critical subsystems that are not well. Devices and brokers that cannot be reached are none."""
    ill = (check.name for check in report.checks if check.critical and not check.healthy)
    return frozenset(ill) - {"lifecycle"}


class Watch:
    """Of one process's part of a trial, or of that of one of its soft restarts; times are monotonic seconds.

    It is confirmed when it has been RUNNING for `needed` seconds without a critical subsystem failing that
    had been well before the update. A stop counts as orderly when it had been RUNNING and well: one by
    somebody who lost patience with its start does not.
    """

    def __init__(self, trial: Trial, needed: float, state: str) -> None:
        self.trial = trial
        self.ailment: str | None = None
        self.was_well = False
        self._needed = needed
        self._state = state
        self._well_since: float | None = None

    def entered(self, state: str) -> None:
        """The lifecycle's state from now on."""
        self._state = state
        if state != "RUNNING":
            self._well_since = None

    def look(self, report: StateReported, now: float) -> bool:
        """Whether it is to be confirmed."""
        worse = failing(report) - self.trial.failing
        if report.state != "RUNNING":
            self.ailment = f"it is {report.state}"
        else:
            self.ailment = ", ".join(sorted(worse)) or None
            self.was_well = self.ailment is None
        if self.ailment is not None or self._state != "RUNNING":
            self._well_since = None
            return False
        if self._well_since is None:
            self._well_since = now
        return now - self._well_since >= self._needed
