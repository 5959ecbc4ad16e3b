"""Users, and who of them is signed in."""

import logging
from collections.abc import Callable
from math import ceil
from pathlib import Path
from typing import Any, ClassVar

import msgspec
from msgspec import UNSET
from thespian.actors import ActorAddress

from actors.accounts import first_user, signed_in
from actors.accounts.hashing import HashingKeeper, Proceed
from actors.accounts.messages import (
    AddUser,
    ChangePassword,
    ChangeUser,
    EndSession,
    EndSessionsOf,
    IdentifySession,
    ListSessions,
    ListUsers,
    PasswordChanged,
    RemoveUser,
    SessionRefused,
    SessionsEnded,
    SessionsListed,
    SignedIn,
    SignedOut,
    SignIn,
    SignInDelayed,
    SignInRefused,
    SignOut,
    UserChanged,
    UserRemoved,
    UsersListed,
)
from actors.accounts.passwords import Verdict, check_password
from actors.accounts.signed_in import Session, Sessions, identified, session_row
from actors.accounts.throttle import Throttle
from actors.accounts.users import ADMIN, LENGTH, Users, user_name, user_row, wanted_role
from actors.state.keeper import RELOAD, Reload
from actors.state.messages import Transacted
from actors.subsystems.messages import CheckSubsystem, SubsystemChecked
from actors.system.clock import running_ms
from actors.system.failure import Failed, Refusal
from conf.peers import peer_of
from conf.tables import Confidential
from storage import sessions, users
from storage.database import Database
from storage.sessions import StoredSession
from storage.timestamps import unix_ms
from storage.users import StoredUser

log = logging.getLogger(__name__)

SWEEP = 600.0  # seconds between two looks for sessions that have expired


class RunAccounts(Confidential, frozen=True):
    """Start; `first_password` is that of the first user, None for a random one."""

    HIDDEN: ClassVar = ("first_password",)

    store: ActorAddress
    first_password: str | None
    reset_file: Path


class SweepSessions(msgspec.Struct, frozen=True):
    """To itself."""


class Accounts(HashingKeeper):
    """Asked with every request that a session matters for. What ends a session ends it at once."""

    CHANGES = (Proceed, RemoveUser)
    REQUESTS = (
        *CHANGES,
        SignIn,
        SignOut,
        IdentifySession,
        ListSessions,
        EndSession,
        EndSessionsOf,
        ListUsers,
        AddUser,
        ChangeUser,
        ChangePassword,
    )

    def __init__(self) -> None:
        super().__init__()
        self.users = Users()
        self.sessions = Sessions()
        self.ended: set[int] = set()
        """Sessions that are still to be removed from the database."""
        self.throttle = Throttle()
        self.awaiting: list[ActorAddress] = []
        """Who signs in, and has yet to hear that it is stored."""
        self.unstored = 0
        """The id of the latest session that is not: below zero."""
        self.founding = self.founded = False

    def receiveMsg_RunAccounts(self, message: RunAccounts, sender: ActorAddress) -> None:
        self.store = message.store
        self.start = message
        self.begin()
        self.wakeupAfter(SWEEP, SweepSessions())

    # Rows

    def load(self) -> tuple[Any, ...]:
        return (_stored,)

    def take(self, stored: tuple[list[StoredUser], list[StoredSession]]) -> None:
        found, rows = stored
        open_sessions = [one for one in rows if one.id not in self.ended]
        self.users = Users(found)
        self.sessions = Sessions()
        self.ended |= set(self.sessions.load(open_sessions, unix_ms(), _now()))
        for one in self.sessions.all(_now()):
            user = self.users.of(one.stored.user_id)
            if user is not None:
                self.throttle.knows(user.username, peer_of(one.stored.peer))
        self._forget()
        if not found or (first_user.is_wanted(self.start.reset_file) and not self.founded):
            self._found()

    def _found(self) -> None:
        """Requests wait for the first user, as they do for the rows; the start of the agent does not."""
        self.loaded, self.founding = False, True
        password = self.start.first_password or first_user.random_password()

        def stored(message: Transacted) -> None:
            if message.error is not None:
                self._not_founded(str(message.error))
                return
            if self.start.first_password is None:
                first_user.announce(ADMIN, password)
            log.info("the user %s has a first password, which has to be changed", ADMIN)
            first_user.done(self.start.reset_file)
            self.founding, self.founded = False, True
            self.begin()

        def hashed(result: str | Failed) -> None:
            if isinstance(result, Failed):
                self._not_founded(result.message)
            else:
                self.ask_store("found", first_user.install, ADMIN, result, then=stored)

        self.hash(self.myAddress, hashed, self.hasher.make, password)

    def _not_founded(self, why: str) -> None:
        self.founding = False
        self.health = f"degraded: there is no first user: {why}"
        self._refuse_waiting(Failed("unavailable", why))
        self.wakeupAfter(RELOAD, Reload())

    def receiveMsg_CheckSubsystem(self, message: CheckSubsystem, sender: ActorAddress) -> None:
        if self.founding:
            self.send(sender, SubsystemChecked(description="the first user is being made"))
        else:
            super().receiveMsg_CheckSubsystem(message, sender)

    # Signing in

    def receiveMsg_SignIn(self, message: SignIn, sender: ActorAddress) -> None:
        """Whether there is such a user changes neither what is said nor how long it takes."""
        user = self.users.find(message.username)

        def checked(verdict: Verdict) -> None:
            if user is None or not verdict.matches or not user.is_active:
                self._refused(message.peer)
                self.send(sender, SignInRefused())
                return
            self.throttle.succeeded(user.username, peer_of(message.peer))
            self._begin(sender, message, user, verdict.anew)

        kept = None if user is None else user.password_hash
        self._check(sender, message.username, message.peer, kept, message.password, checked)

    def _check(
        self,
        requester: ActorAddress,
        username: str,
        peer: str,
        kept: str | None,
        password: str,
        then: Callable[[Verdict], None],
    ) -> None:
        """Check a password, unless too many checks have failed."""
        name = username if len(username) <= LENGTH else ""
        network, now = peer_of(peer), _now()
        busy = self.is_busy(reserved=self.throttle.is_known(name, network))
        delay = max(self.throttle.delay(name, network, now), 1.0 if busy else 0.0)
        if delay > 0:
            self.send(requester, SignInDelayed(ceil(delay)))
            return
        self.throttle.tries(name, network, now)

        def checked(result: Verdict | Failed) -> None:
            if isinstance(result, Failed):
                self.throttle.withdrew(name, network)
                self.send(requester, result)
            else:
                then(result)

        self.hash(requester, checked, self.hasher.check, kept, password)

    def _refused(self, peer: str) -> None:
        """Without the name: people type passwords where names belong."""
        log.warning("a password from %s was wrong", peer)

    def _begin(self, requester: ActorAddress, message: SignIn, checked: StoredUser, anew: str | None) -> None:
        """Unless the user has changed since the password was checked. A disk that takes nothing keeps nobody
        out, who may have come to mend that: the session is then good until the agent restarts."""
        token = signed_in.new_token()
        new = signed_in.new_session(token, checked.id, message.peer, message.user_agent, unix_ms())
        giving_way = self.sessions.giving_way(checked.id)

        def begun(answer: Transacted) -> None:
            self.awaiting.remove(requester)
            self.sessions.end(giving_way)
            stored = answer.result
            if answer.error is not None:
                log.warning("a session is not stored: %s", answer.error)
                self.ended |= set(giving_way)
                self.unstored -= 1
                stored = StoredSession(self.unstored, *msgspec.structs.astuple(new))
            self.sessions.begin(stored, _now())
            user = self.users.find(checked.username)
            if user is None or not user.is_active or user.password_hash != checked.password_hash:
                self._end([stored.id], lambda _: self.send(requester, SignInRefused()))
                return
            if anew is not None and answer.error is None:
                self.users.put(msgspec.structs.replace(user, password_hash=anew))
            log.info("%s signed in from %s", user.username, message.peer)
            self.send(requester, SignedIn(token, identified(stored, user)))

        self.awaiting.append(requester)
        self.ask_store("begin", sessions.begin, new, giving_way, anew, then=begun)

    def stopped(self) -> None:
        super().stopped()
        for requester in self.awaiting:
            self.send(requester, Failed("unavailable", "Interrupted: sign in again"))

    def receiveMsg_ChangePassword(self, message: ChangePassword, sender: ActorAddress) -> None:
        session, user = self._whose(self.sessions.get(message.session))
        if session is None or user is None:
            self.send(sender, SessionRefused())
            return
        check_password(message.new, "new_password")
        if message.new == message.current:
            raise Refusal("new_password must be another one", "new_password")

        def checked(verdict: Verdict) -> None:
            if not verdict.matches:
                self._refused(message.peer)
                self.send(sender, Failed("invalid", "current_password is wrong", "current_password"))
                return
            self.throttle.succeeded(user.username, peer_of(message.peer))
            try:
                self.hash_then(sender, message.new, change)
            except Refusal as refusal:
                self.send(sender, refusal.failed())

        def change(requester: ActorAddress, password_hash: str) -> None:
            now = self.users.known(user.username)
            if now.password_hash != user.password_hash or self.sessions.get(message.session) is None:
                raise Refusal("The password was changed meanwhile", kind="conflict")
            changes = {"password_hash": password_hash, "must_change_password": False}
            self._store(requester, now, changes, True, message.session, lambda _: PasswordChanged())

        self._check(sender, user.username, message.peer, user.password_hash, message.current, checked)

    # Sessions

    def receiveMsg_IdentifySession(self, message: IdentifySession, sender: ActorAddress) -> None:
        found = self.sessions.find(message.token)
        session, user = self._whose(found)
        if session is None or user is None:
            self.send(sender, SessionRefused(expired=found is not None))
        else:
            self.send(sender, identified(session.stored, user))

    def _whose(self, session: Session | None) -> tuple[Session | None, StoredUser | None]:
        """The session, if it has not expired, and its user, if that is one who may be signed in."""
        if session is None or _now() >= session.until:
            return None, None
        user = self.users.of(session.stored.user_id)
        return session, user if user is not None and user.is_active else None

    def receiveMsg_SignOut(self, message: SignOut, sender: ActorAddress) -> None:
        session = self.sessions.find(message.token)
        if session is None:
            self.send(sender, SignedOut())
        else:
            self._end([session.stored.id], lambda error: self.send(sender, SignedOut()))

    def receiveMsg_ListSessions(self, message: ListSessions, sender: ActorAddress) -> None:
        there = [(one.stored, self.users.of(one.stored.user_id)) for one in self.sessions.all(_now())]
        rows = [session_row(stored, user) for stored, user in there if user is not None]
        self.send(sender, SessionsListed(rows))

    def receiveMsg_EndSession(self, message: EndSession, sender: ActorAddress) -> None:
        if self.sessions.get(message.id) is None:
            raise Refusal(f"Session not found: {message.id}", kind="not_found")
        self._end([message.id], lambda error: self.send(sender, error or SessionsEnded(1)))

    def receiveMsg_EndSessionsOf(self, message: EndSessionsOf, sender: ActorAddress) -> None:
        ids = [one.stored.id for one in self.sessions.of(self.users.known(message.username).id)]
        self._end(ids, lambda error: self.send(sender, error or SessionsEnded(len(ids))))

    def _end(self, ids: list[int], then: Callable[[Failed | None], None]) -> None:
        """At once; `then` hears whether that is stored, too."""
        self.sessions.end(ids)
        self.ended |= set(ids)
        self._forget(then)

    def _forget(self, then: Callable[[Failed | None], None] | None = None) -> None:
        """Remove from the database what has ended; what cannot be is tried again with the next sweep."""
        ids = sorted(self.ended)

        def forgotten(message: Transacted) -> None:
            if message.error is None:
                self.ended -= set(ids)
            if then is not None:
                why = f"Ended, but it would be back after a restart: {message.error}"
                then(None if message.error is None else Failed("unavailable", why))

        if ids:
            self.ask_store("forget", sessions.end, ids, then=forgotten)
        elif then is not None:
            then(None)

    def receiveMsg_SweepSessions(self, message: SweepSessions, sender: ActorAddress) -> None:
        self.wakeupAfter(SWEEP, SweepSessions())
        over = self.sessions.expired(_now())
        self.sessions.end(over)
        self.ended |= set(over)
        self._forget()

    # Users

    def receiveMsg_ListUsers(self, message: ListUsers, sender: ActorAddress) -> None:
        self.send(sender, UsersListed([user_row(user) for user in self.users.all()]))

    def receiveMsg_AddUser(self, message: AddUser, sender: ActorAddress) -> None:
        name = user_name(message.username)
        check_password(message.password)
        role = wanted_role("operator", message.role, message.is_superuser)
        self.users.check_new(name)

        def add(requester: ActorAddress, password_hash: str) -> None:
            self.users.check_new(name)
            self.transact(
                requester,
                added,
                users.insert,
                name,
                password_hash,
                role,
                message.is_active,
                message.must_change_password,
            )

        def added(user: StoredUser) -> UserChanged:
            self.users.put(user)
            log.info("the user %s was added, as %s", name, role)
            return UserChanged(user_row(user))

        self.hash_then(sender, message.password, add)

    def receiveMsg_ChangeUser(self, message: ChangeUser, sender: ActorAddress) -> None:
        self.users.known(message.username)
        if message.password is UNSET:
            change = Proceed(lambda requester: self._change(requester, message, None))
            self.receiveMessage(change, sender)
            return
        check_password(message.password)
        self.hash_then(
            sender, message.password, lambda requester, made: self._change(requester, message, made)
        )

    def _change(self, requester: ActorAddress, message: ChangeUser, password_hash: str | None) -> None:
        user = self.users.known(message.username)
        changes: dict[str, Any] = {"role": wanted_role(user.role, message.role, message.is_superuser)}
        for name in ("is_active", "must_change_password"):
            if getattr(message, name) is not UNSET:
                changes[name] = getattr(message, name)
        if password_hash is not None:
            changes["password_hash"] = password_hash
        instead = msgspec.structs.replace(user, **changes)
        if user.is_active and user.role == ADMIN:
            self.users.check_admin_left(user, instead)
        ends = password_hash is not None or not instead.is_active
        own = self.sessions.get(message.by) if message.by is not None and instead.is_active else None
        keep = own.stored.id if own is not None and own.stored.user_id == user.id else None
        self._store(requester, user, changes, ends, keep, lambda changed: UserChanged(user_row(changed)))

    def _store(
        self,
        requester: ActorAddress,
        user: StoredUser,
        changes: dict[str, Any],
        ends: bool,
        keep: int | None,
        reply: Callable[[StoredUser], Any],
    ) -> None:
        """Change columns of a user; `ends` says that all sessions but `keep` do."""

        def stored(changed: StoredUser) -> Any:
            self.users.put(changed)
            if ends:
                ended = [one.stored.id for one in self.sessions.of(user.id) if one.stored.id != keep]
                self.sessions.end(ended)
            log.info("the user %s was changed: %s", user.username, ", ".join(changes))
            return reply(changed)

        self.transact(requester, stored, users.update, user.id, changes, ends, keep)

    def receiveMsg_RemoveUser(self, message: RemoveUser, sender: ActorAddress) -> None:
        user = self.users.known(message.username)
        if user.is_active and user.role == ADMIN:
            self.users.check_admin_left(user, None)

        def removed(_: None) -> UserRemoved:
            self.users.remove(user.username)
            self.sessions.end(one.stored.id for one in self.sessions.of(user.id))
            log.info("the user %s was removed", user.username)
            return UserRemoved()

        self.transact(sender, removed, users.delete, user.id)


def _stored(database: Database) -> tuple[list[StoredUser], list[StoredSession]]:
    return users.load(database), sessions.load(database)


def _now() -> float:
    """Seconds that nobody sets; the machine's sleep counts."""
    return running_ms() / 1000
