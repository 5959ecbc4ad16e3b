"""What the store is asked, and what it says."""

from pathlib import Path
from typing import Any

import msgspec

from storage.identity import Identity
from storage.outcomes import Outcome


class StoreOpened(msgspec.Struct, frozen=True):
    """To the parent, once per life: the database is open. `kinds` counts the rows of the target state;
    `notes` are what its operator must know."""

    identity: Identity
    kinds: dict[str, int]
    notes: tuple[str, ...] = ()


class Transact(msgspec.Struct, frozen=True):
    """To `store`: run `call(database, *args)` in the next group commit; replies `Transacted` after
    the commit. `call` is a module-level function of `storage`; `token` comes back in the reply."""

    token: Any
    call: Any
    args: tuple[Any, ...] = ()


class Transacted(msgspec.Struct, frozen=True):
    """`error` is None when the transaction is on disk; otherwise nothing of it is."""

    token: Any
    result: Any = None
    error: Exception | None = None


class ChangeDatabase(msgspec.Struct, frozen=True):
    """From the parent, while nobody else uses the database: run `call(database, *args)`, all of it or
    nothing, and say anew that the database is open. How it went is told by the file of `outcomes` in
    `folder`; `leftover` is then removed."""

    call: Any
    args: tuple[Any, ...]
    folder: Path
    outcome: Outcome
    leftover: Path | None = None
