import errno
import socket

import pytest

from actors.endpoints.protocols.modbus.quality import code_of_error, code_of_exception


@pytest.mark.parametrize(
    ("exception", "code"),
    [
        (1, "ILLEGAL_FUNCTION"),
        (2, "ILLEGAL_ADDRESS"),
        (3, "ILLEGAL_VALUE"),
        (4, "DEVICE_FAILURE"),
        (5, "ACKNOWLEDGE"),
        (6, "DEVICE_BUSY"),
        (7, "NEGATIVE_ACK"),
        (8, "MEMORY_ERROR"),
        (9, "MODBUS_EXCEPTION"),
    ],
)
def test_device_exceptions_have_the_documented_codes(exception: int, code: str):
    assert code_of_exception(exception) == code


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (OSError(errno.EPIPE, ""), "BROKEN_PIPE"),
        (OSError(errno.EIO, ""), "IO_ERROR"),
        (OSError(errno.ENXIO, ""), "DEVICE_NOT_CONFIGURED"),
        (OSError(errno.ENODEV, ""), "NO_SUCH_DEVICE"),
        (OSError(errno.ENOENT, ""), "PORT_NOT_FOUND"),
        (OSError(errno.EBUSY, ""), "PORT_NOT_OPEN"),
        (OSError(errno.ETIMEDOUT, ""), "TIMEOUT"),
        (TimeoutError(), "TIMEOUT"),
        (OSError(errno.ECONNREFUSED, ""), "CONNECTION_REFUSED"),
        (OSError(errno.EHOSTUNREACH, ""), "HOST_UNREACHABLE"),
        (OSError(errno.ENETUNREACH, ""), "HOST_UNREACHABLE"),
        (OSError(errno.ECONNRESET, ""), "CONNECTION_RESET"),
        (socket.gaierror(-2, "Name or service not known"), "HOST_UNREACHABLE"),
        (OSError("odd"), "IO_ERROR"),
        (OSError("Multiple exceptions: [Errno 101] a, [Errno 111] b"), "CONNECTION_REFUSED"),
    ],
)
def test_errors_of_the_operating_system_have_the_documented_codes(error: OSError, code: str):
    assert code_of_error(error) == code
