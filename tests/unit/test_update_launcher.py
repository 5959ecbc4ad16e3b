"""The launcher and the files around it: whatever is interrupted when, the next start runs the old version or
the new one. The versions here are shell scripts that say their names."""

import os
import shutil
import signal
import stat
import subprocess
import time
from contextlib import suppress
from importlib import resources
from pathlib import Path
from typing import Any

import msgspec
import psutil
import pytest

from actors.update import layout as layout_module
from actors.update.layout import Layout, install, version_in

OLD, NEW = "1.0.0-1", "2.0.0-1"
LAUNCHER = resources.files("actors.update").joinpath("launcher.sh").read_text()
SAYS = '#!/bin/sh\necho "{name} $*"\n'
STAYS = '#!/bin/sh\necho "{name} $*"\nexec sleep 60\n'


def version(layout: Layout, name: str, script: str = SAYS, complete: bool = True) -> None:
    program = layout.versions / name / "bin" / "callboard"
    program.parent.mkdir(parents=True)
    program.write_text(script.format(name=name))
    program.chmod(0o755)
    if complete:
        layout.finish(name)


@pytest.fixture(autouse=True)
def no_sync(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "sync", lambda: None)


@pytest.fixture
def layout(tmp_path: Path) -> Layout:
    made = Layout(tmp_path / "root")
    version(made, OLD, complete=False)
    install(made.versions / OLD, "1.0.0")
    version(made, NEW)
    return made


def start(layout: Layout, *arguments: str, **env: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [str(layout.launcher), *(arguments or ("run",))],
        capture_output=True,
        text=True,
        timeout=20,
        check=False,
        start_new_session=True,
        env={"PATH": os.environ["PATH"], **env},
    )


def started(layout: Layout, *arguments: str) -> str:
    ended = start(layout, *arguments)
    assert ended.returncode == 0, ended
    return ended.stdout.split()[0]


def begin(layout: Layout, seconds: int = 600) -> None:
    layout.begin_trial(OLD, NEW, seconds, frozenset({"database"}))


def test_the_current_version_is_run_with_all_arguments(layout):
    assert start(layout, "run", "--config", "a b.toml").stdout == f"{OLD} run --config a b.toml\n"


def test_a_link_to_the_launcher_does_too(layout, tmp_path):
    link = tmp_path / "callboard"
    link.symlink_to(layout.launcher)
    ended = subprocess.run([link, "run"], capture_output=True, text=True, timeout=20, check=True)
    assert ended.stdout == f"{OLD} run\n"


def test_what_is_run_knows_its_launcher(layout):
    (layout.versions / OLD / "bin" / "callboard").write_text('#!/bin/sh\necho "$CALLBOARD_LAUNCHER"\n')
    assert start(layout).stdout.strip() == str(layout.launcher)


def test_a_version_on_trial_is_started_three_times_and_then_taken_back(layout):
    begin(layout)
    assert [started(layout) for _ in range(4)] == [NEW, NEW, NEW, OLD]
    taken_back = layout.taken_back()
    assert (taken_back.failed, taken_back.to) == (NEW, OLD)
    assert "started 3 times" in taken_back.reason
    assert layout.trial() is None
    assert layout.current == OLD
    assert started(layout) == OLD


def test_the_reason_has_what_the_version_said_of_itself(layout):
    begin(layout)
    layout.note_ailment("not well:\ndatabase")
    for _ in range(4):
        start(layout)
    assert "not well: database" in layout.taken_back().reason


def test_an_orderly_stop_of_a_well_agent_is_not_held_against_it(layout):
    """An operator who restarts the machine during a trial must not thereby cause a rollback."""
    begin(layout)
    for _ in range(10):
        assert started(layout) == NEW
        layout.note_stop(layout.trial(), orderly=True)
    assert layout.trial().starts == 1


def test_other_commands_are_no_starts(layout):
    begin(layout)
    assert {started(layout, "--version") for _ in range(10)} == {NEW}
    assert layout.trial().starts == 0


def test_what_failed_before_the_update_outlives_the_counting(layout):
    begin(layout)
    started(layout)
    assert layout.trial().failing == {"database"}


def test_a_confirmed_version_stays(layout):
    begin(layout)
    started(layout)
    assert layout.confirm(layout.trial())
    assert [started(layout) for _ in range(5)] == [NEW] * 5
    assert layout.taken_back() is None


def test_one_that_was_taken_back_meanwhile_is_not_confirmed(layout):
    begin(layout)
    trial = layout.trial()
    for _ in range(4):
        start(layout)
    assert not layout.confirm(trial)
    assert layout.current == OLD


def alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


def test_a_version_that_is_not_confirmed_in_time_is_ended_and_taken_back(layout):
    (layout.versions / NEW / "bin" / "callboard").write_text(STAYS.format(name=NEW))
    begin(layout, seconds=1)
    with subprocess.Popen([layout.launcher, "run"], stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout.readline() == f"{NEW} run\n"
        assert process.wait(10) == -signal.SIGTERM
    assert layout.current == OLD
    assert "within 1 s" in layout.taken_back().reason
    assert started(layout) == OLD


def test_the_watch_over_a_trial_ends_with_it(layout):
    (layout.versions / NEW / "bin" / "callboard").write_text(STAYS.format(name=NEW))
    begin(layout, seconds=30)
    with subprocess.Popen([layout.launcher, "run"], stdout=subprocess.PIPE, text=True) as process:
        process.stdout.readline()
        assert len(watchers(layout)) == 1
        layout.confirm(layout.trial())
        deadline = time.monotonic() + 10
        while watchers(layout):
            assert time.monotonic() < deadline
            time.sleep(0.05)
        assert process.poll() is None
        process.kill()


def watchers(layout: Layout) -> list[int]:
    """Shells that run the launcher; a version that it has started is none any more."""
    found = psutil.process_iter(["cmdline"])
    return [one.pid for one in found if str(layout.launcher) in (one.info["cmdline"] or ())]


# Interruptions


class Cut(BaseException):
    """The power goes."""


def cut_after(monkeypatch: pytest.MonkeyPatch, operations: int) -> list[int]:
    """The process ends at the file operation after so many; the list counts them."""
    done = [0]

    def counted(call: Any) -> Any:
        def operation(*arguments: Any, **keywords: Any) -> Any:
            if done[0] >= operations:
                raise Cut
            done[0] += 1
            return call(*arguments, **keywords)

        return operation

    for owner, name in (
        (Path, "rename"),
        (Path, "unlink"),
        (Path, "symlink_to"),
        (Path, "open"),
        (os, "fsync"),
        (layout_module.shutil, "rmtree"),
    ):
        monkeypatch.setattr(owner, name, counted(getattr(owner, name)))
    return done


@pytest.mark.parametrize("operations", range(20))
def test_a_switch_that_is_cut_off_leaves_the_old_version_or_the_new(layout, monkeypatch, operations):
    with monkeypatch.context() as patch:
        cut_after(patch, operations)
        try:
            begin(layout)
        except Cut:
            pass
        else:
            assert operations >= 9
    first = started(layout)
    assert first in (OLD, NEW)
    if first == NEW:
        assert layout.trial().starts == 1
    else:
        assert layout.trial() is None
        assert started(layout) == OLD
        taken_back = layout.taken_back()
        assert taken_back is None or not taken_back.blamed


@pytest.mark.parametrize("operations", range(6))
def test_a_confirmation_that_is_cut_off_leaves_the_new_version(layout, monkeypatch, operations):
    begin(layout)
    started(layout)
    with monkeypatch.context() as patch:
        cut_after(patch, operations)
        with suppress(Cut):
            layout.confirm(layout.trial())
    assert started(layout) == NEW


@pytest.mark.parametrize("operations", range(4))
def test_making_room_that_is_cut_off_leaves_what_runs(layout, monkeypatch, operations):
    version(layout, "0.9.0-1")
    with monkeypatch.context() as patch:
        cut_after(patch, operations)
        with suppress(Cut):
            layout.prune(frozenset({OLD}))
    assert started(layout) == OLD
    layout.prune(frozenset({OLD}))
    assert [path.name for path in layout.versions.iterdir()] == [OLD]


KILLER = """#!/bin/sh
count=$(cat {count} 2>/dev/null || echo 0)
echo $((count + 1)) >{count}
if [ "$count" -ge {after} ]; then kill -9 0; fi
exec {real} "$@"
"""


@pytest.mark.parametrize("starts", [0, 3])
def test_a_launcher_that_is_killed_at_any_step_leaves_the_old_version_or_the_new(layout, tmp_path, starts):
    """`starts` = 0: while it counts; 3: while it goes back."""
    for after in range(40):
        begin(layout)
        layout._write_trial(msgspec.structs.replace(layout.trial(), starts=starts))
        tools, count = tmp_path / f"tools-{after}", tmp_path / f"count-{after}"
        tools.mkdir()
        for tool in ("cat", "mv", "ln", "rm", "sync", "sed", "head", "tr"):
            real = shutil.which(tool)
            script = tools / tool
            # The counting itself uses cat: by its full path.
            text = KILLER.replace("$(cat", "$(/bin/cat").format(count=count, after=after, real=real)
            script.write_text(text)
            script.chmod(stat.S_IRWXU)
        ended = start(layout, PATH=f"{tools}:{os.environ['PATH']}")
        if ended.returncode == 0:
            break
        assert ended.returncode == -signal.SIGKILL
        assert [started(layout) for _ in range(4)][-1] == OLD
    else:
        pytest.fail("it was killed each time")
    assert after > 2


@pytest.mark.parametrize("operations", range(12))
def test_a_switch_that_the_disk_does_not_take_leaves_everything_as_it_was(layout, monkeypatch, operations):
    failed = [False]

    def failing(call: Any) -> Any:
        def operation(*arguments: Any, **keywords: Any) -> Any:
            if done[0] == operations and not failed[0]:
                failed[0] = True
                raise OSError(28, "No space left on device")
            done[0] += 1
            return call(*arguments, **keywords)

        return operation

    done = [0]
    with monkeypatch.context() as patch:
        for owner, name in ((Path, "rename"), (Path, "symlink_to"), (Path, "open"), (os, "fsync")):
            patch.setattr(owner, name, failing(getattr(owner, name)))
        with suppress(OSError):
            begin(layout)
    if failed[0]:
        assert layout.trial() is None
        assert [started(layout), started(layout)] == [OLD, OLD]
    else:
        assert started(layout) == NEW


def test_a_confirmation_outlives_a_disk_that_does_not_sync_and_a_trial_that_is_gone(layout, monkeypatch):
    begin(layout)
    trial = layout.trial()

    def failing(descriptor: int) -> None:
        raise OSError(5, "Input/output error")

    monkeypatch.setattr(os, "fsync", failing)
    assert layout.confirm(trial)
    assert layout.confirm(trial)


# What else can be wrong


def test_a_link_that_leads_nowhere_is_made_anew(layout):
    (layout.root / "current").unlink()
    ended = start(layout)
    assert ended.returncode == 0
    assert layout.current in (OLD, NEW)
    layout.remove(layout.current)
    left = started(layout)
    assert layout.current == left


def test_half_a_version_does_not_count(layout):
    version(layout, "3.0.0-1", complete=False)
    (layout.root / "current").unlink()
    layout.remove(NEW)
    assert started(layout) == OLD


def test_without_any_version_it_says_what_to_do(layout):
    for name in (OLD, NEW):
        layout.remove(name)
    ended = start(layout)
    assert ended.returncode == 1
    assert "no complete version" in ended.stderr


def test_a_trial_whose_old_version_is_gone_goes_on_with_the_new(layout):
    begin(layout)
    layout.remove(OLD)
    assert [started(layout) for _ in range(6)] == [NEW] * 6


@pytest.mark.parametrize("text", ["", "to=", "\0\xff", f"from={OLD}\nto={NEW}\nstarts=many\nlimit=\n"])
def test_a_trial_that_cannot_be_read_is_no_reason_not_to_start(layout, text):
    layout.point_at(NEW)
    (layout.root / "trial").write_text(text)
    assert started(layout) == NEW
    layout.trial()


def test_starts_that_cannot_be_counted_are_not_made(layout, tmp_path):
    """A full disk: what cannot be counted could be started for ever."""
    begin(layout)
    tools = tmp_path / "tools"
    tools.mkdir()
    cat = tools / "cat"
    cat.write_text("#!/bin/sh\nexit 1\n")
    cat.chmod(0o755)
    ended = start(layout, PATH=f"{tools}:{os.environ['PATH']}")
    assert ended.stdout.split()[0] == OLD


def test_versions_in_names():
    assert version_in("1.2.0rc1-3") == "1.2.0rc1"


def test_a_name_is_never_given_twice(layout):
    made = layout.room_for("2.0.0")
    assert made.name == "2.0.0-2"


def test_an_environment_elsewhere_is_refused(tmp_path):
    with pytest.raises(ValueError, match="is not called"):
        install(tmp_path / "venv", "1.0.0")


def test_shell_scripts_are_clean():
    subprocess.run(["sh", "-n"], input=LAUNCHER, text=True, check=True)
