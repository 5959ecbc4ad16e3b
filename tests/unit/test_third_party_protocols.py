"""What other packages bring, and what may be wrong with it."""

import logging
import sys
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

import pytest
from packages import install, on_path

from actors.endpoints import protocols, third_party
from actors.system.failure import Refusal

GOOD = """
from actors.endpoints.protocol import CheckedEndpoint, Protocol
def check(connection, points):
    if "odd" in connection:
        raise KeyError("odd")
    return CheckedEndpoint(None, (), "1", "toy")
PROTOCOL = Protocol("toy", check, lambda *_: None, {library!r})
"""

Installing = Callable[..., None]


@pytest.fixture
def installed(tmp_path: Path) -> Iterator[Installing]:
    with on_path(tmp_path):

        def add(entries: Mapping[str, str], package: str = "callboard-toy", **modules: str) -> None:
            install(tmp_path, package, entries, modules)
            protocols.forget()

        yield add


def reason(name: str = "toy") -> str:
    """Why it is not available, which is said to who wants to use it, too."""
    known = protocols.look_up(name)
    assert known.unavailable is not None
    with pytest.raises(Refusal) as refusal:
        protocols.find(name)
    assert (refusal.value.field, refusal.value.kind) == ("protocol", "unavailable")
    assert known.unavailable in refusal.value.message
    return known.unavailable


def test_a_protocol_of_another_package_is_one_like_any_other(installed: Installing):
    installed({"toy": "toy_a:PROTOCOL"}, toy_a=GOOD.format(library=""))
    assert protocols.names() == (*protocols.built_in(), "toy")
    assert protocols.find("toy").name == "toy"
    assert protocols.look_up("toy").package == "callboard-toy 1.0"


def test_it_is_imported_when_somebody_asks_for_it(installed: Installing):
    installed({"toy": "toy_b:PROTOCOL"}, toy_b=GOOD.format(library=""))
    protocols.names()
    protocols.find("modbus")
    assert "toy_b" not in sys.modules
    protocols.find("toy")
    assert "toy_b" in sys.modules


@pytest.mark.parametrize("library", ["no_such_library", "no_such.library", "."])
def test_one_whose_library_is_missing_is_not_available_and_has_its_descriptor(
    installed: Installing, library: str
):
    installed({"toy": "toy_c:PROTOCOL"}, toy_c=GOOD.format(library=library))
    assert reason() == f"the library {library} is not installed"
    assert protocols.look_up("toy").protocol is not None


BROKEN = {
    "import no_such_module": "cannot be loaded: ModuleNotFoundError: No module named 'no_such_module'",
    "import sys; sys.exit(3)": "cannot be loaded: SystemExit: 3",
    "1 / 0": "cannot be loaded: ZeroDivisionError",
    "def": "cannot be loaded: SyntaxError",
    "": "cannot be loaded: AttributeError",
    "PROTOCOL = dict": "is type, not a Protocol",
    GOOD.format(library="").replace('"toy", check', '"tyo", check'): "is named 'tyo'",
    GOOD.format(library="").replace('"toy", check', '"toy", 5'): "Expected `Callable`, got `int`",
    GOOD.format(library="").replace("'')", "'', modes=())"): "has no modes",
    GOOD.format(library="").replace("'')", "'', connection=dict)"): "dict is not a msgspec.Struct",
}


@pytest.mark.parametrize("text", BROKEN, ids=range(len(BROKEN)))
def test_a_broken_one_is_not_available_and_says_so_once(
    installed: Installing, caplog: pytest.LogCaptureFixture, text: str
):
    installed({"toy": "toy_d:PROTOCOL"}, toy_d=text)
    assert BROKEN[text] in reason()
    reason()
    assert protocols.look_up("toy").protocol is None
    said = [record for record in caplog.records if record.levelno == logging.ERROR]
    assert len(said) == 1
    assert "callboard-toy 1.0" in said[0].getMessage()
    assert protocols.find("modbus").name == "modbus"


def test_one_that_hangs_costs_a_while_once(installed: Installing, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(third_party, "LOAD_SECONDS", 0.05)
    text = "import threading, sys; e = threading.Event(); sys.toy_ends = e; e.wait()"
    installed({"toy": "toy_e:PROTOCOL"}, toy_e=text)
    assert reason() == "its module does not load within 0.05 s"
    sys.toy_ends.set()  # type: ignore[attr-defined]


@pytest.mark.parametrize("name", ["modbus", "Toy", "to/y", "a b", "x" * 33, "töy", "1st"])
def test_a_name_that_cannot_be_its_own_is_not_used(
    installed: Installing, caplog: pytest.LogCaptureFixture, name: str
):
    installed({name: "toy_f:PROTOCOL"}, toy_f="raise AssertionError")
    assert protocols.names() == protocols.built_in()
    [broken] = protocols.not_used()
    assert (broken.name, broken.package) == (name, "callboard-toy 1.0")
    assert name in caplog.text
    assert protocols.find("modbus").name == "modbus"


def test_of_two_packages_with_one_name_neither_is_used(installed: Installing):
    installed({"toy": "toy_g:PROTOCOL"}, "one", toy_g=GOOD.format(library=""))
    installed({"toy": "toy_h:PROTOCOL"}, "two", toy_h=GOOD.format(library=""))
    assert protocols.names() == protocols.built_in()
    assert {one.package for one in protocols.not_used()} == {"one 1.0", "two 1.0"}
    assert "one 1.0, two 1.0" in protocols.not_used()[0].reason


def test_what_it_raises_unexpectedly_is_a_refusal(installed: Installing, caplog: pytest.LogCaptureFixture):
    installed({"toy": "toy_i:PROTOCOL"}, toy_i=GOOD.format(library=""))
    toy = protocols.find("toy")
    assert toy.check({}, ()).address == "toy"
    with pytest.raises(Refusal, match="toy has failed: KeyError: 'odd'") as refusal:
        toy.accept({"odd": 1}, ())
    assert refusal.value.kind == "unavailable"
    assert "Traceback" in caplog.text
