"""How much a server takes in one call: what it says, and what it is found to take."""

from collections.abc import Iterator, Sequence
from typing import TypeVar

import msgspec

T = TypeVar("T")

MOST = 1000
"""In one call, of a server that does not say."""
TOO_MUCH = frozenset(
    {"BadTooManyOperations", "BadEncodingLimitsExceeded", "BadRequestTooLarge", "BadResponseTooLarge"}
)
"""What a server says when less at once may do."""


class Limit:
    """Of one service."""

    def __init__(self, most: int = 0) -> None:
        """`most` 0: the server does not say."""
        self.most = min(most, MOST) if most > 0 else MOST

    def parts(self, items: Sequence[T]) -> Iterator[Sequence[T]]:
        return (items[at : at + self.most] for at in range(0, len(items), self.most))

    def learn(self, refused: int) -> bool:
        """So many at once were too many; whether fewer can be tried."""
        if refused <= 1:
            return False
        self.most = min(self.most, max(1, refused // 2))
        return True


class Limits(msgspec.Struct):
    read: Limit
    items: Limit
    """Monitored items."""
    translate: Limit
    """Browse paths."""


def unknown() -> Limits:
    return Limits(Limit(), Limit(), Limit())
