"""A carrier on an onnxruntime release of boards: fetched by pip once, run in a process of its own.

What runs there is asked in tests/exporters/test_every_family.py.
"""

import pytest

from exporters import parse_target
from tests.support import families

pytestmark = [pytest.mark.slow, pytest.mark.timeout(420)]


def test_what_a_release_lacks_is_not_written_for_it(tmp_path):
    """The same scheme lowered for the newest release is refused by the old one: the target matters."""
    environment = families.old_runtime("1.19.2")
    path = tmp_path / "new.onnx"
    path.write_bytes(families.lowered("ternary", parse_target("ort:1.32"))[0].SerializeToString())
    found = families.run_with(environment, families.feeds(), [path], tmp_path)
    assert isinstance(found[path], str) and "4" in found[path]
