"""Quality codes of Modbus trouble (spec 03 section 2.3)."""

import errno
import re
from socket import gaierror

READ_ERROR = "READ_ERROR"
TIMEOUT = "TIMEOUT"
DEVICE_OFFLINE = "DEVICE_OFFLINE"
CONNECTION_RESET = "CONNECTION_RESET"
CLIENT_RESET_DURING_POLL = "CLIENT_RESET_DURING_POLL"
PORT_NOT_OPEN = "PORT_NOT_OPEN"

ILLEGAL_FUNCTION = 1
ILLEGAL_VALUE = 3
OF_THE_ADDRESS = (1, 2, 3)
"""Exceptions that say something of the addresses asked for, and not of the moment."""
BUSY = (5, 6)
"""Exceptions that ask the client to come again soon."""
SILENT_BEHIND_GATEWAY = (10, 11)
"""Exceptions in which a gateway reports that it did not reach the device."""

_EXCEPTIONS = {
    1: "ILLEGAL_FUNCTION",
    2: "ILLEGAL_ADDRESS",
    3: "ILLEGAL_VALUE",
    4: "DEVICE_FAILURE",
    5: "ACKNOWLEDGE",
    6: "DEVICE_BUSY",
    7: "NEGATIVE_ACK",
    8: "MEMORY_ERROR",
}

_ERRNOS = {
    errno.EPIPE: "BROKEN_PIPE",
    errno.EIO: "IO_ERROR",
    errno.ENXIO: "DEVICE_NOT_CONFIGURED",
    errno.ENODEV: "NO_SUCH_DEVICE",
    errno.ENOENT: "PORT_NOT_FOUND",
    errno.EACCES: PORT_NOT_OPEN,
    errno.EBUSY: PORT_NOT_OPEN,
    errno.EAGAIN: PORT_NOT_OPEN,
    errno.EBADF: PORT_NOT_OPEN,
    errno.ETIMEDOUT: TIMEOUT,
    errno.ECONNREFUSED: "CONNECTION_REFUSED",
    errno.EHOSTUNREACH: "HOST_UNREACHABLE",
    errno.EHOSTDOWN: "HOST_UNREACHABLE",
    errno.ENETUNREACH: "HOST_UNREACHABLE",
    errno.ENETDOWN: "HOST_UNREACHABLE",
    errno.ECONNRESET: CONNECTION_RESET,
    errno.ECONNABORTED: CONNECTION_RESET,
}


_NAMED_ERRNO = re.compile(r"\[Errno (\d+)\]")


def code_of_exception(exception: int) -> str:
    """The code of a Modbus exception reply."""
    return _EXCEPTIONS.get(exception, "MODBUS_EXCEPTION")


def code_of_error(error: OSError) -> str:
    """The code of what the operating system says, about a socket or a serial port."""
    if isinstance(error, gaierror):
        return "HOST_UNREACHABLE"
    if isinstance(error, TimeoutError):
        return TIMEOUT
    # Of several addresses that failed each in its way there is no number but in the text.
    named = _NAMED_ERRNO.findall(str(error))
    number = error.errno or (int(named[-1]) if named else 0)
    return _ERRNOS.get(number, "IO_ERROR")
