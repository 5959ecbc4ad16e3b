"""What a preview is of."""

from collections.abc import Sequence

import msgspec

from actors.publish.starts import Owner
from actors.publish.subscription import RunSubscription
from actors.readings.batch import Batch, Source
from actors.readings.interest import Choice, Points, Positions, indices


class Plan(msgspec.Struct, frozen=True):
    """What is looked at; `limit` is how many points and topics are listed."""

    start: RunSubscription
    owner: Owner
    filters: list[str]
    enabled: bool
    destination: str
    destination_enabled: bool
    publishing: bool
    limit: int


class Selected(msgspec.Struct, frozen=True):
    """An endpoint of which something is selected, and the filled topic of that."""

    batch: Batch
    points: Points
    topic: str

    @property
    def source(self) -> Source:
        return self.batch.source

    @property
    def positions(self) -> Positions:
        """In the batch: those of the points that have been read."""
        return Choice(self.points).positions(self.batch)

    @property
    def size(self) -> int:
        """How many points."""
        return len(indices(self.points, self.source))


class Found(msgspec.Struct, frozen=True):
    """What is known of a plan: all sources, what is selected, the sources of each filled topic, and how
    many bytes the sample payload has (None: there is none)."""

    sources: list[Source]
    selected: Sequence[Selected]
    by_topic: dict[str, list[Source]]
    size: int | None
