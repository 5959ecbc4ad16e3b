"""Which endpoints wait for their readings to be safe, and for whom of the observers. Plain."""

from collections.abc import Iterable

import msgspec
from thespian.actors import ActorAddress

from actors.readings.doubt import Doubt
from actors.readings.messages import AwaitPersisted, Persisted, Secured


class Question(msgspec.Struct):
    """The latest of an endpoint; `number` is the router's own, `asked` the endpoint's."""

    number: int
    asked: int
    asker: ActorAddress
    waiting: dict[str, ActorAddress]
    certain: bool


class Questions:
    """An answer is sent to the asker by `answers`, which takes what is done."""

    def __init__(self) -> None:
        self.doubt = Doubt()
        self._number = 0
        self._open: dict[int, Question] = {}
        self._latest: dict[str, int] = {}

    def ask(self, message: AwaitPersisted, asker: ActorAddress, observers: Iterable[ActorAddress]) -> int:
        """A question that takes the place of the endpoint's earlier one; returns its number."""
        endpoint = message.endpoint_uuid
        self._open.pop(self._latest.get(endpoint, 0), None)
        self._number += 1
        certain = self.doubt.certain(endpoint, message.number)
        self._latest[endpoint] = self._number
        waiting = {observer.addressDetails: observer for observer in observers}
        self._open[self._number] = Question(self._number, message.number, asker, waiting, certain)
        return self._number

    def secured(self, message: Secured) -> None:
        question = self._open.get(message.number)
        if question is not None:
            question.waiting.pop(message.observer.addressDetails, None)
            question.certain &= message.certain

    def awaited(self) -> list[ActorAddress]:
        """Observers that have yet to answer."""
        return list(
            {k: one for question in self._open.values() for k, one in question.waiting.items()}.values()
        )

    def gone(self, observer: ActorAddress) -> None:
        """It is no more, and nobody wants its readings."""
        for question in self._open.values():
            question.waiting.pop(observer.addressDetails, None)

    def forget(self, endpoint_uuid: str) -> None:
        """The endpoint is no more."""
        self._open.pop(self._latest.pop(endpoint_uuid, 0), None)
        self.doubt.forget(endpoint_uuid)

    def answers(self) -> list[tuple[ActorAddress, Persisted]]:
        """What can be answered now."""
        done = [question for question in self._open.values() if not question.waiting]
        for question in done:
            del self._open[question.number]
        return [(question.asker, Persisted(question.asked, question.certain)) for question in done]
