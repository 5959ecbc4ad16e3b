"""What a driver is handed by its destination."""

import msgspec


class Handed(msgspec.Struct):
    """See `Outgoing`."""

    seq: int
    topic: str
    payload: bytes
    age_ms: int = 0
    qos: int = 1
    retain: bool = False
