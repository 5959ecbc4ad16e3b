"""Makes `servers` (real servers that tests start) importable from every test."""

import sys
from pathlib import Path

_TESTS = str(Path(__file__).parent)

if _TESTS not in sys.path:
    sys.path.insert(0, _TESTS)

import pytest  # noqa: E402
from wall_clock import WallClock  # noqa: E402

from actors.publish.destinations.token_clock import token_clock  # noqa: E402


@pytest.fixture(autouse=True)
def no_token_was_accepted() -> None:
    token_clock.cache_clear()


@pytest.fixture
def wall_clock(monkeypatch: pytest.MonkeyPatch) -> WallClock:
    return WallClock(monkeypatch)
