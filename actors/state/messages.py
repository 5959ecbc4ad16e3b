"""What the store is asked."""

from typing import Any

import msgspec


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
