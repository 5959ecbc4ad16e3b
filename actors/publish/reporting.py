"""What a destination says of itself. Plain; times are monotonic seconds unless said to be Unix ms."""

import math

from actors.publish.messages import OutboxReport
from actors.publish.outbox import Outbox
from actors.publish.rows import lag
from storage.timestamps import unix_ms

REPORT_INTERVAL = 1.0
EPISODE = 60.0  # seconds without a drop that end an episode of drops


class Reporting:
    """Keeps what is only reported, and says when a report is due: once a second, and after an error."""

    def __init__(self) -> None:
        self.dead_letters = 0
        """In the destination's table."""
        self._last_success: int | None = None
        self._latest_error: tuple[str, int] | None = None
        self._dropped_at = -math.inf
        self._rejected = 0
        self._rejected_for = ""
        self._rejected_at = -math.inf
        self._reported: OutboxReport | None = None
        self._due_at = 0.0

    def delivered(self) -> None:
        self._last_success = unix_ms()

    def note(self, error: str) -> None:
        """The latest error, which stays when it is over."""
        self._latest_error = error, unix_ms()
        self._due_at = 0.0

    def dropped(self, now: float) -> bool:
        """Readings were given up; whether that begins an episode."""
        begins = now - self._dropped_at > EPISODE
        self._dropped_at = now
        return begins

    def rejected(self, count: int, reason: str, now: float) -> int:
        """So many payloads were rejected. Returns how many to log now: once a minute those of one reason."""
        self._rejected += count
        if not self._rejected:
            return 0
        if reason == self._rejected_for and now - self._rejected_at < EPISODE:
            self._latest_error = f"rejected: {reason}", unix_ms()
            return 0
        told, self._rejected = self._rejected, 0
        self._rejected_for, self._rejected_at = reason, now
        self.note(f"rejected: {reason}")
        return told

    def count_dead_letters(self, count: int) -> None:
        self.dead_letters = count
        self._due_at = 0.0

    def start_over(self) -> None:
        """Who is reported to has restarted, and knows nothing yet."""
        self._reported, self._due_at = None, 0.0

    def due(self, now: float) -> bool:
        if now < self._due_at:
            return False
        self._due_at = now + REPORT_INTERVAL
        return True

    def health(self, connected: bool, trouble: str | None, outbox: Outbox | None) -> str:
        """For the tree: the connection, and how far behind the destination is."""
        state = "connected" if connected else f"disconnected: {trouble}"
        return state + (lag(outbox, self.dead_letters) if outbox is not None else "")

    def report(
        self,
        id: int,
        name: str,
        outbox: Outbox,
        connected: bool,
        last_attempt: int | None,
        last_error: str | None,
    ) -> OutboxReport | None:
        """The report as it is now; None when it would say nothing new. `last_attempt` is Unix ms."""
        error, error_at = self._latest_error or (None, None)
        report = OutboxReport(
            destination_id=id,
            destination=name,
            connected=connected,
            rows=outbox.rows,
            bytes=outbox.bytes,
            oldest=outbox.oldest,
            delivered=outbox.acknowledged,
            rejected=self.dead_letters,
            dropped_quota=outbox.drops.quota,
            dropped_expired=outbox.drops.expired,
            last_flush_attempt=last_attempt,
            last_flush_success=self._last_success,
            last_error=last_error,
            latest_error=error,
            latest_error_at=error_at,
        )
        if report == self._reported:
            return None
        self._reported = report
        return report
