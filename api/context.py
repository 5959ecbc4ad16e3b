"""What route handlers are given: security settings, a way to ask actors, live readings."""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from typing import Any, Protocol, TypeAlias, TypeVar

import msgspec
from thespian.actors import ActorAddress

from actors.system.failure import Failed
from api.errors import api_error
from api.log_hub import LogHub
from api.readings_hub import ReadingsHub
from api.runs_hub import RunsHub
from api.sharing import SharedReplies

Target: TypeAlias = str | ActorAddress
"""`agent`, the path of a subsystem or of an actor below it (`publisher`, `outputs/modbus`), or an address."""


class Ask(Protocol):
    """Sends a message and returns the reply; `within` seconds, where the message says that it takes long."""

    def __call__(self, target: Target, message: Any, within: float | None = None) -> Awaitable[Any]: ...


AskEach = Callable[[Sequence[ActorAddress], Any, float], Awaitable[list[Any]]]
R = TypeVar("R")

PEEK_SECONDS = 1.0
"""How long a listing waits for one actor's contribution before it goes on without it."""


class Lifecycle:
    """The agent's state, as the root has last told the gateway."""

    def __init__(self, state: str = "RUNNING") -> None:
        self.state = state


class Context(msgspec.Struct, frozen=True):
    """`ask` sends a message and returns the reply struct, `Failed`, or None when the deadline passed;
    `ask_each` sends one to many and returns as much of each, within seconds."""

    ask: Ask
    ask_each: AskEach
    security_mode: str = "LOCALHOST_ONLY"
    enable_auth: bool = False
    key: str | None = None
    allowed_hosts: tuple[str, ...] = ()
    readings: ReadingsHub = msgspec.field(default_factory=ReadingsHub)
    lifecycle: Lifecycle = msgspec.field(default_factory=Lifecycle)
    require_session: bool = False
    shared: SharedReplies = msgspec.field(default_factory=SharedReplies)
    logs: LogHub = msgspec.field(default_factory=LogHub)
    runs: RunsHub = msgspec.field(default_factory=RunsHub)

    async def request(
        self,
        target: Target,
        message: Any,
        reply: type[R] | tuple[type[R], ...],
        *,
        silence: str | None = None,
        unsupported: str | None = None,
        within: float | None = None,
    ) -> R:
        """The reply to `message`. Raises `ApiError` for `Failed` (its status from the one table) and
        for no answer in time (503), which is `within` seconds where it takes long. `silence` and
        `unsupported` replace the text of a 503 for no answer and of a 501.
        """
        answer = await (self.ask(target, message) if within is None else self.ask(target, message, within))
        if isinstance(answer, reply):
            return answer
        if answer is None:
            raise api_error(Failed("unavailable", silence or _silence(target)))
        if not isinstance(answer, Failed):
            raise TypeError(f"{type(message).__name__} was answered with {type(answer).__name__}")
        _check_supported(answer, unsupported)
        raise api_error(answer)

    async def peek(
        self, target: Target, message: Any, reply: type[R], *, unsupported: str | None = None
    ) -> R | None:
        """The reply to `message`, or None when it was refused or did not come soon; but with
        `unsupported`, a refusal of that kind raises `ApiError` (501) with that text."""
        try:
            answer = await asyncio.wait_for(self.ask(target, message), PEEK_SECONDS)
        except TimeoutError:
            return None
        _check_supported(answer, unsupported)
        return answer if isinstance(answer, reply) else None

    async def peek_each(
        self, targets: Sequence[ActorAddress], message: Any, reply: type[R]
    ) -> list[R | None]:
        """As `peek`, of many at once."""
        answers = await self.ask_each(targets, message, PEEK_SECONDS)
        return [answer if isinstance(answer, reply) else None for answer in answers]


def _check_supported(answer: Any, text: str | None) -> None:
    if text is not None and isinstance(answer, Failed) and answer.kind == "unsupported":
        raise api_error(Failed("unsupported", text))


def _silence(target: Target) -> str:
    name = target if isinstance(target, str) else "device"
    return f"The {name} actor did not answer in time"
