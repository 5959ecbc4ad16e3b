from pathlib import Path
from typing import Any

import msgspec
import pytest

from actors.outputs.options import KNOWN, Change, DriftOptions, check, read
from actors.system.failure import Refusal

TYPES = "missing-field, type-drift, new-field, rename-candidate"


def test_without_options_the_defaults_hold() -> None:
    assert read(None) == read({}) == DriftOptions()
    assert msgspec.json.decode(msgspec.json.encode(DriftOptions())) == {
        "enabled": True,
        "warmupBatches": 20,
        "minFieldPresenceRatio": 0.5,
        "consecutiveMissingThreshold": 10,
        "windowMs": 15_000,
        "alertCooldownMs": 1_800_000,
        "alertOnDriftTypes": ["missing-field", "type-drift"],
        "adaptivePromotionBatches": 50,
        "adaptivePromotionRatio": 0.6,
        "adaptiveRetireBatches": 250,
        "maxTrackedFields": 1000,
        "maxTraversalDepth": 5,
        "maxFieldsPerBatch": 500,
        "maxRenameCandidates": 20,
        "maxRenameFieldLength": 64,
        "minTypeDominanceRatio": 0.15,
        "logSampleSize": 10,
        "checkIntervalBatches": 1,
        "silentMs": 86_400_000,
    }


def test_what_the_reference_shows_is_accepted() -> None:
    options = read({"enabled": True, "windowMs": 300_000, "maxFieldCount": 200})
    assert (options.window_ms, options.field_limit) == (300_000, 200)


def test_unknown_options_are_kept() -> None:
    assert check({"colour": {"deep": [None]}, "nothing": None}) == Change(
        {"colour": {"deep": [None]}, "nothing": None}, ()
    )
    assert read({"colour": "red"}) == DriftOptions()


def test_null_returns_an_option_to_its_default() -> None:
    assert check({"windowMs": None, "enabled": False}) == Change({"enabled": False}, ("windowMs",))


def test_one_spelling_replaces_the_other() -> None:
    change = check({"maxFieldCount": 5})
    assert change.put == {"maxFieldCount": 5}
    assert set(change.drop) == {"maxFieldCount", "maxTrackedFields"}
    assert check({"maxFieldCount": 5, "maxTrackedFields": 5}).put == {
        "maxFieldCount": 5,
        "maxTrackedFields": 5,
    }


@pytest.mark.parametrize(
    ("patch", "field", "allowed"),
    [
        ({"enabled": "yes"}, "enabled", "true or false"),
        ({"enabled": 1}, "enabled", "true or false"),
        ({"windowMs": -1}, "windowMs", "an integer from 0 to 604800000"),
        ({"windowMs": 1.5}, "windowMs", "an integer from 0 to 604800000"),
        ({"windowMs": True}, "windowMs", "an integer from 0 to 604800000"),
        ({"windowMs": 10**12}, "windowMs", "an integer from 0 to 604800000"),
        ({"maxFieldCount": 0}, "maxFieldCount", "an integer from 1 to 10000"),
        ({"maxTrackedFields": "many"}, "maxTrackedFields", "an integer from 1 to 10000"),
        ({"minTypeDominanceRatio": 1.1}, "minTypeDominanceRatio", "a number from 0 to 1"),
        ({"alertOnDriftTypes": "new-field"}, "alertOnDriftTypes", f"an array of {TYPES}"),
        ({"alertOnDriftTypes": ["x"]}, "alertOnDriftTypes[0]", f"one of {TYPES}"),
    ],
)
def test_wrong_values_are_refused_by_name(patch: dict[str, Any], field: str, allowed: str) -> None:
    with pytest.raises(Refusal) as refused:
        check(patch)
    assert refused.value.field == f"drift_options.{field}"
    assert refused.value.message == f"drift_options.{field} must be {allowed}"


def test_contradicting_spellings_are_refused() -> None:
    with pytest.raises(Refusal, match="contradict") as refused:
        check({"maxFieldCount": 5, "maxTrackedFields": 6})
    assert refused.value.field == "drift_options.maxFieldCount"


def test_every_option_is_documented() -> None:
    text = (Path(__file__).parents[2] / "docs" / "drift.rst").read_text()
    assert {"maxFieldCount", "maxTrackedFields", "windowMs"} < KNOWN
    assert [name for name in KNOWN if f"``{name}``" not in text] == []
