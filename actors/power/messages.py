"""What the API says to the one who shuts the machine down."""

import msgspec


class ShutDownMachine(msgspec.Struct, frozen=True):
    """To `power`; answered by `ShutdownAnswered`."""


class ShutdownAnswered(msgspec.Struct, frozen=True):
    """`refusal` and `hint` say why nothing is done; `busy` that one is under way, `configured` that there is
    a command at all. `last_error` is why the one before failed."""

    refusal: str | None = None
    hint: str | None = None
    configured: bool = True
    busy: bool = False
    last_error: str | None = None
