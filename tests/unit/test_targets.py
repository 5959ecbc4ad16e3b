"""Which hosts a scan may touch: nothing that was not asked for, and never too many."""

from ipaddress import ip_address, ip_network

import pytest
from hypothesis import given
from hypothesis import strategies as st

from actors.endpoints.targets import MOST, read_targets
from actors.system.failure import Refusal


def hosts(*given: str) -> tuple[str, ...]:
    return read_targets(list(given), "overrides.fake.network").hosts


@pytest.mark.parametrize(
    ("text", "first", "last", "count"),
    [
        ("10.0.0.5", "10.0.0.5", "10.0.0.5", 1),
        ("10.0.0.0/30", "10.0.0.1", "10.0.0.2", 2),
        ("10.0.0.0/31", "10.0.0.0", "10.0.0.1", 2),
        ("10.0.0.7/32", "10.0.0.7", "10.0.0.7", 1),
        ("10.0.1.77/24", "10.0.1.1", "10.0.1.254", 254),
        ("10.0.0.0/22", "10.0.0.1", "10.0.3.254", 1022),
        ("10.0.0.5-10.0.0.20", "10.0.0.5", "10.0.0.20", 16),
        ("10.0.0.250-10.0.1.5", "10.0.0.250", "10.0.1.5", 12),
        ("10.0.0.5-20", "10.0.0.5", "10.0.0.20", 16),
        ("10.0.0.5-5", "10.0.0.5", "10.0.0.5", 1),
        ("fd00::/120", "fd00::1", "fd00::ff", 255),
        ("fd00::1-fd00::4", "fd00::1", "fd00::4", 4),
        ("fe80::1%eth0", "fe80::1%eth0", "fe80::1%eth0", 1),
        ("::ffff:10.0.0.5", "10.0.0.5", "10.0.0.5", 1),
        ("::ffff:10.0.0.0/126,10.0.0.2", "10.0.0.1", "10.0.0.3", 3),
        ("plc-1.example", "plc-1.example", "plc-1.example", 1),
        ("10-20.example", "10-20.example", "10-20.example", 1),
    ],
)
def test_what_a_text_names(text: str, first: str, last: str, count: int) -> None:
    found = hosts(text)
    assert (found[0], found[-1], len(found)) == (first, last, count)


def test_several_texts_name_each_host_once_in_their_order() -> None:
    assert hosts(" 10.0.0.9 , 10.0.0.0/30,", "10.0.0.1", "plc") == ("10.0.0.9", "10.0.0.1", "10.0.0.2", "plc")
    found = read_targets("10.0.0.1, 10.0.0.2", "")
    assert ("10.0.0.2" in found, "10.0.0.3" in found, len(found), list(found)) == (
        True,
        False,
        2,
        ["10.0.0.1", "10.0.0.2"],
    )


@pytest.mark.parametrize(
    "text",
    [
        "",
        " , ",
        "ff02::1%eth0",
        "::%eth0",
        "::ffff:224.0.0.1",
        "::ffff:255.255.255.255",
        "::ffff:0.0.0.0",
        "10.0.0.0/8",
        "10.0.0.0/21",
        "0.0.0.0/0",
        "::/0",
        "fd00::/64",
        "10.0.0.0/33",
        "10.0.0.0/-1",
        "10.0.0/24",
        "10.0.0.0/24/24",
        "/24",
        "10.0.0.1-10.0.4.1",
        "10.0.0.5-4",
        "10.0.0.5-256",
        "10.0.0.5-10.0.0.4",
        "10.0.0.5-fd00::1",
        "224.0.0.1",
        "239.255.255.250",
        "224.0.0.0/24",
        "223.255.255.250-224.0.0.5",
        "255.255.255.255",
        "0.0.0.0",
        "::",
        "ff02::1",
        "999.1.1.1",
        "http://10.0.0.1",
        "10.0.0.1:502",
        "user@10.0.0.1",
        "10.0.0.1/24-30",
        "a b",
        "x" * 300,
        "-",
        "-5",
        "10.0.0.1\x00",
        "10.0.0.1\n10.0.0.2",
        "10.0.0.*",
        "10.0.0.1;rm",
        "\u0661\u0660.0.0.1",
        "10.0.0.5-\u0669",
    ],
)
def test_what_is_no_host_is_refused_with_its_field(text: str) -> None:
    with pytest.raises(Refusal) as refused:
        hosts(text)
    assert refused.value.field == "overrides.fake.network"


def test_no_more_than_may_be() -> None:
    assert len(hosts("10.0.0.0/22", "10.1.0.1", "10.1.0.2")) == MOST
    for texts in (["10.0.0.0/22", "10.1.0.1-3"], [f"10.0.{n}.1" for n in range(256)] * 4 + ["10.1.0.0/22"]):
        with pytest.raises(Refusal, match=str(MOST)):
            hosts(*texts)
    assert len(hosts(*(["10.0.0.0/24"] * 50))) == 254


@given(st.integers(0, 2**32 - 1), st.integers(22, 32))
def test_a_network_names_hosts_of_its_own_alone(number: int, prefix: int) -> None:
    network = ip_network((number, prefix), strict=False)
    try:
        found = hosts(f"{ip_address(number)}/{prefix}")
    except Refusal:
        return  # multicast, or what no host has
    assert all(ip_address(host) in network for host in found)
    assert len(set(found)) == len(found) <= network.num_addresses


@given(st.integers(1, 223), st.integers(0, 255), st.integers(0, 255), st.integers(0, 255))
def test_a_range_names_every_host_between_its_ends(a: int, b: int, first: int, last: int) -> None:
    text = f"{a}.{b}.3.{first}-{last}"
    if last < first:
        with pytest.raises(Refusal):
            hosts(text)
    else:
        assert hosts(text) == tuple(f"{a}.{b}.3.{n}" for n in range(first, last + 1))


@given(st.text(max_size=60))
def test_whatever_the_text_it_is_hosts_or_refused(text: str) -> None:
    try:
        found = hosts(text)
    except Refusal:
        return
    assert 0 < len(found) <= MOST
    assert all(host and host.isprintable() and " " not in host for host in found)
