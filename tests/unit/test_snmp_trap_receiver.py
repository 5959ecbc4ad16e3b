"""What a receiver of traps refuses, and what that costs."""

from typing import Any

import pytest

from actors.endpoints.protocols.snmp import keys, notifications, oids, pdus, usm
from actors.endpoints.protocols.snmp.ber import OCTETS, Malformed, integer, sequence, tlv
from actors.endpoints.protocols.snmp.traps import Receiver


def of_v1(agent: bytes = b"\x0a\0\0\1", generic: int = 6, specific: int = 1) -> bytes:
    content = oids.encode((1, 3, 6, 1, 4, 1, 9)) + tlv(0x40, agent) + integer(generic) + integer(specific)
    return sequence(
        integer(0), tlv(OCTETS, b"public"), tlv(pdus.TRAP_V1, content + integer(5, 0x43) + sequence())
    )


def test_a_trap_of_v1_says_which_agent() -> None:
    assert notifications.of_community(of_v1())[1].agent == "10.0.0.1"


@pytest.mark.parametrize(
    "odd",
    [
        *({"agent": b""}, {"agent": b"\1"}, {"agent": bytes(16)}),
        *({"generic": -1}, {"generic": 7}, {"specific": -1}, {"specific": 2**32}),
    ],
)
def test_a_trap_of_v1_with_what_cannot_be_is_refused(odd: dict[str, Any]) -> None:
    with pytest.raises(Malformed):
        notifications.of_community(of_v1(**odd))


def trap(user: usm.User, engine: bytes, time: int) -> bytes:
    names = [notifications.TRAP_OID]
    request = pdus.request(pdus.TRAP, names, [oids.encode((1, 3, 6, 1, 4, 1, 9, 0, 1))])
    return usm.Security(user, usm.Engine(engine, 3, time), b"").wrap(request.encode(1), 1, user.flags)


def test_forged_traps_of_many_engines_do_not_have_keys_made_for_each(monkeypatch: pytest.MonkeyPatch) -> None:
    user = usm.User("ann", "sha", keys.master("sha", "a secret"))
    forger = usm.User("ann", "sha", keys.master("sha", "a guess!"))
    receiver = Receiver(("10.0.0.1",), (), user, lambda kind, body: None)
    receiver.read(trap(user, b"\x80known", 7))
    forged = [trap(forger, b"\x80" + number.to_bytes(8, "big"), 7) for number in range(100)]
    made = []
    real = keys.keys
    monkeypatch.setattr(keys, "keys", lambda *given: made.append(given) or real(*given))
    for one in forged:
        with pytest.raises(Malformed):
            receiver.read(one)
    assert len(made) < 10
    receiver.read(trap(user, b"\x80known", 8))  # who has proven who it is, is heard all the same
