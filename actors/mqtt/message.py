"""What is said over MQTT."""

import msgspec


class Message(msgspec.Struct, frozen=True):
    """To be published: a will, a birth, what else a client says."""

    topic: str
    payload: bytes = b""
    qos: int = 0
    retain: bool = False
