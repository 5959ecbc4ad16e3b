"""pytest plugin: runs Thespian's suite on our system base, but for what `left_out` names."""

from collections import Counter
from collections.abc import Generator

import pytest
import thespian.test
from left_out import ALONE, KEPT, LEFT_OUT
from thespian.actors import ActorSystem

from actors.system.asyncio_base import AsyncioSystemBase

found: Counter[str] = Counter()
"""How many tests each name in `LEFT_OUT` has left out."""

collected: set[str] = set()
"""The names of the tests that are run, in this pass or the other."""


@pytest.fixture
def asys() -> Generator[ActorSystem, None, None]:
    """The fixture of the suite, with its capabilities and the attributes that its tests look at."""
    capabilities = {"Foo Allowed": True, "Cows Allowed": True, "Dogs Allowed": True, "dog": "food"}
    system = ActorSystem(
        systemBase=AsyncioSystemBase(capabilities),
        capabilities=capabilities,
        logDefs=False,
        transientUnique=True,
    )
    system.base_name = "AsyncioSystemBase"
    system.port_num = None
    system.txonly = False
    yield system
    system.shutdown()


thespian.test.asys = asys  # before the test modules import it


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Mark before pytest looks at marks; deselect what is left out and count it (see `check_left_out`)."""
    entries = {item: _entry(_name(item)) for item in items}
    found.update(entry for entry in entries.values() if entry)
    config.hook.pytest_deselected(items=[item for item in items if entries[item]])
    items[:] = [item for item in items if not entries[item]]
    for item in items:
        collected.add(_name(item))
        if item.path.name in ALONE:
            item.add_marker("alone")


def _name(item: pytest.Item) -> str:
    return f"{item.path.name}::{item.nodeid.partition('::')[2]}"


def _entry(name: str) -> str | None:
    """The name in `LEFT_OUT` that covers the test."""
    if name in KEPT:
        return None
    return next((entry for entry in LEFT_OUT if name == entry or name.startswith(f"{entry}::")), None)


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_runtest_makereport() -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """A test that skips itself would go unnoticed: it passes or it is left out by name."""
    report = yield
    if report.skipped:
        report.outcome = "failed"
        report.longrepr = "the test skipped itself: leave it out by name"
    return report
