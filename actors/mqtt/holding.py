"""Messages that are not acknowledged yet, in the order in which they came, and who holds them."""

from collections import deque
from collections.abc import Callable, Collection, Iterable, Iterator
from typing import Any, Generic, TypeVar

from actors.mqtt.packets import Received

_SOMEBODY = object()
"""Holds a message for who has yet to come."""

U = TypeVar("U")


class Holding(Generic[U]):
    """Of one session. `users_of` says who has subscribed to a topic."""

    def __init__(self, users_of: Callable[[str], Collection[U]]) -> None:
        self._users_of = users_of
        self._waiting: deque[Received] = deque()
        self._early: list[tuple[Received, Collection[U]]] = []
        """For whom nobody has subscribed yet, or who has has left; with those who had it all the same."""

    def __len__(self) -> int:
        return len(self._waiting)

    @property
    def waits_for_users(self) -> bool:
        return bool(self._early)

    def hold(self, message: Received, holders: Iterable[U]) -> bool:
        """Until all of them have let go of it. False, and it is not held, when nobody is to, and none
        is before it: it can be acknowledged."""
        claims: tuple[Any, ...] = tuple(holders)
        if not claims and not self._waiting:
            return False
        self._append(message, claims)
        return True

    def hold_for_somebody(self, message: Received) -> None:
        """Nobody has subscribed to it yet."""
        self._early.append((message, ()))
        self._append(message, (_SOMEBODY,))

    def _append(self, message: Received, claims: tuple[Any, ...]) -> None:
        message.claims = claims
        self._waiting.append(message)

    def let_go(self, user: U, messages: Iterable[Received]) -> None:
        for message in messages:
            if user in message.claims:
                message.claims = _without(message.claims, user)

    def leave(self, user: U, lasting: bool) -> None:
        """It lets go of all that it holds; on a session that lasts, somebody may come in its place."""
        for message in self._waiting:
            if user in message.claims:
                message.claims = _without(message.claims, user)
                if lasting and _SOMEBODY not in message.claims:
                    message.claims += (_SOMEBODY,)
                    self._early.append((message, self._users_of(message.topic)))

    def offer(self, user: U, holds: bool) -> list[Received]:
        """What came before it had subscribed, and is its own now."""
        early, self._early = self._early, []
        told: list[Received] = []
        for message, had in early:
            if user in had or user not in self._users_of(message.topic):
                self._early.append((message, had))
                continue
            message.claims = _without(message.claims, _SOMEBODY)
            if holds:
                message.claims += (user,)
            told.append(message)
        return told

    def give_up_early(self) -> int:
        """Nobody has come for these; returns how many there are."""
        early, self._early = self._early, []
        for message, _ in early:
            message.claims = _without(message.claims, _SOMEBODY)
        return len(early)

    def done(self) -> Iterator[Received]:
        """Those that nobody holds, nor any before them; each is forgotten."""
        while self._waiting and not self._waiting[0].claims:
            yield self._waiting.popleft()

    def forget(self) -> None:
        """The connection has ended: the broker has them still."""
        for message in self._waiting:
            message.claims = ()
        self._waiting.clear()
        self._early.clear()


def _without(claims: tuple[Any, ...], one: Any) -> tuple[Any, ...]:
    return tuple(each for each in claims if each is not one)
