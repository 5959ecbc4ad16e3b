"""What agents answer instead of values, as quality codes."""

from typing import Final

TIMEOUT: Final = "TIMEOUT"
REFUSED: Final = "CONNECTION_REFUSED"
RESET: Final = "CONNECTION_RESET"
UNREACHABLE: Final = "HOST_UNREACHABLE"
READ_ERROR: Final = "READ_ERROR"
NOT_A_NUMBER: Final = "NOT_A_NUMBER"

NO_SUCH_OBJECT: Final = "NO_SUCH_OBJECT"
NO_SUCH_INSTANCE: Final = "NO_SUCH_INSTANCE"
END_OF_MIB: Final = "END_OF_MIB"
NO_SUCH_NAME: Final = "NO_SUCH_NAME"
"""v1's word for all three."""
NO_VALUE: Final = "NO_VALUE"
WRONG_OID: Final = "WRONG_OID"
"""The agent answered about something else than it was asked for."""
TYPE_MISMATCH: Final = "TYPE_MISMATCH"
"""The value is of another type than the data point says."""
FIRST_SAMPLE: Final = "FIRST_SAMPLE"
"""A rate takes two."""
COUNTER_RESET: Final = "COUNTER_RESET"
"""Between the last two samples the counter began anew, so that there is no rate."""
TOO_MANY_ROWS: Final = "TOO_MANY_ROWS"

TOO_BIG: Final = 1
"""An error-status."""

_STATUSES: Final = (
    *("NO_ERROR", "TOO_BIG", NO_SUCH_NAME, "BAD_VALUE", "READ_ONLY", "GEN_ERROR", "NO_ACCESS"),
    *("WRONG_TYPE", "WRONG_LENGTH", "WRONG_ENCODING", "WRONG_VALUE", "NO_CREATION", "INCONSISTENT_VALUE"),
    *("RESOURCE_UNAVAILABLE", "COMMIT_FAILED", "UNDO_FAILED", "AUTHORIZATION_ERROR", "NOT_WRITABLE"),
    "INCONSISTENT_NAME",
)
"""By number (RFC 3416 section 3)."""

EXCEPTIONS: Final = {0x80: NO_SUCH_OBJECT, 0x81: NO_SUCH_INSTANCE, 0x82: END_OF_MIB, 0x05: NO_VALUE}
"""By the type that stands in the place of a value's."""

OF_THE_VALUE: Final = frozenset(
    {"BAD_VALUE", "WRONG_TYPE", "WRONG_LENGTH", "WRONG_ENCODING", "WRONG_VALUE", "INCONSISTENT_VALUE"}
)
OF_THE_PLACE: Final = frozenset(
    {NO_SUCH_NAME, "NO_CREATION", "INCONSISTENT_NAME", "READ_ONLY", "NOT_WRITABLE", "NO_ACCESS"}
)


def status(number: int) -> str:
    """The name of an error-status."""
    return _STATUSES[number] if 0 <= number < len(_STATUSES) else f"ERROR_STATUS_{number}"
