"""Traps and informs as they come: what a datagram says (RFC 1157, RFC 3416, RFC 3584)."""

from typing import Any, Final, NamedTuple

from . import keys, oids, pdus, usm, values
from .ber import OID, SEQUENCE, Malformed, field, header, integer, number, octets, sequence, tlv
from .kinds import IP_ADDRESS, TIME_TICKS
from .oids import Arcs
from .pdus import INFORM, RESPONSE, TRAP, TRAP_V1, Binding, Pdu
from .values import Unfit

UPTIME: Final[Arcs] = (1, 3, 6, 1, 2, 1, 1, 3, 0)
TRAP_OID: Final[Arcs] = (1, 3, 6, 1, 6, 3, 1, 1, 4, 1, 0)
_GENERIC: Final[Arcs] = (1, 3, 6, 1, 6, 3, 1, 1, 5)
_NAMES: Final = (
    *("coldStart", "warmStart", "linkDown"),
    *("linkUp", "authenticationFailure", "egpNeighborLoss"),
)
"""Of `_GENERIC`, from 1 on."""
_SPECIFIC: Final = 6
_MOST_VARIABLES: Final = 200


class Notification(NamedTuple):
    """`answer` is what an inform is to be answered with."""

    trap: Arcs
    uptime: int | None
    variables: list[Binding]
    version: str
    enterprise: Arcs | None = None
    agent: str | None = None
    answer: bytes | None = None

    def body(self) -> dict[str, Any]:
        """As an event tells it, in JSON's types."""
        found: dict[str, Any] = {"version": self.version, "trap": oids.shown(self.trap)}
        if self.trap[:-1] == _GENERIC and 1 <= self.trap[-1] <= len(_NAMES):
            found["name"] = _NAMES[self.trap[-1] - 1]
        if self.uptime is not None:
            found["uptime"] = self.uptime
        if self.enterprise is not None:
            found["enterprise"] = oids.shown(self.enterprise)
        if self.agent is not None:
            found["agent"] = self.agent
        found["inform"] = self.answer is not None
        found["variables"] = [_variable(one) for one in self.variables[:_MOST_VARIABLES]]
        return found


def _variable(one: Binding) -> dict[str, Any]:
    try:
        return {"oid": oids.shown(one.oid), "value": values.plain(one.tag, one.raw)}
    except Unfit as unfit:
        return {"oid": oids.shown(one.oid), "value": None, "code": unfit.code}


def version_of(data: bytes) -> int:
    """Raises `Malformed`."""
    start, end = field(data, 0, len(data), SEQUENCE)
    return number(data, start, end)[0]


def of_community(data: bytes) -> tuple[bytes, Notification]:
    """The community, and what it tells. Raises `Malformed`."""
    start, end = field(data, 0, len(data), SEQUENCE)
    version, at = number(data, start, end)
    community, at = octets(data, at, end)
    kind = header(data, at, end)[0]
    if kind == TRAP_V1 and version == 0:
        return community, _v1(data, at, end)
    pdu = pdus.parse(data, at, end)
    if version != 1 or pdu.kind not in (TRAP, INFORM):
        raise Malformed("no trap")
    found = _v2(pdu, "v2c")
    if pdu.kind == INFORM:
        found = found._replace(answer=sequence(data[start:at] + response_to(pdu)))
    return community, found


def of_user(data: bytes, user: usm.User) -> tuple[usm.Heard, Notification]:
    """The same of v3; the sender is the engine whose key it is. Raises `Malformed`, also for another user, or
    one at a lower level of security than this one has, and for informs: those are for an engine of ours."""
    known = keys.Keys(b"", b"")
    if user.auth:
        known = keys.keys(user.auth, user.auth_key, user.priv_key, user.priv, usm.engine_of(data))
    heard = usm.decode(data, user, known)
    if (
        heard.user != user.name.encode()
        or heard.proven != bool(user.auth)
        or heard.private != bool(user.priv)
    ):
        raise Malformed("a trap of another user, or less secure than it is to be")
    if heard.pdu.kind != TRAP:
        raise Malformed("no trap")
    return heard, _v2(heard.pdu, "v3")


def response_to(pdu: Pdu) -> bytes:
    content = integer(pdu.number) + integer(0) + integer(0) + sequence(pdu.data[pdu.start : pdu.stop])
    return tlv(RESPONSE, content)


def _v2(pdu: Pdu, version: str) -> Notification:
    uptime = trap = None
    variables = []
    for one in pdus.bindings(pdu):
        if one.oid == UPTIME and uptime is None:
            uptime = _ticks(one)
        elif one.oid == TRAP_OID and trap is None:
            trap = oids.decode(one.raw)
        else:
            variables.append(one)
    if trap is None:
        raise Malformed("a trap that does not say which")
    return Notification(trap, uptime, variables, version)


def _ticks(one: Binding) -> int | None:
    try:
        return values.whole(one.tag, one.raw)
    except Unfit:
        return None


def _v1(data: bytes, at: int, end: int) -> Notification:
    at, end = header(data, at, end)[1:]
    start, at = field(data, at, end, OID)
    enterprise = oids.decode(data[start:at])
    start, at = field(data, at, end, IP_ADDRESS)
    if at - start != 4:
        raise Malformed("a trap of an agent whose address is none")
    agent = ".".join(map(str, data[start:at]))
    generic, at = number(data, at, end)
    specific, at = number(data, at, end)
    start, at = field(data, at, end, TIME_TICKS)
    ticks = int.from_bytes(data[start:at], "big")
    start, stop = field(data, at, end, SEQUENCE)
    trap = (*enterprise, 0, specific) if generic == _SPECIFIC else (*_GENERIC, generic + 1)
    if not 0 <= generic <= _SPECIFIC or min(trap) < 0 or max(max(trap), ticks) >= 2**32:
        raise Malformed("a trap that cannot be")
    return Notification(trap, ticks, pdus.list_bindings(data, start, stop), "v1", enterprise, agent)
