"""Sessions that nobody here wrote: what they tell and answer is looked at before others believe it.

A value that readings cannot have is none, with a quality code. A call that says nothing for certain (lists of
different lengths, points that the device does not have) ends the connection: the device is BAD then.
"""

import asyncio
import logging
import re
from collections.abc import Callable, Sequence
from math import isfinite
from typing import Any

import msgspec

from actors.connections.connection import NoConnection, Transient
from actors.endpoints.discovering import At, Plan
from actors.endpoints.listener import Description, Listener
from actors.endpoints.protocol import (
    Browsed,
    BrowsedNode,
    CheckedEndpoint,
    PolledSession,
    PollResult,
    PushedSession,
    Session,
)
from actors.endpoints.roster import OWN
from actors.system.failure import Refusal, described
from storage.timestamps import LATEST_MS

log = logging.getLogger(__name__)

NO_VALUE = "NO_VALUE"
NOT_A_NUMBER = "NOT_A_NUMBER"
UNFIT = "READ_ERROR"
"""Of a value that is no reading's, and of a session that says what cannot be."""

_MOST_PROBES, _MOST_SECONDS = 10_000_000, 86_400
_LEAST, _BEYOND = -(2**63), 2**64
_CODE = re.compile(r"[A-Za-z0-9_.:-]{1,64}", re.ASCII)
_KIND = re.compile(r"[a-z][a-z0-9_-]{0,31}", re.ASCII)

Lists = tuple[list[Any], list[str | None] | None, list[int | None] | None]


class Unfit(ValueError):
    """What a session has told cannot be; the text is for people."""


def fit(value: Any, code: str | None) -> tuple[Any, str | None]:
    """The same if readings can have it, else no value and why."""
    kind = type(value)
    if value is None:
        return None, code or NO_VALUE
    if kind is float:
        return (value, code) if isfinite(value) else (None, NOT_A_NUMBER)
    if kind is bool:
        return value, code
    if kind is int:
        return (value, code) if _LEAST <= value < _BEYOND else (None, UNFIT)
    if kind in (str, list, dict) and _is_json(value):
        return value, code
    return None, UNFIT


def _is_json(value: Any) -> bool:
    try:
        msgspec.json.decode(msgspec.json.encode(value))
    except (TypeError, ValueError, RecursionError, msgspec.MsgspecError):
        return False
    return True


def fit_lists(
    count: int, values: Sequence[Any], codes: Sequence[Any] | None, times: Sequence[Any] | None
) -> Lists:
    """Those of `count` readings; a time that no clock can show is as good as none. Raises `Unfit`."""
    for name, given in (("values", values), ("codes", codes), ("times", times)):
        if given is not None and len(given) != count:
            raise Unfit(f"{len(given)} {name} of {count} points")
    known = [None] * count if codes is None else codes
    for code in known:
        if code is not None and not (isinstance(code, str) and _CODE.fullmatch(code)):
            raise Unfit(f"{code!r:.40} is no quality code")
    pairs = [fit(value, code) for value, code in zip(values, known, strict=True)]
    found = [code for _, code in pairs]
    return (
        [value for value, _ in pairs],
        found if any(found) else None,
        None if times is None else [_time(one) for one in times],
    )


def _time(given: Any) -> int | None:
    if given is None:
        return None
    if type(given) is not int:
        raise Unfit(f"a time is whole Unix ms, not {type(given).__name__}")
    return given if 0 <= given <= LATEST_MS else None


class Guarded(Listener):
    """Passes on to another listener what can be. What cannot is the reason why the connection has ended."""

    def __init__(self, listener: Listener, endpoint: CheckedEndpoint, protocol: str) -> None:
        self._listener = listener
        self._protocol = protocol
        self._points = {OWN: len(endpoint.points)}
        self._points |= {one.identifier: len(one.points) for one in endpoint.devices}
        self._said = False

    def changed(
        self,
        device: str,
        indices: Sequence[int],
        values: list[Any],
        codes: list[str | None] | None = None,
        times: list[int | None] | None = None,
    ) -> None:
        def change() -> None:
            points = self._points.get(device)
            if points is None:
                raise Unfit("values of a device that it has not described")
            places = list(indices)
            if any(type(place) is not int or not 0 <= place < points for place in places):
                raise Unfit(f"values of points beyond the {points} that the device has")
            if len(set(places)) != len(places):
                raise Unfit("two values of a point in one call")
            self._listener.changed(device, places, *fit_lists(len(places), values, codes, times))

        self._pass(change)

    def described(self, description: Description) -> None:
        def describe() -> None:
            fitting = _description(description)
            self._points[fitting.identifier] = len(fitting.points)
            self._listener.described(fitting)

        self._pass(describe)

    def presence(self, device: str, code: str | None) -> None:
        def present() -> None:
            if code is not None and not (isinstance(code, str) and _CODE.fullmatch(code)):
                raise Unfit(f"{code!r:.40} is no quality code")
            self._listener.presence(_text(device), code)

        self._pass(present)

    def heard(self, device: str) -> None:
        self._pass(lambda: self._listener.heard(_text(device)))

    def persisted(self, then: Callable[[], None]) -> None:
        def passed() -> None:
            if not callable(then):
                raise Unfit("what is no function is to be called")
            self._listener.persisted(self._calling(then))

        self._pass(passed)

    def _calling(self, then: Callable[[], None]) -> Callable[[], None]:
        return lambda: self._pass(then)

    def raised(self, kind: str, body: dict[str, Any]) -> None:
        def event() -> None:
            if not (isinstance(kind, str) and _KIND.fullmatch(kind)):
                raise Unfit("an event whose kind is no name")
            if not (isinstance(body, dict) and _is_json(body)):
                raise Unfit(f"an event {kind} that is not JSON's")
            self._listener.raised(kind, body)

        self._pass(event)

    def lost(self, error: NoConnection) -> None:
        known = error if isinstance(error, NoConnection) else Transient(f"it has ended: {error!r:.200}")
        self._pass(lambda: self._listener.lost(known))

    def _pass(self, call: Callable[[], None]) -> None:
        try:
            asyncio.get_running_loop()
        except RuntimeError:  # nothing of ours may be touched from there
            if not self._said:
                self._said = True
                log.error("the protocol %s tells from a thread that is not the loop's", self._protocol)
            return
        try:
            call()
        except Exception as error:  # noqa: BLE001 - what is told may be of any type, and raise anything
            reason = str(error) if isinstance(error, Unfit) else described(error)
            text = f"the protocol {self._protocol} has told what cannot be: {reason}"
            self._listener.lost(Transient(text, code=UNFIT))


def fit_endpoint(found: Any) -> CheckedEndpoint:
    """The same, of the types that it is to have. Raises whatever."""
    if not isinstance(found, CheckedEndpoint):
        raise Unfit(f"check has returned {type(found).__name__}, not a CheckedEndpoint")
    _text(found.identifier), _text(found.address)
    if found.mode not in ("polled", "pushed", "idle"):
        raise Unfit(f"check has returned the mode {found.mode!r:.40}")
    for least, number in ((0, found.silent_after), (1, found.retry_ms)):
        if number is not None and not (type(number) in (int, float) and least <= number < _BEYOND):
            raise Unfit(f"check has returned a time that is none: {number!r:.40}")
    for each in (*found.at, *(at for at, _ in (*found.known_by, *found.answers_to))):
        if not isinstance(each, At) or (each.port is not None and type(each.port) is not int):
            raise Unfit(f"check has returned the place {each!r:.40}")
        _text(each.host)
    points, devices = _points(found.points), tuple(map(_description, found.devices))
    return msgspec.structs.replace(found, points=points, devices=devices)


def _points(given: Any) -> tuple[Any, ...]:
    points = tuple(given)
    for point in points:
        _text(point.name), _text(point.address_text)
        if point.unit is not None:
            _text(point.unit)
    if len({point.name for point in points}) != len(points):
        raise Unfit("a device with two points of one name")
    return points


def _description(given: Description) -> Description:
    """The same, of the types that it is to have. Raises whatever."""
    points = _points(given.points)
    uuid = None if given.uuid is None else _text(given.uuid)
    return Description(_text(given.identifier), _text(given.name), points, uuid)


def _text(given: Any) -> str:
    if not isinstance(given, str):
        raise Unfit(f"{type(given).__name__} where a text is to be")
    given.encode()
    return given


def fit_browsed(found: Any, limit: int) -> Browsed:
    """The nodes, `limit` at most. Raises `Unfit`."""
    if not (isinstance(found, Browsed) and isinstance(found.nodes, list)):
        raise Unfit(f"browsing has found {type(found).__name__}, not what can be")
    nodes = found.nodes[:limit]
    try:
        nodes = msgspec.json.decode(msgspec.json.encode(nodes), type=list[BrowsedNode])
    except (TypeError, ValueError, RecursionError, msgspec.MsgspecError) as error:
        raise Unfit(f"browsing has found what cannot be: {described(error)}") from error
    return Browsed(nodes, found.complete is True and len(nodes) == len(found.nodes))


def fit_plan(found: Any) -> Plan | None:
    """The same, of the type that it is to have. Raises `Unfit`."""
    if found is None:
        return None
    if not isinstance(found, Plan):
        raise Unfit(f"plan has returned {type(found).__name__}, not a Plan")
    for number, most in ((found.probes, _MOST_PROBES), (found.within, _MOST_SECONDS)):
        if type(number) not in (int, float) or not 0 <= number <= most:
            raise Unfit(f"plan has returned a number that cannot be: {number!r:.40}")
    return found


def guard_session(session: Any, points: int) -> PolledSession | PushedSession:
    """The same session; what it answers is as it is to be, or raises."""
    if not isinstance(session, PolledSession | PushedSession):
        raise Refusal(f"Its session is {type(session).__name__}, not a Session", kind="unavailable")
    if isinstance(session, PolledSession):
        _shadow(session, "read", _reading(session.read, points))
    _shadow(session, "write", _written(session.write))
    _shadow(session, "read_back", _read_back(session.read_back))
    return session


def _shadow(session: Session, name: str, call: Callable[..., Any]) -> None:
    setattr(session, name, call)


def _reading(read: Callable[..., Any], points: int) -> Callable[..., Any]:
    async def reading(within: float) -> PollResult:
        found = await read(within)
        if not isinstance(found, PollResult):
            raise Unfit(f"the session has read {type(found).__name__}, not a PollResult")
        values, codes, times = fit_lists(points, found.values, found.qualities, found.times)
        known = None if times is None or None in times else [one for one in times if one is not None]
        return PollResult(values, codes, known)

    return reading


def _written(write: Callable[..., Any]) -> Callable[..., Any]:
    async def written(prepared: Any) -> Any:
        return fit(await write(prepared), None)[0]

    return written


def _read_back(read_back: Callable[..., Any]) -> Callable[..., Any]:
    async def back(prepared: Any) -> tuple[Any, bool]:
        found, same = await read_back(prepared)
        return fit(found, None)[0], same is True

    return back
