import msgspec
import pytest

from conf.fields import Host
from conf.hosts import host_name, is_address
from conf.schema import Invalid, convert


class Given(msgspec.Struct, frozen=True):
    host: Host | None = None


LABEL = "a" * 63


@pytest.mark.parametrize(
    "text",
    [
        "plc",
        "plc-7.line_3.example",
        "plc.example.",
        "10.0.1.100",
        "1a",
        "7.example",
        "_mqtt._tcp.example",
        "xn--bcher-kva.example",
        "A.EXAMPLE",
        "xn--strae-oqa.example",
        "XN--N3H.example",
        "::",
        "::1",
        "2001:db8::7",
        "::ffff:10.0.1.100",
        "fe80::1%eth0.7",
        "0x7g",
        f"{LABEL}.{LABEL}.{LABEL}.{'a' * 61}",
        f"{LABEL}.{LABEL}.{LABEL}.{'a' * 61}.",
    ],
)
def test_names_and_addresses_are_taken_as_they_are(text: str) -> None:
    assert host_name(text) == text


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("bücher.example", "xn--bcher-kva.example"),
        ("straße.example.", "xn--strae-oqa.example."),
        ("\uff30\uff2c\uff23", "plc"),
    ],
)
def test_other_letters_become_what_the_network_knows(text: str, expected: str) -> None:
    assert host_name(text) == expected


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("plc:502", "without a port: use port"),
        ("plc:", "without a port: use port"),
        ("10.0.1.100:502", "without a port: use port"),
        ("[::1]", "without brackets"),
        ("[::1]:502", "without brackets"),
        ("tcp://plc", "not a URL"),
        ("plc/path", "not a URL"),
        ("plc?a=b", "not a URL"),
        ("plc#a", "not a URL"),
        ("user@plc", "not a URL"),
        ("\\\\plc", "not a URL"),
        ("plc 7", "without blanks"),
        ("plc\r\nX: y", "without blanks"),
        ("plc\u00a07", "without blanks"),
        ("2001:db8::g", "not an IPv6 address"),
        ("1:2:3", "not an IPv6 address"),
        ("::1%", "zone"),
        ("fe80::1%eth0%1", "zone"),
        ("fe80::1%eth 0", "without blanks"),
        ("fe80::1%$(id)", "zone"),
        ("127.1", "not an IPv4 address"),
        ("256.0.0.1", "not an IPv4 address"),
        ("010.0.1.100", "not an IPv4 address"),
        ("10.0.1.100.", "not an IPv4 address"),
        ("2130706433", "not an IPv4 address"),
        ("0x7f000001", "not an IPv4 address"),
        ("plc.0x1", "not an IPv4 address"),
        ("\uff11\uff12\uff17\uff0e\uff11", "not an IPv4 address"),
        ("", "letters, digits"),
        (".", "letters, digits"),
        (".plc", "letters, digits"),
        ("plc..", "letters, digits"),
        ("a..b", "letters, digits"),
        ("a" * 64, "letters, digits"),
        ("plc%eth0", "letters, digits"),
        ("plc\x7f", "letters, digits"),
        ("plc;id", "letters, digits"),
        ("$plc", "letters, digits"),
        ("\u2100.example", "internationalised"),
        ("ü" * 63, "internationalised"),
        ("xn--", "internationalised"),
        ("XN--A", "internationalised"),
        ("plc.xn--b", "internationalised"),
        ("a\u2024b", "internationalised"),
        ("\u200b", "internationalised"),
        (f"{LABEL}.{LABEL}.{LABEL}.{'a' * 62}", "at most 253"),
        ("ü" * 100_000, "at most 253"),
    ],
)
def test_all_else_is_refused_saying_why(text: str, words: str) -> None:
    with pytest.raises(ValueError, match="must be a host name or an address") as error:
        host_name(text)
    assert words in str(error.value)


def test_a_field_of_that_type_says_it_by_its_name() -> None:
    assert convert({"host": " plc "}, Given) == Given("plc")
    assert convert({"host": " "}, Given) == Given()
    with pytest.raises(Invalid) as invalid:
        convert({"host": "plc:502"}, Given, "connection")
    assert invalid.value.field == "connection.host"
    assert invalid.value.message == "host must be a host name or an address, without a port: use port"
    with pytest.raises(Invalid, match=r"host must be a host name or an address$"):
        convert({"host": 5}, Given, "connection")


@pytest.mark.parametrize(
    ("host", "is_one"),
    [
        ("10.0.0.1", True),
        ("::1", True),
        ("fe80::1%eth0", True),
        ("plc", False),
        ("plc.1a", False),
        ("a.b.", False),
    ],
)
def test_an_address_is_told_from_a_name(host: str, is_one: bool):
    assert is_address(host) is is_one
