"""When to try a destination again."""

import random

SHARE = 0.05  # of the time it has been away
SOONEST = 0.2
LATEST = 30.0
PERMANENT = 5.0


def delay(away: float, permanent: bool) -> float:
    """Seconds until the next attempt at a destination that has been away for `away` seconds.

    A twentieth of that time: soon after a short outage, never later than that much of a long one, and
    at least every 30 s. A refusal that only somebody's hand can lift (`permanent`) is not hurried.
    """
    wait = min(max(SHARE * away, SOONEST), LATEST)
    if permanent:
        wait = max(wait, PERMANENT)
    return wait * random.uniform(0.75, 1.25)
