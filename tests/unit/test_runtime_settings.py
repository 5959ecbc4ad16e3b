"""The settings that change while the agent runs: what a patch makes of them, and what clients see."""

from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from conf import runtime_page, runtime_patch
from conf.annotations import is_struct, types
from conf.runtime import RuntimeSettings
from conf.runtime_keys import KEYS, NAMES, TOP, described, put
from conf.runtime_patch import MAX_OBJECT, Stored, merged, patched, shown
from conf.schema import Invalid

DOCS = Path(__file__).parents[2] / "docs"


def effective(*patches: dict[str, Any]) -> RuntimeSettings:
    found, faults = runtime_patch.settings(stored(*patches))
    assert not faults
    return found


def stored(*patches: dict[str, Any]) -> Stored:
    result = Stored()
    for patch in patches:
        result = patched(result, patch)
    return result


def refused(patch: Any, before: Stored | None = None) -> tuple[str, str]:
    with pytest.raises(Invalid) as invalid:
        patched(before or Stored(), patch)
    return invalid.value.field, invalid.value.message


def at(tree: dict[str, Any], path: str) -> Any:
    for word in path.split("."):
        tree = tree[word]
    return tree


def nested(path: str, value: Any) -> dict[str, Any]:
    for word in reversed(path.split(".")):
        value = {word: value}
    return value


EXAMPLES: dict[str, Any] = {
    "logging.level": "debug",
    "anomalyDetection": {"enabled": True, "metrics": [{"name": "cpu_usage"}]},
}


def example(path: str) -> Any:
    """An allowed value that is not the default."""
    if path in EXAMPLES:
        return EXAMPLES[path]
    default = KEYS[path].default
    return not default if isinstance(default, bool) else 1234 if default is None else default - 1


# What the reference and the clients of the original send


REFERENCE = {
    "logging": {"level": "info", "cloudEnabled": True},
    "features": {"anomalyDetection": True, "discovery": True},
    "intervals": {"stateReportMs": 10000, "statePollMs": 60000},
    "runtime": {"maxMemoryMb": 512},
    "anomalyDetection": {"enabled": True, "metrics": []},
}


def test_the_example_of_the_reference_is_taken_and_read_back_by_its_own_names():
    seen = shown(stored(REFERENCE), "warn")
    for section, values in REFERENCE.items():
        for key, value in values.items():
            assert seen[section][key] == value
    found = effective(REFERENCE)
    assert found.logging.enable_remote_logging
    assert found.features.enable_anomaly_detection
    assert found.intervals.agent.report_interval_ms == 10_000
    assert found.runtime.memory.max_memory_mb == 512
    seen = shown(
        stored(REFERENCE, {"logging": {"level": "debug"}, "intervals": {"stateReportMs": 30000}}), ""
    )
    assert seen["logging"]["level"] == "debug"
    assert seen["logging"]["cloudEnabled"] is True
    assert (seen["intervals"]["stateReportMs"], seen["intervals"]["statePollMs"]) == (30_000, 60_000)


def test_the_documented_defaults_are_those_of_the_original():
    found = RuntimeSettings()
    assert (found.logging.max_logs, found.logging.log_max_age, found.logging.max_log_file_size) == (
        1000,
        86_400_000,
        5_242_880,
    )
    assert (found.logging.enable_file_persistence, found.logging.enable_compression) == (False, True)
    assert (found.logging.log_batch_size, found.logging.log_flush_interval_ms) == (500, 30_000)
    features = found.features
    assert (features.enable_device_publish, features.enable_anomaly_detection) == (True, False)
    assert (features.enable_device_jobs, features.enable_device_remote_access) == (True, True)
    agent = found.intervals.agent
    assert (agent.target_state_poll_interval_ms, agent.report_interval_ms) == (60_000, 60_000)
    assert (agent.metrics_interval_ms, agent.reconciliation_interval_ms) == (300_000, 30_000)
    assert (found.runtime.memory.check_interval_ms, found.runtime.memory.threshold_mb) == (30_000, 15)


@pytest.mark.parametrize("name", NAMES)
def test_a_setting_goes_by_each_of_its_names_and_is_read_back_by_the_one_it_was_written_by(name):
    path = NAMES[name].path
    value = example(path)
    before = stored(nested(name, value))
    assert before.values == {path: value}
    seen = shown(before, "info")
    assert at(seen, name) == at(seen, path) == value
    assert shown(patched(before, nested(name, None)), "info") == shown(Stored(), "info")


@pytest.mark.parametrize("name", [name for name, key in NAMES.items() if not key.opaque])
@pytest.mark.parametrize("value", ["", "12", [], {}, -1, 1e300])
def test_a_value_that_is_not_allowed_is_refused_by_the_name_that_the_client_used(name, value):
    field, message = refused(nested(name, value))
    assert field == name
    assert message.startswith(f"{name} must be ")


@pytest.mark.parametrize("name", [name for name, key in NAMES.items() if isinstance(key.default, int)])
def test_values_at_the_bounds_are_allowed_and_those_beyond_are_not(name):
    schema = described(name, null=False)
    if "minimum" not in schema:
        assert schema["type"] == "boolean"
        return
    for value, beyond in ((schema["minimum"], -1), (schema["maximum"], 1)):
        assert stored(nested(name, value)).values == {NAMES[name].path: value}
        refused(nested(name, value + beyond))
        refused(nested(name, value + 0.5 * beyond)) if schema["type"] == "integer" else None


# Merging


def test_objects_are_merged_and_arrays_replaced():
    before = {"anomalyDetection": {"enabled": True, "alerts": {"mqtt": True}, "metrics": [1, 2]}}
    after = {"anomalyDetection": {"alerts": {"cloud": False}, "metrics": [3]}}
    assert effective(before, after).anomaly_detection == {
        "enabled": True,
        "alerts": {"mqtt": True, "cloud": False},
        "metrics": [3],
    }
    assert effective(before, {"anomalyDetection": {"alerts": None}}).anomaly_detection == {
        "enabled": True,
        "metrics": [1, 2],
    }
    assert "anomalyDetection" not in shown(stored(before, {"anomalyDetection": None}), "info")


def test_a_section_keeps_what_a_patch_does_not_name():
    found = effective({"logging": {"maxLogs": 50}}, {"logging": {"maxLogFiles": 2}}, {"features": {}})
    assert (found.logging.max_logs, found.logging.max_log_files) == (50, 2)


@pytest.mark.parametrize("section", ["intervals", "intervals.agent"])
def test_null_gives_a_whole_section_back_its_defaults_names_and_unknown_settings_too(section):
    before = stored({"intervals": {"metricsIntervalMs": 5000}, "logging": {"maxLogs": 50}})
    before = msgspec.structs.replace(before, values=before.values | {"intervals.agent.warpMs": 1})
    after = patched(before, nested(section, None))
    assert after.values == {"logging.maxLogs": 50}
    assert "metricsIntervalMs" not in shown(after, "info")["intervals"] or section == "intervals.agent"


def test_what_has_no_value_is_not_shown_and_the_level_is_that_of_the_configuration():
    seen = shown(Stored(), "warn")
    assert seen["logging"]["level"] == "warn"
    assert "maxMemoryMb" not in seen["runtime"]
    assert "anomalyDetection" not in seen
    assert seen["runtime"]["memory"] == {"checkIntervalMs": 30_000, "thresholdMb": 15}


def test_an_object_of_which_nothing_is_known_may_not_grow_without_end():
    half = {"anomalyDetection": {"a": "x" * (MAX_OBJECT // 2)}}
    field, message = refused({"anomalyDetection": {"b": "x" * (MAX_OBJECT // 2)}}, stored(half))
    assert (field, message) == ("anomalyDetection", f"anomalyDetection must take at most {MAX_OBJECT} bytes")


JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-9, 9) | st.text("ab", max_size=2),
    lambda one: st.lists(one, max_size=2) | st.dictionaries(st.sampled_from("abc"), one, max_size=3),
    max_leaves=12,
)


def no_nulls(value: Any) -> bool:
    return not isinstance(value, dict) or all(v is not None and no_nulls(v) for v in value.values())


@given(st.dictionaries(st.sampled_from("abc"), JSON), JSON)
@settings(max_examples=100, deadline=None)
def test_merging_is_that_of_the_rfc(first, patch):
    before = merged({}, first)
    after = merged(before, patch)
    assert merged(after, patch) == after
    assert no_nulls(after) or not isinstance(patch, dict)
    if isinstance(patch, dict):
        assert {k: v for k, v in after.items() if k not in patch} == {
            k: v for k, v in before.items() if k not in patch
        }


# Several names, whole replies


@pytest.mark.parametrize("name", [name for name, key in NAMES.items() if len(key.names) > 1])
def test_a_whole_reply_in_which_one_name_of_several_was_edited_changes_that(name):
    path = NAMES[name].path
    before = stored(*(nested(one, example(path)) for one in NAMES[path].names))
    value = not example(path) if isinstance(example(path), bool) else example(path) - 1
    whole = shown(before, "info") | {"agent": {"uuid": "u"}}
    edited = msgspec.json.decode(msgspec.json.encode(whole))
    assert shown(patched(before, edited), "info") == shown(before, "info")
    tree = edited
    *places, last = name.split(".")
    for place in places:
        tree = tree[place]
    tree[last] = value
    for body in (edited, {"settings": edited}, whole | {"settings": edited}, edited | {"settings": whole}):
        seen = shown(patched(before, body), "info")
        assert {at(seen, one) for one in NAMES[path].names} == {value}


def test_names_of_one_setting_that_contradict_one_another_are_refused():
    patch = {"intervals": {"stateReportMs": 5000, "agent": {"reportIntervalMs": 7000}}}
    assert refused(patch) == (
        "intervals.agent.reportIntervalMs",
        "intervals.stateReportMs and intervals.agent.reportIntervalMs are the same setting and contradict one"
        " another",
    )
    patch["intervals"]["agent"]["reportIntervalMs"] = 5000
    assert effective(patch).intervals.agent.report_interval_ms == 5000


# What is not known


@pytest.mark.parametrize(
    ("patch", "field", "hint"),
    [
        ({"logging": {"levle": "debug"}}, "logging.levle", "did you mean logging.level?"),
        ({"logging": {"max_logs": 5}}, "logging.max_logs", "did you mean logging.maxLogs?"),
        ({"runtime": {"thresholdMb": 5}}, "runtime.thresholdMb", "did you mean runtime.memory.thresholdMb?"),
        ({"intervals": {"agent": {"x": None}}}, "intervals.agent.x", "known are hostSampleIntervalMs, "),
        ({"runtime": {"memory": 512}}, "runtime.memory", ""),
        ({"features": []}, "features", ""),
        ({"logging": {"level.x": 1}}, "logging.level.x", ""),
    ],
)
def test_a_key_in_a_section_that_is_not_known_is_refused(patch, field, hint):
    found, message = refused(patch)
    assert found == field
    assert message.startswith(f"{field} is not known; " if hint else field)
    assert hint in message


def test_other_keys_at_the_top_mean_nothing():
    body = {"agent": {"uuid": "x"}, "endpoints": [], "mqttMonitor": {"url": 5}, "logging": {}}
    assert stored(body) == Stored()


def test_what_another_version_has_stored_is_kept_and_of_what_is_not_allowed_the_default_counts():
    before = Stored({"logging.maxLogs": -5, "logging.warp": 9, "logging.level": "debug"})
    found, faults = runtime_patch.settings(before)
    assert (found.logging.max_logs, found.logging.level) == (1000, "debug")
    assert faults == {"logging.maxLogs": "logging.maxLogs must be an integer from 10 to 100000"}
    assert runtime_patch.unknown(before) == ["logging.warp"]
    after = patched(before, {"logging": {"level": "warn"}})
    assert after.values == before.values | {"logging.level": "warn"}
    assert "logging.maxLogs" not in patched(after, {"logging": {"maxLogs": None}}).values
    assert patched(after, {"logging": {"maxLogs": 20}}).values["logging.maxLogs"] == 20


ANYTHING = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(max_size=5),
    lambda one: (
        st.lists(one, max_size=3)
        | st.dictionaries(
            st.sampled_from([name.rpartition(".")[2] for name in NAMES] + ["agent", "memory", "x", ""]),
            one,
            max_size=4,
        )
    ),
    max_leaves=20,
)


@given(st.lists(st.dictionaries(st.sampled_from([*TOP, "settings", "agent"]), ANYTHING), max_size=4))
@settings(max_examples=100, deadline=None)
def test_whatever_is_sent_is_refused_by_name_or_leaves_settings_that_can_be_stored_and_read(patches):
    kept = Stored()
    refusals = []
    for patch in patches:
        try:
            kept = patched(kept, patch)
        except Invalid as error:
            refusals.append(error)
    for refusal in refusals:
        assert refusal.field
        assert refusal.message.startswith(refusal.field) or "contradict" in refusal.message
    again = msgspec.convert(msgspec.json.decode(msgspec.json.encode(kept)), Stored)
    assert again == kept
    assert not runtime_patch.settings(kept)[1]
    assert patched(kept, shown(kept, "info")).values.items() >= kept.values.items()


ALLOWED = st.dictionaries(st.sampled_from(list(NAMES)), st.integers(0, 2), max_size=8).map(
    lambda chosen: {
        name: (None, KEYS[NAMES[name].path].default, example(NAMES[name].path))[choice]
        for name, choice in chosen.items()
    }
)


@given(st.lists(ALLOWED, max_size=5))
@settings(max_examples=100, deadline=None)
def test_of_what_is_allowed_only_names_that_contradict_one_another_are_refused(patches):
    kept = Stored()
    for values in patches:
        tree: dict[str, Any] = {}
        for name, value in values.items():
            put(tree, name, value)
        meant: dict[str, list[Any]] = {}
        for name, value in values.items():
            meant.setdefault(NAMES[name].path, []).append(value)
        before = kept
        try:
            kept = patched(kept, tree)
        except Invalid as error:
            said = meant[NAMES[error.field].path]
            assert any(value != said[0] for value in said)
            continue
        for path, said in meant.items():
            if all(value == said[0] for value in said) and path != "anomalyDetection":
                assert kept.values.get(path) == said[0]
        untouched = before.values.keys() - meant.keys()
        assert {path: kept.values[path] for path in untouched} == {
            path: before.values[path] for path in untouched
        }


# The schema


def test_no_two_settings_share_a_name_and_each_says_what_it_is():
    names = [name for key in KEYS.values() for name in key.names]
    assert len(names) == len(set(names)) == len(NAMES)
    assert not [key.path for key in KEYS.values() if not key.description.endswith(".")]


def test_every_field_is_a_setting():
    def leaves(struct: Any, place: str = "") -> list[str]:
        return [
            path
            for name, kind in types(struct).items()
            for path in (leaves(kind, f"{place}{name}.") if is_struct(kind) else [place + name])
        ]

    assert leaves(RuntimeSettings) == list(KEYS)


@pytest.mark.parametrize("top", TOP)
@pytest.mark.parametrize("null", [True, False])
def test_the_openapi_document_has_every_name(top, null):
    def names(schema: dict[str, Any], place: str) -> list[str]:
        schema = schema.get("anyOf", [schema])[0]
        below = schema.get("properties")
        if below is None:
            return [place]
        return [name for word, one in below.items() for name in names(one, f"{place}.{word}")]

    wanted = [name for name in NAMES if name.partition(".")[0] == top]
    assert sorted(names(described(top, null=null), top)) == sorted(wanted)


def test_the_page_is_that_of_the_schema():
    assert (DOCS / "settings.rst").read_text("utf-8") == runtime_page.page(), "make docs/settings.rst"


def test_the_page_names_every_setting_and_what_nothing_uses_yet():
    page = runtime_page.page()
    for name, key in NAMES.items():
        assert f"``{name}``" in page
        if key.waits_for:
            assert f"**Later**: with {key.waits_for}" in " ".join(page.split())
    assert max(map(len, page.splitlines())) <= 125


def test_secrets_in_an_object_of_which_nothing_is_known_are_not_shown_and_come_back_unharmed():
    """Viewers read the settings, and clients send back whole replies."""
    given = {
        "anomalyDetection": {"hook": {"token": "swordfish"}, "alerts": [{"password": "hunter22"}], "a": 1}
    }
    kept = stored(given)
    seen = shown(kept, "info")
    assert "swordfish" not in str(seen)
    assert "hunter22" not in str(seen)
    seen["anomalyDetection"]["a"] = 2
    again = patched(kept, seen).values["anomalyDetection"]
    assert again == given["anomalyDetection"] | {"a": 2}
    assert patched(kept, {"anomalyDetection": {"hook": {"token": "new"}}}).values["anomalyDetection"][
        "hook"
    ] == {"token": "new"}
