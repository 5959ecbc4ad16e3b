"""Protocols that other packages bring, by the entry point group `callboard.protocols`.

Whatever is wrong with such a package is the reason why its protocol is not available, said once in the log:
nobody else is to feel it.
"""

import logging
import re
import threading
from collections import defaultdict
from collections.abc import Callable, Container
from functools import cache, wraps
from importlib.metadata import EntryPoint, entry_points
from typing import Any, TypeVar

import msgspec

from actors.endpoints.discovering import Known, Plan
from actors.endpoints.guarding import Guarded, fit_browsed, fit_endpoint, fit_plan, guard_session
from actors.endpoints.lines import Lines
from actors.endpoints.listener import Listener
from actors.endpoints.protocol import (
    Browsed,
    BrowseRequest,
    CheckedEndpoint,
    PolledSession,
    Protocol,
    PushedSession,
)
from actors.system.failure import Refusal, described
from conf.annotations import is_struct

log = logging.getLogger(__name__)

GROUP = "callboard.protocols"
LOAD_SECONDS = 5.0
"""For the import of a descriptor's module, during which everybody waits: it is to import no library."""

_NAME = re.compile(r"[a-z][a-z0-9-]{0,31}", re.ASCII)

T = TypeVar("T")


class Broken(msgspec.Struct, frozen=True):
    """An entry point that makes no protocol, and why."""

    name: str
    package: str
    reason: str


class Packages:
    """The entry points that can be protocols, by name, and those that cannot; none of them is imported."""

    def __init__(self, built_in: Container[str]) -> None:
        self.broken: list[Broken] = []
        self.entries: dict[str, EntryPoint] = {}
        by_name: defaultdict[str, list[EntryPoint]] = defaultdict(list)
        for entry in entry_points(group=GROUP):
            by_name[entry.name].append(entry)
        for name, entries in sorted(by_name.items()):
            fault = _fault(name, entries, built_in)
            if fault is None:
                self.entries[name] = entries[0]
            else:
                self.broken += [Broken(name, package_of(entry), fault) for entry in entries]
        for one in self.broken:
            log.error("protocol %r of the package %s is not used: %s", one.name, one.package, one.reason)


def _fault(name: str, entries: list[EntryPoint], built_in: Container[str]) -> str | None:
    if _NAME.fullmatch(name) is None:
        return "a name is lower-case letters, digits and hyphens, the first a letter, 32 at most"
    if name in built_in:
        return "callboard has a protocol of that name itself"
    if len({(entry.value, package_of(entry)) for entry in entries}) > 1:
        return f"several packages bring it: {', '.join(sorted(map(package_of, entries)))}"
    return None


def package_of(entry: EntryPoint) -> str:
    """The distribution that brings it, with its version."""
    if entry.dist is None:
        return "unknown"
    return f"{entry.dist.name} {entry.dist.version}"


@cache
def load(entry: EntryPoint) -> Protocol | Broken:
    """The descriptor, once for all: what has failed is not tried again until the agent is started again."""
    package = package_of(entry)
    try:
        found: Any = _within(LOAD_SECONDS, entry.load)
        if isinstance(found, BaseException):
            raise found
        return guarded(_checked(found, entry.name), package)
    except (Exception, SystemExit) as error:  # noqa: BLE001 - a module of somebody else's may raise anything
        reason = str(error) if isinstance(error, _Unfit) else f"it cannot be loaded: {described(error)}"
        log.error("protocol %s of the package %s is not available: %s", entry.name, package, reason)
        return Broken(entry.name, package, reason)


class _Unfit(Exception):
    """What was loaded is no descriptor; the text is for people."""


def _within(seconds: float, call: Callable[[], Any]) -> Any:
    """What it returns or raises. It may hang: then its thread is left to itself."""
    outcome: list[Any] = []

    def work() -> None:
        try:
            outcome.append(call())
        except BaseException as error:  # noqa: BLE001 - raised where it is waited for
            outcome.append(error)

    thread = threading.Thread(target=work, name="load-protocol", daemon=True)
    thread.start()
    thread.join(seconds)
    if not outcome:
        raise _Unfit(f"its module does not load within {seconds:g} s")
    return outcome[0]


def _checked(found: Any, name: str) -> Protocol:
    if not isinstance(found, Protocol):
        raise _Unfit(f"its entry point is {type(found).__name__}, not a Protocol")
    try:
        # A struct's constructor looks at no types.
        protocol = msgspec.convert(msgspec.structs.asdict(found), Protocol, from_attributes=True)
    except msgspec.ValidationError as error:
        raise _Unfit(f"its descriptor is not right: {error}") from error
    if protocol.name != name:
        raise _Unfit(f"its descriptor is named {protocol.name!r}")
    if not protocol.modes:
        raise _Unfit("its descriptor has no modes")
    options = () if protocol.discovery is None else (protocol.discovery.options,)
    for schema in (protocol.connection, protocol.data_point, *options):
        if not is_struct(schema):
            raise _Unfit(f"its schema {schema.__name__} is not a msgspec.Struct")
    return protocol


def guarded(protocol: Protocol, package: str) -> Protocol:
    """The same, but that what its plain functions raise unexpectedly is a refusal, for they are called by
    actors that all protocols share; and what its sessions say is looked at."""

    def guard(call: Callable[..., T]) -> Callable[..., T]:
        @wraps(call)
        def called(*arguments: Any) -> T:
            try:
                return call(*arguments)
            except Refusal:
                raise
            except Exception as error:
                log.exception("protocol %s of the package %s has failed", protocol.name, package)
                reason = f"The protocol {protocol.name} has failed: {described(error)}"
                raise Refusal(reason, kind="unavailable") from error

        return called

    def session(endpoint: CheckedEndpoint, listener: Listener, lines: Lines) -> PolledSession | PushedSession:
        made = protocol.session(endpoint, Guarded(listener, endpoint, protocol.name), lines)
        return guard_session(made, len(endpoint.points))

    def check(connection: dict[str, Any], points: Any) -> CheckedEndpoint:
        return fit_endpoint(protocol.check(connection, points))

    discovery = protocol.discovery
    if discovery is not None:
        planning = discovery.plan

        def plan(options: dict[str, Any], known: Known, path: str) -> Plan | None:
            return fit_plan(planning(options, known, path))

        # What its scans raise, and find, is looked at by whoever runs them.
        discovery = msgspec.structs.replace(discovery, plan=guard(plan))

    look = protocol.browse

    async def browse(session: Any, request: BrowseRequest) -> Browsed:
        assert look is not None
        return fit_browsed(await look(session, request), request.limit)

    return msgspec.structs.replace(
        protocol,
        check=guard(check),
        prepare=None if protocol.prepare is None else guard(protocol.prepare),
        account=None if protocol.account is None else guard(protocol.account),
        completed=None if protocol.completed is None else guard(protocol.completed),
        session=session,
        trial=None if protocol.trial is None else guard(protocol.trial),
        browse=None if look is None else browse,
        discovery=discovery,
    )
