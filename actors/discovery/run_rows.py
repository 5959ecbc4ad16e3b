"""Runs as they are stored, and as they are shown."""

from actors.discovery.messages import RunRow
from storage.discovery import Run


def stored_run(row: RunRow) -> Run:
    return Run(
        uuid=row.uuid,
        rule_uuid=row.rule_uuid or "",
        rule_name=row.rule_name or "",
        protocol=row.protocol,
        trigger=row.trigger,
        started_at=row.started_at,
        finished_at=row.finished_at,
        duration_ms=row.duration_ms,
        status=row.status,
        found=row.found,
        saved=row.saved,
        skipped=row.skipped,
        pruned=row.pruned,
        error=row.error,
    )


def run_row(run: Run) -> RunRow:
    return RunRow(
        uuid=run.uuid,
        rule_uuid=run.rule_uuid,
        rule_name=run.rule_name,
        protocol=run.protocol,
        trigger=run.trigger,
        started_at=run.started_at,
        finished_at=run.finished_at,
        duration_ms=run.duration_ms,
        status=run.status,
        found=run.found,
        saved=run.saved,
        skipped=run.skipped,
        pruned=run.pruned,
        error=run.error,
        id=run.id or None,
    )
