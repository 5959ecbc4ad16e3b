"""Sessions of the agent on two servers: every policy and mode, users, certificates, and what is refused."""

import asyncio
import logging
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from asyncua import ua
from cryptography.hazmat.primitives.serialization import Encoding
from opcua_sessions import until
from servers.opcua import EVERYTHING, KINDS, OpcUaServer
from servers.opcua_certificates import Identity

from actors.connections.connection import NoConnection, Permanent
from actors.endpoints.lines import Lines
from actors.endpoints.listener import Nobody
from actors.endpoints.protocol import PolledSession
from actors.endpoints.protocols.opcua import PROTOCOL, certificates, channel

POINTS = [{"name": "type", "nodeId": "ns=2;s=Type.Double"}]
USER = Identity("operator", uri="urn:operator", number=2)
PASSWORD = {"username": "operator", "password": "hush"}
SECURE = ("Basic256Sha256", "SignAndEncrypt")


@pytest.fixture(scope="module")
def servers(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, OpcUaServer]]:
    """By kind: all policies, everybody's certificate; a user by name, and one by certificate."""
    folder = tmp_path_factory.mktemp("opcua")
    made = {
        kind: OpcUaServer(
            folder,
            kind,  # type: ignore[arg-type]
            security=EVERYTHING,
            users={"operator": "hush"},
            user_certificates=(USER.pem,),
            interval_ms=0,
        )
        for kind in KINDS
    }
    with made["asyncua"], made["node"]:
        yield made


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Of the agent's certificate."""
    return tmp_path_factory.mktemp("agent")


def secured(
    server: OpcUaServer, policy: str = SECURE[0], mode: str = SECURE[1], **given: Any
) -> dict[str, Any]:
    """A connection that knows the server's certificate."""
    return {
        "endpointUrl": server.url,
        "securityPolicy": policy,
        "securityMode": mode,
        "expectedServerThumbprint": server.identity.thumbprint,
        "connectionTimeout": 3000,
        **given,
    }


def unsecured(server: OpcUaServer, **given: Any) -> dict[str, Any]:
    return {"endpointUrl": server.url, "connectionTimeout": 3000, **given}


@asynccontextmanager
async def session(given: dict[str, Any], folder: Path | None) -> AsyncIterator[PolledSession]:
    lines = Lines()
    lines.folder = folder
    found = PROTOCOL.session(PROTOCOL.check({**given, "useSubscription": False}, POINTS), Nobody(), lines)
    assert isinstance(found, PolledSession)
    try:
        yield found
    finally:
        await found.close()


async def value(given: dict[str, Any], folder: Path | None) -> Any:
    async with session(given, folder) as found:
        await found.connect()
        [one] = (await found.read(1.0)).values
        return one


async def refused(given: dict[str, Any], folder: Path | None) -> NoConnection:
    with pytest.raises(NoConnection) as caught:
        await value(given, folder)
    return caught.value


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(("policy", "mode"), EVERYTHING)
async def test_every_policy_and_mode_with_every_kind_of_user(
    servers: dict[str, OpcUaServer], folder: Path, kind: str, policy: str, mode: str
) -> None:
    server = servers[kind]
    given = unsecured(server) if policy == "None" else secured(server, policy, mode)
    if kind == "node" and policy == "Basic128Rsa15":
        # Node has given up what that policy encrypts by.
        assert (await refused(given, folder)).code == "BadTcpInternalError"
        return
    assert await value(given, folder) == 2.25
    assert await value({**given, **PASSWORD}, folder) == 2.25
    assert await value({**given, "userCertificate": USER.pem, "userKey": USER.key_pem}, folder) == 2.25


@pytest.mark.parametrize("kind", KINDS)
async def test_a_wrong_password_is_refused_until_somebody_changes_it(
    servers: dict[str, OpcUaServer], folder: Path, kind: str
) -> None:
    given = secured(servers[kind], username="operator", password="wrong")
    error = await refused(given, folder)
    assert isinstance(error, Permanent)
    assert error.code == "BadUserAccessDenied"
    assert "wrong" not in str(error)


async def test_a_password_that_cannot_be_encrypted_is_told(
    servers: dict[str, OpcUaServer], folder: Path
) -> None:
    error = await refused(unsecured(servers["node"], username="operator", password="x" * 200), folder)
    assert isinstance(error, Permanent)
    assert "too long" in str(error)


@pytest.mark.parametrize("kind", KINDS)
async def test_twenty_refusals_leave_no_session_on_the_server(
    servers: dict[str, OpcUaServer], folder: Path, kind: str
) -> None:
    """Servers of small devices have room for a handful, and then refuse those that are right."""
    before = (await servers[kind].tell("counts"))["sessions"]
    for _ in range(20):
        await refused(unsecured(servers[kind], username="operator", password="wrong"), folder)
    assert (await servers[kind].tell("counts"))["sessions"] == before


async def test_a_users_certificate_that_the_server_does_not_know_is_refused(
    servers: dict[str, OpcUaServer], folder: Path
) -> None:
    stranger = Identity("stranger", uri="urn:stranger", number=4)
    given = secured(servers["node"], userCertificate=stranger.pem, userKey=stranger.key_pem)
    assert isinstance(await refused(given, folder), Permanent)


async def test_another_thumbprint_is_refused_before_anything_is_said(
    servers: dict[str, OpcUaServer], folder: Path
) -> None:
    server = servers["node"]
    error = await refused(secured(server, expectedServerThumbprint="a" * 40, **PASSWORD), folder)
    assert error.code == "BadCertificateUntrusted"
    assert server.identity.thumbprint in str(error)


async def test_by_default_a_server_is_not_trusted_and_its_thumbprint_told(
    servers: dict[str, OpcUaServer], folder: Path
) -> None:
    server = servers["asyncua"]
    error = await refused(secured(server, expectedServerThumbprint=None), folder)
    assert isinstance(error, Permanent)
    assert server.identity.thumbprint in str(error)


async def test_without_a_folder_for_certificates_there_is_no_security(
    servers: dict[str, OpcUaServer],
) -> None:
    assert isinstance(await refused(secured(servers["node"]), None), Permanent)
    assert await value(unsecured(servers["node"]), None) == 2.25


async def test_report_a_connection_survives_the_renewal_of_its_channel(
    servers: dict[str, OpcUaServer], folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """FreeOpcUa/python-opcua 926, apache/plc4x 1732, gopcua/opcua 303: the token is renewed wrongly, or not,
    and the connection ends with its lifetime."""
    monkeypatch.setattr(channel, "LIFETIME", 400)
    for kind in KINDS:
        async with session(secured(servers[kind]), folder) as found:
            await found.connect()
            for _ in range(12):
                assert (await found.read(1.0)).values == [2.25]
                await asyncio.sleep(0.1)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("user", [{}, PASSWORD, {"userCertificate": USER.pem, "userKey": USER.key_pem}])
async def test_a_session_goes_on_over_a_new_channel_or_is_made_anew(
    servers: dict[str, OpcUaServer], folder: Path, kind: str, user: dict[str, str]
) -> None:
    """node-opcua gives up on a certificate in the middle of it, asyncua ends sessions with their channels."""
    async with session(secured(servers[kind], **user), folder) as found:
        await found.connect()
        found._channel._socket.transport.abort()  # type: ignore[attr-defined]
        await until(lambda: found._channel is None)  # type: ignore[attr-defined]
        await found.connect()
        resumed = found._channel.resumed  # type: ignore[attr-defined]
        assert resumed == (kind == "node" and "userKey" not in user)
        assert (await found.read(1.0)).values == [2.25]


# Servers that are not as they should be


async def test_a_policy_that_is_not_offered_is_never_made_up_for_by_another(
    tmp_path: Path, folder: Path
) -> None:
    with OpcUaServer(tmp_path, "asyncua", security=(("None", "None"), ("Basic256Sha256", "Sign"))) as server:
        error = await refused(secured(server, "Aes256_Sha256_RsaPss", "SignAndEncrypt"), folder)
        assert isinstance(error, Permanent)
        assert error.code == "BadSecurityPolicyRejected"
        assert "Basic256Sha256 with Sign" in str(error)
        assert (await refused(secured(server, "Basic256Sha256", "SignAndEncrypt"), folder)).code == error.code


async def test_a_server_that_has_another_certificate_is_not_trusted_any_more(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    agent = tmp_path / "agent"
    with OpcUaServer(tmp_path, "node", security=(("None", "None"), SECURE)) as server:
        first_use = secured(server, expectedServerThumbprint=None, certificateTrustMode="trust-on-first-use")
        with caplog.at_level(logging.WARNING):
            assert await value(first_use, agent) == 2.25
            assert await value(first_use, agent) == 2.25
        assert caplog.text.count("trusted from now on") == 1
        before = server.identity
        server.identity = Identity("plant", uri=before.uri, number=5)
        await asyncio.to_thread(server.restart)
        error = await refused(first_use, agent)
        assert isinstance(error, Permanent)
        assert before.thumbprint in str(error)
        assert server.identity.thumbprint in str(error)
        await asyncio.to_thread(Path(str(error).rpartition("remove ")[2]).unlink)
        assert await value(first_use, agent) == 2.25


@pytest.mark.parametrize("kind", KINDS)
async def test_a_server_that_does_not_know_this_agent_is_told_its_certificate(
    tmp_path: Path, kind: Any
) -> None:
    agent = tmp_path / "agent"
    known = OpcUaServer(tmp_path, kind, security=(SECURE,), trusted=())
    with known as server:
        error = await refused(secured(server), agent)
        assert isinstance(error, Permanent)
        assert "trust this agent's certificate" in str(error)
        own = certificates.own(agent)
        server.config["trusted"] = (own.certificate.public_bytes(Encoding.PEM).decode(),)
        await asyncio.to_thread(server.restart)
        assert await value(secured(server), agent) == 2.25


async def test_anonymous_is_refused_by_a_server_that_wants_users(tmp_path: Path, folder: Path) -> None:
    options: dict[str, Any] = {"anonymous": False, "users": {"operator": "hush"}}
    for kind in KINDS:
        with OpcUaServer(tmp_path, kind, security=(("None", "None"), SECURE), **options) as server:
            error = await refused(unsecured(server), folder)
            assert isinstance(error, Permanent)
            assert error.code == "BadIdentityTokenRejected"
            assert "UserName" in str(error)
            assert await value(unsecured(server, **PASSWORD), folder) == 2.25


async def test_a_password_goes_unprotected_only_where_that_is_said(tmp_path: Path, folder: Path) -> None:
    with OpcUaServer(tmp_path, "asyncua", users={"operator": "hush"}) as server:
        error = await refused(unsecured(server, **PASSWORD), folder)
        assert isinstance(error, Permanent)
        assert "allowInsecurePassword" in str(error)
        assert "hush" not in str(error)
        assert await value(unsecured(server, **PASSWORD, allowInsecurePassword=True), folder) == 2.25


@pytest.mark.parametrize(
    ("options", "strict"),
    [
        ({"valid_from": -20.0, "valid_until": -10.0}, "BadCertificateTimeInvalid"),
        ({"valid_from": 10.0, "valid_until": 20.0}, "BadCertificateTimeInvalid"),
        ({"hosts": ("plc-7",)}, None),
    ],
)
async def test_odd_certificates_of_servers(
    tmp_path: Path, folder: Path, options: dict[str, Any], strict: str | None
) -> None:
    identity = Identity("odd", uri="urn:callboard:test:plant", **options)
    with OpcUaServer(tmp_path, "asyncua", security=(SECURE,), identity=identity) as server:
        if strict is None:
            assert await value(secured(server), folder) == 2.25
        else:
            assert (await refused(secured(server), folder)).code == strict
        assert await value(secured(server, certificateTrustMode="thumbprint"), folder) == 2.25


async def test_report_the_certificate_comes_with_those_that_signed_it(tmp_path: Path, folder: Path) -> None:
    """FreeOpcUa/opcua-asyncio 1245 and 1525: "error parsing ASN.1 value" for a certificate with its chain.
    Its authority is trusted for all whom it has signed, and no other of that name."""
    authority = Identity("Authority", authority=True, number=3)
    identity = Identity("signed", uri="urn:callboard:test:plant", issuer=authority, number=4)
    with OpcUaServer(tmp_path, "node", security=(SECURE,), identity=identity) as server:
        given = secured(server, expectedServerThumbprint=None, trustedCertificates=authority.pem)
        assert await value(given, folder) == 2.25
        other = Identity("Authority", authority=True, number=5)
        assert (await refused({**given, "trustedCertificates": other.pem}, folder)).code == (
            "BadCertificateUntrusted"
        )


# Reports of others


async def test_report_the_server_knows_itself_by_a_name_that_nobody_resolves(
    tmp_path: Path, folder: Path
) -> None:
    """gopcua/opcua 494, "could not resolve address tben-lx-plc:4840"; FAAAST-Service 1267: what GetEndpoints
    says of hosts leads nowhere."""
    for kind in KINDS:
        with OpcUaServer(
            tmp_path, kind, security=(("None", "None"), SECURE), advertised_host="no.invalid"
        ) as server:
            assert await value(secured(server), folder) == 2.25
            assert await value(unsecured(server), folder) == 2.25


async def test_report_token_policies_differ_from_that_of_the_channel(
    servers: dict[str, OpcUaServer], folder: Path
) -> None:
    """FreeOpcUa/opcua-asyncio 1727, open62541 6779 and 6823: BadIdentityTokenInvalid or -Rejected, for the
    first policy for user names in the list, or the channel's, was taken for the password's."""
    async with session(unsecured(servers["node"], **PASSWORD), folder) as found:
        await found.connect()
        client = found._channel._client  # type: ignore[attr-defined]
        [chosen] = client._policy_ids
        assert chosen.TokenType == ua.UserTokenType.UserName
        assert chosen.SecurityPolicyUri.endswith("#Aes128_Sha256_RsaOaep")


async def test_report_the_uri_of_the_client_is_the_one_in_its_certificate(tmp_path: Path) -> None:
    """open62541 2314 and 5772, FreeOpcUa/python-opcua 633: BadCertificateUriInvalid from servers that look,
    as node-opcua's does."""
    agent = tmp_path / "agent"
    with OpcUaServer(tmp_path, "node", security=(SECURE,)) as server:
        assert await value(secured(server), agent) == 2.25
        assert certificates.own(agent).uri.startswith(certificates.APPLICATION)


async def test_report_a_server_without_unsecured_endpoints(tmp_path: Path, folder: Path) -> None:
    """open62541 6464: GetEndpoints failed where there was no endpoint without security; 6772: a policy that
    is not there was an internal error; mikakaraila/node-red-contrib-opcua 644: "invalid endpoint"."""
    for kind in KINDS:
        with OpcUaServer(tmp_path, kind, security=(SECURE,)) as server:
            assert await value(secured(server), folder) == 2.25
            error = await refused(unsecured(server), folder)
            assert isinstance(error, Permanent)
            assert error.code == "BadSecurityPolicyRejected"
            assert "Basic256Sha256 with SignAndEncrypt" in str(error)
