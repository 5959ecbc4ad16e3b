"""Framing: bytes written out by hand, from the examples of the Modbus documents where they have one."""

import pytest

from actors.endpoints.protocols.modbus.frames import (
    Ascii,
    Frame,
    Framing,
    Mbap,
    Request,
    Rtu,
    answer,
    reading,
    variant,
    writing,
)
from actors.endpoints.protocols.modbus.points import Table

READ = reading(Table.holding, 1, 0x006B, 3)
DATA = bytes.fromhex("022b00000064")
BODY = b"\x06" + DATA
TCP_REPLY = bytes.fromhex("0007 0000 0009 01 03 06 022b00000064")
RTU_REPLY = bytes.fromhex("01 03 06 022b00000064 057a")
ASCII_REPLY = b":010306022B0000006465\r\n"


@pytest.mark.parametrize(
    ("framing", "sent"),
    [
        (Mbap(), bytes.fromhex("0007 0000 0006 01 03 006b 0003")),
        (Rtu(), bytes.fromhex("01 03 006b 0003 7417")),
        (Ascii(), b":0103006B00038E\r\n"),
    ],
)
def test_a_request_goes_out_in_its_frame(framing: Framing, sent: bytes):
    assert framing.encode(7, READ) == sent


@pytest.mark.parametrize(
    ("framing", "reply", "transaction"),
    [(Mbap(), TCP_REPLY, 7), (Rtu(), RTU_REPLY, None), (Ascii(), ASCII_REPLY, None)],
)
class TestEveryFraming:
    def test_a_reply_is_found(self, framing: Framing, reply: bytes, transaction: int | None):
        assert framing.decode(reply, READ) == (Frame(transaction, 1, 3, BODY), len(reply))

    def test_what_has_not_all_arrived_is_waited_for(
        self, framing: Framing, reply: bytes, transaction: int | None
    ):
        for size in range(len(reply)):
            frame, used = framing.decode(reply[:size], READ)
            assert (frame, used) == (None, 0)
            assert not framing.is_whole(reply[:size], READ)

    def test_a_reply_is_found_among_others(self, framing: Framing, reply: bytes, transaction: int | None):
        frame, used = framing.decode(reply + reply, READ)
        assert (frame, used) == (Frame(transaction, 1, 3, BODY), len(reply))

    @pytest.mark.parametrize("junk", [b"\0", b"\xff", b"\xff\xff\x7f", b"\x01\x83"])
    def test_a_reply_is_found_behind_bytes_that_mean_nothing(
        self, framing: Framing, reply: bytes, transaction: int | None, junk: bytes
    ):
        assert framing.decode(junk + reply, READ) == (Frame(transaction, 1, 3, BODY), len(junk + reply))


@pytest.mark.parametrize(
    ("framing", "damaged"), [(Rtu(), RTU_REPLY[:-1] + b"\x7b"), (Ascii(), ASCII_REPLY.replace(b"65", b"66"))]
)
def test_a_damaged_reply_is_none_and_complete(framing: Framing, damaged: bytes):
    assert framing.decode(damaged, READ)[0] is None
    assert framing.is_whole(damaged, READ)


@pytest.mark.parametrize(
    ("function", "body", "found"),
    [
        (3, BODY, DATA),
        (3, BODY + b"\0\7", DATA),
        (0x83, b"\x02", 2),
        (0x83, b"", None),
        (4, BODY, None),
        (3, b"\x04" + DATA[:4], None),
        (3, b"\x08" + DATA + b"\0\0", None),
        (3, b"\x06" + DATA[:4], None),
        (3, b"", None),
    ],
)
def test_what_a_reply_says_of_registers(function: int, body: bytes, found: bytes | int | None):
    assert answer(READ, Frame(1, 1, function, body)) == found


@pytest.mark.parametrize(
    ("body", "found"),
    [
        (b"\x02\xcd\x01", b"\xcd\x01"),
        (b"\x04\xcd\x01\0\0", b"\xcd\x01"),
        (b"\x04\xcd\x01\0\1", None),
        (b"\x01\xcd", None),
        (b"\x02\xcd", None),
    ],
)
def test_bits_may_be_padded_with_nothing_but_zeros(body: bytes, found: bytes | None):
    request = reading(Table.coil, 1, 19, 10)
    assert answer(request, Frame(1, 1, 1, body)) == found


@pytest.mark.parametrize(
    ("request_", "body", "found"),
    [
        (writing(6, 1, b"\0\1\0\3"), b"\0\1\0\3", b""),
        (writing(6, 1, b"\0\1\0\3"), b"\0\1\0\4", None),
        (writing(16, 1, b"\0\1\0\2\4\0\n\1\2"), b"\0\1\0\2", b""),
        (writing(16, 1, b"\0\1\0\2\4\0\n\1\2"), b"\0\1\0\1", None),
        (writing(22, 1, b"\0\4\0\xf2\0\x25"), b"\0\4\0\xf2\0\x25", b""),
    ],
)
def test_a_write_is_done_when_the_reply_repeats_it(request_: Request, body: bytes, found: bytes | None):
    assert answer(request_, Frame(1, 1, request_.function, body)) == found


def test_variants_of_a_request_have_other_shapes_and_stay_inside_the_table():
    assert [variant(READ, n).shape for n in (1, 2)] == [(3, b"\x02"), (3, b"\x04")]  # type: ignore[union-attr]
    coils = variant(reading(Table.coil, 1, 0, 3), 2)
    assert coils is not None
    assert coils.shape == (1, b"\x02")
    assert variant(reading(Table.holding, 1, 0xFFFF, 1), 2) is None
