"""What sessions wait for before they tell the other end that it need not keep what it has sent."""

from collections.abc import Callable

import msgspec

from actors.readings.messages import AwaitPersisted

ASK_AGAIN = 10.0
"""Seconds after which an answer may have been lost on the way."""

Then = Callable[[], None]


class AskAgain(msgspec.Struct, frozen=True):
    """To the endpoint itself: the question `number` may have been lost."""

    number: int


class Keeping:
    """Of one endpoint. One question at a time: what comes meanwhile waits for the next, which stands for all
    of it, so that somebody who always has something new is answered all the same."""

    def __init__(self, endpoint_uuid: str, ask: Callable[[AwaitPersisted], None]) -> None:
        self._uuid = endpoint_uuid
        self._ask = ask
        self._number = 0
        self._asked: list[Then] = []
        self._next: list[Then] = []

    def wait(self, thens: list[Then]) -> bool:
        """Call these when what has been sent up to now can be lost by no crash; whether that was asked
        now."""
        self._next += thens
        return bool(self._next) and not self._asked and self._begin()

    def _begin(self) -> bool:
        self._asked, self._next = self._next, []
        self._number += 1
        self._ask(AwaitPersisted(self._uuid, self._number))
        return True

    @property
    def question(self) -> AskAgain:
        """The latest one."""
        return AskAgain(self._number)

    def again(self, asked: AskAgain) -> bool:
        """Ask it again, if it is not answered yet; whether it was."""
        if not self._asked or asked.number != self._number:
            return False
        self._ask(AwaitPersisted(self._uuid, self._number))
        return True

    def answered(self, number: int) -> bool:
        """What was sent before that question is safe; whether there is another one now."""
        if number != self._number or not self._asked:
            return False
        thens, self._asked = self._asked, []
        for then in thens:
            then()
        return bool(self._next) and self._begin()

    def doubts(self, number: int) -> bool:
        """Whether that question is the one that waits for an answer."""
        return number == self._number and bool(self._asked)

    def forget(self) -> None:
        """The connection has ended: who has sent it sends it again. An answer that is under way means
        nothing."""
        self._asked, self._next = [], []
        self._number += 1
