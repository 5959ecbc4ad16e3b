import logging
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.serialization import Encoding
from servers.opcua_certificates import Identity
from wall_clock import WallClock

from actors.connections.connection import NoConnection, Permanent, Transient
from actors.endpoints.protocols.opcua import trust
from actors.endpoints.protocols.opcua.connection import read_connection

URI = "urn:plant"
AUTHORITY = Identity("Authority", authority=True, number=3)


def identity(**options: Any) -> Identity:
    return Identity("plc", **{"uri": URI, "hosts": ("10.0.0.5", "plc-7"), **options})


def shown(found: Identity, host: str = "10.0.0.5", uri: str = URI, *further: Identity) -> trust.Shown:
    chain = tuple(one.certificate.public_bytes(Encoding.DER) for one in (found, *further))
    return trust.Shown(chain, uri, host, 4840)


def check(what: trust.Shown, folder: Path, policy: str = "Basic256Sha256", **given: Any) -> None:
    url = f"opc.tcp://{what.host}:{what.port}"
    secured = {"endpointUrl": url, "securityMode": "Sign", "securityPolicy": policy}
    trust.check(what, read_connection({**secured, **given}), folder)


def refused(what: trust.Shown, folder: Path, **given: Any) -> NoConnection:
    with pytest.raises(NoConnection) as caught:
        check(what, folder, **given)
    return caught.value


# Strict


def test_nobody_is_trusted_unless_somebody_says_so_and_the_thumbprint_to_say_is_told(tmp_path: Path) -> None:
    server = identity()
    error = refused(shown(server), tmp_path)
    assert isinstance(error, Permanent)
    assert error.code == "BadCertificateUntrusted"
    assert server.thumbprint in str(error)
    assert "expectedServerThumbprint" in str(error)


@pytest.mark.parametrize("kind", ["thumbprint", "sha256"])
def test_one_of_that_thumbprint_is(tmp_path: Path, kind: str) -> None:
    server = identity()
    check(shown(server), tmp_path, expectedServerThumbprint=getattr(server, kind))
    error = refused(shown(identity()), tmp_path, expectedServerThumbprint=getattr(server, kind))
    assert error.code == "BadCertificateUntrusted"


def test_one_among_the_trusted_is_whatever_host_it_is_for(tmp_path: Path) -> None:
    server = identity()
    both = AUTHORITY.pem + server.pem
    check(shown(server, "plc-8"), tmp_path, trustedCertificates=both)
    assert refused(shown(identity()), tmp_path, trustedCertificates=both).code == "BadCertificateUntrusted"


def test_one_signed_by_a_trusted_authority_is_for_its_own_hosts(tmp_path: Path) -> None:
    server = identity(issuer=AUTHORITY)
    for host in ("10.0.0.5", "PLC-7"):
        check(shown(server, host), tmp_path, trustedCertificates=AUTHORITY.pem)
    error = refused(shown(server, "10.0.0.6"), tmp_path, trustedCertificates=AUTHORITY.pem)
    assert error.code == "BadCertificateHostNameInvalid"
    assert "plc-7" in str(error)


def test_one_signed_by_somebody_else_of_that_name_is_not(tmp_path: Path) -> None:
    impostor = Identity("Authority", authority=True, number=4)
    server = identity(issuer=impostor)
    what = shown(server, "10.0.0.5", URI, impostor)
    assert refused(what, tmp_path, trustedCertificates=AUTHORITY.pem).code == "BadCertificateUntrusted"


def test_another_server_signs_nobody(tmp_path: Path) -> None:
    other = Identity("other", number=4)
    server = identity(issuer=other)
    assert refused(shown(server), tmp_path, trustedCertificates=other.pem).code == "BadCertificateUntrusted"


def test_the_chain_may_come_from_the_server(tmp_path: Path) -> None:
    root = Identity("Root", authority=True, number=4, depth=1)
    between = Identity("Between", authority=True, number=3, issuer=root)
    server = identity(issuer=between)
    check(shown(server, "plc-7", URI, between), tmp_path, trustedCertificates=root.pem)


def test_an_expired_one_is_refused_with_both_times(tmp_path: Path) -> None:
    server = identity(valid_from=-20, valid_until=-10)
    error = refused(shown(server), tmp_path, expectedServerThumbprint=server.thumbprint)
    assert isinstance(error, Permanent)
    assert error.code == "BadCertificateTimeInvalid"
    assert "the clock here says" in str(error)


def test_one_that_is_not_valid_yet_may_be_soon(tmp_path: Path, wall_clock: WallClock) -> None:
    server = identity()
    wall_clock.set(0)
    error = refused(shown(server), tmp_path, expectedServerThumbprint=server.thumbprint)
    assert isinstance(error, Transient)
    assert "1970" in str(error)
    wall_clock.correct()
    check(shown(server), tmp_path, expectedServerThumbprint=server.thumbprint)


def test_one_of_another_application_is_refused(tmp_path: Path) -> None:
    server = identity(uri="urn:another")
    error = refused(shown(server), tmp_path, expectedServerThumbprint=server.thumbprint)
    assert error.code == "BadCertificateUriInvalid"
    pinned = {"certificateTrustMode": "thumbprint", "expectedServerThumbprint": server.thumbprint}
    check(shown(server), tmp_path, **pinned)


# On first use


def first_use(what: trust.Shown, folder: Path, **given: Any) -> None:
    check(what, folder, certificateTrustMode="trust-on-first-use", **given)


def test_who_comes_first_is_remembered(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    server, another = identity(), identity()
    with caplog.at_level(logging.WARNING):
        first_use(shown(server), tmp_path)
    assert server.thumbprint in caplog.text
    first_use(shown(server), tmp_path)
    with pytest.raises(Permanent) as caught:
        first_use(shown(another), tmp_path)
    assert caught.value.code == "BadCertificateUntrusted"
    assert server.thumbprint in str(caught.value)
    assert another.thumbprint in str(caught.value)
    first_use(shown(another, "10.0.0.6"), tmp_path)


def test_an_operator_forgets_it_by_removing_the_file_that_is_named(tmp_path: Path) -> None:
    server, another = identity(), identity()
    first_use(shown(server), tmp_path)
    with pytest.raises(Permanent) as caught:
        first_use(shown(another), tmp_path)
    Path(str(caught.value).rpartition("remove ")[2]).unlink()
    first_use(shown(another), tmp_path)


def test_or_by_saying_the_new_thumbprint(tmp_path: Path) -> None:
    server, another = identity(), identity()
    first_use(shown(server), tmp_path)
    first_use(shown(another), tmp_path, expectedServerThumbprint=another.thumbprint)
    first_use(shown(another), tmp_path)
    with pytest.raises(Permanent):
        first_use(shown(server), tmp_path)


def test_an_expired_one_is_trusted_on_first_use_and_told_of(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.WARNING):
        first_use(shown(identity(valid_from=-20, valid_until=-10), uri="urn:x"), tmp_path)
    assert "trusted all the same" in caplog.text


# Keys


@pytest.mark.parametrize(
    ("bits", "policy", "taken"), [(1024, "Basic256Sha256", False), (1024, "Basic256", True)]
)
def test_a_key_is_as_long_as_the_policy_wants(tmp_path: Path, bits: int, policy: str, taken: bool) -> None:
    server = identity(bits=bits)
    given = {"certificateTrustMode": "thumbprint", "expectedServerThumbprint": server.thumbprint}
    if taken:
        check(shown(server), tmp_path, policy, **given)
        return
    with pytest.raises(Permanent) as caught:
        check(shown(server), tmp_path, policy, **given)
    assert caught.value.code == "BadCertificatePolicyCheckFailed"


@pytest.mark.parametrize(
    "der", [b"", None, b"\x30", b"\x30\x82\xff\xff123", b"hello", b"\x30\x85\x01\x01\x01\x01\x01"]
)
def test_what_is_no_certificate_is_refused(der: bytes | None) -> None:
    with pytest.raises(Permanent):
        trust.chain(der)


def test_garbage_in_the_shape_of_a_certificate_is_refused(tmp_path: Path) -> None:
    what = trust.Shown(trust.chain(b"\x30\x03abc"), URI, "plc", 4840)
    assert refused(what, tmp_path).code == "BadCertificateInvalid"


def test_a_chain_is_taken_apart() -> None:
    one, two = (each.certificate.public_bytes(Encoding.DER) for each in (identity(), AUTHORITY))
    assert trust.chain(one + two) == (one, two)
