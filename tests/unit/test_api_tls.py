"""The files of certificate and key, and what can be wrong with them."""

import os
import shutil
import subprocess
from pathlib import Path

import pytest
from servers.certificates import Authority

from api import tls
from api.tls import BadCertificate, Files, Served, load, look


@pytest.fixture(scope="module")
def authority() -> Authority:
    return Authority()


@pytest.fixture
def files(tmp_path: Path, authority: Authority) -> Files:
    written = Files(tmp_path / "cert.pem", tmp_path / "key.pem")
    write(written, *authority.issue())
    return written


def write(files: Files, cert: str, key: str) -> None:
    files.cert.write_text(cert)
    files.key.write_text(key)


def test_they_are_read_when_they_have_changed_and_not_else(files, authority):
    first = look(files, None)
    assert first.served is not None
    assert look(files, first.mark) == tls.Look(first.mark)
    write(files, *authority.issue())
    second = look(files, first.mark)
    assert second.served is not None
    assert second.mark != first.mark


def test_half_a_pair_is_wrong_until_the_other_half_is_there(files, authority):
    """They are written one after the other (netpulse pull request 783)."""
    first = look(files, None)
    cert, key = authority.issue()
    files.cert.write_text(cert)
    half = look(files, first.mark)
    assert half.served is None
    assert half.error == f"api.tls_key: {files.key} is not the key of {files.cert}"
    assert look(files, half.mark) == tls.Look(half.mark)
    files.key.write_text(key)
    assert look(files, half.mark).served is not None


def test_a_link_that_is_switched_is_a_change(tmp_path, authority):
    """As certificate clients (caddy issue 5139) and mounted secrets do it."""
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
        write(Files(tmp_path / name / "cert.pem", tmp_path / name / "key.pem"), *authority.issue())
    (tmp_path / "live").symlink_to("one")
    files = Files(tmp_path / "live" / "cert.pem", tmp_path / "live" / "key.pem")
    first = look(files, None)
    (tmp_path / "next").symlink_to("two")
    os.replace(tmp_path / "next", tmp_path / "live")
    assert look(files, first.mark).served is not None


def test_a_certificate_as_old_as_the_one_before_is_a_change(files, authority, tmp_path):
    """Copied with its times (`cp -p`, rsync)."""
    first = look(files, None)
    before = files.cert.stat()
    other = Files(tmp_path / "cert2.pem", tmp_path / "key2.pem")
    write(other, *authority.issue())
    for new, old in zip(other, files, strict=True):
        os.utime(new, ns=(before.st_atime_ns, before.st_mtime_ns))
        shutil.move(new, old)
    assert look(files, first.mark).served is not None


@pytest.mark.parametrize(
    ("spoil", "words"),
    [
        (lambda files: files.cert.unlink(), "api.tls_cert: {cert} cannot be read: No such file or directory"),
        (lambda files: files.key.unlink(), "api.tls_key: {key} cannot be read: No such file or directory"),
        (lambda files: files.cert.write_text(""), "api.tls_cert: {cert} holds no certificate in PEM"),
        (
            lambda files: files.cert.write_bytes(b"\x30\x82\xff"),
            "api.tls_cert: {cert} holds no certificate in PEM",
        ),
        (
            lambda files: files.key.write_text("x"),
            "api.tls_key: {key} holds no private key in PEM, unencrypted",
        ),
        (
            lambda files: files.cert.write_text(files.cert.read_text()[:200]),
            "api.tls_cert: {cert} holds no certificate in PEM",
        ),
        (
            lambda files: files.key.write_text(files.key.read_text()[:60]),
            "api.tls_key: {key} holds no private key in PEM, unencrypted",
        ),
    ],
)
def test_what_is_wrong_is_one_line_that_names_the_setting(files, spoil, words):
    spoil(files)
    with pytest.raises(BadCertificate) as raised:
        load(files)
    assert str(raised.value) == words.format(cert=files.cert, key=files.key)


def test_an_encrypted_key_is_refused_and_nobody_is_asked_for_its_password(files):
    subprocess.run(
        ["openssl", "ec", "-aes256", "-passout", "pass:s3cret", "-in", files.key, "-out", files.key],
        check=True,
        capture_output=True,
    )
    with pytest.raises(BadCertificate, match=r"api\.tls_key: .* unencrypted"):
        load(files)


def test_certificates_that_openssl_makes_are_taken(tmp_path):
    files = Files(tmp_path / "cert.pem", tmp_path / "key.pem")
    command = [
        "openssl",
        "req",
        "-x509",
        "-newkey",
        "rsa:2048",
        "-nodes",
        "-days",
        "30",
        "-subj",
        "/CN=edge-7",
    ]
    subprocess.run([*command, "-keyout", files.key, "-out", files.cert], check=True, capture_output=True)
    assert load(files).trouble is None


@pytest.mark.parametrize(
    ("valid_until", "words"),
    [(1.0, "the certificate expires in 0 days: "), (6.5, "the certificate expires in 6 days: "), (8.0, None)],
)
def test_a_certificate_that_ends_soon_is_spoken_of(files, authority, valid_until, words):
    write(files, *authority.issue(valid_until=valid_until))
    trouble = load(files).trouble
    assert trouble is None if words is None else trouble.startswith(words)


def test_one_that_has_ended_is_served_and_said_to_have(files, authority):
    write(files, *authority.issue(valid_from=-2, valid_until=-1))
    assert load(files).trouble.startswith("the certificate has expired: it was good until ")
    assert isinstance(load(files), Served)
