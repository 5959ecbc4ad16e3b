"""Makes `servers` (real servers that tests start) importable from every test."""

import logging
import sys
from collections.abc import Iterator
from pathlib import Path

_TESTS = str(Path(__file__).parent)

if _TESTS not in sys.path:
    sys.path.insert(0, _TESTS)

import pytest  # noqa: E402
from wall_clock import WallClock  # noqa: E402

from actors.publish.destinations.token_clock import token_clock  # noqa: E402
from actors.settings.log_level import OURS  # noqa: E402
from conf import redaction  # noqa: E402


@pytest.fixture(autouse=True)
def no_token_was_accepted() -> None:
    token_clock.cache_clear()


@pytest.fixture(autouse=True)
def the_log_is_left_as_it_was() -> Iterator[None]:
    """The settings of an agent in the test's process change what is logged."""
    before = {name: logging.getLogger(name).level for name in ("", *OURS)}
    yield
    for name, level in before.items():
        logging.getLogger(name).setLevel(level)


@pytest.fixture(autouse=True)
def no_secret_is_known() -> None:
    """What one test has for a secret may be a word in the texts of another."""
    redaction.KNOWN.__init__()


@pytest.fixture
def wall_clock(monkeypatch: pytest.MonkeyPatch) -> WallClock:
    return WallClock(monkeypatch)
