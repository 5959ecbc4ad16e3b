"""Modbus requests and replies as pymodbus sends and receives them, without its register lists.

pymodbus decodes a reply register by register and formats it for a log line that nobody reads. These
classes, registered as custom responses, keep the bytes instead; `decode.Decoder` unpacks them in one go.
"""

from pymodbus.pdu import ModbusPDU

_READS = (1, 2, 3, 4)
_WRITES = (5, 6, 16)


class Request(ModbusPDU):
    """A request of a function code and a body; may be sent any number of times, one at a time."""

    def __init__(self, function: int, unit: int, body: bytes) -> None:
        super().__init__(dev_id=unit)
        self.function_code = function
        self.body = body

    def encode(self) -> bytes:
        return self.body


class Reply(ModbusPDU):
    """A reply that is no exception; `body` is what follows the function code."""

    body = b""

    def __init__(self) -> None:
        # The attributes of the base are of no use here and setting them costs more than decoding.
        pass

    def decode(self, data: bytes) -> None:
        self.body = data

    def __str__(self) -> str:
        return "Reply"


def _reply_class(function: int) -> type[Reply]:
    framing = {"rtu_byte_count_pos": 2} if function in _READS else {"rtu_frame_size": 8}
    return type(f"Reply{function}", (Reply,), {"function_code": function, **framing})


REPLIES = tuple(_reply_class(function) for function in _READS + _WRITES)
"""The classes to register with a client."""
