"""What the answers of InfluxDB's write API mean, of versions 1.8 to 3 and of what speaks like them.

Versions word the same thing differently, and give it different statuses: what is wrong with the points is a
400 in 1.x and 3, a 500 in 2.0.x, a 422 in later 2.x.
"""

import re

import msgspec

from actors.publish.destinations.posting import Answer

_ABOUT_CONTENT = (400, 413, 422)
# Of these the sentence is about something else: 1.x cannot "parse authentication credentials".
_NEVER_ABOUT_CONTENT = (401, 404, 407, 408, 429)
_CONTENT = re.compile(
    r"\bdropped=\d|field type conflict|unable to parse|failed to parse line protocol|invalid column type"
    r"|partial write of line protocol|unable to insert type|(beyond|outside)\b.{0,40}\bretention"
    r"|max-(values|series|fields)-per-",
    re.I,
)
_SHOWN, _TAIL = 120, 47  # characters
_DROPPED = re.compile(r"\bdropped=(\d+)")
# 2.0 and others refuse a write of nothing, but only once they have accepted token, org and bucket.
_NO_POINTS = re.compile(r"requires points|no (points|lines|data)|(body|request|write) (is|was) empty", re.I)
_CONFLICT = re.compile(
    r'input field "(?P<field>.*)" on measurement "(?P<measurement>.*)" is type (?P<kind>\w+), already exists'
)
_COLUMN = re.compile(
    r"invalid column type for column '(?P<field>.*)', expected \S+, got \S+?::(?P<kind>\w+)$"
    r"|Unable to insert type \S+?::(?P<kind2>\w+) type into column (?P<field2>.*) with type",
    re.M,
)


class Conflict(msgspec.Struct, frozen=True):
    """A field that the server keeps in another type than `kind`, in which it was sent: in any line of
    `measurement`, or in line number `line` (from 0)."""

    field: str
    kind: str
    measurement: str | None = None
    line: int | None = None


class _Complaint(msgspec.Struct):
    """`line_number` is from 1."""

    error_message: str = ""
    line_number: int = 0


class _Error(msgspec.Struct):
    """2 has `message`, 1 and 3 have `error`, and 3 says what is wrong with which line."""

    message: str = ""
    error: str = ""
    line: int = 0
    data: msgspec.Raw = msgspec.Raw(b"null")


def written(answer: Answer) -> bool:
    """204 alone: 201 said for a while, in InfluxDB Cloud, that points have been left out; 200 is what a proxy
    or a login page in the server's place says."""
    return answer.status == 204 and not answer.is_page


def nothing_to_write(answer: Answer) -> bool:
    """The answer to a write of nothing, of a server that would take points."""
    return written(answer) or (answer.status == 400 and _NO_POINTS.search(answer.body) is not None)


def refuses_content(answer: Answer) -> bool:
    """It is about what was to be written, not about the access or the server."""
    if answer.status == 413:
        return True
    if answer.is_page or answer.status in _NEVER_ABOUT_CONTENT:
        return False
    if answer.status == 201:
        return bool(_error(answer).message)
    return answer.status in _ABOUT_CONTENT or _CONTENT.search(answer.body) is not None


def dropped(answer: Answer) -> int:
    """How many points the server says it has left out, having written the others; 0 when it does not say."""
    found = _DROPPED.search(answer.body)
    if found:
        return int(found[1])
    return len(_complaints(_error(answer)))


def reason(answer: Answer) -> str:
    """The server's own message where it has one."""
    error = _error(answer)
    details = "; ".join(each.error_message for each in _complaints(error))
    message = ": ".join(part for part in (error.message or error.error, details) if part)
    return f"HTTP {answer.status}: {_ends(message or answer.body)}"


def _ends(text: str) -> str:
    """Both ends of what is long: what is wrong with a line often stands behind it."""
    whole = " ".join(text.split())
    return whole if len(whole) <= _SHOWN else f"{whole[: _SHOWN - _TAIL - 3]} … {whole[-_TAIL:]}"


def conflicts(answer: Answer) -> list[Conflict]:
    """The fields of which the server says that they have another type."""
    error = _error(answer)
    found = _CONFLICT.search(error.message or error.error or answer.body)
    if found:
        return [Conflict(found["field"], found["kind"], measurement=found["measurement"])]
    told = [(each.error_message, each.line_number) for each in _complaints(error)]
    if not told and error.line:
        told = [(error.message, error.line)]
    return [conflict for message, line in told if (conflict := _column(message, line)) is not None]


def _column(message: str, line: int) -> Conflict | None:
    found = _COLUMN.search(message)
    if found is None or line < 1:
        return None
    return Conflict(found["field"] or found["field2"], found["kind"] or found["kind2"], line=line - 1)


def _complaints(error: _Error) -> list[_Complaint]:
    try:
        return msgspec.json.decode(error.data, type=list[_Complaint])
    except msgspec.DecodeError:
        return []


def _error(answer: Answer) -> _Error:
    try:
        return msgspec.json.decode(answer.body, type=_Error)
    except msgspec.DecodeError:
        return _Error()
