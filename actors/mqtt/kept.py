"""What a broker's session that outlives its connections has been asked for. Who would not know would leave
the broker to keep messages that nobody wants any more."""

import logging
import secrets
from collections.abc import Iterable
from pathlib import Path

import msgspec

log = logging.getLogger(__name__)


class Kept:
    """In a file, so that a later life of the client knows; None: in memory. Filters that the broker was never
    asked for do no harm. `read` and `write` block."""

    def __init__(self, file: Path | None = None) -> None:
        self.filters: set[str] = set()
        self._file = file
        self._known = file is None

    def add(self, names: Iterable[str]) -> bool:
        """Whether there are new ones among them, which are to be written."""
        before = len(self.filters)
        self.filters.update(names)
        return len(self.filters) > before

    def read(self) -> None:
        """What was written, once."""
        if self._known or self._file is None:
            return
        self._known = True
        try:
            self.filters.update(msgspec.json.decode(self._file.read_bytes(), type=list[str]))
        except FileNotFoundError:
            pass
        except (OSError, msgspec.DecodeError) as error:
            log.warning("%s cannot be read: %s", self._file, error)

    def write(self) -> None:
        if self._file is None:
            return
        spare = self._file.with_name(f"{self._file.name}.{secrets.token_hex(4)}")
        try:
            self._file.parent.mkdir(parents=True, exist_ok=True)
            try:
                spare.write_bytes(msgspec.json.encode(sorted(self.filters)))
                spare.replace(self._file)
            finally:
                spare.unlink(missing_ok=True)
        except OSError as error:
            log.warning("%s cannot be written: %s", self._file, error)
