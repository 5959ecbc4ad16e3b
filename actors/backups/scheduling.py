"""Backups that are made by themselves."""

import logging
from collections.abc import Callable
from functools import partial
from typing import Any

import msgspec
from msgspec import UNSET
from thespian.actors import ActorAddress

from actors.backups.messages import ChangeSchedule, DescribeSchedule, ScheduleDescribed
from actors.backups.one_at_a_time import OneAtATime
from actors.backups.timetable import Timetable
from actors.state.messages import Transacted
from actors.subsystems.messages import SubsystemFailed, SubsystemStarted
from actors.system.clock import running_ms
from actors.system.failure import Failed
from storage import backup_files, backup_schedule, backups
from storage.backup_files import Backup, Ended
from storage.backup_schedule import Schedule
from storage.backups import Site
from storage.timestamps import unix_ms

log = logging.getLogger(__name__)

LOOK_EVERY = 300.0  # seconds between two looks at what is due
TRY_AGAIN = 5.0  # seconds until the schedule is asked for again, or something else that is under way is over


class LookWhetherDue(msgspec.Struct, frozen=True):
    """To itself."""

    number: int


class LoadSchedule(msgspec.Struct, frozen=True):
    """To itself."""


class Scheduling(OneAtATime):
    """Makes backups as the schedule says, which it keeps in the store."""

    parent: ActorAddress

    def __init__(self) -> None:
        super().__init__()
        self.schedule: Schedule | None = None
        self.last_error: str | None = None
        self.timetable = Timetable()
        self.looks = 0

    def receiveMsg_LoadSchedule(self, message: LoadSchedule, sender: ActorAddress) -> None:
        self.ask_store("schedule", backup_schedule.load)

    def _schedule_done(self, answer: Transacted) -> None:
        if answer.error is not None:
            self.send(self.parent, SubsystemFailed(f"the schedule cannot be read: {answer.error}"))
            self.wakeupAfter(TRY_AGAIN, LoadSchedule())
            return
        self._follow(answer.result)
        self.send(self.parent, SubsystemStarted())

    def _follow(self, schedule: Schedule) -> None:
        self.schedule = schedule
        self.timetable.follow(schedule, unix_ms(), running_ms())
        self._look_later()

    def _look_later(self) -> None:
        due = self.timetable.due_at
        if due is not None:
            self._look_in(min(LOOK_EVERY, max(0.0, (due - running_ms()) / 1000)))

    def _look_in(self, seconds: float) -> None:
        """And at no time that was said before."""
        self.looks += 1
        self.wakeupAfter(seconds, LookWhetherDue(self.looks))

    def receiveMsg_LookWhetherDue(self, message: LookWhetherDue, sender: ActorAddress) -> None:
        if message.number != self.looks:
            return
        if self.busy is not None:
            self._look_in(TRY_AGAIN)
            return
        if not self.timetable.is_due(unix_ms(), running_ms()):
            self._look_later()
            return
        assert self.schedule is not None
        call = partial(_make_scheduled, self.start.site, self.schedule.keep_count, self._is_ended)
        self._work("a scheduled backup", call, self._scheduled_made)

    def _scheduled_made(self, made: Any) -> None:
        if isinstance(made, Failed):
            if made.message != self.last_error:
                log.error("no scheduled backup was made: %s", made.message)
            self.last_error = made.message
            self.timetable.failed(running_ms())
            self._look_later()
            return
        log.info("scheduled backup %s was made", made.file)
        assert self.schedule is not None
        self.last_error = None
        self.schedule = msgspec.structs.replace(self.schedule, last_run_at=unix_ms())
        self.timetable.ran(self.schedule, running_ms())
        self._look_later()
        self._keep(lambda _: None)

    def _keep(self, then: Callable[[Transacted], Any]) -> None:
        assert self.schedule is not None
        upcoming = self.timetable.next_at(unix_ms(), running_ms())
        kept = msgspec.structs.replace(self.schedule, next_run_at=upcoming)
        self.ask_store("keep", backup_schedule.save, kept, then=then)

    def receiveMsg_DescribeSchedule(self, message: DescribeSchedule, sender: ActorAddress) -> None:
        schedule = self.schedule
        if schedule is None:
            self.send(sender, Failed("unavailable", "The schedule has not been read yet"))
            return
        self.send(
            sender,
            ScheduleDescribed(
                schedule.enabled,
                schedule.interval_hours,
                schedule.keep_count,
                schedule.last_run_at,
                self.timetable.next_at(unix_ms(), running_ms()),
                self.last_error,
            ),
        )

    def receiveMsg_ChangeSchedule(self, message: ChangeSchedule, sender: ActorAddress) -> None:
        if self.schedule is None:
            self.send(sender, Failed("unavailable", "The schedule has not been read yet"))
            return
        given = {name: value for name, value in msgspec.structs.asdict(message).items() if value is not UNSET}
        before = self.schedule
        self._follow(msgspec.structs.replace(before, **given))
        if not self.schedule.enabled:
            self.last_error = None

        def kept(answer: Transacted) -> None:
            if answer.error is None:
                self.receiveMsg_DescribeSchedule(DescribeSchedule(), sender)
                return
            self._follow(before)
            self.send(sender, Failed("unavailable", f"The schedule was not stored: {answer.error}"))

        self._keep(kept)


def _make_scheduled(site: Site, keep: int, ended: Ended) -> Backup:
    """Older ones go once there is a new one, and not before."""
    made = backups.create(site, "scheduled", None, ended)
    backup_files.prune(site.folder, "scheduled", keep)
    return made
