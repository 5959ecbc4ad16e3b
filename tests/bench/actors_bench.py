"""Actor system benchmark: messages a second round a ring of actors, and the bytes that an idle actor takes.

A ring of N actors hands TOKENS tokens on, each step a new message through the public `self.send`. An idle
actor has handled one message; its bytes are what tracemalloc sees of N of them, their addresses included.
Prints one JSON line (`Ring`). With `--base simpleSystemBase` the ring runs on a base of Thespian's own.
"""

import argparse
import gc
import time
import tracemalloc

import msgspec
from thespian.actors import Actor, ActorAddress, ActorSystem

TOKENS = 100
LIMIT_S = 60


class Ring(msgspec.Struct, frozen=True):
    actors: int
    messages_per_s: float
    bytes_per_actor: float


class Build(msgspec.Struct, frozen=True):
    """To `Driver`: create a ring of so many actors; replies True."""

    actors: int


class Run(msgspec.Struct, frozen=True):
    """To `Driver`: hand so many messages round; replies the seconds it took."""

    messages: int


class Join(msgspec.Struct, frozen=True):
    """To `Member`: who comes next; replies `Joined`."""

    next: ActorAddress | None


class Joined(msgspec.Struct, frozen=True):
    pass


class Token(msgspec.Struct, frozen=True):
    """Goes `steps` actors on, then `Landed` to `home`."""

    steps: int
    home: ActorAddress


class Landed(msgspec.Struct, frozen=True):
    pass


class Member(Actor):  # type: ignore[misc]
    def __init__(self) -> None:
        super().__init__()
        self.next: ActorAddress | None = None

    def receiveMessage(self, message: object, sender: ActorAddress) -> None:
        if isinstance(message, Token):
            if message.steps:
                self.send(self.next, Token(message.steps - 1, message.home))
            else:
                self.send(message.home, Landed())
        elif isinstance(message, Join):
            self.next = message.next
            self.send(sender, Joined())


class Driver(Actor):  # type: ignore[misc]
    """Builds the ring one actor after the other, so that no mailbox grows with its size."""

    def __init__(self) -> None:
        super().__init__()
        self.members: list[ActorAddress] = []
        self.wanted = self.landing = 0
        self.started = 0.0
        self.asker: ActorAddress | None = None

    def receiveMessage(self, message: object, sender: ActorAddress) -> None:
        if isinstance(message, Build):
            self.wanted, self.asker = message.actors, sender
            self._add()
        elif isinstance(message, Joined):
            self._joined(sender)
        elif isinstance(message, Run):
            self.asker = sender
            self._run(message.messages)
        elif isinstance(message, Landed):
            self.landing -= 1
            if not self.landing:
                self.send(self.asker, time.perf_counter() - self.started)

    def _add(self) -> None:
        latest = self.members[-1] if self.members else None
        self.members.append(self.createActor(Member))
        self.send(self.members[-1], Join(latest))

    def _joined(self, member: ActorAddress) -> None:
        if len(self.members) < self.wanted:
            self._add()
        elif member != self.members[0]:
            self.send(self.members[0], Join(self.members[-1]))
        else:
            self.send(self.asker, True)

    def _run(self, messages: int) -> None:
        self.landing = TOKENS
        self.started = time.perf_counter()
        for index in range(TOKENS):
            first = self.members[index * len(self.members) // TOKENS]
            self.send(first, Token(messages // TOKENS - 1, self.myAddress))


def measure(base: object, actors: int, messages: int) -> Ring:
    """`base` is whatever `ActorSystem` takes. Raises TimeoutError when the ring does not answer."""
    system = ActorSystem(systemBase=base, transientUnique=True)

    def ask(driver: ActorAddress, message: object) -> float:
        answer = system.ask(driver, message, LIMIT_S)
        if not isinstance(answer, int | float):
            raise TimeoutError(f"no answer to {message}: {answer}")
        return answer

    try:
        driver = system.createActor(Driver)
        gc.collect()
        tracemalloc.start()
        ask(driver, Build(actors))
        gc.collect()
        size, _ = tracemalloc.get_traced_memory()
        tracemalloc.stop()
        return Ring(actors, messages / ask(driver, Run(messages)), size / actors)
    finally:
        system.shutdown()


def system_base(name: str) -> object:
    if name != "asyncio":
        return name
    from actors.system.asyncio_base import AsyncioSystemBase

    return AsyncioSystemBase()


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--actors", type=int, required=True)
    parser.add_argument("--messages", type=int, default=1_000_000)
    parser.add_argument("--base", default="asyncio", help="asyncio, or the name of a base of Thespian's")
    arguments = parser.parse_args()
    ring = measure(system_base(arguments.base), arguments.actors, arguments.messages)
    print(msgspec.json.encode(ring).decode())
