"""TLS for the API: a certificate and its key, from files that somebody renews."""

import os
import ssl
from collections.abc import Iterator
from pathlib import Path
from typing import Final, NamedTuple

from storage.timestamps import iso, unix_ms

LOOK_EVERY = 5.0
"""Seconds between two looks at the files."""

SOON_MS: Final = 7 * 86_400_000
"""Before its end from which on a certificate is spoken of."""


class BadCertificate(Exception):
    """One line, which names the setting."""


class Files(NamedTuple):
    cert: Path
    key: Path


class Served(NamedTuple):
    """What clients are served with; `expires_at` is Unix ms."""

    context: ssl.SSLContext
    expires_at: int

    @property
    def trouble(self) -> str | None:
        """What is to be said of it now."""
        left = self.expires_at - unix_ms()
        if left <= 0:
            return f"the certificate has expired: it was good until {iso(self.expires_at)}"
        if left < SOON_MS:
            return f"the certificate expires in {left // 86_400_000} days: {iso(self.expires_at)}"
        return None


class Look(NamedTuple):
    """At the files: `mark` changes when they do. `served` is None when they are as before, or when there is
    something wrong with them, which `error` says."""

    mark: object
    served: Served | None = None
    error: str | None = None


def look(files: Files, mark: object) -> Look:
    """Read them if they have changed since `mark`. It blocks. Of a pair half of which is written the other
    half comes later, and changes the mark."""
    now = tuple(_marks(files))
    if now == mark:
        return Look(mark)
    try:
        return Look(now, load(files))
    except BadCertificate as error:
        return Look(now, error=str(error))


def _marks(files: Files) -> Iterator[object]:
    """Of what a name leads to: links are switched, files are replaced, written and given to others."""
    for file in files:
        try:
            found = os.stat(file)
            yield found.st_dev, found.st_ino, found.st_size, found.st_mtime_ns, found.st_ctime_ns
        except OSError as error:
            yield error.errno


def load(files: Files) -> Served:
    """It blocks. Raises `BadCertificate`."""
    cert = _read("api.tls_cert", files.cert)
    _read("api.tls_key", files.key)
    expires_at = _expires_at(files.cert, cert)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.options |= ssl.OP_NO_RENEGOTIATION | ssl.OP_NO_COMPRESSION | ssl.OP_CIPHER_SERVER_PREFERENCE
    context.set_alpn_protocols(["http/1.1"])
    try:
        # The empty password makes an encrypted key fail; without one OpenSSL asks at the terminal.
        context.load_cert_chain(files.cert, files.key, password="")
    except (ssl.SSLError, ValueError) as error:
        if getattr(error, "reason", None) == "KEY_VALUES_MISMATCH":
            raise BadCertificate(f"api.tls_key: {files.key} is not the key of {files.cert}") from error
        if getattr(error, "reason", None) in ("EE_KEY_TOO_SMALL", "CA_MD_TOO_WEAK"):
            raise BadCertificate(f"api.tls_cert: {files.cert} is too weak: {error}") from error
        raise BadCertificate(f"api.tls_key: {files.key} holds no private key in PEM, unencrypted") from error
    except OSError as error:
        raise BadCertificate(f"api.tls_key: {files.key} cannot be read: {error.strerror}") from error
    return Served(context, expires_at)


def _read(setting: str, file: Path) -> bytes:
    try:
        return file.read_bytes()
    except OSError as error:
        raise BadCertificate(f"{setting}: {file} cannot be read: {error.strerror}") from error


def _expires_at(file: Path, pem: bytes) -> int:
    from cryptography.x509 import load_pem_x509_certificates  # for who speaks TLS only

    try:
        first = load_pem_x509_certificates(pem)[0]
    except ValueError as error:
        raise BadCertificate(f"api.tls_cert: {file} holds no certificate in PEM") from error
    return int(first.not_valid_after_utc.timestamp() * 1000)
