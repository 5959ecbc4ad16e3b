"""The certificate that this agent shows to OPC UA servers (part 6, 6.2.2): made once, and kept.

Servers trust it by hand, so it stays as long as it is valid. In `own` of the protocol's folder are one key
and one or more certificates of it, each in a file of its own that a server can import.
"""

import logging
import os
import socket
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Final
from uuid import uuid4

import msgspec
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    load_pem_private_key,
)
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from storage.secrets import sync_folder
from storage.timestamps import unix_ms

log = logging.getLogger(__name__)

APPLICATION: Final = "urn:iotistica:agent"
"""Of the agent that shows no certificate; one that does has a URI of its own, which begins with this."""
KEY_BITS: Final = 2048
"""The only size that all policies take."""
SINCE: Final = datetime(2000, 1, 1, tzinfo=UTC)
"""From when on certificates are valid: servers' clocks may have stood still since they were made."""
LIFETIME: Final = timedelta(days=3650)
NEXT: Final = timedelta(days=90)
"""How long before the end of one certificate the next one is there, to be trusted in time."""
PLAUSIBLE: Final = datetime(2026, 1, 1, tzinfo=UTC)
"""No clock that says less is right."""
MOST: Final = 20


class Own(msgspec.Struct, frozen=True):
    """`uri` is the application URI in it, which the client has to name."""

    certificate: x509.Certificate
    key: rsa.RSAPrivateKey
    uri: str
    path: Path

    @property
    def thumbprint(self) -> str:
        return thumbprint(self.certificate)


def thumbprint(certificate: x509.Certificate) -> str:
    """SHA-1, as servers' tools show it."""
    return certificate.fingerprint(hashes.SHA1()).hex()


def own(folder: Path) -> Own:
    """The certificate to show now, made at the first call. Of several that are valid the oldest: servers know
    it longest. Blocks. Raises `OSError`, and ValueError when what is there cannot be read."""
    place = folder / "own"
    place.mkdir(parents=True, exist_ok=True, mode=0o700)
    key, found = _key(place), list(_certificates(place))
    if not found:
        found.append(_add(place, key, f"{APPLICATION}:{uuid4()}", 1))
    now = _now()
    valid = [one for one in found if one[1].not_valid_after_utc > now]
    last = found[-1]
    if last[1].not_valid_after_utc < now + NEXT and len(found) < MOST:
        made = _add(place, key, _uri(last[1]), _number(last[0]) + 1)
        valid.append(made)
        log.warning(
            "the OPC UA certificate %s ends at %s; %s, which comes after it, is to be trusted by servers"
            " before then",
            *(last[0], last[1].not_valid_after_utc.date(), made[0]),
        )
    path, certificate = (valid or found[-1:])[0]
    return Own(certificate, key, _uri(certificate), path)


def _now() -> datetime:
    return datetime.fromtimestamp(unix_ms() / 1000, UTC)


def _key(place: Path) -> rsa.RSAPrivateKey:
    path = place / "key.pem"
    if path.exists():
        key = load_pem_private_key(path.read_bytes(), None)
        if not isinstance(key, rsa.RSAPrivateKey):
            raise ValueError(f"{path} holds no RSA key")
        return key
    key = rsa.generate_private_key(65537, KEY_BITS)
    _write(path, key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
    return key


def _certificates(place: Path) -> Iterator[tuple[Path, x509.Certificate]]:
    """In the order in which they were made."""
    for path in sorted(place.glob("callboard-*.der"), key=_number):
        yield path, x509.load_der_x509_certificate(path.read_bytes())


def _number(path: Path) -> int:
    digits = path.stem.rpartition("-")[2]
    return int(digits) if digits.isdigit() else 0


def _uri(certificate: x509.Certificate) -> str:
    return next(iter(uris(certificate)), APPLICATION)


def uris(certificate: x509.Certificate) -> list[str]:
    """The application URIs in it."""
    try:
        names = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except x509.ExtensionNotFound:
        return []
    return names.get_values_for_type(x509.UniformResourceIdentifier)


def _add(place: Path, key: rsa.RSAPrivateKey, uri: str, number: int) -> tuple[Path, x509.Certificate]:
    certificate = _issue(key, uri)
    path = place / f"callboard-{number}.der"
    _write(path, certificate.public_bytes(Encoding.DER))
    log.info("the OPC UA certificate of this agent is %s, SHA-1 %s", path, thumbprint(certificate))
    return path, certificate


def _issue(key: rsa.RSAPrivateKey, uri: str) -> x509.Certificate:
    host = socket.gethostname()[:63] or "localhost"
    name = x509.Name(
        [
            x509.NameAttribute(NameOID.COMMON_NAME, f"Callboard@{host}"[:64]),
            x509.NameAttribute(NameOID.ORGANIZATION_NAME, "Callboard"),
        ]
    )
    names = [x509.UniformResourceIdentifier(uri), x509.DNSName(_ascii(host))]
    public = key.public_key()
    return (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(public)
        .serial_number(x509.random_serial_number())
        .not_valid_before(SINCE)
        .not_valid_after(max(_now(), PLAUSIBLE) + LIFETIME)
        .add_extension(x509.SubjectAlternativeName(names), critical=False)
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(_usage(), critical=True)
        .add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.CLIENT_AUTH]), critical=False)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(public), critical=False)
        .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(public), critical=False)
        .sign(key, hashes.SHA256())
    )


def _ascii(host: str) -> str:
    return "".join(letter if letter.isascii() else "-" for letter in host)


def _usage() -> x509.KeyUsage:
    """What part 6 asks of one that has signed itself."""
    return x509.KeyUsage(
        digital_signature=True,
        content_commitment=True,
        key_encipherment=True,
        data_encipherment=True,
        key_agreement=False,
        key_cert_sign=True,
        crl_sign=False,
        encipher_only=False,
        decipher_only=False,
    )


def _write(path: Path, content: bytes) -> None:
    """Whole or not at all, for this user's eyes."""
    draft = path.with_name(f".{path.name}.new")
    draft.unlink(missing_ok=True)
    descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(descriptor, "wb") as file:
        file.write(content)
        file.flush()
        os.fsync(descriptor)
    draft.rename(path)
    sync_folder(path.parent)
