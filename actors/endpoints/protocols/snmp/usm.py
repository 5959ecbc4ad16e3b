"""SNMPv3 messages with the user-based security model (RFC 3412, RFC 3414)."""

import hmac
import secrets
from time import monotonic
from typing import Final, NamedTuple

import msgspec

from . import pdus
from .ber import OCTETS, SEQUENCE, Malformed, field, integer, number, octets, tlv
from .keys import DIGESTS, Keys, keys, signature
from .pdus import Pdu, Request
from .privacy import privacy_of

VERSION: Final = 3
_MODEL: Final = 3
_LARGEST: Final = 65_507
"""Bytes of a message that we take."""
_AUTH, _PRIV, _REPORTABLE = 1, 2, 4
WINDOW: Final = 150
"""Seconds by which two clocks may differ (RFC 3414 section 2.2.3)."""
_MOST: Final = 2**31 - 1
_VERSION: Final = integer(VERSION)
_HEADS: Final = [integer(_LARGEST) + tlv(OCTETS, bytes((flags,))) + integer(_MODEL) for flags in range(8)]
"""What follows the number of a message, by its flags."""


class User(msgspec.Struct, frozen=True):
    """Who asks. `auth` and `priv` are protocols, with the master key of each; None: not used."""

    name: str
    auth: str | None = None
    auth_key: bytes = b""
    priv: str | None = None
    priv_key: bytes = b""

    @property
    def flags(self) -> int:
        return (_AUTH if self.auth else 0) | (_PRIV if self.priv else 0)


NOBODY: Final = User("")


class Heard(NamedTuple):
    """A message that came. `proven`: it is signed by who has the user's key; `private`: and encrypted."""

    number: int
    engine: bytes
    boots: int
    time: int
    user: bytes
    proven: bool
    private: bool
    pdu: Pdu


class Engine:
    """The other end, and its clock as far as it is known."""

    def __init__(self, identifier: bytes, boots: int = 0, time: int = 0) -> None:
        self.identifier = identifier
        self.set(boots, time)

    def set(self, boots: int, time: int) -> None:
        self.boots = boots
        self._time = time
        self._at = monotonic()

    @property
    def time(self) -> int:
        """Its seconds since it was started, as far as is known."""
        return min(self._time + int(monotonic() - self._at), _MOST) if self.boots or self._time else 0


class Security:
    """What one user has to say to one engine, and hears from it."""

    def __init__(self, user: User, engine: Engine, context: bytes) -> None:
        self.user = user
        self.engine = engine
        self.answered = False
        """Whether a request has ever been answered."""
        self._engine = tlv(OCTETS, engine.identifier)
        self.name = user.name.encode()
        self._name = tlv(OCTETS, self.name)
        self._context = self._engine + tlv(OCTETS, context)
        self._keys = Keys(b"", b"")
        if user.auth:
            self._keys = keys(user.auth, user.auth_key, user.priv_key, user.priv, engine.identifier)
        self._salt = secrets.randbits(64)
        self._flags = user.flags | _REPORTABLE

    def encode(self, request: Request, message: int, identifier: int) -> bytes:
        """`message` is the number of the message, `identifier` that of the request in it."""
        return self.wrap(request.encode(identifier), message, self._flags)

    def wrap(self, pdu: bytes, message: int, flags: int) -> bytes:
        user, boots, time = self.user, self.engine.boots, self.engine.time
        scoped = tlv(SEQUENCE, self._context + pdu)
        salt = b""
        if user.priv:
            salt = self._next_salt(boots)
            privacy = privacy_of(user.priv, self._keys.priv)
            scoped = tlv(OCTETS, privacy.encrypt(boots, time, salt, scoped))
        blank = bytes(DIGESTS[user.auth].kept) if user.auth else b""
        head = integer(message) + _HEADS[flags]
        before = self._engine + integer(boots) + integer(time) + self._name
        after = tlv(OCTETS, salt)
        parameters = tlv(OCTETS, tlv(SEQUENCE, before + tlv(OCTETS, blank) + after))
        whole = tlv(SEQUENCE, _VERSION + tlv(SEQUENCE, head) + parameters + scoped)
        if not user.auth:
            return whole
        place = len(whole) - len(scoped) - len(after) - len(blank)
        return whole[:place] + signature(user.auth, self._keys.auth, whole) + whole[place + len(blank) :]

    def _next_salt(self, boots: int) -> bytes:
        self._salt = (self._salt + 1) % 2**64
        if self.user.priv == "des":
            return boots.to_bytes(4, "big") + (self._salt % 2**32).to_bytes(4, "big")
        return self._salt.to_bytes(8, "big")

    def decode(self, data: bytes) -> Heard:
        """Raises `Malformed` for what cannot be read, is signed wrongly, or is not for this user."""
        return decode(data, self.user, self._keys)


def engine_of(data: bytes) -> bytes:
    """Which engine's message it says to be. Raises `Malformed`."""
    start, end = field(data, 0, len(data), SEQUENCE)
    _, at = number(data, start, end)
    _, at = field(data, at, end, SEQUENCE)
    start, _ = field(data, at, end, OCTETS)
    start, stop = field(data, start, end, SEQUENCE)
    return octets(data, start, stop)[0]


def decode(data: bytes, user: User, known: Keys) -> Heard:
    """See `Security.decode`."""
    start, end = field(data, 0, len(data), SEQUENCE)
    version, at = number(data, start, end)
    if version != VERSION:
        raise Malformed("a message of another version")
    begins, ends = field(data, at, end, SEQUENCE)
    message, inner = number(data, begins, ends)
    _, inner = number(data, inner, ends)
    flags, inner = octets(data, inner, ends)
    model, _ = number(data, inner, ends)
    if model != _MODEL or len(flags) != 1:
        raise Malformed("a message of another security model")
    begins, at = field(data, ends, end, OCTETS)
    begins, ends = field(data, begins, at, SEQUENCE)
    engine, inner = octets(data, begins, ends)
    boots, inner = number(data, inner, ends)
    time, inner = number(data, inner, ends)
    name, inner = octets(data, inner, ends)
    place, last = field(data, inner, ends, OCTETS)
    salt, _ = octets(data, last, ends)
    if not (0 <= boots <= _MOST and 0 <= time <= _MOST):
        raise Malformed("a clock that cannot be")
    proven = bool(flags[0] & _AUTH)
    if proven:
        _check(data, place, last, user, known)
    if flags[0] & _PRIV:
        if not (proven and user.priv):
            raise Malformed("an encrypted message that is not for this user")
        begins, ends = field(data, at, end, OCTETS)
        data = privacy_of(user.priv, known.priv).decrypt(boots, time, salt, data[begins:ends])
        at, end = 0, len(data)
    begins, ends = field(data, at, end, SEQUENCE)
    _, inner = octets(data, begins, ends)
    _, inner = octets(data, inner, ends)
    private = bool(flags[0] & _PRIV)
    return Heard(message, engine, boots, time, name, proven, private, pdus.parse(data, inner, ends))


def _check(data: bytes, place: int, last: int, user: User, known: Keys) -> None:
    if user.auth is None:
        raise Malformed("a signed message that is not for this user")
    given = data[place:last]
    blank = data[:place] + bytes(len(given)) + data[last:]
    if not hmac.compare_digest(given, signature(user.auth, known.auth, blank)):
        raise Malformed("a message whose signature is wrong")
