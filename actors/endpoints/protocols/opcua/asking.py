"""Calls that a server's limits split."""

from collections.abc import Awaitable, Callable, Sequence
from typing import TypeVar

from actors.connections.connection import Transient

from . import faults
from .limits import TOO_MUCH, Limit

T = TypeVar("T")
R = TypeVar("R")


async def in_parts(
    limit: Limit, items: Sequence[T], call: Callable[[Sequence[T]], Awaitable[list[R]]]
) -> list[R]:
    """The results of `call` for all items, in order, as many at once as the limit allows; what the server
    finds too many is halved, and remembered. Raises `NoConnection`."""
    results: list[R] = []
    while len(results) < len(items):
        part = items[len(results) : len(results) + limit.most]
        try:
            found = await call(part)
        except Transient as error:
            if error.code in TOO_MUCH and limit.learn(len(part)):
                continue
            raise
        if len(found) != len(part):
            raise Transient(f"{len(found)} results came for {len(part)} operations", code=faults.UNREADABLE)
        results.extend(found)
    return results
