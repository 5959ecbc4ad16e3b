"""What the two ends of a connection tell of themselves when it begins."""

import msgspec

from actors.mqtt.message import Message


class Limits(msgspec.Struct, frozen=True):
    """What the broker takes, as it says in CONNACK of MQTT 5."""

    receive_maximum: int = 65_535
    maximum_packet_size: int = 268_435_460
    topic_alias_maximum: int = 0
    max_qos: int = 1
    retain_available: int = 1
    server_keep_alive: int | None = None
    sub_id_available: int = 1


class Hello(msgspec.Struct, frozen=True):
    """What a connection begins with. Without `clean` the broker goes on with the session of that client id,
    and keeps it for `session_expiry` seconds after the connection (MQTT 3.1.1: as long as it likes).
    `receive_maximum` is how many messages it may send before they are acknowledged (MQTT 5)."""

    client_id: str
    username: str | None = None
    password: str | None = None
    keepalive: int = 60
    will: Message | None = None
    clean: bool = True
    session_expiry: int = 0
    receive_maximum: int | None = None
