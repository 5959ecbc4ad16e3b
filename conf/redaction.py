"""Secrets that the process holds, and texts in which they do not appear.

Whoever takes a secret in (the reader of the settings, the rows of the target state, a request) says so here
by its value; what goes out as text (records of the log, errors, reasons that are stored) is passed through
`clean`. So a secret is found wherever it comes up again, also where a library quotes it, encoded or escaped.
Any thread may call any of this.
"""

import re
import threading
from collections import Counter, deque
from collections.abc import Hashable, Iterable, Iterator
from typing import Final, NamedTuple, TypeVar
from urllib.parse import unquote, unquote_plus

from conf.secret_forms import Form, forms

T = TypeVar("T")

MASK: Final = "********"

LEAST: Final = 4
"""Characters of the shortest secret that is looked for: shorter ones are part of half of all words."""

LONG: Final = 8
"""Characters from which on letters and digits alone are looked for inside of words too."""

FORMER: Final = 64
"""Secrets that are held by nobody any more and still looked for: what quotes them may be under way."""

_WORDS: Final = frozenset(
    {
        *("admin", "guest", "user", "username", "test", "default", "public", "private"),
        *("passwd", "password", "passphrase", "secret", "token", "none", "null", "true", "false"),
        *("1234", "12345", "123456", "root", "localhost", "127.0.0.1", "callboard"),
        *("http", "https", "mqtt", "mqtts", "modbus", "opcua", "bacnet", "snmp", "influxdb"),
        *("1883", "8883", "8080", "8086", "4840", "47808", "48484"),
        *("debug", "info", "warning", "error", "main", "open", "ready", "running"),
    }
)
"""As secrets these protect nothing, and without them many a sentence could not be read."""

_GENERAL: Final = re.compile(
    r"""(?P<url>(?<=://)[^\s/:@'"]*:)[^\s/'"]*(?=@)"""
    r"""|(?P<header>authorization['"]?\s*[:=]\s*['"]?(?:(?:bearer|basic|token)\s+)?)[^\s'",;]+"""
    r"""|(?P<auth>\b(?:bearer|basic|token)\s+)(?=[^\s'",;]*[0-9=+/._-])[^\s'",;]{8,}"""
    r"""|(?P<query>[?&;](?:[a-z_-]*(?:password|passwd|secret|token|api_?key|signature|sig))=)[^&\s'"]+"""
    r"""|(?P<field>['"][a-z_-]*(?:password|passwd|passphrase|secret|token|api_?key|private_?key)['"]\s*:\s*['"])"""
    r"""(?:[^'"\\]|\\.)+""",
    re.IGNORECASE,
)
"""What looks like a secret though nobody holds it: the second net."""
_SUSPECT: Final = re.compile(r"://|[?&;'\"]|authorization|\b(?:bearer|basic|token)\s", re.IGNORECASE)
_PART: Final = re.compile(r"[^\s'\"<>]+")
_ENCODED: Final = frozenset("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/-_=")


class _Spelling(NamedTuple):
    """`word` says that it counts only where it is a word of its own, `token` as in `Form`."""

    text: str
    word: bool
    token: bool

    @property
    def key(self) -> str:
        return self.text[:LEAST]


class Known:
    """Secrets by who holds them."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._held: dict[Hashable, frozenset[str]] = {}
        self._holders: Counter[str] = Counter()
        self._spelled: dict[str, frozenset[_Spelling]] = {}
        """Of each secret that is held, how it may be spelled."""
        self._uses: Counter[_Spelling] = Counter()
        self._former: deque[str] = deque()
        self._spellings: dict[str, tuple[_Spelling, ...]] = {}
        """By their texts."""
        self._lengths: dict[str, tuple[int, ...]] = {}
        """Of the texts that begin with these characters, of which there are `LEAST`; the longest first."""
        self._counts: dict[str, Counter[int]] = {}

    def keep(self, holder: Hashable, secrets: Iterable[str]) -> None:
        """`holder` holds these, and no others any more."""
        new = frozenset(part for secret in secrets for part in parts(secret))
        with self._lock:
            old = self._held.pop(holder, frozenset())
            if new:
                self._held[holder] = new
        for secret in new - old:
            spellings = _spellings(secret)  # most of the work, for which nobody is to wait
            with self._lock:
                self._add(secret, spellings)
        with self._lock:
            for secret in old - new:
                self._former.append(secret)
            while len(self._former) > FORMER:
                self._remove(self._former.popleft())

    def drop(self, holder: Hashable) -> None:
        """`holder` held something for a while only: it is not looked for any more."""
        with self._lock:
            old = self._held.pop(holder, frozenset())
        for secret in old:
            with self._lock:
                self._remove(secret)

    def clean(self, text: str) -> str:
        """`text` with `MASK` for every secret, however it is spelled there."""
        if self._lengths:
            text = self._without_known(text)
        if _SUSPECT.search(text):
            text = _GENERAL.sub(_masked_part, text)
        return text

    def holds(self, secret: str) -> bool:
        return secret in self._holders

    @property
    def count(self) -> int:
        return len(self._holders)

    def _without_known(self, text: str) -> str:
        text = self._replaced(text)
        if "%" in text:
            text = _PART.sub(self._decoded, text)
        return text

    def _decoded(self, match: re.Match[str]) -> str:
        """Part of a URL, of which libraries encode what they like; as it was if no secret is in it."""
        if "%" not in match[0]:
            return match[0]
        for decode in (unquote, unquote_plus):
            plain = decode(match[0])
            cleaned = self._replaced(plain)
            if cleaned != plain:
                return cleaned
        return match[0]

    def _replaced(self, text: str) -> str:
        lengths = self._lengths
        spots = [at for at in range(len(text) - LEAST + 1) if text[at : at + LEAST] in lengths]
        if not spots:
            return text
        parts: list[str] = []
        done = 0
        for at in spots:
            found = self._found(text, at) if at >= done else None
            if found is not None:
                begin, end = found
                parts += text[done : max(begin, done)], MASK
                done = end
        return "".join((*parts, text[done:]))

    def _found(self, text: str, at: int) -> tuple[int, int] | None:
        """From where to where the text is masked for the longest spelling at that place."""
        for length in self._lengths.get(text[at : at + LEAST], ()):
            for spelling in self._spellings.get(text[at : at + length], ()):
                extent = _extent(text, at, spelling)
                if extent is not None:
                    return extent
        return None

    def _add(self, secret: str, spellings: frozenset[_Spelling]) -> None:
        self._holders[secret] += 1
        if self._holders[secret] == 1:
            self._spelled[secret] = spellings
            for spelling in spellings:
                self._count(spelling, 1)

    def _remove(self, secret: str) -> None:
        self._holders[secret] -= 1
        if not self._holders[secret]:
            del self._holders[secret]
            for spelling in self._spelled.pop(secret):
                self._count(spelling, -1)

    def _count(self, spelling: _Spelling, one: int) -> None:
        """One more secret is spelled so, or one less. The values of what is looked into are replaced, never
        changed: who looks needs no lock."""
        self._uses[spelling] += one
        mine = {*self._spellings.get(spelling.text, ()), spelling}
        if not self._uses[spelling]:
            del self._uses[spelling]
            mine.discard(spelling)
        _put(self._spellings, spelling.text, tuple(mine))
        counts = self._counts.setdefault(spelling.key, Counter())
        counts[len(spelling.text)] += one
        lengths = sorted((length for length, count in counts.items() if count), reverse=True)
        if not lengths:
            del self._counts[spelling.key]
        _put(self._lengths, spelling.key, tuple(lengths))


def _put(into: dict[str, tuple[T, ...]], key: str, values: tuple[T, ...]) -> None:
    if values:
        into[key] = values
    else:
        into.pop(key, None)


def _spellings(secret: str) -> frozenset[_Spelling]:
    return frozenset(_spelling(form) for form in forms(secret) if len(form.text) >= LEAST)


def _spelling(form: Form) -> _Spelling:
    word = len(form.text) < LONG and form.text.isalnum() and not form.token
    return _Spelling(form.text, word, form.token)


def _extent(text: str, at: int, spelling: _Spelling) -> tuple[int, int] | None:
    """From where to where that spelling, which stands there, is masked; None where it is part of a word."""
    begin, end = at, at + len(spelling.text)
    if spelling.word and (_in_word(text, begin - 1) or _in_word(text, end)):
        return None
    while spelling.token and end < len(text) and text[end] in _ENCODED:
        end += 1
    while spelling.token and begin > 0 and text[begin - 1] in _ENCODED:
        begin -= 1
    return begin, end


def _in_word(text: str, at: int) -> bool:
    return 0 <= at < len(text) and text[at].isalnum()


def parts(secret: str) -> Iterator[str]:
    """What is looked for: of a PEM text each line, for a line is all that some messages quote."""
    lines = secret.replace("\\n", "\n").splitlines() if "-----BEGIN" in secret else [secret]
    for line in lines:
        line = line.strip()
        if (
            len(line) >= LEAST
            and line.lower() not in _WORDS
            and (len(line) >= LONG or len(set(line)) > 1)
            and not line.startswith("-----")
            and line != MASK
        ):
            yield line


def _masked_part(match: re.Match[str]) -> str:
    return f"{match[match.lastgroup or 0]}{MASK}"


KNOWN: Final = Known()
"""The process's own."""

keep = KNOWN.keep
drop = KNOWN.drop
clean = KNOWN.clean
