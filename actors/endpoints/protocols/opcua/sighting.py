"""What is made of the answers of servers: which of them are one, and what is told of each. Plain."""

import hashlib
from collections.abc import Iterable, Sequence
from typing import Any, Final

import msgspec
from asyncua import ua

from actors.connections.connection import Permanent
from actors.endpoints.discovering import Found
from conf.texts import without_controls

from . import told
from .discovery import Place, PolledServer
from .offers import Answer
from .trust import chain

_MODES: Final = ("SignAndEncrypt", "Sign", "None")
_POLICIES: Final = (
    *("Aes256_Sha256_RsaPss", "Aes128_Sha256_RsaOaep", "Basic256Sha256", "Basic256", "Basic128Rsa15"),
    "None",
)
"""The best first."""
_BINARY: Final = "uatcp-uasc-uabinary"
_LONGEST: Final = 300
MOST_TOLD: Final = 64
"""Endpoints of a server that are told."""
_SECOND: Final = 1_000_000
"""us: a clock that has only seconds may show the same to several machines that are switched on together."""


class Sighting(msgspec.Struct):
    """A server that has answered at a place; `start` is when it says that it was started, Unix us, if it
    lets anybody ask."""

    place: Place
    address: str
    answer: Answer
    start: int | None = None
    polled: PolledServer | None = None
    """The endpoint that reads it."""

    @property
    def uri(self) -> str:
        mine = self.answer.application
        return text(mine.ApplicationUri) if mine is not None else ""

    @property
    def usable(self) -> list[ua.EndpointDescription]:
        """The endpoints that an endpoint of ours could use."""
        return [
            one
            for one in self.answer.endpoints
            if _BINARY in (one.TransportProfileUri or _BINARY) and told.place(one.EndpointUrl) is not None
        ]

    @property
    def thumbprint(self) -> str | None:
        """SHA-1 of its certificate."""
        for one in self.answer.endpoints:
            if one.ServerCertificate:
                try:
                    return hashlib.sha1(chain(one.ServerCertificate)[0], usedforsecurity=False).hexdigest()
                except Permanent:
                    continue
        return None

    @property
    def places(self) -> set[tuple[str, int]]:
        """Hosts, as it calls them, and ports where it says that it is."""
        mine = [one for one in self.answer.servers if text(one.ApplicationUri) == self.uri]
        urls = [one.EndpointUrl for one in self.answer.endpoints]
        urls += [url for one in mine for url in one.DiscoveryUrls or ()]
        found = (told.place(url) for url in urls[:1000])
        return {(one.host, one.port) for one in found if one is not None}


def text(given: Any) -> str:
    """What a stranger calls something, fit to be shown."""
    return without_controls(given)[:_LONGEST].strip() if isinstance(given, str) else ""


# Which are one


def servers(sightings: Iterable[Sighting]) -> list[list[Sighting]]:
    """The sightings of each server together, the best to be told first. Those with one application URI are
    several servers, unless there is proof that they are one: devices that were copied, or left as they came,
    have the same."""
    found: list[list[Sighting]] = []
    for one in sorted(sightings, key=lambda each: not each.place.expected):
        same = next((those for those in found if any(is_same(one, other) for other in those)), None)
        if same is None:
            found.append([one])
        else:
            same.append(one)
    return found


def is_same(one: Sighting, other: Sighting) -> bool:
    """Whether two sightings are certainly of one server: at one address and port; or by one URI and one
    certificate, where it names the other place itself, or was started at the same moment."""
    if (one.address, one.place.port) == (other.address, other.place.port):
        return True
    if one.uri != other.uri or not one.uri or one.thumbprint != other.thumbprint:
        return False
    if one.start is not None and one.start == other.start and one.start % _SECOND:
        return True
    return _names(one, other) or _names(other, one)


def _names(one: Sighting, other: Sighting) -> bool:
    """Whether it says itself that it is at both places. That it names the other alone may come of a
    configuration that was copied."""
    places = one.places
    return all(
        any((host, each.place.port) in places for host in (each.address, each.place.host))
        for each in (one, other)
    )


def alike(groups: Sequence[Sequence[Sighting]]) -> list[Sequence[Sighting]]:
    """Of these servers those that share their URI and certificate with another: they may be one."""
    kinds = [(those[0].uri, those[0].thumbprint) for those in groups]
    return [those for those, kind in zip(groups, kinds, strict=True) if kind[0] and kinds.count(kind) > 1]


# What is told


class Selected(msgspec.Struct, frozen=True):
    mode: str
    policy: str

    @property
    def is_known(self) -> bool:
        """Whether an endpoint of ours may have it: some servers offer to sign by no policy."""
        known = self.mode in _MODES and self.policy in _POLICIES
        return known and (self.mode == "None") == (self.policy == "None")


def select(
    endpoints: Sequence[ua.EndpointDescription], mode: str | None, policy: str | None
) -> Selected | None:
    """The endpoint that was asked for, None if it is not offered. Where nobody asks one without security,
    since any other needs certificates that somebody has to trust by hand; else the best there is."""
    offered = [Selected(mode_of(one), policy_of(one)) for one in endpoints]
    offered = [one for one in offered if one.is_known]
    if mode is not None:
        wanted = Selected(mode, policy or "None")
        return wanted if wanted in offered else None
    if any(one.mode == "None" for one in offered):
        return Selected("None", "None")
    rank = {one: (_POLICIES.index(one.policy), _MODES.index(one.mode)) for one in offered}
    return min(offered, key=lambda one: (rank[one][1], rank[one][0]), default=None)


def mode_of(one: ua.EndpointDescription) -> str:
    return str(one.SecurityMode.name).rstrip("_")


def policy_of(one: ua.EndpointDescription) -> str:
    return text(one.SecurityPolicyUri).rpartition("#")[2]


def users_of(endpoints: Iterable[ua.EndpointDescription]) -> list[str]:
    """The kinds of users that may log in."""
    kinds = {
        ua.UserTokenType(each.TokenType).name for one in endpoints for each in one.UserIdentityTokens or ()
    }
    return sorted(kinds)


def url_of(one: Sighting, selected: Selected | None) -> str:
    """Where the server is: at the host and port that have answered, whatever it says of that; by the path
    that it says."""
    if one.place.path:
        return one.place.url
    for each in one.usable:
        if selected is None or Selected(mode_of(each), policy_of(each)) == selected:
            there = told.place(each.EndpointUrl)
            if there is not None:
                return msgspec.structs.replace(one.place, path=there.path).url
    return one.place.url


def found(those: Sequence[Sighting], shared: bool, said: dict[str, Any]) -> Found:
    """What is told of a server before anybody has a session on it; `shared` says whether another one has the
    same URI, `said` how the client wants its sessions to be opened."""
    one = those[0]
    selected = select(one.usable, said.get("securityMode"), said.get("securityPolicy"))
    url = url_of(one, selected)
    connection = _connection(one, url, selected, said)
    data_points: tuple[dict[str, Any], ...] = ()
    metadata = _metadata(one, url, selected)
    if len(those) > 1:
        metadata["alsoAt"] = list(dict.fromkeys(each.place.url for each in those[1:]))[:MOST_TOLD]
    if shared:
        metadata["applicationUriShared"] = True
    if one.polled is not None:
        connection, data_points = dict(one.polled.given), one.polled.data_points
        metadata["endpoint"] = one.polled.name
    at = f"{one.address}:{one.place.port}"
    identity = f"opcua:{one.uri}" if one.uri else f"opcua:{at}"
    return Found(
        identity=f"{identity}@{at}" if shared else identity,
        name=f"opcua_{one.place.host}_{one.place.port}",
        connection=connection,
        data_points=data_points,
        confidence="medium",
        metadata=metadata,
    )


def _connection(one: Sighting, url: str, selected: Selected | None, said: dict[str, Any]) -> dict[str, Any]:
    made: dict[str, Any] = {"endpointUrl": url}
    if selected is not None and selected.mode != "None":
        made |= {"securityMode": selected.mode, "securityPolicy": selected.policy}
        made |= {key: said[key] for key in _TRUST if key in said}
    if one.place.expected:
        made |= {key: said[key] for key in ("username", "password") if key in said}
    return made


_TRUST = ("certificateTrustMode", "expectedServerThumbprint")


def _metadata(one: Sighting, url: str, selected: Selected | None) -> dict[str, Any]:
    mine = one.answer.application
    return {
        "endpointUrl": url,
        "applicationUri": one.uri,
        "applicationName": text(mine.ApplicationName.Text)
        if mine is not None and mine.ApplicationName
        else "",
        "productUri": text(mine.ProductUri) if mine is not None else "",
        "availableEndpoints": [_offer(each) for each in one.answer.endpoints[:MOST_TOLD]],
        "serverCertificateThumbprint": one.thumbprint,
        "selectedSecurityMode": None if selected is None else selected.mode,
        "selectedSecurityPolicy": None if selected is None else selected.policy,
        "userTokens": users_of(one.usable),
        "discoveryMethod": "endpoint_discovery",
    }


def _offer(one: ua.EndpointDescription) -> dict[str, Any]:
    return {
        "endpointUrl": text(one.EndpointUrl),
        "securityMode": mode_of(one),
        "securityPolicy": policy_of(one),
        "userTokens": users_of([one]),
    }
