"""Requests of SNMPv3: which engine it is, what its clock shows, what its reports mean (RFC 3414 section 4).

An engine that is another one, was started anew, or has another time than it should have says so in a report;
the request is made again by what the report says.
"""

from typing import Final

from actors.connections.connection import NoConnection, Permanent, Transient
from actors.connections.dialing import Found

from . import oids, pdus, quality
from .ber import Malformed
from .client import Client
from .keys import Keys
from .pdus import Pdu, Request, new_id
from .usm import NOBODY, Engine, Heard, Security, User, decode

UNKNOWN_USER: Final = "UNKNOWN_USER"
WRONG_DIGEST: Final = "WRONG_DIGEST"
DECRYPTION_ERROR: Final = "DECRYPTION_ERROR"
UNSUPPORTED_LEVEL: Final = "UNSUPPORTED_SECURITY_LEVEL"
NOT_IN_TIME: Final = "NOT_IN_TIME_WINDOW"
UNKNOWN_ENGINE: Final = "UNKNOWN_ENGINE_ID"
UNKNOWN_CONTEXT: Final = "UNKNOWN_CONTEXT"

_USM: Final = (1, 3, 6, 1, 6, 3, 15, 1, 1)
_MPD: Final = (1, 3, 6, 1, 6, 3, 11, 2, 1)
_TARGET: Final = (1, 3, 6, 1, 6, 3, 12, 1)
_REPORTS: Final = {
    (*_USM, 1): UNSUPPORTED_LEVEL,
    (*_USM, 2): NOT_IN_TIME,
    (*_USM, 3): UNKNOWN_USER,
    (*_USM, 4): UNKNOWN_ENGINE,
    (*_USM, 5): WRONG_DIGEST,
    (*_USM, 6): DECRYPTION_ERROR,
    (*_MPD, 1): "UNKNOWN_SECURITY_MODEL",
    (*_MPD, 3): "UNKNOWN_PDU_HANDLER",
    (*_TARGET, 4): "UNAVAILABLE_CONTEXT",
    (*_TARGET, 5): UNKNOWN_CONTEXT,
}
_MEANING: Final = {
    UNSUPPORTED_LEVEL: "the device does not let the user in at that securityLevel",
    UNKNOWN_USER: "the device does not know the username",
    WRONG_DIGEST: "authKey or authProtocol is not the user's",
    DECRYPTION_ERROR: "privKey or privProtocol is not the user's",
    UNKNOWN_CONTEXT: "the device does not know the contextName",
    UNKNOWN_ENGINE: "the device has another engineId",
}
_PERMANENT: Final = frozenset(
    {UNSUPPORTED_LEVEL, UNKNOWN_USER, WRONG_DIGEST, DECRYPTION_ERROR, UNKNOWN_CONTEXT}
)
_CORRECTIONS: Final = 3
"""How often one request is made again by what reports say."""
_DISCOVERING: Final = pdus.request(pdus.GET, ())


class SecuredClient(Client):
    """`engine` is its identifier, if the configuration says which it must be."""

    def __init__(
        self, found: Found, timeout: float, attempts: int, user: User, context: str, engine: bytes | None
    ) -> None:
        super().__init__(found, timeout, attempts)
        self._user = user
        self._context = context.encode()
        self._wanted = engine
        self._security: Security | None = None
        if engine is not None:
            self._meet(Engine(engine))

    @property
    def engine(self) -> bytes | None:
        """The identifier of the engine, once it is known."""
        return None if self._security is None else self._security.engine.identifier

    async def ask(self, request: Request, until: float | None = None, attempts: int | None = None) -> Pdu:
        async with self._turn:
            for _ in range(_CORRECTIONS + 1):
                if self._security is None:
                    await self._discover(until, attempts or self.attempts)
                assert self._security is not None
                heard = await self._heard(self._security, request, until, attempts or self.attempts)
                if heard.pdu.kind == pdus.RESPONSE:
                    return heard.pdu
                self._correct(heard)
            raise Transient("the device goes on to say that the time of requests is wrong", code=NOT_IN_TIME)

    async def _heard(self, security: Security, request: Request, until: float | None, attempts: int) -> Heard:
        """`_asked`, with what may be the reason where there is no answer: some do not answer what they cannot
        decrypt, or a context that they do not have."""
        try:
            return await self._asked(security, request, until, attempts)
        except Transient as error:
            if error.code != quality.TIMEOUT or security.answered:
                raise
            doubts = ["privKey", "privProtocol"] if security.user.priv else []
            doubts += ["contextName"] if self._context else []
            if not doubts:
                raise
            reason = f"{error}, but to the question who it is: {', '.join(doubts)} may be wrong"
            raise Transient(reason, code=error.code) from error

    async def _discover(self, until: float | None, attempts: int) -> None:
        """Ask nobody's question: the report about it says which engine answers."""
        nobody = Security(NOBODY, Engine(b""), b"")
        heard = await self._asked(nobody, _DISCOVERING, until, attempts)
        if not 5 <= len(heard.engine) <= 32:
            raise Transient("the device says an engine id that cannot be", code=quality.READ_ERROR)
        self._meet(Engine(heard.engine, heard.boots, heard.time))

    def _meet(self, engine: Engine) -> None:
        self._security = Security(self._user, engine, self._context)

    async def _asked(self, security: Security, request: Request, until: float | None, attempts: int) -> Heard:
        """The response, or the report that takes its place."""
        message, identifier = new_id(), new_id()
        taken: list[Heard] = []

        def accepts(data: bytes) -> bool:
            try:
                heard = security.decode(data)
            except Malformed:
                # Whoever does not know the key reports that in a message that nobody has signed; one that is
                # signed with another key says nothing.
                heard = decode(data, NOBODY, Keys(b"", b""))
            if heard.number != message or not _is_answer(heard, security, identifier):
                return False
            taken.append(heard)
            return True

        await self._exchange(security.encode(request, message, identifier), accepts, until, attempts)
        heard = taken[0]
        security.answered = security.answered or heard.pdu.kind == pdus.RESPONSE
        if heard.proven or not security.user.auth:
            self._follow(security.engine, heard)
        return heard

    @staticmethod
    def _follow(engine: Engine, heard: Heard) -> None:
        """Its clock, as the answer to a question of now shows it."""
        if heard.engine == engine.identifier and (heard.boots, heard.time) != (engine.boots, engine.time):
            engine.set(heard.boots, heard.time)

    def _correct(self, heard: Heard) -> None:
        """By what the report says, or raise `NoConnection` where that is for somebody else."""
        assert self._security is not None
        code = report_of(heard.pdu)
        if code == NOT_IN_TIME:
            # Some sign it, and others do not. Whether it is true, the answer to what follows it proves.
            self._follow(self._security.engine, heard)
        elif code == UNKNOWN_ENGINE and self._wanted is None and 5 <= len(heard.engine) <= 32:
            self._meet(Engine(heard.engine, heard.boots, heard.time))
        else:
            self._security = None if self._wanted is None else self._security
            raise refused(code)


def _is_answer(heard: Heard, security: Security, identifier: int) -> bool:
    user = security.user
    if heard.pdu.kind == pdus.REPORT:
        return True
    return (
        heard.pdu.kind == pdus.RESPONSE
        and heard.pdu.number == identifier
        and heard.engine == security.engine.identifier
        and heard.user == security.name
        and heard.proven == bool(user.auth)
        and heard.private == bool(user.priv)
    )


def report_of(pdu: Pdu) -> str:
    """What a report is about, as a quality code."""
    try:
        [binding, *_] = pdus.bindings(pdu)
    except ValueError:  # none, or none that can be read
        return "REPORT"
    return _REPORTS.get(binding.oid[:-1], f"REPORT_{oids.shown(binding.oid)}"[:64])


def refused(code: str) -> NoConnection:
    kind = Permanent if code in _PERMANENT or code == UNKNOWN_ENGINE else Transient
    return kind(_MEANING.get(code, f"the device reports {code}"), code=code)
