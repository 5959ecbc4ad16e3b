"""Whether the certificate that a server shows is the one that it should be (part 4, 6.1.3)."""

import hashlib
import ipaddress
import logging
import os
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

import msgspec
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509 import verification

from actors.connections.connection import NoConnection, Permanent, Transient
from storage.secrets import sync_folder
from storage.timestamps import iso, unix_ms

from .certificates import thumbprint, uris
from .connection import Connection

log = logging.getLogger(__name__)

UNTRUSTED: Final = "BadCertificateUntrusted"
INVALID: Final = "BadCertificateInvalid"

_KEY_BITS: Final = {"Basic128Rsa15": (1024, 2048), "Basic256": (1024, 2048)}
_USUAL_BITS: Final = (2048, 4096)
"""Of RSA keys, as the policies want them (part 7)."""
_DEPTH: Final = 4


class Shown(msgspec.Struct, frozen=True):
    """What a server has shown: its certificate and those that it sent behind it, DER; and the application URI
    that it says it has."""

    certificates: tuple[bytes, ...]
    uri: str | None
    host: str
    port: int


def chain(der: bytes | None) -> tuple[bytes, ...]:
    """The certificates of a server's, one after the other. Raises `Permanent` for anything else."""
    found: list[bytes] = []
    rest = der or b""
    while rest:
        length = _length(rest)
        if length is None or length > len(rest):
            raise Permanent("the server's certificate cannot be read", code=INVALID)
        found.append(rest[:length])
        rest = rest[length:]
    if not found:
        raise Permanent("the server shows no certificate", code=INVALID)
    return tuple(found)


def _length(der: bytes) -> int | None:
    """Of the DER sequence that it begins with."""
    if len(der) < 2 or der[0] != 0x30:
        return None
    if der[1] < 0x80:
        return 2 + der[1]
    width = der[1] & 0x7F
    if not 0 < width <= 4 or len(der) < 2 + width:
        return None
    return 2 + width + int.from_bytes(der[2 : 2 + width], "big")


def check(shown: Shown, connection: Connection, folder: Path) -> None:
    """Raises `NoConnection` unless the server is trusted; in the mode of first use it is remembered in
    `folder` from then on. Blocks."""
    certificate = _read(shown.certificates[0])
    _check_key(certificate, connection)
    pinned = connection.thumbprint is not None
    if pinned and connection.thumbprint not in _thumbprints(certificate):
        raise _untrusted(
            certificate, "is not the one of expectedServerThumbprint", "whoever changed it has the new one"
        )
    mode = connection.trust_mode or "strict"
    if mode == "strict":
        _check_strictly(certificate, shown, connection)
        return
    if mode == "trust-on-first-use":
        _remember(certificate, shown, folder, pinned)
    _tell_faults(certificate, shown)


def _read(der: bytes) -> x509.Certificate:
    try:
        return x509.load_der_x509_certificate(der)
    except ValueError as error:
        raise Permanent(f"the server's certificate cannot be read: {error}", code=INVALID) from error


def _check_key(certificate: x509.Certificate, connection: Connection) -> None:
    try:
        key = certificate.public_key()
    except ValueError as error:
        raise Permanent(f"the server's certificate cannot be read: {error}", code=INVALID) from error
    if not isinstance(key, rsa.RSAPrivateKey | rsa.RSAPublicKey):
        raise Permanent("the server's certificate has no RSA key", code=INVALID)
    least, most = _KEY_BITS.get(connection.security_policy, _USUAL_BITS)
    if connection.secured and not least <= key.key_size <= most:
        raise Permanent(
            f"the server's key has {key.key_size} bits, and {connection.security_policy} wants"
            f" {least} to {most}",
            code="BadCertificatePolicyCheckFailed",
        )


def _thumbprints(certificate: x509.Certificate) -> tuple[str, str]:
    return thumbprint(certificate), certificate.fingerprint(hashes.SHA256()).hex()


def _check_strictly(certificate: x509.Certificate, shown: Shown, connection: Connection) -> None:
    """Trusted by name, valid now, and of the server that says so."""
    if connection.trusted_certificates is not None:
        trusted = x509.load_pem_x509_certificates(connection.trusted_certificates.encode())
        if certificate not in trusted:
            _check_signed(certificate, shown, trusted)
    elif connection.thumbprint is None:
        raise _untrusted(
            certificate,
            "is not trusted",
            "if it is the right one, set expectedServerThumbprint to that, or certificateTrustMode to"
            " trust-on-first-use",
        )
    late = _time_fault(certificate)
    if late is not None:
        raise late
    if shown.uri is not None and shown.uri not in uris(certificate):
        raise Permanent(
            f"the server calls itself {shown.uri}, and its certificate is for {_listed(uris(certificate))}:"
            " certificateTrustMode thumbprint does without that",
            code="BadCertificateUriInvalid",
        )


def _check_signed(certificate: x509.Certificate, shown: Shown, trusted: list[x509.Certificate]) -> None:
    """By an authority that is trusted, for the host that was asked for: all its certificates are as good."""
    late = _time_fault(certificate)
    if late is not None:
        raise late
    verifier = (
        verification.PolicyBuilder()
        .store(verification.Store(trusted))
        .time(datetime.fromtimestamp(unix_ms() / 1000, UTC))
        .max_chain_depth(_DEPTH)
        .extension_policies(
            ca_policy=verification.ExtensionPolicy.permit_all().require_present(
                x509.BasicConstraints, verification.Criticality.AGNOSTIC, _is_authority
            ),
            ee_policy=verification.ExtensionPolicy.permit_all(),
        )
        .build_client_verifier()
    )
    try:
        verifier.verify(certificate, [_read(der) for der in shown.certificates[1 : _DEPTH + 1]])
    except (verification.VerificationError, ValueError) as error:
        reason = str(error).split("(encountered")[0].removeprefix("validation failed: ").strip()
        raise _untrusted(
            certificate, "is not among trustedCertificates", reason or "none signed it"
        ) from error
    if not _is_for(certificate, shown.host):
        raise Permanent(
            f"the server's certificate is for {_listed(_hosts(certificate))} and not for {shown.host}:"
            " connect by that name, or trust the certificate itself",
            code="BadCertificateHostNameInvalid",
        )


def _is_authority(
    _policy: verification.Policy, _certificate: x509.Certificate, extension: x509.BasicConstraints
) -> None:
    if not extension.ca:
        raise ValueError("it signs no certificates")


def _time_fault(certificate: x509.Certificate) -> NoConnection | None:
    """One that is not valid yet may be so because the clock here is behind: that passes."""
    now = unix_ms()
    begin, end = certificate.not_valid_before_utc, certificate.not_valid_after_utc
    code = "BadCertificateTimeInvalid"
    clock = f"; the clock here says {iso(now)}"
    if now < begin.timestamp() * 1000:
        return Transient(f"the server's certificate is valid from {begin:%Y-%m-%d} on{clock}", code=code)
    if now > end.timestamp() * 1000:
        return Permanent(f"the server's certificate was valid until {end:%Y-%m-%d}{clock}", code=code)
    return None


def _tell_faults(certificate: x509.Certificate, shown: Shown) -> None:
    """What is no reason to refuse a certificate that is known to be the server's."""
    late = _time_fault(certificate)
    if late is not None:
        log.warning("opc.tcp://%s:%d: %s; it is trusted all the same", shown.host, shown.port, late)


# Who was there first


def remembers(host: str, port: int, folder: Path) -> bool:
    """Whether a certificate of that server has been trusted on first use. Blocks."""
    return (folder / "trusted" / _file_name(host, port)).exists()


def _remember(certificate: x509.Certificate, shown: Shown, folder: Path, pinned: bool) -> None:
    """Raises `Permanent` when that server had another certificate before."""
    path = folder / "trusted" / _file_name(shown.host, shown.port)
    der = certificate.public_bytes(Encoding.DER)
    try:
        known = path.read_bytes()
    except FileNotFoundError:
        known = None
    if known == der:
        return
    if known is not None and not pinned:
        before = hashlib.sha1(known, usedforsecurity=False).hexdigest()
        raise _untrusted(
            certificate,
            f"is not the one that was trusted on first use (SHA-1 {before})",
            f"if the server has got a new one, set expectedServerThumbprint to that, or remove {path}",
        )
    _write(path, der)
    log.warning(
        "opc.tcp://%s:%d: its certificate is trusted from now on: %s",
        *(shown.host, shown.port),
        _said(certificate),
    )


def _file_name(host: str, port: int) -> str:
    place = f"{host.lower().rstrip('.')}:{port}"
    plain = "".join(
        letter if (letter.isascii() and letter.isalnum()) or letter in ".-" else "_" for letter in place
    )
    return f"{plain[:100]}-{hashlib.sha256(place.encode()).hexdigest()[:8]}.der"


def _write(path: Path, content: bytes) -> None:
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    draft = path.with_name(f".{path.name}.new")
    with draft.open("wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())
    draft.rename(path)
    sync_folder(path.parent)


# Words


def _untrusted(certificate: x509.Certificate, what: str, hint: str) -> Permanent:
    return Permanent(f"the server's certificate, {_said(certificate)}, {what}: {hint}", code=UNTRUSTED)


def _said(certificate: x509.Certificate) -> str:
    return f"{certificate.subject.rfc4514_string()[:200]}, SHA-1 {thumbprint(certificate)}"


def _listed(names: list[str]) -> str:
    return ", ".join(names[:5])[:300] or "nobody"


def _hosts(certificate: x509.Certificate) -> list[str]:
    try:
        names = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except x509.ExtensionNotFound:
        return []
    addresses = [str(one) for one in names.get_values_for_type(x509.IPAddress)]
    return [*names.get_values_for_type(x509.DNSName), *addresses]


def _is_for(certificate: x509.Certificate, host: str) -> bool:
    names = [name.lower().rstrip(".") for name in _hosts(certificate)]
    try:
        return str(ipaddress.ip_address(host.partition("%")[0])) in names
    except ValueError:
        return host.lower().rstrip(".") in names
