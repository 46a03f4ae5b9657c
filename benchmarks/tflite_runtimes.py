"""Which converted models tflite-runtime 2.14 runs, float and in each scheme: `python -m benchmarks.tflite_runtimes`.

With names: only those models. Every file is written for tflite:2.14 and runs there and on LiteRT at the first shape;
"runs" says how far its outputs are from LiteRT's on the same file, and, for a scheme, the cosine of its worst output to
onnxruntime's on the float model. The last column is why the int8-dynamic file that is written for LiteRT 2.3 would not
load on 2.14. EDGEWISE_TFLITE_PYTHON is the Python of the environment that has tflite-runtime (`make tflite` makes one).
"""

from __future__ import annotations

import platform
import sys
import tempfile
from pathlib import Path

import numpy as np

from exporters.tflite import flat
from exporters.tflite.ir import Program
from exporters.tflite.quantise import quantise
from exporters.tflite.rules import LITERT_2_3, TFLITE_2_14, check_loads, refused
from exporters.tflite.running import LiteSession
from exporters.tflite.sensitivity import Nearness
from mobile.errors import EdgewiseError, ExportError
from tests.exporters.tflite.test_real_models import MODELS, converted, off, path_of
from tests.support import real_feeds
from tests.support.tflite import OLD_PYTHON, OldRuntime, Refused

SCHEMES = (None, "int8", "int8-dynamic", "int4")
Feeds = dict[str, np.ndarray]


def main(names: list[str]) -> int:
    """Prints one row for each model, then how many ran."""
    if not OLD_PYTHON.is_file():
        print(f"no tflite-runtime at {OLD_PYTHON}: `make tflite` makes it, or set EDGEWISE_TFLITE_PYTHON")
        return 3
    print("## Converted models on tflite-runtime 2.14\n")
    print(f"{platform.machine()}, {platform.system()} {platform.release()}, Python {platform.python_version()}\n")
    heads = [scheme or "float32" for scheme in SCHEMES]
    print(f"| model | {' | '.join(heads)} | int8-dynamic for LiteRT 2.3 |\n|---|{'---|' * (len(heads) + 1)}")
    ran = dict.fromkeys(heads, 0)
    for name in names or MODELS:
        cells = row(name)
        for head, cell in zip(heads, cells, strict=False):
            ran[head] += cell.startswith("runs")
        print(f"| {name} | {' | '.join(cells)} |", flush=True)
    print("\n" + ", ".join(f"{head}: {count} of {len(names or MODELS)} run" for head, count in ran.items()))
    return 0


def row(name: str) -> list[str]:
    """The cells of a model's row."""
    path = path_of(name)
    source = real_feeds.session(path)
    inputs = source.get_inputs()
    count = real_feeds.SHAPES if real_feeds.is_free(inputs) else 1
    feeds = [real_feeds.feeds(name, inputs, which) for which in range(count)]
    want = source.run(None, feeds[0])
    program = converted(path)
    cells = [cell(program, scheme, feeds, want) for scheme in SCHEMES]
    try:
        missing = refused(quantise(program, "int8-dynamic", LITERT_2_3).program, TFLITE_2_14)
    except ExportError as error:
        missing = [error.message]
    return [*cells, ", ".join(missing) or "would load, too"]


def cell(program: Program, scheme: str | None, feeds: list[Feeds], want: list[np.ndarray]) -> str:
    """What became of a scheme: its file on both runtimes."""
    try:
        small = quantise(program, scheme, TFLITE_2_14, feeds).program if scheme else program
        check_loads(small, TFLITE_2_14)
        content = flat.to_bytes(small)
        lite = LiteSession(content, "the file").run(feeds[0])
    except EdgewiseError as error:
        return f"not written: {error.message[:90]}"
    tensors = small.main.tensors
    named = {tensors[place].name: feed for place, feed in zip(small.main.inputs, feeds[0].values(), strict=True)}
    try:
        with tempfile.TemporaryDirectory() as work:
            old = OldRuntime(OLD_PYTHON, Path(work)).run(content, named)
    except Refused as error:
        return f"refused: {str(error)[:90]}"
    near = Nearness()
    near.add(want, old)
    cosine = near.cosine()
    said = f"runs, {off(lite, old):.0e} from LiteRT"
    return said if scheme is None or cosine is None else f"{said}, cosine {cosine:.3f}"


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
