"""`--scheme auto` on the example model: tried on its test images, chosen by the interval, exported with proof."""

import json
from pathlib import Path

import pytest

from exporters.auto import parse_budget, search
from mobile.cli.main import run
from mobile.errors import ExportError

EXAMPLE = Path(__file__).parents[3] / "mobile/example"
DATA = [
    "--inputs", str(EXAMPLE / "fashion_mnist_test_1000.npz"), "--labels", "label", "--scale", f"image={1 / 255}",
]  # fmt: skip


@pytest.fixture(scope="module")
def trials():
    """Three schemes, one of which does not exist for this data."""
    return search(
        EXAMPLE / "fashion_mnist.onnx", parse_budget("size<=300kB,drop<=3%"), EXAMPLE / "fashion_mnist_test_1000.npz",
        "label", ["binary", "*=int8", "int8"], scale={"image": 1 / 255},
    )  # fmt: skip


def test_each_scheme_is_judged_on_all_items(trials):
    verdicts = {trial.scheme: trial.verdict for trial in trials.trials}
    assert verdicts == {"binary": "over", "*=int8": "within", "int8": "failed"}
    assert trials.items == 1000
    assert trials.chosen.scheme == "*=int8"
    json.dumps(trials.to_json(), allow_nan=False)


def test_what_needs_calibration_says_so(trials):
    assert next(trial.why for trial in trials.trials if trial.scheme == "int8") == "needs --calibration"


def test_without_labels_the_sources_own_answers_stand_for_them():
    found = search(
        EXAMPLE / "fashion_mnist.onnx", parse_budget("drop<=0.1%"), EXAMPLE / "fashion_mnist_test_1000.npz",
        None, ["*=int8"], scale={"image": 1 / 255},
    )  # fmt: skip
    assert found.measure == "agreement with the source's arg-max"
    assert found.chosen is None
    with pytest.raises(ExportError, match=r"no scheme is within the budget .* undecided: \*=int8"):
        found.need_chosen()


def test_a_budget_without_the_search_is_a_mistake(tmp_path, capsys):
    source = str(EXAMPLE / "fashion_mnist.onnx")
    assert run(["export", source, "-o", str(tmp_path / "o.onnx"), "--budget", "drop<=1%"]) == 2
    assert "belong together" in capsys.readouterr().err


def test_the_command_exports_the_chosen_one(tmp_path, capsys, monkeypatch):
    monkeypatch.setattr("exporters.auto.trials.DEFAULT_SCHEMES", ("binary", "codebook"))
    output = tmp_path / "auto.onnx"
    wanted = ["--scheme", "auto", "--budget", "size<=400kB,drop<=3%", "--json"]
    assert run(["export", str(EXAMPLE / "fashion_mnist.onnx"), "-o", str(output), *wanted, *DATA]) == 0
    document = json.loads(capsys.readouterr().out)
    assert document["auto"]["chosen"] == document["manifest"]["scheme"] == "codebook"
    assert output.stat().st_size <= 400_000
    assert document["weights_proof"]["ok"]
