import pytest

from actors.readings.batch import Point, Source
from actors.readings.interest import Interest, select


def source(*names: str) -> Source:
    return Source(
        endpoint_uuid="e-1",
        endpoint="line-1",
        protocol="modbus",
        device_uuid="d-1",
        device="press-4",
        points=tuple(Point(name) for name in names),
        prefixes=("modbus/line-1/press-4/", "sensors/line-1/"),
    )


PLAIN = source("oil_temp", "running", "parts", "recipe")


# Topics


@pytest.mark.parametrize(
    "topics",
    [(), ("modbus",), ("#",), ("+",), ("modbus/#",), ("modbus/line-1/#",), ("other", "sensors/#")],
)
def test_everything_is_selected_as_none(topics: tuple[str, ...]) -> None:
    assert select(Interest(topics=topics), PLAIN) is None


def test_only_points_with_a_matching_topic_are_selected() -> None:
    assert select(Interest(topics=("sensors/+/running",)), PLAIN) == (1,)
    assert select(Interest(topics=("sensors/+/parts", "modbus/line-1/press-4/oil_temp")), PLAIN) == (0, 2)


@pytest.mark.parametrize("topic", ["opcua", "sensors/line-2/#", "line-1", "$SYS/#", "events/#"])
def test_a_subscription_to_something_else_selects_nothing(topic: str) -> None:
    assert select(Interest(topics=(topic,)), PLAIN) == ()
    assert select(Interest(topics=(topic,)), source()) == ()


# Devices and metrics


@pytest.mark.parametrize("name", ["press-4", "line-1"])
def test_a_device_is_meant_by_its_name_or_by_its_endpoints(name: str) -> None:
    assert select(Interest(include_devices=("other", name)), PLAIN) is None
    assert select(Interest(exclude_devices=("other", name)), PLAIN) == ()


def test_other_devices_are_left_out_or_kept() -> None:
    assert select(Interest(include_devices=("press-5",)), PLAIN) == ()
    assert select(Interest(exclude_devices=("press-5", "modbus")), PLAIN) is None


def test_a_device_both_included_and_excluded_is_left_out() -> None:
    assert select(Interest(include_devices=("press-4",), exclude_devices=("line-1",)), PLAIN) == ()


def test_metrics_are_meant_by_their_names() -> None:
    assert select(Interest(include_metrics=("recipe", "running", "none such")), PLAIN) == (1, 3)
    assert select(Interest(exclude_metrics=("recipe", "none such")), PLAIN) == (0, 1, 2)
    assert select(Interest(include_metrics=("none such",)), PLAIN) == ()
    assert select(Interest(exclude_metrics=("none such",)), PLAIN) is None
    assert select(Interest(include_metrics=("oil_temp", "running", "parts", "recipe")), PLAIN) is None


def test_a_metric_both_included_and_excluded_is_left_out() -> None:
    assert select(Interest(include_metrics=("recipe", "parts"), exclude_metrics=("parts",)), PLAIN) == (3,)


def test_filters_of_all_kinds_hold_together() -> None:
    both = Interest(
        topics=("sensors/+/running", "sensors/+/parts"),
        include_devices=("line-1",),
        include_metrics=("parts", "recipe"),
    )
    assert select(both, PLAIN) == (2,)


def test_points_of_equal_name_are_selected_together() -> None:
    assert select(Interest(include_metrics=("a",)), source("a", "b", "a")) == (0, 2)
