"""BER, names, requests and replies, and messages of v3, beside another implementation of them (pysnmp)."""

import contextlib
import warnings
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    from pyasn1.codec.ber import decoder, encoder
    from pyasn1.type import univ
    from pysnmp.proto.api import v2c
    from pysnmp.proto.secmod.rfc3414 import localkey
    from pysnmp.proto.secmod.rfc3826.priv.aes import Aes

from actors.endpoints.protocols.snmp import keys, notifications, oids, pdus, privacy, usm, values
from actors.endpoints.protocols.snmp.ber import OCTETS, Malformed, integer, sequence, tlv
from actors.endpoints.protocols.snmp.client import decode
from actors.endpoints.protocols.snmp.values import Unfit

arcs = st.builds(
    lambda first, second, rest: (first, second, *rest),
    st.integers(0, 2),
    st.integers(0, 39),
    st.lists(st.integers(0, 2**32 - 1), max_size=30),
)
values_of = st.one_of(
    st.integers(-(2**31), 2**31 - 1).map(v2c.Integer32),
    st.integers(0, 2**32 - 1).map(v2c.Counter32),
    st.integers(0, 2**32 - 1).map(v2c.Gauge32),
    st.integers(0, 2**32 - 1).map(v2c.TimeTicks),
    st.integers(0, 2**64 - 1).map(v2c.Counter64),
    st.binary(max_size=300).map(v2c.OctetString),
    st.binary(min_size=4, max_size=4).map(lambda raw: v2c.IpAddress(hexValue=raw.hex())),
    st.binary(max_size=20).map(v2c.Opaque),
    arcs.map(v2c.ObjectIdentifier),
)
HEAD = integer(1) + tlv(OCTETS, b"public")


def reply_of(identifier: int, bindings: Any, status: int = 0, index: int = 0) -> bytes:
    """As pysnmp encodes it."""
    pdu = v2c.GetResponsePDU()
    v2c.apiPDU.set_defaults(pdu)
    v2c.apiPDU.set_request_id(pdu, identifier)
    v2c.apiPDU.set_error_status(pdu, status)
    v2c.apiPDU.set_error_index(pdu, index)
    v2c.apiPDU.set_varbinds(pdu, bindings)
    message = v2c.Message()
    v2c.apiMessage.set_defaults(message)
    v2c.apiMessage.set_community(message, "public")
    v2c.apiMessage.set_pdu(message, pdu)
    return bytes(encoder.encode(message))


def expected(value: Any) -> Any:
    kind = type(value).__name__
    if kind in ("Integer32", "Counter32", "Gauge32", "TimeTicks", "Counter64"):
        return int(value)
    return value.prettyPrint() if kind in ("IpAddress", "ObjectIdentifier") else bytes(value)


@given(st.lists(st.tuples(arcs, values_of), min_size=1, max_size=8), st.integers(1, 2**31 - 1))
def test_replies_are_read_as_by_pysnmp(bindings: Any, identifier: int) -> None:
    pdu = decode(reply_of(identifier, bindings), HEAD)
    assert (pdu.kind, pdu.number, pdu.status) == (pdus.RESPONSE, identifier, 0)
    read = pdus.bindings(pdu)
    assert [one.oid for one in read] == [name for name, _ in bindings]
    for one, (_, value) in zip(read, bindings, strict=True):
        found: Any = one.raw if one.tag in (OCTETS, 0x44) else values.plain(one.tag, one.raw)
        assert found == expected(value)
    asked = [oids.encode(name) for name, _ in bindings]
    assert pdus.values(pdu, asked) == [pdus.Value(one.tag, one.raw) for one in read]


@given(st.lists(st.tuples(arcs, values_of), min_size=1, max_size=4), st.data())
def test_what_is_broken_is_malformed_and_nothing_else(bindings: Any, data: st.DataObject) -> None:
    whole = reply_of(17, bindings)
    place = data.draw(st.integers(0, len(whole) - 1))
    broken = whole[:place] + bytes((data.draw(st.integers(0, 255)),)) + whole[place + 1 :]
    for octets in (broken, whole[:place], data.draw(st.binary(max_size=80))):
        asked = [oids.encode(name) for name, _ in bindings]
        try:
            pdu = decode(octets, HEAD)
            for one in pdus.bindings(pdu):
                values.plain(one.tag, one.raw)
            pdus.values(pdu, asked)
        except (Malformed, Unfit):
            pass
        with contextlib.suppress(Malformed):
            notifications.of_community(octets)


@given(st.lists(arcs, min_size=1, max_size=10))
def test_requests_are_read_by_pysnmp(names: list[tuple[int, ...]]) -> None:
    request = pdus.request(pdus.GET, names)
    octets = sequence(HEAD + request.encode(0x01234567))
    message, rest = decoder.decode(octets, asn1Spec=v2c.Message())
    assert not rest
    pdu = v2c.apiMessage.get_pdu(message)
    assert int(v2c.apiPDU.get_request_id(pdu)) == 0x01234567
    assert [tuple(name) for name, _ in v2c.apiPDU.get_varbinds(pdu)] == names


@given(arcs)
def test_names_come_back(name: tuple[int, ...]) -> None:
    encoded = oids.encode(name)
    assert oids.parse("." + oids.shown(name)) == name
    assert encoded == bytes(encoder.encode(v2c.ObjectIdentifier(name)))


@given(st.integers(-(2**63), 2**64 - 1))
def test_integers_come_back(number: int) -> None:
    """pyasn1 itself takes a byte too many for some."""
    assert decoder.decode(integer(number)) == (univ.Integer(number), b"")


@pytest.mark.parametrize(
    "text", ["", "1", ".", "1..3", "1.3.x", "iso.3", "3.1", "1.40", "1.3.4294967296", "1.3.", " "]
)
def test_what_is_no_name_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r"must|number"):
        oids.parse(text)


def test_a_reply_about_other_variables_has_no_values() -> None:
    names = [(1, 3, 6, 1, number) for number in range(4)]
    asked = [oids.encode(name) for name in names]

    def about(*others: tuple[int, ...]) -> Any:
        return pdus.values(decode(reply_of(1, [(name, v2c.Integer32(1)) for name in others]), HEAD), asked)

    assert about(*names) is not None
    assert about(*reversed(names)) is None
    assert about(*names[:3]) is None
    assert about(*names, (1, 3, 6, 1, 9)) is None


# v3


@pytest.mark.parametrize("engine", [bytes(range(12)), b"\x80\x00\x1f\x88\x04agent"])
def test_keys_are_those_of_pysnmp(engine: bytes) -> None:
    for ours, theirs in (("md5", localkey.md5), ("sha", localkey.sha1)):
        master = keys.master(ours, "maplesyrup")
        assert master == bytes(localkey.hash_passphrase(v2c.OctetString("maplesyrup"), theirs))
        assert keys.localized(ours, master, engine) == bytes(
            localkey.localize_key(v2c.OctetString(master), v2c.OctetString(engine), theirs)
        )


def test_keys_are_those_of_the_standard() -> None:
    """RFC 3414 section A.3."""
    engine = bytes(11) + b"\x02"
    for digest, key in (
        ("md5", "526f5eed9fcce26f8964c2930787d82b"),
        ("sha", "6695febc9288e36282235fc7151f128497b38f3f"),
    ):
        assert keys.localized(digest, keys.master(digest, "maplesyrup"), engine).hex() == key


@given(st.binary(min_size=1, max_size=100), st.binary(min_size=8, max_size=8))
def test_what_is_encrypted_can_be_decrypted(plain: bytes, salt: bytes) -> None:
    for cipher, size in keys.KEY_BYTES.items():
        key = bytes(range(size))
        found = privacy.privacy_of(cipher, key)
        hidden = found.encrypt(3, 77, salt, plain)
        back = found.decrypt(3, 77, salt, hidden)
        assert back[: len(plain)] == plain
        if plain and len(plain) > 8:
            assert hidden[: len(plain)] != plain


def test_aes_is_that_of_pysnmp() -> None:
    key, salt, plain = bytes(range(16)), bytes(range(8)), b"a scoped pdu of any length"
    hidden = privacy.privacy_of("aes", key).encrypt(3, 77, salt, plain)
    back = Aes().decrypt_data(v2c.OctetString(key), (3, 77, v2c.OctetString(salt)), v2c.OctetString(hidden))
    assert bytes(back) == plain


USER = usm.User(
    "ann", "sha256", keys.master("sha256", "a secret"), "aes", keys.master("sha256", "a secret too")
)
NAMES = [(1, 3, 6, 1, 2, 1, 1, 3, 0)]


@given(st.data())
def test_a_message_that_was_touched_is_refused(data: st.DataObject) -> None:
    security = usm.Security(USER, usm.Engine(b"\x80engine", 3, 77), b"")
    whole = security.encode(pdus.request(pdus.GET, NAMES), 0x01020304, 0x05060708)
    heard = security.decode(whole)
    assert heard.proven
    assert heard.private
    assert pdus.bindings(heard.pdu)[0].oid == NAMES[0]
    place = data.draw(st.integers(0, len(whole) - 1))
    other = data.draw(st.integers(0, 255).filter(lambda octet: octet != whole[place]))
    touched = whole[:place] + bytes((other,)) + whole[place + 1 :]
    try:
        found = security.decode(touched)
    except Malformed:
        return
    assert not found.proven, "a message that was changed on the way counts as signed"


@given(st.binary(max_size=200))
def test_whatever_comes_is_malformed_at_worst(octets: bytes) -> None:
    security = usm.Security(USER, usm.Engine(b"\x80engine", 3, 77), b"")
    for read in (security.decode, usm.engine_of, notifications.version_of):
        with contextlib.suppress(Malformed):
            read(octets)


def test_a_context_is_said() -> None:
    security = usm.Security(usm.User("ann"), usm.Engine(b"\x80engine"), b"vlan-7")
    octets = security.encode(pdus.request(pdus.GET, NAMES), 0x01020304, 0x05060708)
    assert tlv(OCTETS, b"\x80engine") + tlv(OCTETS, b"vlan-7") in octets
