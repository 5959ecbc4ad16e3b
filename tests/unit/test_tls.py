import os
import ssl
import subprocess
import sys
from pathlib import Path
from typing import Any

import msgspec
import pytest
from servers.certificates import Authority

from actors.connections import tls
from actors.connections.tls import client_context
from actors.mqtt.broker import Broker, tls_context
from actors.publish.destinations import find
from actors.system.failure import Refusal

AUTHORITY = Authority()
CERTIFICATE, KEY = AUTHORITY.issue("client")

USING_EVERY_SECRET = """
import json, os, sys
from actors.publish import destinations
from actors.mqtt.broker import tls_context
from actors.publish.destinations.driver import Identity
from actors.publish.messages import Cloud

cases = json.load(sys.stdin)
types = {name: destinations.find(name) for name in cases}
written = []

def on_open(event, arguments):
    if event == "open":
        path, _, flags = arguments
        if flags & (os.O_WRONLY | os.O_RDWR | os.O_CREAT) and not isinstance(path, int):
            written.append(str(path))

sys.addaudithook(on_open)
for name, config_json in cases.items():
    checked = types[name].check(config_json)
    if hasattr(checked, "broker"):
        tls_context(checked.broker)
pems = {key: cases["mqtt"][key] for key in ("ca", "cert", "key")}
cloud = Cloud("mqtts://b", "c", "0123456789ab", "agent", **pems)
types["iotistica"].driver(None, Identity("agent", "one", cloud), None)
print(json.dumps(written))
"""


def using_every_secret(tmp_path: Path) -> list[str]:
    """The files that a process writes which handles secrets of all destination types."""
    cases = {
        "mqtt": {"url": "mqtts://b", "ca": AUTHORITY.pem, "cert": CERTIFICATE, "key": KEY},
        "influxdb": {"url": "https://b", "org": "o", "bucket": "b", "token": "t", "ca": AUTHORITY.pem},
        "azure-iot": {"hostName": "h", "deviceId": "d", "auth": {"sharedAccessKey": "a2V5"}},
        "aws-iot": {"endpoint": "b", "auth": {"ca": AUTHORITY.pem, "cert": CERTIFICATE, "key": KEY}},
        "gcp-iot": {
            "clientId": "projects/p/x",
            "auth": {"privateKey": KEY, "algorithm": "ES256"},
            "ca": AUTHORITY.pem,
        },
        "iotistica": {},
    }
    environment = {**os.environ, "TMPDIR": str(tmp_path / "missing"), "PYTHONDONTWRITEBYTECODE": "1"}
    done = subprocess.run(
        [sys.executable, "-c", USING_EVERY_SECRET],
        input=msgspec.json.encode(cases),
        env=environment,
        cwd=Path(__file__).parents[2],
        capture_output=True,
        check=True,
    )
    return msgspec.json.decode(done.stdout, type=list[str])


def test_no_secret_is_written_to_a_file(tmp_path: Path) -> None:
    assert using_every_secret(tmp_path) == []


def test_the_file_in_memory_is_no_childs_and_is_gone_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[tuple[str, bool]] = []

    class Context(ssl.SSLContext):
        def load_cert_chain(self, certfile: Any, *rest: Any, **keywords: Any) -> None:
            descriptor = int(Path(certfile).name)
            seen.append((os.readlink(certfile), os.get_inheritable(descriptor)))
            super().load_cert_chain(certfile, *rest, **keywords)

    monkeypatch.setattr(tls.ssl, "SSLContext", Context)
    before = os.listdir("/proc/self/fd")
    client_context(cert=CERTIFICATE, key=KEY)
    with pytest.raises(Refusal):
        client_context(cert=CERTIFICATE, key="nonsense")
    assert seen == [("/memfd:pem (deleted)", False)] * 2
    assert os.listdir("/proc/self/fd") == before


def no_memfd(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr(os, "memfd_create")


def no_permission(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> int:
        raise PermissionError(1, "Operation not permitted")

    monkeypatch.setattr(os, "memfd_create", refuse)


def no_proc(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tls, "DESCRIPTORS", "/nowhere")


@pytest.mark.parametrize("without", [no_memfd, no_permission, no_proc])
def test_where_keys_cannot_be_loaded_without_a_disk_it_is_said(
    without: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    without(monkeypatch)
    with pytest.raises(Refusal, match="cannot be loaded on this system") as refused:
        find("mqtt").check({"url": "mqtts://b", "cert": CERTIFICATE, "key": KEY})
    assert (refused.value.field, refused.value.kind) == ("config_json.key", "unavailable")
    assert "PRIVATE" not in refused.value.message
    assert tls_context(Broker("b", 8883, tls=True, ca=AUTHORITY.pem)).get_ca_certs()


def test_bundle_may_name_its_authorities_in_any_letters() -> None:
    context = client_context(ca=f"# Főtanúsítvány\n{AUTHORITY.pem}")
    assert len(context.get_ca_certs()) == 1


@pytest.mark.parametrize("ca", ["ő", "-----BEGIN CERTIFICATE-----\nő\n-----END CERTIFICATE-----\n"])
def test_text_in_other_letters_that_is_no_certificate_is_refused(ca: str) -> None:
    with pytest.raises(Refusal, match="ca is not a PEM certificate") as caught:
        client_context(ca=ca)
    assert caught.value.field == "config_json.ca"
