"""A model is profiled on this machine, in earnest: no times are asserted, but how they hang together is."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path

import onnx
import pytest

from mobile import example
from mobile.benchmark import BenchOptions
from mobile.errors import ExportError, InputError, ModelError, RunFailure, UsageError
from mobile.inventory import Device, Inventory
from mobile.results.store import RunStore
from offload.costs.build import costs_from_profiles
from offload.costs.measure import Asked, profile, rough_seconds
from offload.costs.profile import Profile, from_json
from offload.costs.subject import Subject, open_subject
from offload.plan.costs import check
from tests.support.onnx_text import saved

LIGHT = Path(onnx.__file__).parent / "backend/test/data/light"
LOCAL = Inventory.builtin().device("local")
SHORT = BenchOptions(runner="ort", threads=(1,), warmup_duration_s=0.0, min_count=3, duration_s=0.01)


def profiled(subject: Subject, folder: Path, device: Device = LOCAL, **asked: object) -> tuple[Profile, RunStore]:
    store = RunStore(folder / "runs.sqlite3")
    given = {"cuts": 2, "codecs": ("raw", "q8", "q8+zlib"), **asked}
    return profile(subject, device, Asked(SHORT, **given), store), store  # type: ignore[arg-type]


@pytest.mark.parametrize("path", [example.model_path(), LIGHT / "light_shufflenet.onnx"], ids=["example", "shufflenet"])
def test_a_profile_hangs_together(path: Path, tmp_path: Path) -> None:
    subject = open_subject(path)
    made, store = profiled(subject, tmp_path)
    assert [piece.name for piece in made.pieces] == [piece.name for piece in subject.graph.pieces]
    assert made.model_sha256 == subject.sha256
    assert made.how == "measured"
    assert made.place.name == "local"
    assert (made.place.provenance, made.place.runtime, made.place.threads) == ("real", "onnxruntime", 1)
    assert [timed.cut for timed in made.heads] == [timed.cut for timed in made.tails] == [cut.cut for cut in made.cuts]
    assert len(made.cuts) == 2
    assert made.whole is not None
    for timed, fitted_s in [
        (made.whole, made.head_s(len(made.pieces))),
        *[(head, made.head_s(head.cut)) for head in made.heads],
        *[(tail, made.tail_s(tail.cut)) for tail in made.tails],
    ]:
        assert timed.seconds > 0
        assert timed.count >= 3
        assert timed.residual_s == pytest.approx(timed.seconds - fitted_s, abs=1e-12)
    heads = [made.head_s(k) for k in range(len(made.pieces) + 1)]
    tails = [made.tail_s(k) for k in range(len(made.pieces) + 1)]
    assert heads == sorted(heads)
    assert tails == sorted(tails, reverse=True)
    told = [piece.profiled_s for piece in made.pieces if piece.profiled_s is not None]
    assert len(told) > 0.6 * len(made.pieces)  # the rest is fused into another piece
    assert math.fsum(told) > 0
    assert all((piece.how == "measured") == (piece.profiled_s is not None) for piece in made.pieces)
    assert {time.codec for time in made.codecs} == {"raw", "q8", "q8+zlib"}
    assert {time.value for time in made.codecs} == {
        *subject.graph.inputs,
        *(v for cut in made.cuts for v in cut.values),
    }
    runs = {run for timed in (made.whole, *made.heads, *made.tails) for run in timed.runs}
    assert len(runs) == 5
    assert all(store.has(run) for run in runs)
    assert made.energy is not None
    assert from_json(made.to_json()) == made
    check(costs_from_profiles(subject.graph, subject.observed, made, made))


def test_a_slowed_device_says_so_and_rounds_are_repeated(tmp_path: Path) -> None:
    slow = Device(name="slow", transport="local", slow_down=3.0, provenance="slowed")
    subject = open_subject(example.model_path())
    made, _ = profiled(subject, tmp_path, slow, cuts=1, repeat=2, codecs=())
    assert (made.place.name, made.place.provenance, made.place.slow_down) == ("slow", "slowed", 3.0)
    assert made.whole is not None
    assert [len(timed.runs) for timed in (made.whole, *made.heads, *made.tails)] == [2, 2, 2]
    assert made.codecs == ()


def test_a_model_that_the_device_refuses_is_a_failure_with_its_words(tmp_path: Path) -> None:
    subject = open_subject(example.model_path())
    broken = replace(subject, sample={name: array[:, :, :5] for name, array in subject.sample.items()})
    with pytest.raises(RunFailure, match="image"):
        profiled(broken, tmp_path)


def test_a_part_that_fails_is_told_and_the_rest_is_kept(tmp_path: Path) -> None:
    subject = open_subject(example.model_path())
    # What crosses has another shape than the tail declares: the tails fail, the heads do not.
    values = {name: array[:, :1] if name not in subject.sample else array for name, array in subject.values.items()}
    made, _ = profiled(replace(subject, values=values), tmp_path, codecs=())
    assert made.tails == ()
    assert len(made.heads) == 2
    assert sum("was not measured" in note for note in made.notes) == 2


def test_parts_that_no_file_can_hold_are_told_and_the_whole_is_measured_as_it_is(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("offload.costs.measure.MAX_PART_BYTES", 10)
    subject = open_subject(saved(tmp_path / "net.onnx"))
    made, _ = profiled(subject, tmp_path, codecs=())
    assert made.heads == made.tails == ()
    assert any("larger than 2 GiB" in note for note in made.notes)
    assert made.head_s(len(made.pieces)) == pytest.approx(made.whole_s)


def test_what_cannot_be_taken_apart_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="no such file"):
        open_subject(tmp_path / "none.onnx")
    with pytest.raises(UsageError, match="only an ONNX model"):
        open_subject(Path(__file__).parents[2] / "data/models/alexa.tflite")
    (tmp_path / "bad.onnx").write_bytes(example.model_path().read_bytes()[:5000])
    with pytest.raises((ModelError, ExportError, UsageError)):
        open_subject(tmp_path / "bad.onnx")
    with pytest.raises(InputError, match="no array for the input"):
        open_subject(example.model_path(), inputs=example_without_image(tmp_path))


def example_without_image(folder: Path) -> Path:
    import numpy as np

    np.savez(folder / "x.npz", other=np.zeros(3))
    return folder / "x.npz"


def test_real_inputs_are_cut_to_one_item() -> None:
    subject = open_subject(example.model_path(), inputs=example.evaluation_path(), scale={"image": 1 / 255})
    assert subject.inputs_are == "given"
    assert subject.sample["image"].shape[0] == 1
    assert subject.sample["image"].max() <= 1.0


@pytest.mark.parametrize(("field", "value"), [("cuts", -1), ("cuts", 1000), ("repeat", 0)])
def test_what_is_asked_for_has_limits(field: str, value: int) -> None:
    with pytest.raises(UsageError, match=f"--{field}"):
        Asked(SHORT, **{field: value})  # type: ignore[arg-type]


def test_a_guess_grows_with_work_and_with_bytes() -> None:
    from offload.costs.features import Features

    small = Features(("Conv",), 1000, 10, 10, 10)
    assert rough_seconds(replace(small, macs=10**9)) > rough_seconds(small)
    assert rough_seconds(replace(small, weight_bytes=10**9)) > rough_seconds(small)
    assert rough_seconds(replace(small, macs=None)) > 0
