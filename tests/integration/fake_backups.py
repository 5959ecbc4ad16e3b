"""The backups that `FakeAgent` has: one, that can be had again and again."""

import tempfile
from pathlib import Path

from actors.backups import messages as said
from actors.system.failure import Refusal
from storage.backup_files import Backup, name_of
from storage.backup_schedule import Schedule
from storage.backups import Verified
from storage.outcomes import Outcome

STAMP = "2024-01-15T10:30:00.000Z"
FILE = "callboard-20240115T103000Z-1.sqlite"


class FakeBackups:
    def __init__(self) -> None:
        super().__init__()
        self.backups = {FILE: _backup(FILE)}
        self.schedule = Schedule()
        self.changed: Outcome | None = None

    def on_ListBackups(self, message: said.ListBackups) -> said.BackupsListed:
        return said.BackupsListed(list(self.backups.values()), self.changed)

    def on_MakeBackup(self, message: said.MakeBackup) -> said.BackupMade:
        file = name_of(len(self.backups) + 1)
        self.backups[file] = _backup(file)
        return said.BackupMade(self.backups[file])

    def on_VerifyBackup(self, message: said.VerifyBackup) -> Verified:
        return Verified(self._found(message.file).file, [])

    def on_DeleteBackup(self, message: said.DeleteBackup) -> said.BackupDeleted:
        del self.backups[self._found(message.file).file]
        return said.BackupDeleted()

    def on_FindBackup(self, message: said.FindBackup) -> said.BackupFound:
        self._found(message.file)
        return said.BackupFound(Path(__file__))

    def on_FindUploadPlace(self, message: said.FindUploadPlace) -> said.UploadPlaced:
        with tempfile.NamedTemporaryFile(delete=False) as file:
            return said.UploadPlaced(Path(file.name), 1_000_000)

    def on_AcceptUpload(self, message: said.AcceptUpload) -> said.BackupMade:
        return self.on_MakeBackup(said.MakeBackup())

    def on_RestoreBackup(self, message: said.RestoreBackup) -> said.ChangeBegun:
        self.changed = Outcome("restore", 1, STAMP, self._found(message.file).file, STAMP, True)
        return said.ChangeBegun(1)

    def on_ResetEverything(self, message: said.ResetEverything) -> said.ChangeBegun:
        self.changed = Outcome("factory-reset", 2, STAMP, None, STAMP, True)
        return said.ChangeBegun(2)

    def on_DescribeSchedule(self, message: said.DescribeSchedule) -> said.ScheduleDescribed:
        schedule = self.schedule
        return said.ScheduleDescribed(
            schedule.enabled, schedule.interval_hours, schedule.keep_count, None, None, None
        )

    def on_ChangeSchedule(self, message: said.ChangeSchedule) -> said.ScheduleDescribed:
        return self.on_DescribeSchedule(said.DescribeSchedule())

    def _found(self, file: str) -> Backup:
        if file not in self.backups:
            raise Refusal(f"backup {file!r} not found", kind="not_found")
        return self.backups[file]


def _backup(file: str) -> Backup:
    return Backup(file, 4096, STAMP, "0" * 64, "manual", "1.2.3", False, "some-uuid")
