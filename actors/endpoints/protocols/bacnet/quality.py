"""Quality codes of BACnet trouble."""

from typing import Final

TIMEOUT: Final = "TIMEOUT"
READ_ERROR: Final = "READ_ERROR"
DEVICE_OFFLINE: Final = "DEVICE_OFFLINE"
PORT_NOT_OPEN: Final = "PORT_NOT_OPEN"
HOST_UNREACHABLE: Final = "HOST_UNREACHABLE"
NOT_A_NUMBER: Final = "NOT_A_NUMBER"
NO_VALUE: Final = "NO_VALUE"
"""The device says NULL."""
WRONG_TYPE: Final = "WRONG_TYPE"
"""What came is no scalar."""

IN_ALARM, FAULT, OVERRIDDEN, OUT_OF_SERVICE = 8, 4, 2, 1
"""Status flags as the bits of the octet's upper half, the first flag the highest."""
NO_STATUS_FLAGS: Final = "NO_STATUS_FLAGS"
"""The object has them, but they could not be read."""
NO_STATE_TEXT: Final = "NO_STATE_TEXT"
REJECTED: Final = "REJECTED"
ABORTED: Final = "ABORTED"
FAULT_CODE: Final = "FAULT"
OVERRIDDEN_CODE: Final = "OVERRIDDEN"
OUT_OF_SERVICE_CODE: Final = "OUT_OF_SERVICE"

_RELIABILITY: Final = """
no-fault-detected no-sensor over-range under-range open-loop shorted-loop no-output unreliable-other
process-error multi-state-fault configuration-error . communication-failure member-fault
monitored-object-fault tripped lamp-failure activation-failure renew-dhcp-failure
renew-fd-registration-failure restart-auto-negotiation-failure restart-failure
proprietary-command-failure faults-listed referenced-object-fault multi-state-out-of-range
"""

_ERRORS: Final = {
    (1, 31): "UNKNOWN_OBJECT",
    (2, 32): "UNKNOWN_PROPERTY",
    (2, 42): "INVALID_ARRAY_INDEX",
    (2, 50): "NOT_AN_ARRAY",
    (2, 27): "READ_ACCESS_DENIED",
    (0, 3): "DEVICE_BUSY",
    (0, 25): "DEVICE_FAILURE",
    (5, 30): TIMEOUT,
}
"""By class and code (clause 18)."""
_CODES: Final = {code: name for (_, code), name in _ERRORS.items()}

UNRECOGNIZED_SERVICE: Final = 9
"""A reject reason (clause 18.8)."""
TOO_MUCH_REJECTED: Final = frozenset({1, 7})
"""Buffer overflow, too many arguments."""
TOO_MUCH_ABORTED: Final = frozenset({1, 4, 9, 11})
"""Abort reasons of who was asked for more than it can say (clause 18.9): buffer overflow, segmentation not
supported, out of resources, APDU too long."""
BUSY_ABORTED: Final = frozenset({3, 9, 10})
"""Preempted by a task of higher priority, out of resources, too late a response by the application."""


def reliability_code(number: int) -> str:
    """`OPEN_LOOP`; of one that vendors have made, `RELIABILITY_64`."""
    names = _RELIABILITY.split()
    name = names[number] if 0 <= number < len(names) else "."
    return f"RELIABILITY_{number}" if name == "." else name.upper().replace("-", "_")


def error_code(error_class: int, code: int) -> str:
    """What the device says is wrong with one property. The class is often the wrong one: the code decides."""
    found = _ERRORS.get((error_class, code)) or _CODES.get(code)
    return found or f"BACNET_ERROR_{error_class}_{code}"
