"""Throw-away certificates of OPC UA applications and users."""

from datetime import UTC, datetime, timedelta
from functools import cache
from ipaddress import IPv4Address

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID


@cache
def _key(bits: int, number: int) -> rsa.RSAPrivateKey:
    """Making them takes longest of all here; a few serve all tests of a process."""
    return rsa.generate_private_key(65537, bits)


class Identity:
    """A certificate for `hosts` and application `uri`, and its key; its own issuer, or signed by `issuer`. It
    is valid for that time, in days from now. Two of the same `number` (and size) share a key."""

    def __init__(
        self,
        name: str,
        *,
        uri: str = "urn:callboard:test",
        hosts: tuple[str, ...] = ("127.0.0.1", "localhost"),
        valid_from: float = -1.0,
        valid_until: float = 30.0,
        bits: int = 2048,
        number: int = 0,
        authority: bool = False,
        depth: int = 0,
        issuer: "Identity | None" = None,
    ) -> None:
        self.uri = uri
        self._key = _key(bits, number)
        self._subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
        now = datetime.now(UTC)
        names: list[x509.GeneralName] = [x509.UniformResourceIdentifier(uri)]
        for host in hosts:
            try:
                names.append(x509.IPAddress(IPv4Address(host)))
            except ValueError:
                names.append(x509.DNSName(host))
        builder = (
            x509.CertificateBuilder()
            .subject_name(self._subject)
            .issuer_name((issuer or self)._subject)
            .public_key(self._key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(now + timedelta(days=valid_from))
            .not_valid_after(now + timedelta(days=valid_until))
            .add_extension(x509.SubjectAlternativeName(names), critical=False)
            .add_extension(
                x509.BasicConstraints(ca=authority, path_length=depth if authority else None), critical=True
            )
            .add_extension(_usage(authority or issuer is None), critical=True)
            .add_extension(x509.SubjectKeyIdentifier.from_public_key(self._key.public_key()), critical=False)
            .add_extension(
                x509.AuthorityKeyIdentifier.from_issuer_public_key((issuer or self)._key.public_key()),
                critical=False,
            )
        )
        if not authority:
            purposes = [ExtendedKeyUsageOID.SERVER_AUTH, ExtendedKeyUsageOID.CLIENT_AUTH]
            builder = builder.add_extension(x509.ExtendedKeyUsage(purposes), critical=False)
        self.certificate = builder.sign((issuer or self)._key, hashes.SHA256())
        self.pem = self.certificate.public_bytes(Encoding.PEM).decode()
        self.chain_pem = self.pem + (issuer.pem if issuer is not None else "")
        self.key_pem = self._key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()).decode()

    @property
    def thumbprint(self) -> str:
        """SHA-1, in lower-case hex."""
        return self.certificate.fingerprint(hashes.SHA1()).hex()

    @property
    def sha256(self) -> str:
        return self.certificate.fingerprint(hashes.SHA256()).hex()


def _usage(signs: bool) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=True,
        content_commitment=True,
        key_encipherment=True,
        data_encipherment=True,
        key_agreement=False,
        key_cert_sign=signs,
        crl_sign=False,
        encipher_only=False,
        decipher_only=False,
    )
