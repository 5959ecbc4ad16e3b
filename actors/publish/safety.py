"""Who waits for payloads of a destination to be on disk, or delivered. Plain."""

from collections import deque

import msgspec

from actors.publish.subscription import AwaitStored
from actors.readings.doubt import Doubt
from actors.readings.messages import Secured


class Safety:
    """Payloads go by their numbers in the outbox. What waits waits for all that came before it."""

    def __init__(self) -> None:
        self.doubt = Doubt()
        self._waiting: deque[tuple[int, Secured]] = deque()
        self._early: list[Secured] = []
        """Waits, too, from before payloads had numbers."""

    def __bool__(self) -> bool:
        """Whether anybody waits."""
        return bool(self._waiting)

    def wait(self, message: AwaitStored, newest: int | None) -> None:
        """`newest` is the last payload that has come; None: it has no number yet."""
        certain = self.doubt.certain(message.endpoint_uuid, message.asked)
        secured = message.secured if certain else msgspec.structs.replace(message.secured, certain=False)
        if newest is None:
            self._early.append(secured)
        else:
            self._waiting.append((newest, secured))

    def begin(self, newest: int) -> None:
        """What came before there were numbers has them."""
        self._waiting.extendleft((newest, secured) for secured in reversed(self._early))
        self._early.clear()

    def safe(self, first_unsafe: int | None) -> list[Secured]:
        """Who need wait no longer, when that is the first payload that is not safe; None: all are."""
        found = []
        while self._waiting and (first_unsafe is None or self._waiting[0][0] < first_unsafe):
            found.append(self._waiting.popleft()[1])
        return found
