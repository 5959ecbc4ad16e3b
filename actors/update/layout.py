"""How an installation that can update itself lies on the disk (docs/updating.rst).

<root>/bin/callboard      the launcher (`launcher.sh`), which belongs to no version
<root>/versions/<name>/   a virtual environment each; one without a file `complete` does not count
<root>/current            a link to the one that runs
<root>/trial              which version is on trial, and how often it was started
<root>/trial-says         what ails the version on trial, in its own words
<root>/rolled-back        which version was taken back, and why, until the agent has told it

Every change is the rename of one file: whenever the power goes, the launcher finds the old version or the
new. `python -m actors.update.layout` makes the virtual environment that it runs in the current one.
"""

import os
import secrets
import shutil
import stat
import sys
from collections.abc import Mapping
from contextlib import suppress
from importlib import resources
from pathlib import Path
from typing import Final, Self

import msgspec

from storage.secrets import sync_folder

LIMIT: Final = 3
"""Starts of a version on trial, the orderly ones aside."""


class Trial(msgspec.Struct, frozen=True):
    """`to` runs and may become that of before, `origin`, again. `failing` are the critical subsystems that
    were not well before the update: it is not to blame for them."""

    origin: str
    to: str
    id: str
    seconds: int
    starts: int = 0
    orderly: bool = False
    limit: int = LIMIT
    failing: frozenset[str] = frozenset()


class TakenBack(msgspec.Struct, frozen=True):
    """`failed` was replaced by `to`. It is not `blamed` where it has never been started."""

    failed: str
    to: str
    reason: str
    blamed: bool = True


class Layout:
    """`root` is absolute. Methods that write raise OSError."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.versions = root / "versions"

    @classmethod
    def around(cls, environment: Path) -> Self | None:
        """The layout that a virtual environment is a version of."""
        found = cls(environment.parent.parent)
        fits = environment.parent == found.versions and (environment / "complete").is_file()
        return found if fits else None

    @property
    def launcher(self) -> Path:
        return self.root / "bin" / "callboard"

    @property
    def current(self) -> str | None:
        """The name of the version that the next start runs."""
        try:
            return Path(os.readlink(self.root / "current")).name
        except OSError:
            return None

    def complete(self, name: str) -> bool:
        return (self.versions / name / "complete").is_file()

    def room_for(self, version: str) -> Path:
        """Where a virtual environment of that version may be made; nothing is there yet."""
        taken = {path.name for path in self.versions.iterdir()}
        numbers = (f"{version}-{number}" for number in range(1, 1_000_000))
        return self.versions / next(name for name in numbers if name not in taken)

    def finish(self, name: str) -> None:
        """It is whole, and on the disk."""
        os.sync()  # everything that pip has written: a link that survives a power cut must lead to files
        _write(self.versions / name / "complete", "")

    def point_at(self, name: str) -> None:
        draft = self.root / "current.new"
        draft.unlink(missing_ok=True)
        draft.symlink_to(Path("versions") / name)
        draft.rename(self.root / "current")
        sync_folder(self.root)

    # A trial

    def trial(self) -> Trial | None:
        """The trial under way, of whichever version."""
        said = _read(self.root / "trial")
        if said is None or not said.get("from") or not said.get("to"):
            return None
        return Trial(
            said["from"],
            said["to"],
            said.get("id", ""),
            _number(said, "seconds", 600),
            _number(said, "starts", 0),
            said.get("orderly") == "1",
            _number(said, "limit", LIMIT),
            frozenset(filter(None, said.get("failing", "").split(","))),
        )

    def begin_trial(self, origin: str, to: str, seconds: int, failing: frozenset[str]) -> None:
        """The next start runs `to`, which goes back to `origin` unless it is confirmed within the seconds.
        When that cannot be written, all is as before."""
        for old in ("rolled-back", "trial-says"):
            (self.root / old).unlink(missing_ok=True)
        try:
            self._write_trial(Trial(origin, to, secrets.token_hex(8), seconds, failing=failing))
            self.point_at(to)
        except OSError:
            if self.current != origin:
                self.point_at(origin)
            (self.root / "trial").unlink(missing_ok=True)
            raise

    def note_stop(self, trial: Trial, orderly: bool) -> None:
        """Whether the next start is one after an orderly stop, which does not count."""
        found = self.trial()
        if found is not None and found.id == trial.id and found.orderly != orderly:
            self._write_trial(msgspec.structs.replace(found, orderly=orderly))

    def note_ailment(self, what: str) -> None:
        _write(self.root / "trial-says", " ".join(what.split()))

    def confirm(self, trial: Trial) -> bool:
        """The trial is over, well; False when it was taken back meanwhile."""
        found = self.trial()
        if self.current != trial.to or (found is not None and found.id != trial.id):
            return False
        (self.root / "trial").unlink(missing_ok=True)
        with suppress(OSError):  # it is gone, and at worst will be again
            sync_folder(self.root)
            (self.root / "trial-says").unlink(missing_ok=True)
        return True

    def _write_trial(self, trial: Trial) -> None:
        said = {
            "from": trial.origin,
            "to": trial.to,
            "id": trial.id,
            "starts": trial.starts,
            "orderly": int(trial.orderly),
            "limit": trial.limit,
            "seconds": trial.seconds,
            "failing": ",".join(sorted(trial.failing)),
        }
        _write(self.root / "trial", "".join(f"{key}={value}\n" for key, value in said.items()))

    # Going back

    def taken_back(self) -> TakenBack | None:
        """What the launcher did since that was last asked and `forget_taken_back` called."""
        said = _read(self.root / "rolled-back")
        if said is None or not said.get("from"):
            return None
        return TakenBack(said["from"], said.get("to", ""), said.get("reason", ""), said.get("blamed") != "0")

    def forget_taken_back(self) -> None:
        (self.root / "rolled-back").unlink(missing_ok=True)

    # Making room

    def prune(self, kept: frozenset[str]) -> list[str]:
        """Remove every version but these, that which is current, and those of a trial; returns which."""
        trial = self.trial()
        wanted = kept | {self.current} | ({trial.origin, trial.to} if trial else set())
        gone = [path.name for path in self.versions.iterdir() if path.name not in wanted]
        for name in gone:
            self.remove(name)
        return gone

    def remove(self, name: str) -> None:
        """From the first moment on it does not count any more."""
        with suppress(OSError):
            (self.versions / name / "complete").unlink(missing_ok=True)
        shutil.rmtree(self.versions / name, ignore_errors=True)


def version_in(name: str) -> str:
    """The version in the name of a virtual environment: `1.2.0-rc1-3` is the third of `1.2.0-rc1`."""
    return name.rpartition("-")[0]


def install(environment: Path, version: str) -> Layout:
    """Make a virtual environment at `<root>/versions/<name>` the current version, with a launcher. Raises
    OSError, ValueError when it lies elsewhere."""
    if environment.parent.name != "versions" or version_in(environment.name) != version:
        raise ValueError(f"{environment} is not called <root>/versions/{version}-<number>")
    layout = Layout(environment.parent.parent)
    layout.finish(environment.name)
    layout.launcher.parent.mkdir(exist_ok=True)
    draft = layout.launcher.with_name("callboard.new")
    draft.write_bytes(resources.files("actors.update").joinpath("launcher.sh").read_bytes())
    draft.chmod(stat.S_IRWXU | stat.S_IRGRP | stat.S_IXGRP | stat.S_IROTH | stat.S_IXOTH)
    draft.rename(layout.launcher)
    layout.point_at(environment.name)
    return layout


def _read(path: Path) -> Mapping[str, str] | None:
    """The lines `key=value` of a file; None when there is none."""
    try:
        text = path.read_text("utf-8", "replace")
    except OSError:
        return None
    return dict(line.split("=", 1) for line in text.splitlines() if "=" in line)


def _number(said: Mapping[str, str], key: str, default: int) -> int:
    value = said.get(key, "")
    return int(value) if value.isascii() and value.isdigit() else default


def _write(path: Path, text: str) -> None:
    """The whole file or none of it, on the disk."""
    draft = path.with_name(f"{path.name}.new")
    with draft.open("w", encoding="utf-8") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())
    draft.rename(path)
    sync_folder(path.parent)


def main() -> int:
    from importlib.metadata import version

    try:
        layout = install(Path(sys.prefix), version("callboard"))
    except (OSError, ValueError) as error:
        print(f"callboard: {error}", file=sys.stderr)
        return 1
    print(f"start it with {layout.launcher} run")
    return 0


if __name__ == "__main__":
    sys.exit(main())
