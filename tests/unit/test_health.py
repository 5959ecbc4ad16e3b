import pytest

from actors.endpoints.health import DURATIONS, ERRORS, PollRecord
from actors.endpoints.protocol import PollResult
from actors.readings.batch import Point, Source

T0 = 1_705_314_600_000
"""2024-01-15T10:30:00.000Z"""
SOURCE = Source(
    endpoint_uuid="e",
    endpoint="plc",
    protocol="fake",
    device_uuid="d",
    device="plc",
    points=(Point("speed", "m/s"), Point("temp")),
    prefixes=(),
)
ADDRESSES = ["holding:0", "holding:1"]
GOOD = PollResult([1, 2])


def polled(good: int, bad: int = 0) -> PollRecord:
    """A device with `bad` failed polls after which `good` succeeded."""
    health = PollRecord("plc")
    for n in range(bad):
        health.failure(T0 + n, 5.0, "TIMEOUT", "no answer")
    for n in range(good):
        health.success(T0 + bad + n, 5.0, GOOD)
    return health


def test_a_device_that_was_never_polled():
    report = PollRecord("plc").report()
    assert (report.status, report.connected, report.quality_word) == ("disconnected", False, "offline")
    assert (report.poll_success_rate, report.communication_quality) == (1.0, 0.0)
    assert (report.last_poll, report.last_seen, report.response_time_ms) == (None, None, None)


def test_a_device_that_answers():
    health = PollRecord("plc")
    health.success(T0, 12.3456, GOOD)
    report = health.report()
    assert (report.device, report.status, report.connected) == ("plc", "connected", True)
    assert (report.last_poll, report.last_seen, report.response_time_ms) == (T0, T0, 12.35)
    assert (report.registers_updated, report.communication_quality) == (2, 100.0)
    assert (report.error_count, report.last_error) == (0, None)


def test_a_failure_counts_and_keeps_when_the_device_was_last_seen():
    health = polled(good=1)
    health.failure(T0 + 10, 5.0, "TIMEOUT", "no answer")
    health.failure(T0 + 20, None, "DEVICE_OFFLINE", "still no answer")
    report = health.report()
    assert (report.status, report.connected, report.quality_word) == ("disconnected", False, "offline")
    assert (report.error_count, report.last_error) == (2, "still no answer")
    assert (report.last_poll, report.last_seen) == (T0 + 20, T0)
    assert (report.registers_updated, report.response_time_ms) == (0, 5.0)


def test_an_attempt_between_polls_is_an_error_and_no_poll_of_the_history():
    health = polled(good=3)
    health.attempt_failed(T0 + 10, 7.0, "CONNECTION_REFUSED", "nobody listens")
    report = health.report()
    assert (report.connected, report.last_error, report.error_count) == (False, "nobody listens", 0)
    assert (report.poll_success_rate, report.last_poll) == (1.0, T0 + 10)
    summary = health.summary()
    assert (summary["totalPolls"], summary["failedPolls"]) == (4, 1)
    assert summary["topErrors"][0]["type"] == "CONNECTION_REFUSED"


def test_success_forgets_the_errors():
    report = polled(good=1, bad=3).report()
    assert (report.error_count, report.last_error) == (0, None)


@pytest.mark.parametrize(
    ("good", "bad", "rate", "quality", "word"),
    [
        (1, 0, 1.0, 100.0, "good"),
        (95, 5, 0.95, 95.0, "good"),
        (94, 6, 0.94, 94.0, "degraded"),
        (75, 25, 0.75, 75.0, "degraded"),
        (74, 26, 0.74, 74.0, "poor"),
        (2, 1, 0.6667, 66.7, "poor"),
    ],
)
def test_quality_is_the_share_of_successful_polls(good, bad, rate, quality, word):
    report = polled(good, bad).report()
    assert (report.poll_success_rate, report.communication_quality, report.quality_word) == (
        rate,
        quality,
        word,
    )


def test_quality_is_the_share_of_data_points_that_have_a_value():
    health = PollRecord("plc")
    health.success(T0, 5.0, GOOD)
    health.success(T0 + 1, 5.0, PollResult([1, None], [None, "ILLEGAL_ADDRESS"]))
    report = health.report()
    assert (report.connected, report.poll_success_rate, report.communication_quality) == (True, 1.0, 50.0)
    health.success(T0 + 2, 5.0, GOOD)
    assert health.report().communication_quality == 83.3


def test_a_device_of_which_no_point_has_a_value_is_no_success():
    health = polled(good=3)
    health.success(T0 + 10, 5.0, PollResult([None, None], ["READ_ERROR", "ILLEGAL_ADDRESS"]))
    report = health.report()
    assert (report.connected, report.communication_quality, report.quality_word) == (True, 0.0, "poor")
    assert (report.error_count, report.last_error) == (1, "no data point can be read: READ_ERROR")
    summary = health.summary()
    assert (summary["successfulPolls"], summary["failedPolls"]) == (3, 1)
    assert summary["topErrors"][0]["type"] == "READ_ERROR"
    assert [point["errorCount"] for point in health.registers(SOURCE, ADDRESSES)] == [1, 1]


def test_an_uncertain_value_is_a_value_and_not_good():
    health = PollRecord("plc")
    health.success(T0, 5.0, PollResult([1, 2], [None, "OUT_OF_RANGE"]))
    assert health.report().communication_quality == 100.0
    [_, temp] = health.registers(SOURCE, ADDRESSES)
    assert (temp["quality"], temp["qualityCode"], temp["lastValue"]) == ("UNCERTAIN", "OUT_OF_RANGE", 2)
    assert temp["errorCount"] == 0


def test_quality_is_0_and_offline_while_disconnected_whatever_the_rate():
    health = polled(good=99)
    health.failure(T0 + 100, 5.0, "TIMEOUT", "no answer")
    report = health.report()
    assert (report.poll_success_rate, report.communication_quality, report.quality_word) == (
        0.99,
        0.0,
        "offline",
    )


def test_the_rate_is_that_of_the_last_100_polls():
    assert polled(good=100, bad=500).report().poll_success_rate == 1.0


def test_a_summary_without_polls_has_no_figures():
    summary = PollRecord("plc").summary()
    assert (summary["totalPolls"], summary["avgPollMs"], summary["p99PollMs"]) == (0, None, None)
    assert (summary["firstPoll"], summary["lastPoll"], summary["topErrors"]) == (None, None, [])


def test_a_summary_has_durations_and_percentiles():
    health = PollRecord("plc")
    for duration in range(1, 101):
        health.success(T0, float(duration), GOOD)
    summary = health.summary()
    assert (summary["minPollMs"], summary["avgPollMs"], summary["maxPollMs"]) == (1.0, 50.5, 100.0)
    assert (summary["p50PollMs"], summary["p95PollMs"], summary["p99PollMs"]) == (50.0, 95.0, 99.0)


@pytest.mark.parametrize(("count", "median"), [(1, 1.0), (2, 1.0), (3, 2.0), (8, 4.0)])
def test_percentiles_of_a_few_durations_are_the_nearest_rank(count: int, median: float):
    health = PollRecord("plc")
    for duration in range(1, count + 1):
        health.success(T0, float(duration), GOOD)
    assert health.summary()["p50PollMs"] == median


def test_a_summary_counts_polls_points_and_errors():
    health = polled(good=3, bad=1)
    health.skipped = 2
    summary = health.summary()
    assert (summary["totalPolls"], summary["successfulPolls"], summary["failedPolls"]) == (4, 3, 1)
    assert (summary["successRate"], summary["errorRate"], summary["skippedPolls"]) == (0.75, 0.25, 2)
    assert (summary["totalDataPointsUpdated"], summary["avgDataPointsUpdated"]) == (6, 2.0)


def test_first_and_last_poll_are_those_of_all_polls_good_or_not():
    health = PollRecord("plc")
    health.failure(T0, 1.0, "TIMEOUT", "no answer")
    health.success(T0 + 1000, 1.0, GOOD)
    health.success(T0 + 2000, 1.0, GOOD)
    summary = health.summary()
    assert summary["firstPoll"] == "2024-01-15T10:30:00.000Z"
    assert summary["lastPoll"] == "2024-01-15T10:30:02.000Z"


def test_a_poll_that_was_never_sent_is_no_poll_of_the_summary_but_lowers_the_quality():
    health = polled(good=1)
    health.failure(T0 + 10, None, "DEVICE_OFFLINE", "backing off")
    assert health.summary()["totalPolls"] == 1
    assert health.summary()["topErrors"] == []
    assert health.report().poll_success_rate == 0.5


def test_top_errors_are_the_ten_most_frequent_types_with_when_they_were_last_seen():
    health = PollRecord("plc")
    for kind in range(12):
        for n in range(12 - kind):
            health.failure(T0 + 1000 * kind + n, 1.0, f"CODE_{kind}", "broken")
    top = health.summary()["topErrors"]
    assert [(error["type"], error["count"]) for error in top] == [(f"CODE_{n}", 12 - n) for n in range(10)]
    assert top[0]["lastSeen"] == "2024-01-15T10:30:00.011Z"


def test_durations_and_errors_are_rings():
    health = PollRecord("plc")
    for n in range(DURATIONS + 10):
        health.failure(T0 + n, float(n), "TIMEOUT", f"failure {n}")
    metrics = health.metrics()
    assert len(metrics["pollDurations"]) == DURATIONS
    assert sorted(metrics["pollDurations"]) == [float(n) for n in range(10, DURATIONS + 10)]
    assert len(metrics["lastErrors"]) == ERRORS
    assert metrics["lastErrors"][-1]["message"] == f"failure {DURATIONS + 9}"
    assert (metrics["pollTotalCount"], metrics["pollSuccessCount"]) == (DURATIONS + 10, 0)


def test_raw_metrics():
    health = polled(good=2, bad=1)
    assert health.metrics() == {
        "pollDurations": [5.0, 5.0, 5.0],
        "pollSuccessCount": 2,
        "pollTotalCount": 3,
        "dataPointsUpdated": 4,
        "lastErrors": [{"timestamp": "2024-01-15T10:30:00.000Z", "type": "TIMEOUT", "message": "no answer"}],
    }


def registers(health: PollRecord) -> list[dict[str, object]]:
    return health.registers(SOURCE, ADDRESSES)


def test_registers_before_the_first_reading():
    assert registers(PollRecord("plc"))[0] == {
        "name": "speed",
        "address": "holding:0",
        "lastValue": None,
        "unit": "m/s",
        "quality": "BAD",
        "qualityCode": "DEVICE_OFFLINE",
        "lastSuccess": None,
        "errorCount": 0,
    }


def test_registers_of_a_reading_with_a_bad_point():
    health = PollRecord("plc")
    health.success(T0, 1.0, PollResult([10, 20]))
    health.success(T0 + 1000, 1.0, PollResult([11, None], [None, "ILLEGAL_ADDRESS"]))
    health.success(T0 + 2000, 1.0, PollResult([12, None], [None, "ILLEGAL_ADDRESS"]))
    good, bad = registers(health)
    assert (good["lastValue"], good["quality"], good["qualityCode"]) == (12, "GOOD", None)
    assert (good["lastSuccess"], good["errorCount"]) == ("2024-01-15T10:30:02.000Z", 0)
    assert (bad["lastValue"], bad["quality"], bad["qualityCode"]) == (None, "BAD", "ILLEGAL_ADDRESS")
    assert (bad["lastSuccess"], bad["errorCount"]) == ("2024-01-15T10:30:00.000Z", 2)
    assert health.report().registers_updated == 1
    assert health.report().connected


def test_registers_of_a_device_that_went_away_keep_their_last_values():
    health = PollRecord("plc")
    health.success(T0, 1.0, PollResult([10, None], [None, "ILLEGAL_ADDRESS"]))
    health.failure(T0 + 1000, 1.0, "TIMEOUT", "no answer")
    good, bad = registers(health)
    assert (good["lastValue"], good["quality"], good["qualityCode"]) == (10, "BAD", "DEVICE_OFFLINE")
    assert (good["lastSuccess"], good["errorCount"]) == ("2024-01-15T10:30:00.000Z", 1)
    assert (bad["lastSuccess"], bad["errorCount"]) == (None, 2)


def test_a_point_that_recovers_succeeds_now():
    health = PollRecord("plc")
    health.success(T0, 1.0, PollResult([None, 2], ["DEVICE_BUSY", None]))
    health.success(T0 + 1000, 1.0, PollResult([1, 2]))
    point = registers(health)[0]
    assert (point["quality"], point["lastSuccess"], point["errorCount"]) == (
        "GOOD",
        "2024-01-15T10:30:01.000Z",
        1,
    )
