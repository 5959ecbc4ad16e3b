"""How many requests were answered, for `/metrics`."""

from collections import Counter

ANSWERED: "Counter[int]" = Counter()
"""By the first digit of the status, since the process started."""


def count(status: int) -> None:
    ANSWERED[status // 100] += 1
