"""The keeper of endpoints, as far as their devices are users of the agent's own broker."""

import asyncio
from time import perf_counter

import msgspec
from msgspec import UNSET, UnsetType
from thespian.actors import ActorAddress

from actors.endpoints import protocols
from actors.endpoints.accounts import Account, Accounts, check, read_too
from actors.endpoints.broker_users import (
    NAME,
    BrokerUsers,
    BrokerUsersReported,
    KeepAccounts,
    ReportAccounts,
    RunBrokerUsers,
)
from actors.endpoints.candidates import SLICE
from actors.endpoints.device_keeper import DeviceKeeper
from actors.endpoints.messages import EndpointRow
from actors.subsystems.messages import Check
from actors.system.addresses import child_address
from actors.system.failure import Refusal


class AccountsFound(msgspec.Struct, frozen=True):
    """To itself: those of the rows that were loaded."""

    accounts: list[tuple[EndpointRow, Account | None]]


class TellAccounts(msgspec.Struct, frozen=True):
    """To itself: the users are others now."""


class AccountKeeper(DeviceKeeper):
    """Knows who may log in at the broker, if its files are kept at all, and tells who writes them."""

    def __init__(self) -> None:
        super().__init__()
        self.accounts = Accounts()
        self._telling = self._found = False
        self._users_error: str | None = None

    @property
    def keeps_accounts(self) -> bool:
        return self.settings.mosquitto.auth_dir is not None

    @property
    def broker_users(self) -> ActorAddress:
        return child_address(self.myAddress, NAME)

    def begin_accounts(self) -> None:
        """The rows are loaded."""
        superuser = _superuser(self.settings.mqtt.username, self.settings.mqtt.password)
        self.accounts, self._found = Accounts(self.settings.mqtt.username), False
        self.run(_accounts_of(list(self.rows)), then=_as_is, within=None)
        start = RunBrokerUsers(self.settings.mosquitto, superuser, self.myAddress)
        if not self.running(self.broker_users):
            self.spawn(BrokerUsers, NAME, start)
        elif self.start_of(self.broker_users) != start:
            self.restate(self.broker_users, start)

    def receiveMsg_AccountsFound(self, message: AccountsFound, sender: ActorAddress) -> None:
        """What has changed meanwhile is known already."""
        for row, account in message.accounts:
            if self.rows.of(row.id) is row:
                self.accounts.put(row.id, self._allowed(account))
        self._found = True
        self._tell_accounts()

    def account_changed(self, row: EndpointRow, account: Account | UnsetType | None = UNSET) -> None:
        """`account` is what is known of it already."""
        if not self.keeps_accounts:
            return
        if account is UNSET:
            account = _account_of(row)
        if self.accounts.put(row.id, self._allowed(account)):
            self._tell_accounts()

    def account_gone(self, endpoint_id: int) -> None:
        if self.keeps_accounts and self.accounts.drop(endpoint_id):
            self._tell_accounts()

    def _tell_accounts(self) -> None:
        if not self._telling:
            self._telling = True
            self.send(self.myAddress, TellAccounts())

    def receiveMsg_TellAccounts(self, message: TellAccounts, sender: ActorAddress) -> None:
        self._telling = False
        if self._found:
            self.send(self.broker_users, KeepAccounts(self.accounts.merged()))

    def receiveMsg_ReportAccounts(self, message: ReportAccounts, sender: ActorAddress) -> None:
        """While they are not known it is told later: it would take the others for gone."""
        if self._found:
            self.send(sender, KeepAccounts(self.accounts.merged()))

    def receiveMsg_BrokerUsersReported(self, message: BrokerUsersReported, sender: ActorAddress) -> None:
        self._users_error = message.error

    def account_checks(self) -> list[Check]:
        if not self.keeps_accounts:
            return []
        return [Check(NAME, self._users_error is None, last_error=self._users_error)]

    def _allowed(self, account: Account | None) -> Account | None:
        """An agent without a user of its own logs in as the device."""
        alone = self.settings.mqtt.username is None
        return read_too(account) if account is not None and alone and account.hashed is None else account

    def account_refusal(self, account: Account | None, before: Accounts | None = None) -> Refusal | None:
        """Why an endpoint that is to be added cannot have the user that it asks for; `before` are those that
        are to be added with it."""
        if account is None:
            return None
        for known in (self.accounts, before):
            refused = None if known is None else known.refusal(account)
            if refused is not None:
                return refused
        if before is not None:
            before.add(account)
        return None


async def _accounts_of(rows: list[EndpointRow]) -> AccountsFound:
    """Thousands of them keep others waiting for no longer than a slice."""
    found: list[tuple[EndpointRow, Account | None]] = []
    until = perf_counter() + SLICE
    for row in rows:
        found.append((row, _account_of(row)))
        if perf_counter() > until:
            await asyncio.sleep(0)
            until = perf_counter() + SLICE
    return AccountsFound(found)


def _as_is(message: AccountsFound) -> AccountsFound:
    return message


def _superuser(username: str | None, password: str | None) -> Account | None:
    """The agent's own user, which may do everything."""
    if username is None or password is None:
        return None
    return Account(username, (("readwrite", "#"), ("read", "$SYS/#")), password)


def _account_of(row: EndpointRow) -> Account | None:
    """What is stored and cannot be understood, or cannot be in the files, has none."""
    if row.error is not None:
        return None
    try:
        protocol = protocols.find(row.protocol)
        if protocol.account is None:
            return None
        connection = msgspec.json.decode(row.connection)
        account = protocol.account(connection, msgspec.json.decode(row.data_points) or ())
        if account is not None:
            check(account)
    except Refusal:
        return None
    return account
