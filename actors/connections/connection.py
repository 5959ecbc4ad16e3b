"""What an actor keeps up: a connection, and the two ways in which there is none."""

from abc import ABC, abstractmethod

from conf.redaction import clean


class NoConnection(Exception):
    """Why there is no connection; the text is for people, and repeats no secret. Raised as one of its two
    kinds.

    `retry_after` is the least number of seconds that the other end asked to be left alone for, `retry_within`
    after how many it costs nobody anything to try again, however often that has failed. `code` is a
    quality code of spec 03 (`TIMEOUT`, `CONNECTION_REFUSED`, ...), where readings depend on the connection.
    `put_off`: the other end has no time now, whatever it is asked. `anew`: the connection is to be built
    anew, for something that it was built from may be put right outside.
    """

    def __init__(
        self,
        reason: str,
        retry_after: float = 0.0,
        code: str | None = None,
        retry_within: float | None = None,
    ) -> None:
        super().__init__(clean(reason))
        self.retry_after = retry_after
        self.retry_within = retry_within
        self.code = code
        self.put_off = False
        self.anew = False


class Transient(NoConnection):
    """The other end did not answer, or not well; trying again soon may help."""


class Permanent(NoConnection):
    """Refused until somebody changes the configuration, here or at the other end; trying again is worth it
    only now and then."""


class Connection(ABC):
    """To one other end. Constructing it touches no network.

    The core calls `connect` again after it has failed and after the connection has ended; after `close` it
    calls nothing any more. What takes longer than `patience` counts as hung: the task is cancelled, and the
    connection closed and built anew, because nothing is known of its state.
    """

    @property
    def patience(self) -> float:
        """Seconds that any of its calls but `close` takes at most, by timeouts of its own."""
        return 60.0

    @abstractmethod
    async def connect(self) -> None:
        """Connect anew. Raises `Transient` or `Permanent`."""

    @abstractmethod
    async def close(self) -> None:
        """Give the connection up, whatever is still in flight on it. Never raises, and takes some seconds at
        most."""
