"""How entries of the log are written."""

import logging

from api.printable import one_line

FORMAT = "%(asctime)s %(levelname)-7s %(name)s: %(message)s"


class LogLines(logging.Formatter):
    """Whatever names and texts of others are in it, an entry begins one line that is not indented, and holds
    nothing that moves a terminal's cursor."""

    def __init__(self) -> None:
        super().__init__(FORMAT)

    def format(self, record: logging.LogRecord) -> str:
        return "\n    ".join(one_line(line) for line in super().format(record).split("\n"))
