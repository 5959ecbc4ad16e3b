from datetime import timedelta
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.x509.oid import ExtendedKeyUsageOID
from wall_clock import YEAR, WallClock

from actors.endpoints.protocols.opcua import certificates
from actors.endpoints.protocols.opcua.certificates import own


def test_it_is_made_once_and_kept(tmp_path: Path) -> None:
    made = own(tmp_path / "opcua")
    again = own(tmp_path / "opcua")
    assert again.certificate == made.certificate
    assert again.key.private_numbers() == made.key.private_numbers()


def test_nobody_else_can_read_the_key(tmp_path: Path) -> None:
    own(tmp_path)
    assert (tmp_path / "own").stat().st_mode & 0o777 == 0o700
    assert {path.name: path.stat().st_mode & 0o777 for path in (tmp_path / "own").iterdir()} == {
        "key.pem": 0o600,
        "callboard-1.der": 0o600,
    }


def test_it_is_what_part_6_asks_of_one_that_has_signed_itself(tmp_path: Path) -> None:
    made = own(tmp_path)
    found = made.certificate
    found.verify_directly_issued_by(found)
    assert made.uri.startswith("urn:iotistica:agent:")
    assert certificates.uris(found) == [made.uri]
    usage = found.extensions.get_extension_for_class(x509.KeyUsage).value
    assert usage.digital_signature
    assert usage.content_commitment
    assert usage.key_encipherment
    assert usage.data_encipherment
    assert usage.key_cert_sign
    purposes = found.extensions.get_extension_for_class(x509.ExtendedKeyUsage).value
    assert list(purposes) == [ExtendedKeyUsageOID.CLIENT_AUTH]
    assert found.not_valid_before_utc.year == 2000


def test_every_agent_has_a_uri_of_its_own(tmp_path: Path) -> None:
    assert own(tmp_path / "a").uri != own(tmp_path / "b").uri


def test_the_next_one_is_there_before_the_first_ends(tmp_path: Path, wall_clock: WallClock) -> None:
    first = own(tmp_path)
    wall_clock.jump(certificates.LIFETIME.total_seconds() - timedelta(days=60).total_seconds())
    assert own(tmp_path).certificate == first.certificate
    assert sorted(path.name for path in (tmp_path / "own").glob("*.der")) == [
        *("callboard-1.der", "callboard-2.der")
    ]
    own(tmp_path)
    wall_clock.jump(timedelta(days=61).total_seconds())
    second = own(tmp_path)
    assert second.certificate != first.certificate
    assert (second.path.name, second.uri) == ("callboard-2.der", first.uri)
    assert second.key.private_numbers() == first.key.private_numbers()


def test_a_clock_that_jumps_and_comes_back_changes_nothing(tmp_path: Path, wall_clock: WallClock) -> None:
    first = own(tmp_path)
    wall_clock.jump(80 * YEAR)
    assert own(tmp_path).certificate != first.certificate
    wall_clock.correct()
    assert own(tmp_path).certificate == first.certificate
    wall_clock.set(0)
    assert own(tmp_path).certificate == first.certificate


def test_a_clock_that_stands_at_its_beginning_makes_one_that_lasts(
    tmp_path: Path, wall_clock: WallClock
) -> None:
    wall_clock.set(60)
    first = own(tmp_path)
    wall_clock.correct()
    assert own(tmp_path).certificate == first.certificate
    assert len(list((tmp_path / "own").glob("*.der"))) == 1


def test_what_cannot_be_read_is_not_replaced(tmp_path: Path) -> None:
    own(tmp_path)
    (tmp_path / "own" / "key.pem").write_text("garbage")
    with pytest.raises(ValueError, match=r"key|data|PEM"):
        own(tmp_path)
    assert (tmp_path / "own" / "key.pem").read_text() == "garbage"


def test_a_crash_leaves_a_whole_one_or_none(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def crash(path: Path, target: Path) -> None:
        raise OSError("no")

    with monkeypatch.context() as patched:
        patched.setattr(Path, "rename", crash)
        with pytest.raises(OSError, match="no"):
            own(tmp_path)
    assert own(tmp_path).path.exists()
