"""Destinations and subscriptions, and what waits for them."""

from typing import Final

from storage import outbox, target_state
from storage.database import Database
from storage.outbox import OutboxSummary
from storage.target_state import Row

DESTINATION: Final = "destination"
SUBSCRIPTION: Final = "subscription"
"""`target_state.kind`; a subscription's parent is its destination."""


def load(database: Database) -> tuple[list[Row], dict[int, OutboxSummary]]:
    """The rows of both kinds, oldest first, and what each destination's outbox holds."""
    return target_state.load(database, (DESTINATION, SUBSCRIPTION)), outbox.summaries(database)
