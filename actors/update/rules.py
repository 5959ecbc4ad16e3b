"""Whether a command may be followed: what can be said without touching anything."""

from pathlib import Path
from typing import Final

from actors.system.failure import Refusal
from actors.update.history import History, Order
from actors.update.messages import Outcome
from actors.update.signature import BadSignature, Signed, check, unix_ms_of
from actors.update.versions import LATEST, is_older, is_same, wanted_version

HOUR_MS: Final = 3_600_000
FARTHEST_MS: Final = 366 * 24 * HOUR_MS


class Declined(Exception):
    """Nothing is done; `outcome` says of what sort that is."""

    def __init__(self, outcome: Outcome, message: str, hint: str | None = None) -> None:
        super().__init__(message)
        self.outcome = outcome
        self.message = message
        self.hint = hint


def order(command: Signed, secret: str | None, history: History, now: int) -> Order:
    """Raises `Refusal` for what cannot be read, `Declined` for what may not be done."""
    version = version_of(command)
    issued = None
    if secret is not None:
        try:
            issued = check(secret, command, now, history.latest_issued)
        except BadSignature as error:
            raise Declined(error.sort, str(error), error.hint) from error
    at = unix_ms_of(command.scheduled_time)
    if command.scheduled_time is not None:
        if at is None:
            raise Refusal("scheduled_time must be Unix ms or ISO 8601", "scheduled_time")
        if at > now + FARTHEST_MS:
            raise Refusal("scheduled_time must be within a year", "scheduled_time")
    return Order(version, command.force is True, command.file, at if at and at > now else None, issued)


def version_of(command: Signed) -> str:
    """A wheel says itself which version it is. Raises `Refusal`."""
    if command.file is not None and not command.version.strip():
        return LATEST
    return wanted_version(command.version)


def compare(version: str, running: str, force: bool, history: History, now: int, hours: int) -> None:
    """Raises `Declined`: what is running already is skipped, an older version, one that was taken back and
    one within `hours` of the last update take `force`."""
    if version == LATEST or force:
        return
    if is_same(version, running):
        raise Declined("skipped", f"{version} is running already", "Use force to install it anew")
    if is_older(version, running):
        raise Declined("conflict", f"{version} is older than {running}, which runs", "Use force to go back")
    taken_back = history.last("update_failed_verified", "update_completed", version=version)
    if taken_back is not None and taken_back.event == "update_failed_verified":
        why = taken_back.detail or "it was not well"
        raise Declined("conflict", f"{version} was taken back before: {why}", "Use force to try it again")
    switched = history.last("update_switched")
    if switched is not None and 0 <= now - switched.at < hours * HOUR_MS:
        hint = "Use force, or set update.min_interval_hours"
        raise Declined("conflict", f"The last update is less than {hours} h ago", hint)


def wheel_in(folder: Path, name: str, version: str) -> tuple[Path, str]:
    """The wheel of that name in the folder, wherever links lead, and its version. Touches the disk. Raises
    `Refusal`."""
    from packaging.utils import InvalidWheelFilename, parse_wheel_filename

    try:
        inside = folder.resolve()
        found = (inside / name).resolve()
        outside = found == inside or not found.is_relative_to(inside)
        there = not outside and found.is_file()
    except (OSError, ValueError, RuntimeError) as error:
        raise Refusal(f"file cannot be looked for: {getattr(error, 'strerror', error)}", "file") from error
    if outside:
        raise Refusal(f"file must lie in {folder}", "file")
    if not there:
        raise Refusal(f"There is no file {name} in {folder}", "file")
    try:
        package, held, *_ = parse_wheel_filename(found.name)
    except InvalidWheelFilename as error:
        raise Refusal(f"file must be a wheel: {error}", "file") from error
    if package != "callboard":
        raise Refusal(f"file must be a wheel of callboard, not of {package}", "file")
    if version not in (LATEST, str(held)):
        raise Refusal(f"file holds {held}, not {version}", "file")
    return found, str(held)
