"""The carriers on the onnxruntime releases of boards: fetched by pip once, run in a process of their own."""

import numpy as np
import pytest

from exporters import parse_target
from tests.support import families

pytestmark = [pytest.mark.slow, pytest.mark.timeout(420)]


@pytest.mark.parametrize("version", ["1.19.2", "1.23.2"])
def test_every_family_runs_there_as_its_reference_does(version, tmp_path):
    environment = families.old_runtime(version)
    target = parse_target(f"ort:{version}")
    paths = {}
    for number, scheme in enumerate(families.SCHEMES):
        paths[scheme] = tmp_path / f"{number}.onnx"
        paths[scheme].write_bytes(families.lowered(scheme, target)[0].SerializeToString())
    feed = families.feeds()
    found = families.run_with(environment, feed, list(paths.values()), tmp_path)
    for scheme, path in paths.items():
        assert not isinstance(found[path], str), (scheme, found[path])
        want = families.run(families.reference(scheme), feed)
        for number, (first, second) in enumerate(zip(want, found[path], strict=True)):
            allowed = 0.03 if number == 0 else 1e-5
            assert np.linalg.norm(second - first) <= allowed * np.linalg.norm(first), (scheme, number)


def test_what_a_release_lacks_is_not_written_for_it(tmp_path):
    """The same scheme lowered for the newest release is refused by the old one: the target matters."""
    environment = families.old_runtime("1.19.2")
    path = tmp_path / "new.onnx"
    path.write_bytes(families.lowered("ternary", parse_target("ort:1.32"))[0].SerializeToString())
    found = families.run_with(environment, families.feeds(), [path], tmp_path)
    assert isinstance(found[path], str) and "4" in found[path]
