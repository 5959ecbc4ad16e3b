"""Where a scan has met trouble, and whom that hides. Plain."""

from collections.abc import Callable, Iterable
from typing import Final

from actors.endpoints.discovering import At
from conf.hosts import is_address

MOST: Final = 4096
"""Places; with more of them it may be anybody."""


class Troubled:
    """Of one protocol in one run."""

    def __init__(self) -> None:
        self.anywhere = False
        """It may hide anybody."""
        self._places: set[At] = set()

    def add(self, at: At | None) -> None:
        if at is None or (len(self._places) >= MOST and at not in self._places):
            self.anywhere = True
        else:
            self._places.add(at)

    def hides(self, places: Iterable[At], known: Callable[[str], str]) -> bool:
        """Whether a device that was at one of the `places` may be there still. Without any it is not known
        where it was. `known` is the address of a name, or the name itself."""
        if self.anywhere:
            return True
        given = list(places)
        if not given:
            return bool(self._places)
        return any(_alike(one, other, known) for one in given for other in self._places)


def _alike(device: At, trouble: At, known: Callable[[str], str]) -> bool:
    """Also where nobody knows whether they are: of a name that was not looked up for the scan."""
    if device.port is not None and trouble.port is not None and device.port != trouble.port:
        return False
    one, other = known(device.host), known(trouble.host)
    if one.lower() == other.lower():
        return True
    return not is_address(one) and is_address(other)
