import ssl
from pathlib import Path

import pytest
from servers.certificates import Authority
from wall_clock import WallClock

from actors.connections import os_errors
from actors.connections.certificates import untrusted
from actors.connections.connection import Permanent, Transient


def refusal(folder: Path, valid_from: float, valid_until: float) -> ssl.SSLCertVerificationError:
    """What OpenSSL says of a server's certificate that is valid for that time, in days from now."""
    authority = Authority()
    file = folder / "server.pem"
    file.write_text("".join(authority.issue(valid_from=valid_from, valid_until=valid_until)))
    at_server, at_client = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER), ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    at_server.load_cert_chain(file)
    at_client.load_verify_locations(cadata=authority.pem)
    to_server, to_client = ssl.MemoryBIO(), ssl.MemoryBIO()
    server = at_server.wrap_bio(to_server, to_client, server_side=True)
    client = at_client.wrap_bio(to_client, to_server, server_hostname="localhost")
    for side in (client, server):
        with pytest.raises(ssl.SSLWantReadError):
            side.do_handshake()
    with pytest.raises(ssl.SSLCertVerificationError) as refused:
        client.do_handshake()
    return refused.value


def test_one_that_is_not_valid_yet_is_no_refusal_for_good_and_the_clock_is_said(
    tmp_path: Path, wall_clock: WallClock
) -> None:
    """https://github.com/YunoHost-Apps/vpnclient_ynh/pull/32, https://github.com/arendst/Tasmota/pull/9757"""
    error = refusal(tmp_path, 1, 2)
    wall_clock.set(3600)
    found = untrusted("broker:8883", error)
    assert isinstance(found, Transient)
    assert "certificate of broker:8883 is not trusted: certificate is not yet valid" in str(found)
    assert str(found).endswith("; the clock here says 1970-01-01T01:00:00.000Z")
    assert os_errors.reason(error).endswith(
        "is not trusted: certificate is not yet valid; the clock here says 1970-01-01T01:00:00.000Z"
    )


def test_of_one_that_has_expired_the_clock_is_said(tmp_path: Path, wall_clock: WallClock) -> None:
    error = refusal(tmp_path, -2, -1)
    wall_clock.set(2_100_000_000)
    found = untrusted("broker:8883", error, "; renew it")
    assert isinstance(found, Permanent)
    assert str(found).endswith("has expired; the clock here says 2036-07-18T13:20:00.000Z; renew it")
