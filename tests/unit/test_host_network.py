"""Counters that wrap, start over, come and go."""

import pytest

from actors.host.network import WRAP, Counters, counted, interfaces, rate

GB = 1_000_000_000


@pytest.mark.parametrize(
    ("before", "now", "expected"),
    [
        (1000, 6000, 500.0),
        (None, 5 * GB, 0.0),  # a first look: what it has counted since the machine's start is no rate
        (WRAP - 1000, 4000, 500.0),  # wrapped
        (5 * GB, 2000, 0.0),  # the interface was reset, or is another one by that name
        (3 * GB, 2 * GB, 0.0),  # neither near its end before nor near its beginning now
        (7, 7, 0.0),
    ],
)
def test_a_rate_is_never_negative_and_never_a_petabyte(before, now, expected):
    assert rate(before, now, 10.0) == expected


def test_no_time_is_no_rate():
    assert rate(1, 2, 0.0) == 0.0


def test_interfaces_come_and_go():
    before = {"eth0": Counters(0, 0), "wwan0": Counters(5, 5)}
    now = {"eth0": Counters(1000, 500), "usb0": Counters(9 * GB, 1)}
    assert [(one.name, one.received_rate, one.sent_rate) for one in interfaces(before, now, 5.0)] == [
        ("eth0", 200.0, 100.0),
        ("usb0", 0.0, 0.0),
    ]


def test_what_goes_through_a_bridge_and_a_device_is_counted_once(tmp_path):
    names = ["eth0", "docker0", "veth12", "br-7", "wg0", "lo", "ppp0", "wlan0"]
    for name in names:
        (tmp_path / "sys/class/net" / name).mkdir(parents=True)
    for name in ("eth0", "wlan0"):
        (tmp_path / "sys/class/net" / name / "device").mkdir()
    assert counted(names, tmp_path) == ("eth0", "ppp0", "wlan0")


def test_in_a_container_there_is_no_device_and_all_but_the_loopback_counts(tmp_path):
    assert counted(["lo", "eth0", "eth1"], tmp_path) == ("eth0", "eth1")
