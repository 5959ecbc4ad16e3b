"""The text format, read back by Prometheus' own parser."""

import math

import pytest
from prometheus_client.parser import text_string_to_metric_families

from actors.endpoints.messages import EndpointRow, PollsCounted
from actors.publish.messages import OutboxReport
from api.metric_families import of_agent, of_destinations, of_endpoints, of_requests
from api.prometheus import family, labels, single

ODD = [
    '13" line',
    "C:\\data\\",
    "two\nlines",
    "größe ℃",
    "{a=\"b\",c='d'} 1",
    "\\n",
    "tab\tand \r return",
    "%s",
]


def parsed(text):
    return {one.name: one for one in text_string_to_metric_families(text)}


def row(name, number=1, enabled=True):
    return EndpointRow(
        number, f"uuid-{number}", name, "modbus", enabled, 1000, b"{}", b"[]", b"null", None, "", ""
    )


@pytest.mark.parametrize("value", ODD)
def test_no_name_can_spoil_a_scrape(value):
    """One that is not escaped costs the whole scrape, of every target's metrics."""
    found = parsed(family("callboard_x", "gauge", "X.", [(labels(endpoint=value, protocol="p"), 1)]))
    [sample] = found["callboard_x"].samples
    assert sample.labels == {"endpoint": value, "protocol": "p"}


def test_what_has_no_value_is_left_out_with_its_head():
    assert single("callboard_x", "gauge", "X.", None) == ""
    assert family("callboard_x", "gauge", "X.", []) == ""


@pytest.mark.parametrize(
    ("value", "spelled"),
    [(0, "0"), (7, "7"), (True, "1.0"), (0.25, "0.25"), (1e21, "1e+21"), (10**20, str(10**20))],
)
def test_values_are_spelled_as_numbers(value, spelled):
    assert single("x", "gauge", "X.", value).splitlines()[-1] == f"x {spelled}"


def test_the_last_line_ends():
    assert single("x", "gauge", "X.", 1).endswith("\n")


def test_endpoints_are_told_one_by_one_and_together():
    rows = [row("a", 1), row("b", 2), row("off", 3, enabled=False)]
    counted = {
        "uuid-1": PollsCounted(True, 10, 1, 2, 500, 12.5),
        "uuid-2": PollsCounted(False, 3, 3, 0, 0, None),
    }
    found = parsed("".join(of_endpoints(rows, counted, 1000)))
    assert found["callboard_endpoints"].samples[0].value == 3
    assert found["callboard_endpoints_enabled"].samples[0].value == 2
    assert found["callboard_endpoints_connected"].samples[0].value == 1
    assert [one.value for one in found["callboard_endpoint_up"].samples] == [1, 0]
    assert [one.value for one in found["callboard_endpoint_poll_failures"].samples] == [1, 3]
    [response] = found["callboard_endpoint_response_seconds"].samples
    assert (response.labels["endpoint"], response.value) == ("a", 0.0125)


def test_thousands_of_endpoints_do_not_become_tens_of_thousands_of_series():
    rows = [row(f"plc-{number}", number) for number in range(30)]
    counted = {one.uuid: PollsCounted(True, 1, 0, 0, 1, 1.0) for one in rows}
    found = parsed("".join(of_endpoints(rows, counted, 10)))
    assert len(found["callboard_endpoint_up"].samples) == 10
    assert found["callboard_endpoints_connected"].samples[0].value == 30


def test_destinations_are_told():
    outbox = OutboxReport(1, "influx", True, 5, 1000, 60_000, 70, 2, 3, 4, None, None, None, None, None)
    found = parsed("".join(of_destinations([outbox], 6, 90_000)))
    assert found["callboard_destination_lag_seconds"].samples[0].value == 30
    assert found["callboard_destination_delivered"].samples[0].value == 70
    assert {one.labels["reason"]: one.value for one in found["callboard_destination_dropped"].samples} == {
        "quota": 3,
        "expired": 4,
    }
    assert found["callboard_unrouted_batches"].samples[0].value == 6


def test_the_clock_set_back_makes_no_negative_lag():
    outbox = OutboxReport(1, "influx", True, 5, 1000, 90_000, 0, 0, 0, 0, None, None, None, None, None)
    found = parsed("".join(of_destinations([outbox], None, 60_000)))
    assert found["callboard_destination_lag_seconds"].samples[0].value == 0


def test_an_agent_that_starts_is_told_by_its_state():
    found = parsed("".join(of_agent("INIT", None)))
    assert [one.labels["state"] for one in found["callboard_state"].samples if one.value] == ["INIT"]
    assert "callboard_healthy" not in found


def test_requests_are_told_by_class():
    found = parsed("".join(of_requests({2: 10, 5: 1})))
    assert {one.labels["status"]: one.value for one in found["callboard_http_requests"].samples} == {
        "2xx": 10,
        "5xx": 1,
    }
    assert not math.isnan(found["callboard_http_requests"].samples[0].value)
