"""Whose code is running: the actor in whose handler, task or thread somebody asks."""

import sys
from contextvars import Context, ContextVar, copy_context
from types import FrameType
from typing import Any
from urllib.parse import unquote

from actors.system.mailboxes import Cell

_TASK_OF: ContextVar[Cell | None] = ContextVar("actor", default=None)


def context_of(cell: Cell) -> Context:
    """The context for a task of that actor's: what the task starts in turn, threads too, is known for its."""
    context = copy_context()
    context.run(_TASK_OF.set, cell)
    return context


def holder(frame: FrameType | None) -> Cell | None:
    """The actor that has its turn on that stack: a handler costs nothing for being known by its frame."""
    turn = Cell.turn.__code__
    while frame is not None:
        if frame.f_code is turn:
            found: Any = frame.f_locals["self"]
            return found if isinstance(found, Cell) else None
        frame = frame.f_back
    return None


def path_here() -> str | None:
    """The path of names, below the root, of the actor that the caller runs for; `agent` is the root."""
    cell = holder(sys._getframe(1)) or _TASK_OF.get()
    return None if cell is None else path_of(cell)


def path_of(cell: Cell) -> str:
    names: list[str] = []
    at: Cell | None = cell
    while at is not None and at.parent is not None:
        names.append(at.name)
        at = at.parent
    if at is None or at.address.addressDetails.count("/") > 1:  # it has been taken out of the tree
        return "/".join(unquote(name) for name in cell.address.addressDetails.split("/")[2:]) or cell.name
    return "/".join(reversed(names)) or at.name or "agent"
