"""Outputs that come back in a codec, as a placement has them."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from device_agents.split.client import SplitClient
from device_agents.split.decide import Policy
from device_agents.split.package import Package
from device_agents.split.wire import Endpoint, Wire, plain
from exporters.runtime import Session
from offload.package.write import Planned, write
from tests.support.serving import serving
from tests.support.split_packages import EXAMPLE, images, source


def packed(folder: Path) -> Package:
    found = source()
    crossings = ((found.graph.inputs[0], True, "raw"), (found.graph.outputs[0], False, "raw+zlib"))
    return write(folder / "p.split", found, [Planned("p0", "server", (True,) * len(found.graph.pieces), crossings)])


def test_an_output_comes_back_in_the_codec_of_its_placement_and_is_what_it_was(tmp_path: Path) -> None:
    made, feeds = packed(tmp_path), {"image": images(1)}
    want = Session(EXAMPLE / "fashion_mnist.onnx", "whole").run(feeds)[0]
    with serving(made.path) as running:
        wire = Wire(Endpoint(running.url))
        model = made.model_name(made.placements["p0"], made.placements["p0"].parts[0])
        answer = wire.infer(model, [plain("image", feeds["image"])], ["logits"], 20.0, codecs={"logits": "raw+zlib"})
        wire.close()
        client = SplitClient(made, Endpoint(running.url), Policy("fixed", placement="p0", fallback="refuse"))
        result = client.infer(feeds)
        client.close()
    assert answer.tensors["logits"].codec == "raw+zlib"
    assert result.outputs is not None
    np.testing.assert_array_equal(result.outputs["logits"], want)
