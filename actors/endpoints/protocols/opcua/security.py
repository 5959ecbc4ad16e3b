"""What protects a session: the policy of its channel, and who the client says it is."""

import logging
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Final

from asyncua import ua
from asyncua.client import Client
from asyncua.crypto import security_policies as policies
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.serialization import load_pem_private_key

from actors.connections.building import build
from actors.connections.connection import NoConnection, Permanent

from . import certificates, faults, trust
from .connection import Connection

log = logging.getLogger(__name__)

_POLICIES: Final = {
    "Basic128Rsa15": policies.SecurityPolicyBasic128Rsa15,
    "Basic256": policies.SecurityPolicyBasic256,
    "Basic256Sha256": policies.SecurityPolicyBasic256Sha256,
    "Aes128_Sha256_RsaOaep": policies.SecurityPolicyAes128Sha256RsaOaep,
    "Aes256_Sha256_RsaPss": policies.SecurityPolicyAes256Sha256RsaPss,
}
_NONE: Final = policies.SecurityPolicyNone.URI
_BEST_FIRST: Final = (
    *("Aes256_Sha256_RsaPss", "Aes128_Sha256_RsaOaep", "Basic256Sha256", "Basic256", "Basic128Rsa15"),
)
_PADDING: Final = 66
"""Bytes that encrypting costs at most, of all policies."""
_TRANSPORT: Final = "uatcp-uasc-uabinary"
_UNTRUSTED: Final = frozenset(
    {
        *("BadSecurityChecksFailed", "BadCertificateUntrusted", "BadCertificateInvalid"),
        *("BadTcpSecureChannelUnknown", faults.RESET),
    }
)
"""As what a client's certificate that a server does not know may come back."""
_NO_ANSWER: Final = frozenset({faults.TIMEOUT, faults.REFUSED, faults.UNREACHABLE})
NOT_OFFERED: Final = "BadSecurityPolicyRejected"


async def secure(client: Client, connection: Connection, folder: Path | None) -> None:
    """Give the client, which is not connected yet, its policy, certificates and user; `folder` is where those
    of this agent and of servers are.

    Asks the server for its endpoints when it is to be a secure channel. What it says of hosts is not used:
    most servers know only names by which nobody reaches them. Raises `NoConnection`, and what the library
    does.
    """
    client.application_uri = certificates.APPLICATION
    client.product_uri = "urn:callboard"
    _introduce(client, connection)
    if not connection.secured:
        return
    place = _place(folder)
    own = await _own(place)
    endpoint = _choose(await _endpoints(client), connection, client)
    shown = trust.chain(endpoint.ServerCertificate)
    await _trust(shown, endpoint.Server.ApplicationUri, client, connection, place)
    mode = ua.MessageSecurityMode[connection.security_mode]
    kind = _POLICIES[connection.security_policy]
    policy = kind(shown[0], own.certificate, own.key, mode)
    client.application_uri = own.uri
    client.security_policy = policy
    client.uaclient.set_security(policy)


async def identify(client: Client, connection: Connection, folder: Path | None) -> None:
    """Choose how the user's name and password, or certificate, are protected; for a client that has created
    its session and not activated it. Raises `NoConnection`."""
    kind = _token(connection)
    known = client._policy_ids or ()
    offered = [one for one in known if one.TokenType == kind]
    if not offered:
        kinds = sorted({ua.UserTokenType(one.TokenType).name for one in known})
        raise Permanent(
            f"the server takes no user of the kind {kind.name}, but {', '.join(kinds) or 'none'}",
            code="BadIdentityTokenRejected",
        )
    if kind == ua.UserTokenType.Anonymous:
        client._policy_ids = offered[:1]
        return
    chosen = _protected(offered, client, connection)
    if chosen is None:
        chosen = _plain(offered, kind, connection)
    elif connection.looks_at_certificate and not connection.secured:
        shown = trust.chain(client.security_policy.peer_certificate)
        await _trust(shown, None, client, connection, _place(folder))
    if connection.password and (chosen.SecurityPolicyUri or client.security_policy.URI) != _NONE:
        _check_length(connection.password, client)
    client._policy_ids = [chosen]


async def explained(
    error: NoConnection, client: Client, connection: Connection, folder: Path | None
) -> NoConnection:
    """Why a server has not opened a channel or a session, if more can be said than it does: that it offers
    none of that kind, or does not know this agent's certificate."""
    if not connection.secured:
        return error if error.code in _NO_ANSWER else await _not_offered(error, client)
    if error.code not in _UNTRUSTED:
        return error
    place = "" if folder is None else f" ({folder / 'own'})"
    hint = f"{error}; the server may have to be told to trust this agent's certificate{place}"
    return type(error)(hint, error.retry_after, error.code, error.retry_within)


async def _not_offered(error: NoConnection, client: Client) -> NoConnection:
    try:
        endpoints = await _endpoints(client)
    except Exception as failure:  # noqa: BLE001 - what a stranger's answer raises; the error was another one
        log.debug("%s: asking for endpoints: %s", client.server_url.geturl(), failure)
        return error
    if not endpoints or any(one.SecurityMode == ua.MessageSecurityMode.None_ for one in endpoints):
        return error
    return Permanent(
        f"the server does not offer connections without security, but {_offers(endpoints)}", code=NOT_OFFERED
    )


def _introduce(client: Client, connection: Connection) -> None:
    if connection.username is not None:
        client.set_user(connection.username)
        client.set_password(connection.password or "")
    if connection.user_certificate is not None and connection.user_key is not None:
        chain = x509.load_pem_x509_certificates(connection.user_certificate.encode())
        key = load_pem_private_key(connection.user_key.encode(), None)
        if not isinstance(key, rsa.RSAPrivateKey):
            raise Permanent("userKey is not an RSA key", code="BadConfigurationError")
        client.user_certificate, client.user_certificate_chain = chain[0], chain[1:]
        client.user_private_key = key


def _place(folder: Path | None) -> Path:
    if folder is None:
        raise Permanent("there is no folder for certificates", code="BadConfigurationError")
    return folder


async def _own(folder: Path) -> certificates.Own:
    try:
        # One after the other: the first to come makes it.
        return await build("opcua certificate", partial(certificates.own, folder))
    except (OSError, ValueError) as error:
        raise Permanent(f"this agent's certificate: {error}", code="BadConfigurationError") from error


async def _trust(
    shown: Sequence[bytes], uri: str | None, client: Client, connection: Connection, folder: Path
) -> None:
    url = client.server_url
    found = trust.Shown(tuple(shown), uri, url.hostname or "", url.port or 0)
    try:
        await build("opcua certificate", partial(trust.check, found, connection, folder))
    except OSError as error:
        raise Permanent(f"certificates of servers: {error}", code="BadConfigurationError") from error


# What the server offers


async def _endpoints(client: Client) -> list[ua.EndpointDescription]:
    """Asked by a connection of its own, without security."""
    asking = Client(client.server_url.geturl(), timeout=client.uaclient._timeout)
    asking.uaclient = type(client.uaclient)(client.uaclient._timeout)
    asking.application_uri = client.application_uri
    found: list[ua.EndpointDescription] = await asking.connect_and_get_server_endpoints()
    return found or []


def _choose(
    endpoints: Sequence[ua.EndpointDescription], connection: Connection, client: Client
) -> ua.EndpointDescription:
    """The endpoint of that mode and policy, and no other; of several that of the URL, as far as can be
    said."""
    mode = ua.MessageSecurityMode[connection.security_mode]
    uri = _POLICIES[connection.security_policy].URI
    usable = [
        one
        for one in endpoints
        if one.ServerCertificate
        and _TRANSPORT in (one.TransportProfileUri or _TRANSPORT)
        and (one.EndpointUrl or "").startswith("opc.tcp")
    ]
    found = [one for one in usable if one.SecurityMode == mode and one.SecurityPolicyUri == uri]
    if not found:
        raise Permanent(
            f"the server does not offer {connection.security_policy} with {connection.security_mode}, but"
            f" {_offers(endpoints)}",
            code=NOT_OFFERED,
        )
    url = client.server_url
    path = url.path.strip("/")
    return min(found, key=lambda one: not (one.EndpointUrl or "").rstrip("/").endswith(f"/{path}"))


def _offers(endpoints: Sequence[ua.EndpointDescription]) -> str:
    return ", ".join(list(dict.fromkeys(_offer(one) for one in endpoints))[:20]) or "nothing"


def _offer(endpoint: ua.EndpointDescription) -> str:
    policy = (endpoint.SecurityPolicyUri or "").rpartition("#")[2][:60]
    mode = endpoint.SecurityMode.name.rstrip("_")
    return policy if policy == mode else f"{policy} with {mode}"


# Users


def _token(connection: Connection) -> ua.UserTokenType:
    if connection.user_certificate is not None:
        return ua.UserTokenType.Certificate
    return ua.UserTokenType.UserName if connection.username is not None else ua.UserTokenType.Anonymous


def _protected(
    offered: Sequence[ua.UserTokenPolicy], client: Client, connection: Connection
) -> ua.UserTokenPolicy | None:
    """The best of those that encrypt a password or sign for a certificate: the channel's own policy before
    all. None when there is none, or nothing to encrypt with."""
    if not client.security_policy.peer_certificate:
        return None
    own = client.security_policy.URI
    uris = [_POLICIES[name].URI for name in _BEST_FIRST]
    if connection.secured:
        uris = [own, *(uri for uri in uris if uri != own)]
    usable = [one for one in offered if (one.SecurityPolicyUri or own) in uris]
    return min(usable, key=lambda one: uris.index(one.SecurityPolicyUri or own), default=None)


def _check_length(password: str, client: Client) -> None:
    """It is encrypted at once, with what the server has sent to be sent back."""
    key = x509.load_der_x509_certificate(client.security_policy.peer_certificate).public_key()
    bits = key.key_size if isinstance(key, rsa.RSAPublicKey) else 0
    room = bits // 8 - _PADDING - 4 - len(client._server_nonce or b"")
    if len(password.encode()) > room:
        raise Permanent(
            f"the password is too long: the server's key has {bits} bits, which is enough for"
            f" {max(room, 0)} bytes of it",
            code="BadIdentityTokenInvalid",
        )


def _plain(
    offered: Sequence[ua.UserTokenPolicy], kind: ua.UserTokenType, connection: Connection
) -> ua.UserTokenPolicy:
    """A password that only the channel protects, if it does."""
    plain = [one for one in offered if (one.SecurityPolicyUri or _NONE) == _NONE]
    if kind == ua.UserTokenType.Certificate or not plain:
        names = ", ".join(sorted({(one.SecurityPolicyUri or "").rpartition("#")[2][:60] for one in offered}))
        raise Permanent(
            f"how the server wants a user's {kind.name} to be protected is not known here: {names}",
            code=NOT_OFFERED,
        )
    if connection.security_mode == "SignAndEncrypt":
        return plain[0]
    if connection.password and not connection.allow_insecure_password:
        raise Permanent(
            "the server takes the password only as it is, over a connection that everybody can read: use"
            " securityMode SignAndEncrypt, or allowInsecurePassword",
            code=NOT_OFFERED,
        )
    return plain[0]
