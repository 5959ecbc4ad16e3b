"""The level of the log, changed while the agent runs."""

import logging
from typing import Final

LEVELS: Final = {
    "debug": logging.DEBUG,
    "info": logging.INFO,
    "warn": logging.WARNING,
    "error": logging.ERROR,
}


def log_from(level: str) -> None:
    """What is at least of that level is logged. Loggers that have a level of their own keep it: libraries say
    no more than they are allowed to."""
    root, wanted = logging.getLogger(), LEVELS[level]
    if root.level != wanted:
        root.setLevel(wanted)
