"""Policy files: what is compiled, what is refused and in which words, and what a replay decides."""

from __future__ import annotations

import json
from pathlib import Path

import jsonschema
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from device_agents.split.decide import Decider, Policy
from device_agents.split.table import Level, Placement, Table
from mobile.errors import ConfigError, InputError
from offload.policy import load_policy, parse_policy
from offload.policy.replay import replay
from offload.policy.schema import SCHEMA_PATH, main, schema_text
from tests.support.markdown import blocks

FULL = """
policy: weighted
weights: {latency: 1, energy: 0.5}
deadline_ms: 150
fallback: refuse
hysteresis: {gain: 10 %, count: 3, horizon: 20}
when:
  - if: {temperature_c: {above: 80}, charging: false}
    use: deadline
  - if: {battery: {below: 20 %}, uplink_mbps: {above: 1, below: 3}}
    use: p3
  - if: {server: down}
    use: local
"""


def test_a_full_policy_is_compiled_to_seconds_and_shares() -> None:
    made = parse_policy(FULL)
    assert (made.policy, made.latency_weight, made.energy_weight) == ("weighted", 1.0, 0.5)
    assert (made.deadline_s, made.fallback) == (0.15, "refuse")
    assert (made.switch_gain, made.switch_count, made.switch_horizon) == (0.1, 3, 20)
    assert [rule.use for rule in made.when] == ["deadline", "p3", "local"]
    assert made.when[0].conditions == {"temperature_c": {"above": 80.0}, "charging": False}
    assert made.when[1].conditions == {"battery": {"below": 0.2}, "uplink_mbps": {"above": 1.0, "below": 3.0}}
    assert Policy.from_json(json.loads(json.dumps(made.to_json()))) == made


def test_what_is_left_out_is_as_the_device_has_it() -> None:
    assert parse_policy("policy: latency") == Policy()
    assert parse_policy("policy: fixed\nplacement: p2").placement == "p2"
    assert parse_policy("when:\n- if: {battery: {above: 0.5}}\n  use: energy").when[0].conditions == {
        "battery": {"above": 0.5}
    }


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("policy: latncy", r"p\.yaml:1: policy is 'latncy', expected one of .*; did you mean latency\?"),
        ("\nfallbck: local", r"p\.yaml:2: fallbck is not a known key; did you mean fallback\?"),
        ("policy: fixed", r"p\.yaml:1: placement: is missing: policy fixed needs it"),
        ("deadline_ms: 5", r"deadline_ms: belongs to policy deadline, which is not used here"),
        ("policy: deadline\ndeadline_ms: 0", r"p\.yaml:2: deadline_ms is 0, expected a number above 0"),
        ("policy: weighted\nweights: {latency: -1}", r"weights\.latency is -1, expected a number of at least 0"),
        (
            "when:\n- if: {battery: {below: 20}}\n  use: local",
            r"yaml:2: when\[0\]\.if\.battery\.below is 20.*per cent",
        ),
        ("when:\n- if: {}\n  use: local", r"when\[0\]\.if\.\S+: a rule without a condition"),
        ("when:\n- if: {rtt_ms: {}}\n  use: local", r"above or below is missing"),
        ("when:\n- if: {rtt_ms: {above: 3, below: 2}}\n  use: p1", r"below is 2, which is not above 3"),
        ("when:\n- if: {server: down}\n  use: enrgy", r"p\.yaml:3: when\[0\]\.use is 'enrgy'.*did you mean energy\?"),
        ("when:\n- if: {server: dwn}\n  use: energy", r"server is 'dwn', expected one of up, down"),
        ("when:\n- if: {moon: {above: 1}}\n  use: p1", r"moon is not a known key"),
        ("when: 3", r"when is 3, expected a list"),
        ("hysteresis: {gain: 100 %}", r"gain is all of it"),
        ("hysteresis: {count: true}", r"hysteresis\.count is true, expected a whole number from 1"),
        ("policy: fixed\nplacement: 3", r"placement is 3, expected one of local or a placement's id such as p3"),
        ("[1]", r"p\.yaml:1: a policy is a mapping"),
        ("policy: [", r"p\.yaml:1: "),
    ],
)
def test_an_error_names_line_field_value_and_what_was_expected(text: str, words: str) -> None:
    with pytest.raises(ConfigError, match=words):
        parse_policy(text, "p.yaml")


def test_a_file_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"no\.yaml: cannot be read"):
        load_policy(tmp_path / "no.yaml")
    (tmp_path / "p.yaml").write_text(FULL)
    assert load_policy(tmp_path / "p.yaml") == parse_policy(FULL)


@settings(max_examples=200, deadline=None)
@given(st.text(max_size=80))
def test_any_text_is_a_policy_or_an_error_of_ours(text: str) -> None:
    try:
        assert isinstance(parse_policy(text), Policy)
    except ConfigError as error:
        assert error.message.startswith("policy.yaml")


def test_the_schema_file_is_that_of_the_models_and_takes_what_is_taken(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--check"]) == 0
    assert main(["--else"]) == 2
    assert SCHEMA_PATH.read_text() == schema_text()
    import yaml

    schema = json.loads(schema_text())
    jsonschema.validate(yaml.safe_load(FULL), schema)
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate({"policy": "latncy"}, schema)
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate({"hysteresis": {"gain": "much"}}, schema)


LOCAL = Placement("p0", "device", 0.1, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0)
REMOTE = Placement("p1", "server", 0.0, 0.01, 0.0, 0.0, 1e5, 0.0, 0.0)
TABLE = Table([LOCAL, REMOTE], [Level(1.0, (1e-10, 9e-7, 1e-3), ("p1", "p0"))])


def test_recorded_conditions_go_through_another_policy() -> None:
    records = [
        {"t_s": 0.0, "uplink_bps": 1e7, "downlink_bps": 1e7, "rtt_s": 0.01, "placement": "p0", "predicted_s": 0.1},
        {"t_s": 1.0, "uplink_bps": 1e5, "downlink_bps": 1e7, "rtt_s": 0.01, "battery": 0.1, "placement": None},
    ]
    found = replay(records, Decider(parse_policy("policy: latency"), TABLE))
    assert [(one.then, one.now.placement) for one in found] == [("p0", REMOTE), (None, LOCAL)]
    assert [one.predicted_then_s for one in found] == [0.1, None]
    rule = parse_policy("when:\n- if: {battery: {below: 20 %}}\n  use: p1")
    assert [one.now.placement for one in replay(records, Decider(rule, TABLE))] == [REMOTE, REMOTE]


@pytest.mark.parametrize("change", [{"uplink_bps": None}, {"rtt_s": "x"}, {"t_s": True}, {"downlink_bps": 0}])
def test_a_record_without_its_figures_is_named(change: dict[str, object]) -> None:
    record = {"t_s": 0.0, "uplink_bps": 1e7, "downlink_bps": 1e7, "rtt_s": 0.01, **change}
    with pytest.raises(InputError, match="record 0"):
        replay([record], Decider(Policy(), TABLE))


def test_the_policy_of_the_manual_is_one() -> None:
    page = Path(__file__).resolve().parents[3] / "docs/policies.md"
    (body,) = blocks(page, "yaml")
    assert [rule.use for rule in parse_policy(body).when] == ["energy", "energy", "local"]
