"""What exchanges the agent for another version of itself."""

from collections.abc import Callable
from pathlib import Path
from typing import Final, Protocol

import msgspec

from actors.update.layout import TakenBack, Trial

PACKAGE: Final = "callboard"

Tell = Callable[[str], None]
"""Called with each line that a tool prints."""


class UpdateFailed(Exception):
    """The version that runs is as it was; the message is for operators."""


class NotUpdatable(msgspec.Struct, frozen=True):
    """`hint` says why, and how it is updated instead."""

    hint: str


class Prepared(msgspec.Struct, frozen=True):
    """A version that is installed and checked, beside the one that runs. `migrations` are those of the
    database that it knows, in order."""

    name: str
    version: str
    migrations: tuple[str, ...]


class Updater(Protocol):
    """Methods may take long and are called in a thread, but for the coroutines; OSError is theirs to raise
    where nothing else is said."""

    @property
    def launcher(self) -> Path:
        """What starts the version that was switched to."""

    def check(self) -> None:
        """Whether an update can begin now. Raises `UpdateFailed`."""

    async def latest(self, tell: Tell) -> str:
        """The newest version that there is. Raises `UpdateFailed`."""

    async def prepare(self, version: str, wheel: Path | None, tell: Tell) -> Prepared:
        """Install and check it. Raises `UpdateFailed`, nothing being left then."""

    def switch(self, to: Prepared, failing: frozenset[str]) -> None:
        """The next start is one of `to`, on trial; `failing` are the critical subsystems that are not well
        now. Raises `UpdateFailed`."""

    def discard(self, prepared: Prepared) -> None:
        """It is not wanted after all."""

    def trial(self) -> Trial | None:
        """That of the version which runs."""

    def taken_back(self) -> TakenBack | None:
        """What was taken back and not yet told of."""

    def forget_taken_back(self) -> None:
        """It was told."""

    def ail(self, what: str) -> None:
        """What keeps the version on trial from being confirmed, should it be taken back."""

    def stop(self, trial: Trial, orderly: bool) -> None:
        """The version on trial is stopped, and was well so far; or goes on after all."""

    def confirm(self, trial: Trial) -> bool:
        """It may stay; False when it was taken back meanwhile."""

    def clean(self) -> None:
        """Remove what an interrupted update has left."""
