"""An SNMP agent that behaves as a test says, in the test's own loop: v1, v2c, and v3 for one user."""

import asyncio
from collections.abc import Callable
from types import TracebackType
from typing import Any, Self

from actors.endpoints.protocols.snmp import keys, oids, pdus, usm
from actors.endpoints.protocols.snmp.ber import (
    OCTETS,
    SEQUENCE,
    field,
    integer,
    number,
    octets,
    sequence,
    tlv,
)
from actors.endpoints.protocols.snmp.oids import Arcs
from actors.endpoints.protocols.snmp.pdus import Pdu

NO_SUCH_NAME, TOO_BIG, GEN_ERROR, NOT_WRITABLE = 2, 1, 5, 17
NO_SUCH_INSTANCE = b"\x81\x00"
END_OF_MIB = b"\x82\x00"
USM = (1, 3, 6, 1, 6, 3, 15, 1, 1)
UPTIME = "1.3.6.1.2.1.1.3.0"
BASE = "1.3.6.1.4.1.99999"

Answer = tuple[int, int, list[tuple[Arcs, bytes]]]
"""Error-status, error-index, and bindings: a name, and the whole field of its value."""


def text(value: str | bytes) -> bytes:
    return tlv(OCTETS, value.encode() if isinstance(value, str) else value)


def counter(value: int) -> bytes:
    return integer(value, 0x41)


def ticks(value: int) -> bytes:
    return integer(value, 0x43)


class ScriptedAgent:
    """On a free port of `host`. `values` are whole fields by name. `most` is how many variables an answer has
    room for; `answer` takes the place of all that; `sent` makes of each message what is sent instead."""

    def __init__(self, host: str = "127.0.0.1", community: str = "public") -> None:
        self.host = host
        self.community = community.encode()
        self.values: dict[Arcs, bytes] = {oids.parse(UPTIME): ticks(100)}
        self.most: int | None = None
        self.mute_above: int | None = None
        """Requests of more variables are never answered."""
        self.answer: Callable[[int, Pdu, list[Arcs]], Answer | None] | None = None
        self.sent: Callable[[bytes], list[bytes]] = lambda message: [message]
        self.requests: list[tuple[int, list[Arcs]]] = []
        self.user: usm.User | None = None
        self.engine = usm.Engine(b"\x80\x00\x1f\x88\x04scripted", 3, 1000)
        self.reports: list[int] = []
        """The last number of each report that was made."""
        self.window = 150

    def set(self, name: str, value: bytes) -> None:
        self.values[oids.parse(f"{BASE}.{name}")] = value

    async def __aenter__(self) -> Self:
        agent = self

        class Protocol(asyncio.DatagramProtocol):
            def datagram_received(self, data: bytes, address: Any) -> None:
                agent._take(data, address)

        loop = asyncio.get_running_loop()
        self.transport, _ = await loop.create_datagram_endpoint(Protocol, local_addr=(self.host, 0))
        self.port: int = self.transport.get_extra_info("sockname")[1]
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.transport.close()
        await asyncio.sleep(0.001)  # the socket is closed in the next turn of the loop

    def _take(self, data: bytes, address: Any) -> None:
        start, end = field(data, 0, len(data), SEQUENCE)
        version, at = number(data, start, end)
        reply = self._secured(data) if version == usm.VERSION else self._plain(data, start, at, end, version)
        for message in [] if reply is None else self.sent(reply):
            self.transport.sendto(message, address)

    def _plain(self, data: bytes, start: int, at: int, end: int, version: int) -> bytes | None:
        community, at = octets(data, at, end)
        if community != self.community:
            return None
        answered = self._answered(version, pdus.parse(data, at, end))
        return None if answered is None else tlv(SEQUENCE, data[start:at] + answered)

    def _answered(self, version: int, pdu: Pdu) -> bytes | None:
        asked = pdus.bindings(pdu)
        names = [one.oid for one in asked]
        self.requests.append((pdu.kind, names))
        if self.mute_above is not None and len(names) > self.mute_above:
            return None
        if self.answer is not None:
            answer = self.answer(version, pdu, names)
        elif self.most is not None and len(names) > self.most:
            answer = TOO_BIG, 0, []
        elif pdu.kind in (pdus.GET_NEXT, pdus.GET_BULK):
            answer = self._following(version, pdu, names[0])
        elif pdu.kind == pdus.SET:
            answer = self._put(asked)
        else:
            answer = self.found(version, names)
        return None if answer is None else response(pdu.number, answer)

    def found(self, version: int, names: list[Arcs]) -> Answer:
        """What a well-behaved agent answers to a Get."""
        missing = [name for name in names if name not in self.values]
        if missing and version == 0:
            return NO_SUCH_NAME, names.index(missing[0]) + 1, [(name, pdus.NOTHING) for name in names]
        return 0, 0, [(name, self.values.get(name, NO_SUCH_INSTANCE)) for name in names]

    def _following(self, version: int, pdu: Pdu, after: Arcs) -> Answer:
        count = pdu.culprit if pdu.kind == pdus.GET_BULK else 1
        later = sorted(name for name in self.values if name > after)[:count]
        if not later and version == 0:
            return NO_SUCH_NAME, 1, [(after, pdus.NOTHING)]
        if self.most is not None and count > self.most:
            return TOO_BIG, 0, []
        return 0, 0, [(name, self.values[name]) for name in later] or [(after, END_OF_MIB)]

    def _put(self, asked: list[pdus.Binding]) -> Answer:
        for one in asked:
            self.values[one.oid] = tlv(one.tag, one.raw)
        return 0, 0, [(one.oid, tlv(one.tag, one.raw)) for one in asked]

    # v3

    def _secured(self, data: bytes) -> bytes | None:
        assert self.user is not None
        security = usm.Security(self.user, self.engine, b"")
        heard = None
        if usm.engine_of(data) == b"":
            return self._report(usm.decode(data, usm.NOBODY, keys.Keys(b"", b"")).number, 4, signed=False)
        try:
            heard = security.decode(data)
        except ValueError:
            number_ = message_number(data)
            return self._report(
                number_, 4 if usm.engine_of(data) != self.engine.identifier else 5, signed=False
            )
        if heard.engine != self.engine.identifier:
            return self._report(heard.number, 4, signed=False)
        if heard.user != self.user.name.encode():
            return self._report(heard.number, 3, signed=False)
        if heard.boots != self.engine.boots or abs(heard.time - self.engine.time) > self.window:
            return self._report(heard.number, 2, signed=True)
        answered = self._answered(usm.VERSION, heard.pdu)
        return None if answered is None else security.wrap(answered, heard.number, self.user.flags)

    def _report(self, message: int, about: int, signed: bool) -> bytes:
        """As Net-SNMP does: the number of the request in it is no request's."""
        self.reports.append(about)
        assert self.user is not None
        who = usm.User(self.user.name, self.user.auth, self.user.auth_key) if signed else usm.NOBODY
        bindings = sequence(sequence(oids.encode((*USM, about, 0)), counter(1)))
        body = integer(2**31 - 1) + integer(0) + integer(0) + bindings
        security = usm.Security(who, self.engine, b"")
        return security.wrap(tlv(pdus.REPORT, body), message, who.flags)


def message_number(data: bytes) -> int:
    """Of a message of v3."""
    start, end = field(data, 0, len(data), SEQUENCE)
    _, at = number(data, start, end)
    start, end = field(data, at, end, SEQUENCE)
    return number(data, start, end)[0]


def response(identifier: int, answer: Answer) -> bytes:
    status, index, found = answer
    bindings = b"".join(sequence(oids.encode(name), value) for name, value in found)
    return tlv(
        pdus.RESPONSE, integer(identifier) + integer(status) + integer(index) + tlv(SEQUENCE, bindings)
    )
