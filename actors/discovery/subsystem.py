"""Discovery as a subsystem."""

from actors.discovery.discoveries import Discoveries
from actors.discovery.run_keeper import RunDiscovery
from actors.discovery.unasked import Unasked
from actors.subsystems.descriptor import Phase, Subsystem, Surroundings
from storage.discovery import RULE


def _start(where: Surroundings) -> RunDiscovery:
    """What the API has set of intervals counts before what files and environment say."""
    said, intervals = where.settings.discovery, where.runtime.intervals.discovery
    unasked = Unasked(
        wanted=where.runtime.features.discovery,
        light_interval_ms=intervals.light_interval_ms or said.light_interval_ms,
        full_interval_ms=intervals.full_interval_ms or said.full_interval_ms,
    )
    return RunDiscovery(where.at("store"), where.at("endpoints"), where.settings, unasked)


SUBSYSTEM = Subsystem(
    name="discovery",
    actor=Discoveries,
    start=_start,
    phase=Phase.FEATURES,
    kinds=(RULE,),
)
"""Its scans are made by hand, too: it runs whether or not devices are to be looked for unasked."""
