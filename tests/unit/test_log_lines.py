import logging
import sys

from api.cli.log_lines import LogLines


def written(message: str, *args: object, error: bool = False) -> list[str]:
    record = logging.LogRecord("actors.x", logging.WARNING, "x.py", 1, message, args, None)
    record.exc_info = sys.exc_info() if error else None
    return LogLines().format(record).split("\n")


def test_an_entry_is_a_line_with_time_level_and_source() -> None:
    (line,) = written("%s: connected", "Kühlhaus")
    assert line.endswith("WARNING actors.x: Kühlhaus: connected")


def test_a_name_cannot_pass_for_an_entry_or_move_the_cursor() -> None:
    forged = "plc\n2026-01-01 00:00:00,000 ERROR   actors.agent: all is lost\r\x1b[2J\x0b\x85\u2028x"
    first, second = written("%s: connected", forged)
    assert first.endswith("WARNING actors.x: plc")
    assert second.startswith("    2026-01-01 00:00:00,000 ERROR")
    assert second.isprintable()
    assert len(second.splitlines()) == 1


def test_a_traceback_is_indented_with_the_text_of_its_error() -> None:
    try:
        raise ValueError("a\n2026-01-01 forged\x1b[2J")
    except ValueError:
        first, *further = written("it failed", error=True)
    assert first.endswith("it failed")
    assert further[0] == "    Traceback (most recent call last):"
    assert all(line.startswith("    ") for line in further)
    assert "".join(further).isprintable()
