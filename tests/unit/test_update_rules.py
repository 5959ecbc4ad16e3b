"""Whether a command may be followed: versions, signatures, files, what became of earlier updates."""

import hashlib
import hmac
import os
from pathlib import Path
from typing import Any

import msgspec
import pytest

from actors.subsystems.messages import Check, StateReported
from actors.system.failure import Refusal
from actors.update import history as histories
from actors.update.history import History, Order, UpdateEvent
from actors.update.layout import Trial
from actors.update.rules import Declined, compare, order, wheel_in
from actors.update.signature import Signed, signature, unix_ms_of
from actors.update.versions import is_older, is_same, wanted_version
from actors.update.watch import Watch

NOW = 1_796_000_000_000
HOUR = 3_600_000
SECRET = "of the plant"


def command(**fields: Any) -> Signed:
    return Signed(**{name: None for name in Signed.__struct_fields__} | {"version": "1.2.3"} | fields)


# Versions


@pytest.mark.parametrize(
    ("text", "version"),
    [("1.2.3", "1.2.3"), (" 1.0.600 ", "1.0.600"), ("1.2.3-rc1", "1.2.3rc1"), ("1.2.3rc1", "1.2.3rc1"),
     ("2.0.0-beta.2", "2.0.0b2"), ("latest", "latest"), ("1.2.3.post1", "1.2.3.post1")],
)  # fmt: skip
def test_versions_are_read_as_packages_spell_them(text, version):
    assert wanted_version(text) == version


@pytest.mark.parametrize(
    "text",
    ["1", "1.2", "v1.2.3", "1.2.3; rm -rf /", "1.2.3 --index-url x", "../../1.2.3", "1.2.3/..", "1.2.3\n",
     "git+https://x/y", "-r x", "1.2.3-", "1.2.3-\u00e9", "1.2.3 ", "LATEST",
     "1.2.3-" + "a" * 41, "*", ">=1.0.0"],
)  # fmt: skip
def test_anything_else_is_refused_and_not_repeated_at_length(text):
    if text.strip() == "1.2.3":
        assert wanted_version(text) == "1.2.3"
        return
    with pytest.raises(Refusal) as refused:
        wanted_version(text)
    assert refused.value.field == "version"
    assert len(refused.value.message) < 150


@pytest.mark.parametrize("text", ["", "  "])
def test_a_blank_version_is_refused_as_in_the_reference(text):
    with pytest.raises(Refusal, match=r"^version is required \(string\)$"):
        wanted_version(text)


def test_versions_are_compared_by_their_numbers():
    assert is_older("1.9.9", "1.10.0")
    assert is_older("2.0.0rc1", "2.0.0")
    assert is_same("1.2.3-rc1", "1.2.3rc1")
    assert not is_older("what", "1.0.0")


# Earlier updates


def declined(
    version: str, running: str = "1.0.0", *events: UpdateEvent, force: bool = False
) -> Declined | None:
    try:
        compare(version, running, force, History(events), NOW, 24)
    except Declined as error:
        return error
    return None


def test_the_same_version_is_skipped_and_an_older_one_takes_force():
    assert declined("1.0.0").outcome == "skipped"
    assert declined("0.9.0").outcome == "conflict"
    assert declined("1.0.0", force=True) is declined("0.9.0", force=True) is declined("1.0.1") is None


def test_one_that_was_taken_back_is_not_tried_over_and_over():
    """A device that installs a bad release anew, at each check, wears its flash out and is away most of the
    time."""
    bad = UpdateEvent(NOW - 99 * HOUR, "update_failed_verified", "2.0.0", "started 3 times")
    assert "started 3 times" in declined("2.0.0", "1.0.0", bad).message
    assert declined("2.0.1", "1.0.0", bad) is None
    good = UpdateEvent(NOW - 98 * HOUR, "update_completed", "2.0.0")
    assert declined("2.0.0", "1.0.0", bad, good) is None
    assert declined("2.0.0", "1.0.0", bad, force=True) is None


def test_one_that_could_not_be_installed_may_be_tried_again_at_once():
    failed = UpdateEvent(NOW - 1, "update_failed", "2.0.0", "no network")
    assert declined("2.0.0", "1.0.0", failed) is None


@pytest.mark.parametrize(
    ("at", "refused"), [(NOW - HOUR, True), (NOW - 24 * HOUR, False), (NOW + HOUR, False)]
)
def test_one_update_a_day_unless_the_clock_was_set_back(at, refused):
    switched = UpdateEvent(at, "update_switched", "1.0.0")
    assert (declined("2.0.0", "1.0.0", switched) is not None) == refused


def test_refused_commands_do_not_push_out_what_happened():
    history = History().plus(UpdateEvent(1, "update_failed_verified", "2.0.0"))
    for at in range(500):
        history = history.plus(UpdateEvent(at, "update_rejected", "9.9.9"))
    assert history.last("update_failed_verified", version="2.0.0") is not None
    assert len(history.events) == 1 + histories.NOISE_KEPT
    for at in range(500):
        history = history.plus(UpdateEvent(at, "update_started", "9.9.9"))
    assert len(history.events) == histories.KEPT


def test_a_history_is_there_again_and_a_damaged_one_is_no_reason_not_to_run(tmp_path, caplog):
    file = tmp_path / "updates" / "history.json"
    history = History((UpdateEvent(1, "update_started", "2.0.0", "from 1.0.0"),), 5, Order("3.0.0", at=7))
    histories.save(file, history)
    assert histories.load(file) == history
    file.write_text("{")
    assert histories.load(file) == histories.load(tmp_path / "none") == History()
    assert "history of updates is lost" in caplog.text


# Signatures


def signed(**fields: Any) -> Signed:
    made = command(**{"issued_at": NOW - 1000} | fields)
    return msgspec.structs.replace(made, signature=signature(SECRET, made))


def refusal(given: Signed, latest: int | None = None) -> tuple[str, str] | None:
    try:
        order(given, SECRET, History(latest_issued=latest), NOW)
    except Declined as error:
        return error.outcome, error.message
    return None


def test_the_signature_is_that_of_the_cloud():
    expires, scheduled = NOW + HOUR, "2026-12-01T00:00:00Z"
    text = f"update|1.2.3|{NOW}|{expires}|{scheduled}|true"
    expected = hmac.new(SECRET.encode(), text.encode(), hashlib.sha256).hexdigest()
    whole = command(issued_at=NOW, expires_at=expires, scheduled_time=scheduled, force=True)
    assert signature(SECRET, whole) == expected
    bare = hmac.new(SECRET.encode(), f"update|1.2.3|{NOW}|||".encode(), hashlib.sha256).hexdigest()
    assert signature(SECRET, command(issued_at=NOW)) == bare


def test_a_signed_command_is_followed_once():
    given = signed()
    assert refusal(given) is None
    assert order(given, SECRET, History(), NOW).issued == NOW - 1000
    assert refusal(given, latest=NOW - 1000)[0] == "forbidden"
    assert refusal(given, latest=NOW - 1) is not None
    assert refusal(given, latest=NOW - 1001) is None


@pytest.mark.parametrize(
    ("given", "outcome"),
    [
        (command(), "unsigned"),
        (command(signature="00" * 32), "unsigned"),
        (command(issued_at=NOW), "unsigned"),
        (command(issued_at=NOW, signature="00" * 32), "forbidden"),
        (command(issued_at=NOW, signature="\u00e9"), "forbidden"),
        (msgspec.structs.replace(signed(), version="1.2.4"), "forbidden"),
        (msgspec.structs.replace(signed(), force=True), "forbidden"),
        (msgspec.structs.replace(signed(), file="evil.whl"), "forbidden"),
        (msgspec.structs.replace(signed(), expires_at=NOW + 10), "forbidden"),
        (msgspec.structs.replace(signed(), scheduled_time=NOW + 10), "forbidden"),
        (signed(expires_at=NOW), "forbidden"),
        (signed(expires_at="soon"), "forbidden"),
        (signed(issued_at=NOW + HOUR), "forbidden"),
        (signed(issued_at=NOW - 24 * HOUR), "forbidden"),
    ],
)
def test_what_is_not_signed_or_not_well_is_refused(given, outcome):
    assert refusal(given)[0] == outcome


def test_without_a_secret_no_signature_is_asked_for():
    assert order(command(), None, History(), NOW) == Order("1.2.3")


@pytest.mark.parametrize(
    ("time", "ms"),
    [(5, 5), ("5", 5), ("1970-01-01T00:00:01Z", 1000), ("1970-01-01T00:00:01", 1000), ("x", None),
     (None, None),
     ("9" * 40, None), ("1970-01-01T01:00:01+01:00", 1000)],
)  # fmt: skip
def test_times_are_unix_ms_or_iso(time, ms):
    assert unix_ms_of(time) == ms


def test_a_time_that_is_over_means_now_and_one_far_off_is_refused():
    assert order(command(scheduled_time=NOW - 1), None, History(), NOW).at is None
    assert order(command(scheduled_time=NOW + 9), None, History(), NOW).at == NOW + 9
    for wrong in (NOW * 2, "whenever"):
        with pytest.raises(Refusal, match="scheduled_time"):
            order(command(scheduled_time=wrong), None, History(), NOW)


# Files


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    folder = tmp_path / "updates"
    folder.mkdir()
    (folder / "callboard-2.0.0-py3-none-any.whl").write_bytes(b"")
    (folder / "other-2.0.0-py3-none-any.whl").write_bytes(b"")
    (folder / "callboard.whl").write_bytes(b"")
    (tmp_path / "callboard-2.0.0-py3-none-any.whl").write_bytes(b"")
    (folder / "callboard-3.0.0-py3-none-any.whl").symlink_to(tmp_path / "callboard-2.0.0-py3-none-any.whl")
    (folder / "link").symlink_to(tmp_path)
    os.mkfifo(folder / "callboard-4.0.0-py3-none-any.whl")
    return folder


def test_a_wheel_in_the_folder_is_found_with_its_version(folder):
    name = "callboard-2.0.0-py3-none-any.whl"
    assert wheel_in(folder, name, "latest") == wheel_in(folder, name, "2.0.0") == (folder / name, "2.0.0")


@pytest.mark.parametrize(
    "name",
    ["../callboard-2.0.0-py3-none-any.whl", "/etc/passwd", "callboard-3.0.0-py3-none-any.whl", "", ".", "..",
     "link/callboard-2.0.0-py3-none-any.whl", "callboard-4.0.0-py3-none-any.whl", "none.whl", "a\0b",
     "other-2.0.0-py3-none-any.whl", "callboard.whl", "x" * 5000],
)  # fmt: skip
def test_no_other_file_is_one(folder, name):
    with pytest.raises(Refusal) as refused:
        wheel_in(folder, name, "latest")
    assert refused.value.field == "file"


def test_a_wheel_of_another_version_is_none(folder):
    with pytest.raises(Refusal, match=r"holds 2\.0\.0, not 2\.0\.1"):
        wheel_in(folder, "callboard-2.0.0-py3-none-any.whl", "2.0.1")


# On trial

TRIAL = Trial("1-1", "2-1", "id", 600, failing=frozenset({"ill-before"}))


def report(state: str = "RUNNING", **health: bool) -> StateReported:
    checks = [Check(name.replace("_", "-"), well, critical=True) for name, well in health.items()]
    checks.append(Check("plc-line-1", False, critical=False))
    return StateReported(state, True, checks)


def test_a_version_is_confirmed_when_it_was_well_for_long_enough():
    watch = Watch(TRIAL, 10, "RUNNING")
    assert [watch.look(report(database=True), now) for now in (0, 5, 9.9, 10)] == [False, False, False, True]


def test_what_fails_meanwhile_begins_the_time_anew():
    watch = Watch(TRIAL, 10, "RUNNING")
    assert not watch.look(report(), 0)
    assert not watch.look(report(database=False), 5)
    assert watch.ailment == "database"
    assert not watch.look(report(), 6)
    assert not watch.look(report(), 15.9)
    assert watch.look(report(), 16)


def test_neither_devices_that_are_away_nor_what_failed_before_are_held_against_it():
    """A rollback because somebody pulled an Ethernet cable helps nobody."""
    watch = Watch(TRIAL, 10, "RUNNING")
    assert not watch.look(report(ill_before=False), 0)
    assert watch.look(report(ill_before=False), 10)


def test_a_soft_restart_begins_the_time_anew():
    watch = Watch(TRIAL, 10, "RUNNING")
    watch.look(report(), 0)
    watch.entered("STOPPING")
    watch.entered("RUNNING")
    assert not watch.look(report(), 10)


def test_a_stop_before_it_was_well_is_no_orderly_one():
    watch = Watch(TRIAL, 10, "INIT")
    watch.look(report("INIT"), 0)
    assert not watch.was_well
    watch.entered("RUNNING")
    watch.look(report(), 1)
    assert watch.was_well
