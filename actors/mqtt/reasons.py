"""What brokers' reason codes mean, in words and for what is done about them (MQTT 3.1.1 table 3.1, MQTT 5
section 2.4)."""

from actors.connections.connection import NoConnection, Permanent, Transient
from actors.mqtt.broker import V5
from actors.mqtt.packets import Answer

SESSION_TAKEN_OVER = 0x8E
REFUSED = 0x80
"""Codes from here on are refusals."""

PATIENT = {0x91, 0x97}
"""Of PUBACK: about what the broker can take now, and not about the payload."""
UNSAID = {0x80, 0x83}
"""Of PUBACK: the broker does not say whether it is about the payload."""

_LOGIN = "not authorised, check user name and password"
_UNAVAILABLE = "broker unavailable"

_OLD = {
    1: "the broker does not speak MQTT 3.1.1",
    2: "client id rejected",
    3: _UNAVAILABLE,
    4: "bad user name or password",
    5: _LOGIN,
}
_NOT_5 = "the broker does not speak MQTT 5; let protocolVersion be 3.1.1"
_NEW = {
    0x80: "the broker does not say why",
    0x81: "malformed packet",
    0x82: "protocol error",
    0x83: "the broker has a reason of its own",
    0x84: _NOT_5,
    0x85: _OLD[2],
    0x86: _OLD[4],
    0x87: "not authorised",
    0x88: _UNAVAILABLE,
    0x89: "broker busy",
    0x8A: "banned",
    0x8B: "the broker shuts down",
    0x8C: "bad authentication method",
    0x8D: "keep alive timeout",
    SESSION_TAKEN_OVER: "session taken over",
    0x8F: "topic filter invalid",
    0x90: "topic name invalid",
    0x91: "packet identifier in use",
    0x93: "receive maximum exceeded",
    0x94: "topic alias invalid",
    0x95: "packet too large",
    0x96: "message rate too high",
    0x97: "quota exceeded",
    0x98: "administrative action",
    0x99: "payload format invalid",
    0x9A: "retain not supported",
    0x9B: "QoS not supported",
    0x9C: "use another server",
    0x9D: "server moved",
    0x9E: "shared subscriptions not supported",
    0x9F: "connection rate exceeded",
    0xA0: "maximum connect time",
    0xA1: "subscription identifiers not supported",
    0xA2: "wildcard subscriptions not supported",
}
_PASSING = {3, 0x80, 0x83, 0x88, 0x89, 0x97, 0x9F}


def is_known(code: int) -> bool:
    """Whether a broker may answer a CONNECT with it: what is no broker may say anything."""
    return code == 0 or code in _OLD or code in _NEW


def words(answer: Answer) -> str:
    """With what the broker itself says, if it does."""
    known = _NEW.get(answer.code, f"reason code {answer.code:#04x}")
    return f"{known} ({answer.text})" if answer.text else known


def subscription_refused(filters: str, answer: Answer) -> str:
    """Why SUBACK refuses these."""
    return f"The broker refuses a subscription to {filters}: {words(answer)}"


def login_refused(version: int, answer: Answer) -> NoConnection:
    """Why CONNACK refuses."""
    code = answer.code
    if version == V5 and code == 1:
        reason = _NOT_5
    elif code in _OLD:
        reason = _OLD[code]
    elif code == 0x87:
        reason = words(Answer(code, answer.properties)).replace(_NEW[code], _LOGIN)
    else:
        reason = words(answer)
    kind = Transient if code in _PASSING or (code not in _OLD and code not in _NEW) else Permanent
    return kind(f"Connection refused: {reason}")
