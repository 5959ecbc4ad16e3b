"""What `backups` is asked, and what it says. Passphrases are in no `repr`, for that is what logs show."""

from pathlib import Path

import msgspec
from msgspec import UNSET, UnsetType

from storage.backup_files import Backup, Trigger
from storage.backup_schedule import COUNT, HOURS
from storage.outcomes import Outcome


class ListBackups(msgspec.Struct, frozen=True):
    """Replies `BackupsListed`."""


class BackupsListed(msgspec.Struct, frozen=True):
    """The newest first; `last` is the last restore or reset."""

    backups: list[Backup]
    last: Outcome | None


class MakeBackup(msgspec.Struct, frozen=True):
    """Replies `BackupMade`, once it is whole and checked, or `Failed`: "conflict" while another is made."""

    trigger: Trigger = "manual"
    passphrase: str | None = None

    def __repr__(self) -> str:
        return f"MakeBackup(trigger={self.trigger!r})"


class BackupMade(msgspec.Struct, frozen=True):
    backup: Backup


class VerifyBackup(msgspec.Struct, frozen=True):
    """Replies `storage.backups.Verified`."""

    file: str


class DeleteBackup(msgspec.Struct, frozen=True):
    """Replies `BackupDeleted`."""

    file: str


class BackupDeleted(msgspec.Struct, frozen=True):
    pass


class FindBackup(msgspec.Struct, frozen=True):
    """Replies `BackupFound`."""

    file: str


class BackupFound(msgspec.Struct, frozen=True):
    path: Path


class FindUploadPlace(msgspec.Struct, frozen=True):
    """Replies `UploadPlaced`: a new file for a backup that comes in, of so many bytes, if that is known."""

    size: int | None = None


class UploadPlaced(msgspec.Struct, frozen=True):
    """`room` is how many bytes may be written."""

    path: Path
    room: int


class AcceptUpload(msgspec.Struct, frozen=True):
    """The file is whole: replies `BackupMade`, or `Failed`; the file is gone either way."""

    path: Path


class RestoreBackup(msgspec.Struct, frozen=True):
    """Replies `ChangeBegun` once the backup is checked, another one made of what there is, and the agent
    restarts. `keep_identity` None: its identity comes back if it was made under this agent's master key.
    `users`: who may sign in comes back, too."""

    file: str
    passphrase: str | None = None
    keep_identity: bool | None = None
    users: bool = True

    def __repr__(self) -> str:
        return f"RestoreBackup(file={self.file!r}, keep_identity={self.keep_identity!r})"


class ResetEverything(msgspec.Struct, frozen=True):
    """Replies `ChangeBegun` once there is a `backup`, if one is wanted, and the agent restarts."""

    backup: bool = True


class ChangeBegun(msgspec.Struct, frozen=True):
    """How it ends, `BackupsListed.last` of that token says."""

    token: int


class PassphrasesThrottled(msgspec.Struct, frozen=True):
    """Too many were wrong: the next one is tried in so many seconds."""

    seconds: int


class DescribeSchedule(msgspec.Struct, frozen=True):
    """Replies `ScheduleDescribed`."""


class ChangeSchedule(msgspec.Struct, frozen=True):
    """Replies `ScheduleDescribed`."""

    enabled: bool | UnsetType = UNSET
    interval_hours: HOURS | UnsetType = UNSET
    keep_count: COUNT | UnsetType = UNSET


class ScheduleDescribed(msgspec.Struct, frozen=True):
    """Times are Unix ms; `last_error` is why the last one could not be made, None after one that was."""

    enabled: bool
    interval_hours: int
    keep_count: int
    last_run_at: int | None
    next_run_at: int | None
    last_error: str | None
