"""A model that is to be profiled or split: opened once, with its pieces, what was seen of its values, and one sample.

Every run of a profile gets the same sample, and each tail the values that the model itself makes of it: random numbers
in the place of activations would run other branches, index out of range, or be denormal and slow.
"""

from __future__ import annotations

import zipfile
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mobile.errors import ExportError, ModelError, UsageError
from offload.model.pieces import GraphError, PieceGraph, pieces_of
from offload.model.values import Observed, Watcher, observe

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from mobile.formats import TensorInfo

    Values = dict[str, NDArray[Any]]

SEED = 0


@dataclass(frozen=True)
class Subject:
    """An opened model. ``sample``: one set of inputs; ``values``: all values that may cross, as that sample makes them.

    ``inputs_are``: "given" or "generated".
    """

    path: Path
    sha256: str
    model: Any
    graph: PieceGraph
    observed: Mapping[str, Observed]
    sample: Values
    values: Values
    inputs_are: str

    @property
    def name(self) -> str:
        """The file's name."""
        return self.path.name


def open_subject(
    path: Path,
    *,
    inputs: Path | None = None,
    scale: Mapping[str, float] | None = None,
    dims: Mapping[str, int] | None = None,
    seed: int = SEED,
) -> Subject:
    """The subject of an .onnx file, run once on this machine with the first item of ``inputs``, else with generated
    ones. UsageError for another format or no file, ModelError or ExportError when it cannot be split or run.
    """
    from mobile.formats import index, sniff

    if not path.is_file():
        raise UsageError(f"{path}: no such file", "Give the path of an .onnx file.")
    if sniff(path) != "onnx":
        raise UsageError(f"{path}: only an ONNX model can be taken apart", "`edgewise bench` measures it as a whole.")
    found = index(path)
    model = _loaded(path)
    try:
        graph = pieces_of(model.graph)
    except GraphError as error:
        raise ModelError(f"{path.name}: {error}") from error
    sample = _sample(path, found.inputs, inputs, scale or {}, dims or {}, seed)
    try:
        with Watcher(model, graph, path.name) as watcher:
            observed = observe(watcher, [sample])
            values = watcher.run(sample)
    except GraphError as error:
        raise ModelError(f"{path.name}: {error}") from error
    return Subject(
        path, found.sha256, model, graph, observed, sample, values, "generated" if inputs is None else "given"
    )


def _loaded(path: Path) -> Any:
    import onnx

    from exporters.runtime import one_line, onnx_errors

    errors: tuple[type[Exception], ...] = (*onnx_errors(), OSError)
    try:
        return onnx.load(path)
    except errors as error:
        raise ModelError(f"{path}: cannot be loaded: {one_line(error)}") from error


def _sample(
    path: Path,
    declared: Sequence[TensorInfo],
    inputs: Path | None,
    scale: Mapping[str, float],
    dims: Mapping[str, int],
    seed: int,
) -> Values:
    """One set of inputs: of data, the first item only where the batch is free."""
    from exporters.data import read_samples
    from exporters.generate import generate
    from exporters.runtime import Session

    if inputs is None:
        session = Session(path, path.name)

        def accepts(feeds: Values) -> None:
            session.run(feeds)

        return generate(declared, seed, dims, 1, accepts)[0]
    feeds = next(read_samples(inputs, declared, scale, dims).batches(1))
    free = {value.name for value in declared if value.shape and not isinstance(value.shape[0], int)}
    wanted = next((size for name, size in dims.items() if any(v.shape and v.shape[0] == name for v in declared)), 1)
    return {name: array[:wanted] if name in free else array for name, array in feeds.items()}


def save_arrays(path: Path, arrays: Mapping[str, NDArray[Any]], names: Iterable[str]) -> None:
    """Nothing, once the .npz is there: .npy version 1.0 each, under the names as they are ("file" is one, too)."""
    import numpy as np
    from numpy.lib import format as npy

    with zipfile.ZipFile(path, "w", zipfile.ZIP_STORED) as archive:
        for name in names:
            if name not in arrays:
                raise ExportError(f"{name} was not observed, so nothing can be measured with it")
            with archive.open(f"{name}.npy", "w", force_zip64=True) as member:
                npy.write_array(member, np.asarray(arrays[name], order="C"), version=(1, 0), allow_pickle=False)
