"""The level of the log, changed while the agent runs."""

import logging
from typing import Final

LEVELS: Final = {
    "debug": logging.DEBUG,
    "info": logging.INFO,
    "warn": logging.WARNING,
    "error": logging.ERROR,
}

OURS: Final = ("actors", "api", "conf", "storage")


def log_from(level: str) -> None:
    """What is at least of that level is logged; of libraries never what helps to debug them, which may be
    every packet, and what is in it. Loggers that have a level of their own keep it."""
    wanted = LEVELS[level]
    logging.getLogger().setLevel(max(wanted, logging.INFO))
    for name in OURS:
        logging.getLogger(name).setLevel(wanted if wanted < logging.INFO else logging.NOTSET)
