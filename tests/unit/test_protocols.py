import sys

import pytest

from actors.endpoints import protocols
from actors.system.failure import Refusal


@pytest.fixture(autouse=True)
def _nothing_remembered():
    protocols.forget()
    yield
    protocols.forget()


@pytest.mark.parametrize("name", protocols.built_in())
def test_every_registered_protocol_is_found_under_its_name(name: str):
    assert protocols.find(name).name == name


def test_an_unknown_protocol_is_refused_with_the_known_names():
    with pytest.raises(Refusal, match="modbus") as refusal:
        protocols.find("profibus")
    assert refusal.value.failed().field == "protocol"
    assert refusal.value.failed().kind == "invalid"


def test_a_protocol_without_its_library_is_unavailable(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("actors.endpoints.protocols.find_spec", lambda name: None)
    with pytest.raises(Refusal, match="pymodbus") as refusal:
        protocols.find("modbus")
    assert refusal.value.kind == "unavailable"


def test_checking_a_configuration_does_not_import_the_library():
    import subprocess

    code = (
        "import sys; from actors.endpoints.protocols import find;"
        "find('modbus').check({'host': 'h'}, [{'name': 'a', 'register': 'holding:0'}]);"
        "print('pymodbus' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"
