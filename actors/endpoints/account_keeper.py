"""The keeper of endpoints, as far as their devices are users of the agent's own broker."""

from collections.abc import Iterator

import msgspec
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
from actors.endpoints.device_keeper import DeviceKeeper
from actors.endpoints.messages import EndpointRow
from actors.subsystems.messages import Check
from actors.system.addresses import child_address
from actors.system.failure import Refusal
from storage.endpoints import NewEndpoint


class TellAccounts(msgspec.Struct, frozen=True):
    """To itself: the users are others now."""


class AccountKeeper(DeviceKeeper):
    """Knows who may log in at the broker, if its files are kept at all, and tells who writes them."""

    def __init__(self) -> None:
        super().__init__()
        self.accounts = Accounts()
        self._telling = False
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
        self.accounts = Accounts(self.settings.mqtt.username)
        for row in self.rows:
            self.accounts.put(row.id, self._account_of(row))
        start = RunBrokerUsers(self.settings.mosquitto, superuser, self.myAddress)
        if not self.running(self.broker_users):
            self.spawn(BrokerUsers, NAME, start)
        else:
            if self.start_of(self.broker_users) != start:
                self.restate(self.broker_users, start)
            self.send(self.broker_users, KeepAccounts(self.accounts.merged()))

    def account_changed(self, row: EndpointRow) -> None:
        if self.keeps_accounts and self.accounts.put(row.id, self._account_of(row)):
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
        if self.loaded:
            self.send(self.broker_users, KeepAccounts(self.accounts.merged()))

    def receiveMsg_ReportAccounts(self, message: ReportAccounts, sender: ActorAddress) -> None:
        """While the rows are not loaded it is told by `begin_accounts`."""
        if self.loaded:
            self.send(sender, KeepAccounts(self.accounts.merged()))

    def receiveMsg_BrokerUsersReported(self, message: BrokerUsersReported, sender: ActorAddress) -> None:
        self._users_error = message.error

    def account_checks(self) -> list[Check]:
        if not self.keeps_accounts:
            return []
        return [Check(NAME, self._users_error is None, last_error=self._users_error)]

    def _account_of(self, row: EndpointRow) -> Account | None:
        """An agent without a user of its own logs in as the device."""
        account = _account_of(row)
        alone = self.settings.mqtt.username is None
        return read_too(account) if account is not None and alone and account.hashed is None else account

    def account_refusals(self, new: NewEndpoint, before: Accounts | None = None) -> Iterator[Refusal]:
        """Why an endpoint that is to be added cannot have the user that it asks for; `before` are those that
        are to be added with it."""
        if not self.keeps_accounts:
            return
        protocol = protocols.find(new.protocol)
        if protocol.account is None:
            return
        try:
            account = protocol.account(new.body["connection"], new.body["data_points"] or ())
            if account is None:
                return
            check(account)
        except Refusal as refusal:
            yield refusal
            return
        for known in (self.accounts, before):
            refused = None if known is None else known.refusal(account)
            if refused is not None:
                yield refused
                return
        if before is not None:
            before.add(account)


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
