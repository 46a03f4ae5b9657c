"""Costs from profiles, predictions from other models, power: numbers as made, words never mixed up."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from mobile.errors import InputError, UsageError
from offload.costs.build import CodecTimes, costs_from_profiles, worst
from offload.costs.coders import CodecTime, Coders
from offload.costs.features import Features
from offload.costs.power import RADIOS, power_of, radio
from offload.costs.predict import ANY, fit, of_place, predicted
from offload.costs.profile import PieceTime, Place, Profile, from_json
from offload.costs.subject import Subject, open_subject
from offload.model.coding import Coding
from offload.plan.costs import check
from tests.support.onnx_text import saved


@pytest.fixture
def subject(tmp_path: Path) -> Subject:
    return open_subject(saved(tmp_path / "net.onnx"))


def profile_of(subject: Subject, place: str, head_s: float, tail_s: float, how: str = "measured") -> Profile:
    pieces = [PieceTime(p.name, p.operators, head_s, tail_s, how, weight_bytes=7) for p in subject.graph.pieces]
    return Profile(subject.name, subject.sha256, Place(place), tuple(pieces))


def test_heads_are_the_devices_and_tails_the_servers(subject: Subject) -> None:
    device, server = profile_of(subject, "pi", 3.0, 99.0), profile_of(subject, "edge", 99.0, 0.5)
    costs = costs_from_profiles(subject.graph, subject.observed, device, server, request_s=0.01)
    check(costs)
    assert set(costs.device_s) == {3.0}
    assert set(costs.server_s) == {0.5}
    assert costs.request_s == 0.01
    assert set(costs.weight_bytes) == {7}
    assert costs.how["device_s"] == costs.how["server_s"] == "measured"
    given = costs.values[0]
    assert (given.name, given.producer, given.down) == ("image", -1, ())
    assert [value.name for value in costs.values if value.needed_on_device] == ["logits"]


def test_the_models_outputs_come_back_as_they_are_and_other_values_in_any_codec(subject: Subject) -> None:
    profile = profile_of(subject, "pi", 1.0, 1.0)
    for codecs, lossless in ((("raw", "q8", "raw+zlib"), ["raw", "raw+zlib"]), (("q8", "delta:q8"), ["raw"])):
        costs = costs_from_profiles(subject.graph, subject.observed, profile, profile, codecs=codecs)
        ways = {value.name: [way.codec for way in value.down] for value in costs.values if value.producer >= 0}
        assert ways.pop("logits") == lossless
        assert all(names == [codec for codec in codecs if ":" not in codec] for names in ways.values())


def test_coding_is_measured_by_value_predicted_by_size_or_assumed(subject: Subject) -> None:
    device, server = profile_of(subject, "pi", 1.0, 1.0), profile_of(subject, "edge", 1.0, 1.0)
    inner = subject.graph.pieces[0].outputs[0]
    size = subject.observed[inner].size_bytes
    raw = CodecTime(inner, "raw", size, 0.0, 0.0, float(size))  # the outputs come back so
    own = Coders("pi", (CodecTime(inner, "q8", size, 0.2, 0.9, 11.0), raw))
    theirs = Coders("edge", (CodecTime(inner, "q8", size, 0.9, 0.1, 11.0), raw))
    times = CodecTimes(own, theirs, {inner: [Coding("q8", 100.0, 0.01, 4)]})
    costs = costs_from_profiles(subject.graph, subject.observed, device, server, times, ("q8",))
    by_name = {value.name: value for value in costs.values}
    (up,) = by_name[inner].up
    assert (up.encode_s, up.decode_s) == (0.2, 0.1)
    assert up.bits == 8 * (100 + 160)
    (down,) = by_name[inner].down
    assert (down.encode_s, down.decode_s) == (0.9, 0.9)
    (guessed,) = by_name["image"].up
    assert guessed.encode_s == pytest.approx(0.2 * subject.observed["image"].size_bytes / size)
    assert costs.how["codec_s"] == "predicted"
    unknown = costs_from_profiles(subject.graph, subject.observed, device, server, codecs=("q8+zlib",))
    assert unknown.how["codec_s"] == unknown.how["bits"] == "assumed"


def test_the_codecs_of_a_profile_are_used_without_being_asked_for(subject: Subject) -> None:
    size = subject.observed["image"].size_bytes
    device = replace(profile_of(subject, "pi", 1.0, 1.0), codecs=(CodecTime("image", "fp16", size, 0.7, 0.0, 1.0),))
    costs = costs_from_profiles(subject.graph, subject.observed, device, device, codecs=("fp16",))
    assert costs.values[0].up[0].encode_s == 0.7


def test_what_is_no_float_travels_as_it_is_and_what_is_unknown_does_not(subject: Subject) -> None:
    one = profile_of(subject, "pi", 1.0, 1.0)
    inner = subject.graph.pieces[0].outputs[0]
    observed = {**subject.observed, inner: replace(subject.observed[inner], dtype="int8")}
    del observed["image"]
    costs = costs_from_profiles(subject.graph, observed, one, one, codecs=("raw", "q8", "raw+zlib"))
    by_name = {value.name: value for value in costs.values}
    assert [way.codec for way in by_name[inner].up] == ["raw", "raw+zlib"]
    assert by_name["image"].up == ()


def test_profiles_of_other_pieces_make_no_costs(subject: Subject) -> None:
    one = profile_of(subject, "pi", 1.0, 1.0)
    with pytest.raises(InputError, match="not of this model"):
        costs_from_profiles(subject.graph, subject.observed, one, replace(one, pieces=one.pieces[1:]))


def test_the_least_certain_word_counts() -> None:
    assert worst("measured", "assumed", "predicted") == "assumed"
    assert worst("measured", "predicted") == "predicted"
    assert worst() == "measured"


TRUE = {"Conv": (2e-6, 1e-10, 3e-10, 0.0, 1e-10), "Add": (1e-6, 0.0, 2e-10, 4e-10, 0.0)}


def made_up(seed: int, pieces: int = 40, place: Place | None = None, noise: float = 0.0) -> Profile:
    """A measured profile of pieces whose times follow TRUE exactly, or with so much noise."""
    rng, rows = np.random.default_rng(seed), []
    for index in range(pieces):
        kind = "Conv" if index % 2 else "Add"
        macs = int(rng.integers(1e4, 1e7)) if kind == "Conv" else 0
        sizes = [int(size) for size in rng.integers(1e3, 1e6, 3)]
        own = (1.0, macs, *sizes)
        seconds = sum(c * x for c, x in zip(TRUE[kind], own, strict=True)) * (1 + noise * rng.standard_normal())
        rows.append(PieceTime(f"p{index}", (kind,), max(seconds, 0), 0.0, "measured", None, macs, *sizes))
    return Profile(f"m{seed}.onnx", f"{seed:064d}", place or Place("pi"), tuple(rows))


def test_a_regression_finds_what_made_the_times() -> None:
    model = fit([made_up(1), made_up(2)])
    for kind, true in TRUE.items():
        assert model.coefficients[kind] == pytest.approx(true, rel=1e-6, abs=1e-12)
    assert model.error.median < 1e-6
    assert model.error.models == 2
    assert model.error.whole_median is not None
    assert model.counts == {ANY: 80, "Conv": 40, "Add": 40}


def test_the_error_is_that_of_what_was_left_out() -> None:
    exact, noisy = fit([made_up(1)]), fit([made_up(1, noise=0.3)])
    assert exact.error.whole_median is None  # one model: parts of its pieces were left out
    assert exact.error.pieces == noisy.error.pieces == 40
    assert noisy.error.median > 0.05 > exact.error.median
    assert noisy.error.p90 >= noisy.error.median


def test_an_operator_that_was_never_seen_is_predicted_from_all() -> None:
    model = fit([made_up(1)])
    known = Features(("Conv",), 1000, 10, 10, 10)
    assert model.seconds(replace(known, operators=("Gelu",))) == pytest.approx(
        sum(c * x for c, x in zip(model.coefficients[ANY], (1, 1000, 10, 10, 10), strict=True))
    )


def test_a_predicted_profile_says_so_everywhere(subject: Subject) -> None:
    features = [Features(("Conv",), 1000, 10, 10, 10)] * len(subject.graph.pieces)
    found = predicted(subject, features, fit([made_up(1)]))
    assert found.how == found.pieces_how == "predicted"
    assert {piece.how for piece in found.pieces} == {"predicted"}
    assert found.whole is None
    assert found.whole_s == pytest.approx(sum(piece.head_s for piece in found.pieces))
    assert "error of pieces left out" in found.notes[0]
    assert from_json(found.to_json()) == found
    assert from_json(found.to_json()).place.name == "pi"


def test_profiles_that_do_not_fit_together_are_refused() -> None:
    with pytest.raises(InputError, match="no measured profile"):
        fit([])
    with pytest.raises(InputError, match="different devices, runtimes, threads"):
        fit([made_up(1), made_up(2, place=Place("pi", threads=4))])
    with pytest.raises(InputError, match="fewer than 8"):
        fit([made_up(1, pieces=4)])


def test_only_measured_profiles_of_other_models_there_are_predicted_from() -> None:
    one, other = made_up(1), made_up(2, place=Place("orin"))
    assert of_place([one, other, replace(made_up(3), how="predicted")], "pi", "x") == [one]
    assert of_place([one], "pi", one.model_sha256) == []


def test_a_cost_model_is_plain_json() -> None:
    import json

    document = json.loads(json.dumps(fit([made_up(1)]).to_json(), allow_nan=False))
    assert document["kind"] == "edgewise-cost-model"
    assert set(document["operators"]["Conv"]) == {
        "start_s", "s_per_mac", "s_per_input_byte", "s_per_output_byte", "s_per_weight_byte",
    }  # fmt: skip


def test_radios_are_assumed_and_can_be_overridden() -> None:
    lte = radio("lte")
    assert (lte.how, lte.tail_j) == ("assumed", pytest.approx(12.27, abs=0.01))
    own = radio("wifi", on_w=0.5)
    assert (own.on_w, own.source, own.how) == (0.5, "given", "assumed")
    assert all(one.how == "assumed" for one in RADIOS.values())
    with pytest.raises(UsageError, match="there are lte, 3g, wifi"):
        radio("5g")
    with pytest.raises(UsageError, match="not below 0"):
        radio("lte", on_w=-1.0)


def test_power_is_measured_only_where_all_of_it_is() -> None:
    watts = {"missing": None, "mean_power_w": 6.0, "idle_power_w": 2.0, "scope": "board"}
    measured = replace(made_up(1), energy=watts)
    found, why = power_of(measured, radio("none"))
    assert found is not None
    assert (found.busy_w, found.idle_w, found.how, why) == (6.0, 2.0, "measured", None)
    on_air, _ = power_of(measured, radio("lte"))
    assert on_air is not None
    assert on_air.how == "assumed"
    assert on_air.send_alpha_w_per_mbps == pytest.approx(0.43839)
    given, _ = power_of(measured, radio("none"), busy_w=9.0)
    assert given is not None
    assert (given.busy_w, given.idle_w, given.how) == (9.0, 2.0, "assumed")


def test_power_that_is_not_known_says_why() -> None:
    nothing, why = power_of(replace(made_up(1), energy={"missing": "no sensor here"}), radio("lte"))
    assert nothing is None
    assert why is not None
    assert "no sensor here" in why
    half, why = power_of(replace(made_up(1), energy={"missing": None, "mean_power_w": 5.0}), radio("lte"))
    assert half is None
    assert why is not None
    assert "idle power of pi" in why
