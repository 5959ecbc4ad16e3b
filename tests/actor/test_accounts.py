"""Users and sessions: what ends what, and who may not be lost."""

import asyncio
import logging
from pathlib import Path

import pytest
from accounts_rig import FIRST, PASSWORD, PEER, Rig, accounts
from argon2 import PasswordHasher

from actors.accounts import accounts as module
from actors.accounts import first_user, passwords
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
    SessionIdentified,
    SessionRefused,
    SessionsEnded,
    SignedIn,
    SignedOut,
    SignIn,
    SignInDelayed,
    SignInRefused,
    SignOut,
    UserChanged,
    UserRemoved,
)
from actors.accounts.throttle import FREE
from actors.state.keeper import Reload
from actors.state.messages import Transact
from actors.system.failure import Failed
from storage import sessions, users
from storage.database import Database

ELSEWHERE = "203.0.113.9"


UNSEEN = "username must not hold line ends or other characters that are not seen"


@pytest.fixture(autouse=True)
def cheap(monkeypatch: pytest.MonkeyPatch) -> None:
    """What hashing costs is for other tests to see."""
    hasher = PasswordHasher(time_cost=1, memory_cost=64, parallelism=1)
    monkeypatch.setattr(passwords, "_library", lambda: hasher)


@pytest.fixture
async def rig(tmp_path: Path):
    async with accounts(tmp_path) as rig:
        yield rig


async def stored(rig: Rig, call, *args):
    return (await rig.system.ask(rig.store, Transact(None, call, args), 5.0)).result


async def identified(rig: Rig, token: str):
    return await rig.ask(IdentifySession(token))


async def is_in(rig: Rig, token: str) -> bool:
    return isinstance(await identified(rig, token), SessionIdentified)


async def until_forgotten(rig: Rig) -> None:
    """Until no session is stored."""
    while await stored(rig, sessions.load):  # noqa: ASYNC110 - it announces itself to nobody
        await asyncio.sleep(0)


# The first user


async def test_the_first_user_has_to_change_the_password(rig):
    known = await rig.sign_in("admin", FIRST)
    assert await identified(rig, known.token) == SessionIdentified(known.session, "admin", "admin", True)
    assert await rig.ask(ChangePassword(known.session, FIRST, PASSWORD, PEER)) == PasswordChanged()
    assert (await identified(rig, known.token)).must_change_password is False
    assert await rig.ask(SignIn("admin", FIRST, PEER)) == SignInRefused()


async def test_a_random_password_is_shown_once_and_logged_nowhere(tmp_path, capfd, caplog):
    caplog.set_level(logging.DEBUG)
    async with accounts(tmp_path, first_password=None) as rig:
        await rig.ask(ListUsers())
        shown = capfd.readouterr().err
        password = next(line.strip() for line in shown.splitlines() if line.startswith("    "))
        assert len(password) == 16
        await rig.sign_in("admin", password)
    async with accounts(tmp_path, first_password=None) as rig:
        await rig.sign_in("admin", password)
    assert password not in capfd.readouterr().err
    assert password not in caplog.text
    for file in tmp_path.iterdir():
        assert password.encode() not in file.read_bytes()


async def test_who_can_write_the_data_directory_gets_back_in(tmp_path, capfd):
    """The password that was shown once is lost (factorio-server-manager issue 377, sec-admin issue 18)."""
    async with accounts(tmp_path) as rig:
        known = await rig.admin()
        await rig.user("other", role="admin")
        assert isinstance(await rig.ask(ChangeUser("admin", role="viewer", is_active=False)), UserChanged)
    (tmp_path / first_user.RESET_FILE).touch()
    async with accounts(tmp_path, first_password=None) as rig:
        await rig.ask(ListUsers())
        assert not (tmp_path / first_user.RESET_FILE).exists()
        password = next(x.strip() for x in capfd.readouterr().err.splitlines() if x.startswith("    "))
        again = await rig.sign_in("admin", password)
        found = await identified(rig, again.token)
        assert (found.role, found.must_change_password) == ("admin", True)
        assert not await is_in(rig, known.token)
        assert [row.username for row in (await rig.ask(ListUsers())).users] == ["admin", "other"]


async def test_a_file_that_cannot_be_removed_is_obeyed_once_a_life(tmp_path, caplog):
    (tmp_path / first_user.RESET_FILE).mkdir()
    async with accounts(tmp_path) as rig:
        await rig.admin()
        await rig.sign_in("admin")
    assert caplog.text.count("cannot be removed") == 1


# Signing in


@pytest.mark.parametrize("who", ["admin", "nobody", "disabled", "x" * 5000, "\ud800"])
async def test_what_is_said_of_a_wrong_password_is_the_same_for_everybody(rig, who):
    await rig.user("disabled")
    await rig.ask(ChangeUser("disabled", is_active=False))
    answers = [await rig.ask(SignIn(who, "wrong", ELSEWHERE)) for _ in range(FREE + 1)]
    assert answers == [SignInRefused()] * FREE + [SignInDelayed(1)]


async def test_one_who_is_disabled_is_not_let_in_with_the_right_password(rig):
    await rig.user("eve")
    await rig.ask(ChangeUser("eve", is_active=False))
    assert await rig.ask(SignIn("eve", PASSWORD, PEER)) == SignInRefused()


async def test_every_attempt_takes_one_hash(rig, monkeypatch):
    await rig.user("disabled")
    await rig.ask(ChangeUser("disabled", is_active=False))
    checked = []
    real = passwords._check

    def check(kept, password):
        checked.append(kept)
        return real(kept, password)

    monkeypatch.setattr(passwords, "_check", check)
    for who in ("admin", "nobody", "disabled"):
        await rig.ask(SignIn(who, "wrong", ELSEWHERE))
    assert len(checked) == 3


async def test_the_owner_gets_in_while_others_guess(rig):
    """From where the owner has been before, whatever comes from elsewhere."""
    await rig.admin()
    for number in range(3 * FREE):
        await rig.ask(SignIn("admin", "wrong", f"203.0.113.{number}"))
    assert isinstance(await rig.ask(SignIn("admin", PASSWORD, ELSEWHERE)), SignInDelayed)
    assert isinstance(await rig.ask(SignIn("admin", PASSWORD, PEER)), SignedIn)
    assert isinstance(await rig.ask(SignIn("admin", PASSWORD, "127.0.0.1")), SignedIn)


async def test_where_the_owner_has_been_is_known_after_a_start_too(tmp_path):
    async with accounts(tmp_path) as rig:
        await rig.admin()
    async with accounts(tmp_path) as rig:
        for number in range(3 * FREE):
            await rig.ask(SignIn("admin", "wrong", f"203.0.113.{number}"))
        assert isinstance(await rig.ask(SignIn("admin", PASSWORD, PEER)), SignedIn)


async def test_passwords_are_in_no_log_and_neither_is_what_was_typed_for_a_name(rig, caplog):
    """People type passwords where names belong (3x-ui issue 2783)."""
    caplog.set_level(logging.DEBUG)
    known = await rig.admin()
    await rig.ask(SignIn("my-s3cret-password", "x", PEER))
    await rig.ask(SignIn("admin", "my-s3cret-password", PEER))
    await rig.ask(AddUser("eve", "my-s3cret-password"))
    assert "my-s3cret-password" not in caplog.text
    assert known.token not in caplog.text
    for message in (
        SignIn("my-s3cret", "my-s3cret", PEER),
        IdentifySession("my-s3cret"),
        SignOut("my-s3cret"),
    ):
        assert "my-s3cret" not in repr(message)
    for message in (AddUser("eve", "my-s3cret"), ChangeUser("eve", password="my-s3cret")):
        assert "my-s3cret" not in repr(message)


async def test_a_hash_with_other_parameters_is_made_anew_when_its_user_signs_in(rig, monkeypatch):
    await rig.user("eve")
    before = rig.actor.users.known("eve").password_hash
    stronger = PasswordHasher(time_cost=1, memory_cost=128, parallelism=1)
    monkeypatch.setattr(passwords, "_library", lambda: stronger)
    await rig.sign_in("eve")
    after = rig.actor.users.known("eve").password_hash
    assert "m=64," in before
    assert "m=128," in after
    assert [one.password_hash for one in await stored(rig, users.load)][-1] == after
    await rig.sign_in("eve")


async def test_a_password_that_is_changed_while_it_is_checked_lets_nobody_in(rig, monkeypatch):
    await rig.user("eve")
    entered, leave = asyncio.Event(), asyncio.Event()
    real = passwords.Hasher.check

    async def check(self, kept, password):
        entered.set()
        await leave.wait()
        return await real(self, kept, password)

    monkeypatch.setattr(passwords.Hasher, "check", check)
    signing_in = asyncio.ensure_future(rig.ask(SignIn("eve", PASSWORD, PEER)))
    await entered.wait()
    assert isinstance(await rig.ask(ChangeUser("eve", password="another-one")), UserChanged)
    leave.set()
    assert await signing_in == SignInRefused()


async def test_of_too_many_attempts_at_once_some_are_told_to_come_again(rig):
    await rig.ask(ListUsers())
    asked = [rig.ask(SignIn(f"user-{n}", "x", f"198.51.100.{n}")) for n in range(60)]
    answers = await asyncio.gather(*asked)
    assert {type(answer) for answer in answers} == {SignInRefused, SignInDelayed}
    assert await rig.ask(SignIn("somebody", "x", PEER)) == SignInRefused()


async def test_the_owner_gets_in_while_others_keep_it_busy(rig):
    await rig.admin()
    flood = [asyncio.ensure_future(rig.ask(SignIn("x", "x", f"198.51.100.{n}"))) for n in range(60)]
    await asyncio.sleep(0)
    owner = await rig.ask(SignIn("admin", PASSWORD, PEER))
    assert isinstance(owner, SignedIn)
    assert SignInDelayed in {type(answer) for answer in await asyncio.gather(*flood)}


def refuse_sessions(database: Database) -> None:
    database.db.execute(
        "CREATE TEMP TRIGGER broken BEFORE INSERT ON admin_sessions BEGIN SELECT raise(ABORT, 'full'); END"
    )


async def test_a_disk_that_takes_nothing_keeps_nobody_out_who_may_have_come_to_mend_that(tmp_path, caplog):
    async with accounts(tmp_path) as rig:
        await rig.admin()
        await stored(rig, refuse_sessions)
        known = [await rig.sign_in("admin") for _ in range(2)]
        assert [await is_in(rig, one.token) for one in known] == [True, True]
        assert caplog.text.count("a session is not stored: ") == 2
        assert [one.session for one in known] == [-1, -2]
        assert await rig.ask(EndSession(-1)) == SessionsEnded(1)
        assert [await is_in(rig, one.token) for one in known] == [False, True]
    async with accounts(tmp_path) as rig:
        assert not await is_in(rig, known[1].token)


# Sessions


async def test_a_token_is_nowhere_in_the_database(rig, tmp_path):
    known = await rig.admin()
    for file in tmp_path.iterdir():
        held = file.read_bytes()
        assert known.token.encode() not in held
        assert bytes.fromhex(known.token) not in held
        assert PASSWORD.encode() not in held


async def test_sessions_go_on_over_a_restart(tmp_path):
    async with accounts(tmp_path) as rig:
        known = await rig.admin()
    async with accounts(tmp_path) as rig:
        assert await is_in(rig, known.token)


async def test_signing_out_ends_the_session_and_no_other(rig, tmp_path):
    one, other = await rig.admin(), await rig.sign_in("admin")
    assert await rig.ask(SignOut(one.token)) == SignedOut()
    assert await rig.ask(SignOut(one.token)) == SignedOut()
    assert await rig.ask(SignOut("nothing")) == SignedOut()
    assert await identified(rig, one.token) == SessionRefused()
    assert await is_in(rig, other.token)
    assert [row.id for row in await stored(rig, sessions.load)] == [other.session]


ENDS = [
    ("disabled", lambda eve: ChangeUser("eve", is_active=False)),
    ("given another password", lambda eve: ChangeUser("eve", password="another-one")),
    ("removed", lambda eve: RemoveUser("eve")),
    ("sessions ended", lambda eve: EndSessionsOf("eve")),
    ("session ended", lambda eve: EndSession(eve.session)),
]


@pytest.mark.parametrize(("_", "message"), ENDS, ids=[name for name, _ in ENDS])
async def test_what_ends_a_session_ends_it_at_once_and_for_good(tmp_path, _, message):
    """goiabada issue 106, pkp-lib issue 9326, LimeSurvey pull request 5326."""
    async with accounts(tmp_path) as rig:
        admin, eve = await rig.admin(), await rig.user("eve")
        assert not isinstance(await rig.ask(message(eve)), Failed)
        assert not await is_in(rig, eve.token)
        assert await is_in(rig, admin.token)
    async with accounts(tmp_path) as rig:
        assert not await is_in(rig, eve.token)
        assert await is_in(rig, admin.token)


async def test_ones_own_new_password_keeps_the_session_that_changed_it(rig):
    eve = await rig.user("eve")
    other = await rig.sign_in("eve")
    assert await rig.ask(ChangePassword(eve.session, PASSWORD, "another-one", PEER)) == PasswordChanged()
    assert await is_in(rig, eve.token)
    assert not await is_in(rig, other.token)
    await rig.ask(ChangeUser("eve", password="a-third-one", by=eve.session))
    assert await is_in(rig, eve.token)
    await rig.ask(ChangeUser("eve", is_active=False, by=eve.session))
    assert not await is_in(rig, eve.token)


async def test_the_session_of_somebody_else_is_not_kept_for_who_changed_the_password(rig):
    admin, eve = await rig.admin(), await rig.user("eve")
    await rig.ask(ChangeUser("eve", password="another-one", by=admin.session))
    assert not await is_in(rig, eve.token)
    assert await is_in(rig, admin.token)


async def test_a_role_counts_from_the_next_request_on(rig):
    eve = await rig.user("eve", role="viewer")
    await rig.ask(ChangeUser("eve", role="operator"))
    assert (await identified(rig, eve.token)).role == "operator"


async def test_only_so_many_sessions_of_a_user_are_there(rig, monkeypatch):
    monkeypatch.setattr("actors.accounts.signed_in.MOST", 3)
    first = await rig.admin()
    others = [await rig.sign_in("admin") for _ in range(3)]
    assert not await is_in(rig, first.token)
    assert [await is_in(rig, one.token) for one in others] == [True] * 3
    assert len(await stored(rig, sessions.load)) == 3


async def test_a_session_expires_and_is_swept(rig, monkeypatch):
    known = await rig.admin()
    real = module._now
    monkeypatch.setattr(module, "_now", lambda: real() + 86_401)
    assert await identified(rig, known.token) == SessionRefused(expired=True)
    assert (await rig.ask(ListSessions())).sessions == []
    assert await rig.ask(ChangePassword(known.session, PASSWORD, "another-one", PEER)) == SessionRefused()
    rig.system.tell(rig.accounts, module.SweepSessions())
    await until_forgotten(rig)
    assert await identified(rig, known.token) == SessionRefused()


@pytest.mark.parametrize("jump_ms", [-3_600_000, 86_400_000])
async def test_a_clock_that_jumps_ends_no_session_and_prolongs_none(rig, monkeypatch, jump_ms):
    known = await rig.admin()
    real = module.unix_ms
    monkeypatch.setattr(module, "unix_ms", lambda: real() + jump_ms)
    assert await is_in(rig, known.token)
    later = module._now() + 86_401
    monkeypatch.setattr(module, "_now", lambda: later)
    assert not await is_in(rig, known.token)


async def test_who_is_signed_in_is_listed_without_tokens(rig):
    admin, eve = await rig.admin(), await rig.user("eve")
    rows = (await rig.ask(ListSessions())).sessions
    assert [(row.id, row.username, row.peer, row.user_agent) for row in rows] == [
        (eve.session, "eve", PEER, "a test"),
        (admin.session, "admin", PEER, "a test"),
    ]
    assert eve.token not in repr(rows)
    assert await rig.ask(EndSession(999)) == Failed("not_found", "Session not found: 999")
    assert await rig.ask(EndSessionsOf("eve")) == SessionsEnded(1)
    assert await rig.ask(EndSessionsOf("eve")) == SessionsEnded(0)
    assert (await rig.ask(EndSessionsOf("nobody"))).kind == "not_found"


def break_deleting(database: Database) -> None:
    database.db.execute(
        "CREATE TEMP TRIGGER broken BEFORE DELETE ON admin_sessions BEGIN SELECT raise(ABORT, 'no'); END"
    )


def mend(database: Database) -> None:
    database.db.execute("DROP TRIGGER broken")


async def test_a_disk_that_takes_nothing_keeps_nobody_in(rig):
    admin, eve = await rig.admin(), await rig.user("eve")
    await stored(rig, break_deleting)
    assert await rig.ask(SignOut(admin.token)) == SignedOut()
    ended = await rig.ask(EndSession(eve.session))
    assert ended.kind == "unavailable"
    assert ended.message.startswith("Ended, but it would be back after a restart")
    assert not await is_in(rig, admin.token)
    assert not await is_in(rig, eve.token)
    rig.system.tell(rig.accounts, Reload())  # as after a change that may have been stored or not
    assert not await is_in(rig, admin.token)
    assert not await is_in(rig, eve.token)
    await stored(rig, mend)
    rig.system.tell(rig.accounts, module.SweepSessions())
    await until_forgotten(rig)


# Users


@pytest.mark.parametrize(
    ("message", "failed"),
    [
        (AddUser("", PASSWORD), Failed("invalid", "username is required", "username")),
        (AddUser("  ", PASSWORD), Failed("invalid", "username is required", "username")),
        (AddUser("eve", "12345"), Failed("invalid", "password must be at least 6 characters", "password")),
        (AddUser("admin", PASSWORD), Failed("conflict", "Username already exists", "username")),
        (AddUser("Admin", PASSWORD), Failed("conflict", "Username already exists", "username")),
        (AddUser("\uff41dmin", PASSWORD), Failed("conflict", "Username already exists", "username")),
        (AddUser("admin\u200b", PASSWORD), Failed("invalid", UNSEEN, "username")),
        (AddUser("a\u202eb", PASSWORD), Failed("invalid", UNSEEN, "username")),
        (ChangeUser("eve"), Failed("not_found", "User not found")),
        (RemoveUser("eve"), Failed("not_found", "User not found")),
        (
            ChangeUser("admin", password="12345"),
            Failed("invalid", "password must be at least 6 characters", "password"),
        ),
    ],
)
async def test_what_is_refused_is_said_in_the_words_of_the_reference(rig, message, failed):
    assert await rig.ask(message) == failed
    assert len(rig.actor.users) == 1


@pytest.mark.parametrize("name", ["a\nb", "a\0b", "x" * 65, "a/b", "..", ".", "\ud800", "a\u2028b"])
async def test_what_is_no_name_is_refused(rig, name):
    assert (await rig.ask(AddUser(name, PASSWORD))).field == "username"


async def test_names_are_trimmed_and_may_be_of_any_letters(rig):
    added = await rig.ask(AddUser("  Jürgen Müller ", PASSWORD))
    assert added.user.username == "Jürgen Müller"
    await rig.sign_in("Jürgen Müller")


@pytest.mark.parametrize(
    ("fields", "role"),
    [
        ({}, "operator"),
        ({"is_superuser": True}, "admin"),
        ({"is_superuser": False}, "operator"),
        ({"role": "viewer"}, "viewer"),
        ({"role": "viewer", "is_superuser": False}, "viewer"),
        ({"role": "admin", "is_superuser": True}, "admin"),
    ],
)
async def test_the_superuser_of_the_reference_is_the_role_admin(rig, fields, role):
    user = (await rig.ask(AddUser("eve", PASSWORD, **fields))).user
    assert (user.role, user.is_superuser) == (role, role == "admin")


async def test_a_role_that_contradicts_the_superuser_is_refused(rig):
    assert (await rig.ask(AddUser("eve", PASSWORD, role="viewer", is_superuser=True))).field == "role"
    await rig.ask(AddUser("eve", PASSWORD, role="viewer"))
    assert (await rig.ask(ChangeUser("eve", is_superuser=False))).user.role == "viewer"
    assert (await rig.ask(ChangeUser("eve", is_superuser=True))).user.role == "admin"
    assert (await rig.ask(ChangeUser("eve", is_superuser=False))).user.role == "operator"


LOSES = [
    lambda name: RemoveUser(name),
    lambda name: ChangeUser(name, is_active=False),
    lambda name: ChangeUser(name, role="operator"),
    lambda name: ChangeUser(name, is_superuser=False),
]


@pytest.mark.parametrize("loses", LOSES)
async def test_the_last_active_administrator_stays(rig, loses):
    """2FAuth issue 331, owncloud/ocis issue 3713; one who is disabled is none (tome pull request 26)."""
    await rig.ask(AddUser("second", PASSWORD, role="admin", is_active=False))
    kept = Failed("conflict", "The last active administrator must stay one")
    assert await rig.ask(loses("admin")) == kept
    await rig.ask(ChangeUser("second", is_active=True))
    assert not isinstance(await rig.ask(loses("admin")), Failed)
    assert await rig.ask(loses("second")) == kept


@pytest.mark.parametrize("loses", LOSES)
async def test_of_two_administrators_who_remove_one_another_at_once_one_stays(rig, loses):
    await rig.ask(AddUser("second", PASSWORD, role="admin"))
    answers = await asyncio.gather(*[rig.ask(loses(name)) for name in ("admin", "second") for _ in range(3)])
    assert any(not isinstance(answer, Failed) for answer in answers)
    left = [user for user in rig.actor.users.all() if user.is_active and user.role == "admin"]
    assert len(left) == 1
    assert [
        one.username for one in await stored(rig, users.load) if one.role == "admin" and one.is_active
    ] == [left[0].username]


async def test_of_many_who_add_the_same_name_at_once_one_does(rig):
    answers = await asyncio.gather(*[rig.ask(AddUser("eve", PASSWORD)) for _ in range(5)])
    assert sorted(type(answer) for answer in answers if isinstance(answer, UserChanged)) == [UserChanged]
    assert [answer.message for answer in answers if isinstance(answer, Failed)] == [
        "Username already exists"
    ] * 4


async def test_a_wrong_current_password_changes_nothing_and_is_counted(rig):
    eve = await rig.user("eve")
    wrong = Failed("invalid", "current_password is wrong", "current_password")
    answers = [
        await rig.ask(ChangePassword(eve.session, "wrong!", "another-one", PEER)) for _ in range(FREE + 1)
    ]
    assert answers == [wrong] * FREE + [SignInDelayed(1)]
    assert await is_in(rig, eve.token)


async def test_a_password_is_changed_to_another_one(rig):
    eve = await rig.user("eve")
    assert (await rig.ask(ChangePassword(eve.session, PASSWORD, PASSWORD, PEER))).field == "new_password"
    assert (await rig.ask(ChangePassword(eve.session, PASSWORD, "short", PEER))).field == "new_password"


async def test_a_crash_loses_nobody(rig):
    admin = await rig.admin()
    rig.system.crash(rig.system.mailboxes[rig.accounts.addressDetails], RuntimeError("a test"))
    assert await is_in(rig, admin.token)
    assert await rig.ask(RemoveUser("admin")) == Failed(
        "conflict", "The last active administrator must stay one"
    )
    assert UserRemoved() != Failed("internal", "")


async def test_who_is_hashed_for_when_it_ends_is_answered(rig, monkeypatch):
    await rig.ask(ListUsers())

    async def never(self, password):
        await asyncio.Event().wait()

    monkeypatch.setattr(passwords.Hasher, "make", never)
    adding = asyncio.ensure_future(rig.ask(AddUser("eve", PASSWORD)))
    while not rig.actor.hashing:  # noqa: ASYNC110 - it announces itself to nobody
        await asyncio.sleep(0)
    rig.system.terminate(rig.system.mailboxes[rig.accounts.addressDetails])
    assert await adding == Failed("unavailable", "Interrupted: nothing was changed")
