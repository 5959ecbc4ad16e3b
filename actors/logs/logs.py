"""The actor of the log: bounds what is kept, answers for it, tells who follows it."""

import asyncio
from functools import partial
from itertools import islice
from pathlib import Path
from time import monotonic

import msgspec
from thespian.actors import ActorAddress

from actors.logs.capture import Following, LogCapture, attach
from actors.logs.messages import (
    CountLogs,
    FollowLogs,
    LogsAdded,
    LogsCounted,
    LogsReported,
    ReportLogs,
    UnfollowLogs,
)
from actors.subsystems.descriptor import SubsystemActor
from actors.subsystems.messages import Check, CheckSubsystem, SubsystemChecked, SubsystemStarted
from conf.runtime import Logging

SWEEP = 60.0  # seconds between two looks at the age of entries
BATCH = 0.1  # seconds in which what is told to who follows comes together
MANY = 5000
"""Entries from which on a look at all of them is a thread's."""


class RunLogs(msgspec.Struct, frozen=True):
    """Start, and again when the settings change; `folder` is for files, if there are to be any."""

    limits: Logging
    folder: Path


class SweepLogs(msgspec.Struct, frozen=True):
    """To itself."""


class LogsCame(msgspec.Struct, frozen=True):
    """To itself: who follows has something to be told soon."""


class TellFollower(msgspec.Struct, frozen=True):
    """To itself."""


class Followed(msgspec.Struct, frozen=True):
    """To its next life: by whom."""

    by: ActorAddress


class Logs(SubsystemActor):
    """It does not take the log: that is done where something is said, in whatever thread, by `LogCapture`.
    Nor does it log: who follows would be told without end."""

    def __init__(self) -> None:
        self.capture: LogCapture | None = None
        self.follower: ActorAddress | None = None
        self.following: Following | None = None

    def receiveMsg_RunLogs(self, message: RunLogs, sender: ActorAddress) -> None:
        first, self.limits = self.capture is None, message.limits
        self.capture = attach()
        self.capture.limit(message.limits)
        self.capture.persist(message.limits, message.folder)
        if first:
            self.send(sender, SubsystemStarted())
            self.wakeupAfter(SWEEP, SweepLogs())
        self._sweep()

    def receiveMsg_SweepLogs(self, message: SweepLogs, sender: ActorAddress) -> None:
        self._sweep()
        self.wakeupAfter(SWEEP, SweepLogs())

    def _sweep(self) -> None:
        self._log.ring.forget_before(monotonic() - self.limits.log_max_age / 1000)

    @property
    def _log(self) -> LogCapture:
        assert self.capture is not None
        return self.capture

    def receiveMsg_CountLogs(self, message: CountLogs, sender: ActorAddress) -> None:
        self.send(sender, LogsCounted(dict(self._log.counts)))

    def receiveMsg_CheckSubsystem(self, message: CheckSubsystem, sender: ActorAddress) -> None:
        ring, files, lost = self._log.ring, self._log.files, self._log.failed
        said = f"{ring.count} entries, {ring.bytes} bytes"
        checks: list[Check] = []
        if lost:
            said += f"; {lost} could not be kept"
        if files is not None:
            said += f"; {files.written} written to files, {files.lost} lost"
            checks = [Check("log-files", files.trouble is None, last_error=files.trouble)]
        self.health = f"degraded: {files.trouble}" if files is not None and files.trouble else said
        self.send(sender, SubsystemChecked(description=said, checks=checks))

    # Asking

    def receiveMsg_ReportLogs(self, message: ReportLogs, sender: ActorAddress) -> None:
        look = partial(_report, self._log, message)
        if self._log.ring.count > MANY:
            self.run(asyncio.to_thread(look), reply_to=sender)
        else:
            self.send(sender, look())

    # Following

    def receiveMsg_FollowLogs(self, message: FollowLogs, sender: ActorAddress) -> None:
        self._follow(sender)
        self.remember(Followed(sender))

    def receiveMsg_Followed(self, message: Followed, sender: ActorAddress) -> None:
        self._follow(message.by)

    def _follow(self, follower: ActorAddress) -> None:
        self.follower = follower
        if self.following is None:
            system, me = self._myRef.system, self.myAddress
            self.following = Following(
                lambda: system.loop.call_soon_threadsafe(system.deliver, me, LogsCame(), me)
            )
            self._log.add_sink(self.following)

    def receiveMsg_UnfollowLogs(self, message: UnfollowLogs, sender: ActorAddress) -> None:
        self._follow_no_more()
        self.remember(None)

    def receiveMsg_LogsCame(self, message: LogsCame, sender: ActorAddress) -> None:
        self.wakeupAfter(BATCH, TellFollower())

    def receiveMsg_TellFollower(self, message: TellFollower, sender: ActorAddress) -> None:
        if self.following is not None and self.follower is not None:
            entries, lost = self.following.take()
            self.send(self.follower, LogsAdded(entries, lost))

    def stopped(self) -> None:
        self._follow_no_more()

    def _follow_no_more(self) -> None:
        if self.following is not None:
            self._log.remove_sink(self.following)
            self.following = None


def _report(capture: LogCapture, asked: ReportLogs) -> LogsReported:
    newest = [entry.number for entry in islice(capture.ring.backwards(), 1)]
    entries = capture.ring.newest(asked.chosen, asked.limit) if asked.limit else []
    if asked.after is not None:
        entries = [entry for entry in entries if entry.number > asked.after]
    newest += [entry.number for entry in entries[-1:]]
    return LogsReported(entries, capture.ring.count, max(newest, default=0))
