"""What the broker says about a destination itself: that it is there, and that it is gone."""

from collections.abc import Iterable
from typing import Annotated, Any

import msgspec
from msgspec import Meta

from actors.mqtt.fields import MAX_TEXT
from actors.mqtt.message import Message
from actors.mqtt.topics import check_topic, refuse_slips
from actors.publish.destinations.mqtt_session import Publish, Session
from conf.annotations import reads
from conf.fields import NUMERAL, Flag, Text


def payload(value: Any) -> Any:
    """A text that a will has room for; an empty one too. Raises `ValueError`."""
    if isinstance(value, str) and len(value.encode()) > MAX_TEXT:
        raise ValueError(f"is longer than the {MAX_TEXT} bytes of a will")
    return value


class Said(msgspec.Struct, frozen=True):
    """What clients send of a will or a birth message."""

    topic: Text
    payload: Annotated[str, reads(payload)]
    qos: Annotated[int, Meta(ge=0, le=1), NUMERAL] = 1
    retain: Flag = False


def message(said: Said | None, field: str) -> Message | None:
    """What is to be published; raises `Refusal` naming the topic in `field`."""
    if said is None:
        return None
    topic = check_topic(said.topic, f"{field}.topic")
    refuse_slips(topic, f"{field}.topic")
    return Message(topic, said.payload.encode(), said.qos, said.retain)


class Presence(Session):
    """The birth message follows each login. The will is published by the broker when the connection is lost,
    and by the destination itself when it ends in order: whoever looks sees the same either way."""

    def __init__(self, will: Message | None, birth: Message | None) -> None:
        self._will = will
        self._birth = birth

    def will(self) -> Message | None:
        return self._will

    def opened(self, publish: Publish) -> None:
        if self._birth is not None:
            publish(self._birth)

    def farewell(self) -> Iterable[Message]:
        return () if self._will is None else (self._will,)
