"""The actor that keeps the users of the agent's own broker in line with the endpoints."""

import asyncio
import logging
from typing import Any

import msgspec
from thespian.actors import ActorAddress

from actors.connections import os_errors
from actors.endpoints.accounts import Account
from actors.endpoints.broker_files import Files, Hashes, bring_in_line
from actors.endpoints.broker_reload import NotReloaded, reload
from actors.system.actor import Actor
from actors.system.failure import described
from conf.tables import MosquittoSettings

log = logging.getLogger(__name__)

GATHER = 0.2  # seconds: what changes together is written together
AGAIN = 5.0, 300.0
"""Seconds after which it is tried again, at first and at most."""
NAME = "broker-users"


class RunBrokerUsers(msgspec.Struct, frozen=True):
    """Start. `superuser` may do everything; `keeper` is told how it goes."""

    settings: MosquittoSettings
    superuser: Account | None
    keeper: ActorAddress


class ReportAccounts(msgspec.Struct, frozen=True):
    """To the keeper, in each life; answered by `KeepAccounts`."""


class KeepAccounts(msgspec.Struct, frozen=True):
    """These are all that there are."""

    accounts: tuple[Account, ...]


class BrokerUsersReported(msgspec.Struct, frozen=True):
    """To the keeper: what is wrong, None when nothing is."""

    error: str | None


class BringInLine(msgspec.Struct, frozen=True):
    """To itself."""


class BroughtInLine(msgspec.Struct, frozen=True):
    """To itself: `error` is what is to be done again, `faults` are in the way of single users."""

    error: str | None
    faults: tuple[str, ...] = ()
    reloaded: str | None = None


class BrokerUsers(Actor):
    """Writes the files when they are not as they should be, and has the broker read them. One attempt at a
    time; what changes meanwhile is written next."""

    def __init__(self) -> None:
        self.accounts: tuple[Account, ...] | None = None
        self.hashes = Hashes()
        self.busy = self.stale = False
        self.again = AGAIN[0]
        self.told: str | None = None

    def receiveMsg_RunBrokerUsers(self, message: RunBrokerUsers, sender: ActorAddress) -> None:
        self.config = message
        self.send(message.keeper, ReportAccounts())

    def receiveMsg_KeepAccounts(self, message: KeepAccounts, sender: ActorAddress) -> None:
        self.accounts = message.accounts
        self.stale = True
        if not self.busy:
            self.busy = True
            self.wakeupAfter(GATHER, BringInLine())

    def receiveMsg_BringInLine(self, message: BringInLine, sender: ActorAddress) -> None:
        assert self.accounts is not None
        self.stale = False
        config = self.config
        self.run(_bring_in_line(config.settings, config.superuser, self.accounts, self.hashes), then=_as_is)

    def receiveMsg_BroughtInLine(self, message: BroughtInLine, sender: ActorAddress) -> None:
        if message.reloaded is not None:
            log.info("the broker's users were changed, and read by %s", message.reloaded)
        self._tell(message.error or ("; ".join(message.faults) or None))
        if message.error is None:
            self.again = AGAIN[0]
            self.busy = self.stale
            if self.stale:
                self.wakeupAfter(GATHER, BringInLine())
        else:
            self.wakeupAfter(self.again, BringInLine())
            self.again = min(2 * self.again, AGAIN[1])

    def _tell(self, error: str | None) -> None:
        self.health = error and f"degraded: {error}"
        if error == self.told:
            return
        self.told = error
        if error is not None:
            log.error("the broker's users: %s", error)
        self.send(self.config.keeper, BrokerUsersReported(error))


async def _bring_in_line(
    settings: MosquittoSettings, superuser: Account | None, accounts: tuple[Account, ...], hashes: Hashes
) -> BroughtInLine:
    assert settings.auth_dir is not None
    files = Files(settings.auth_dir / settings.password_file, settings.auth_dir / settings.acl_file)
    try:
        _, faults = await asyncio.to_thread(bring_in_line, files, accounts, superuser, hashes)
        if not files.mark.exists():
            return BroughtInLine(None, tuple(faults))
        by = await reload(settings, (files.passwords, files.acl))
        files.mark.unlink(missing_ok=True)
    except OSError as error:
        where = f"{error.filename}: " if error.filename else ""
        return BroughtInLine(f"{where}{os_errors.reason(error)}")
    except NotReloaded as error:
        return BroughtInLine(f"the broker still has its users of before: {error}")
    except ValueError as error:
        return BroughtInLine(described(error))
    return BroughtInLine(None, tuple(faults), by)


def _as_is(message: Any) -> Any:
    return message
