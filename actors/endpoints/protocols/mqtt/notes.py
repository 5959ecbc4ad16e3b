"""What is wrong with messages, said once for each kind of trouble and counted from then on."""

import logging
from collections import Counter

from conf.texts import without_controls

log = logging.getLogger(__name__)

MOST = 100
"""Kinds of trouble that are told apart."""


class Notes:
    """`who` names the endpoint's broker in the log."""

    def __init__(self, who: str) -> None:
        self._who = who
        self.counts: Counter[str] = Counter()

    def say(self, trouble: str) -> bool:
        """Whether it is news."""
        trouble = without_controls(trouble)
        known = trouble in self.counts
        if not known and len(self.counts) >= MOST:
            return False
        self.counts[trouble] += 1
        if not known:
            log.warning("%s: %s", self._who, trouble)
        return not known

    def over(self, trouble: str) -> None:
        """It has ended: the next one is news again."""
        self.counts.pop(trouble, None)
