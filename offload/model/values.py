"""The values between the pieces as they really are: types and shapes of one run, and their ranges over many.

Shape inference leaves dimensions open that a run knows. So the model runs once with every value that may cross as an
output of its own; a value that onnxruntime cannot give (no tensor) may not cross.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from exporters.runtime import Session
from offload.model.pieces import GraphError, PieceGraph

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Feeds = Mapping[str, NDArray[Any]]


@dataclass(frozen=True)
class Observed:
    """A value as it was seen: numpy's dtype, its shape, its range over all samples (0 to 0 unless it is a float).

    ``low`` and ``high`` per channel (axis 1) for a tensor of at least two dimensions, else one entry.
    """

    name: str
    dtype: str
    shape: tuple[int, ...]
    low: tuple[float, ...] = (0.0,)
    high: tuple[float, ...] = (0.0,)

    @property
    def size_bytes(self) -> int:
        """Its size when it crosses as it is."""
        import numpy as np

        return int(np.prod(self.shape, dtype=np.int64)) * int(np.dtype(self.dtype).itemsize)


@dataclass
class Watcher:
    """Runs a model with its inner values as outputs. Use as a context manager: the copy of the model is temporary."""

    model: Any
    graph: PieceGraph
    name: str
    _folder: tempfile.TemporaryDirectory[str] = field(
        default_factory=lambda: tempfile.TemporaryDirectory(prefix="edgewise-split-")
    )
    _session: Session | None = None

    def __enter__(self) -> Watcher:
        return self

    def __exit__(self, *error: object) -> None:
        self._folder.cleanup()

    def run(self, feeds: Feeds) -> dict[str, NDArray[Any]]:
        """Every value that may cross, by name, for these inputs. ExportError when the model refuses them."""
        import numpy as np

        if self._session is None:
            self._session = Session(self._open_model(), self.name)
        given = {name: np.asarray(feeds[name]) for name in self.graph.inputs if name in feeds}
        found = dict(zip(self._session.outputs, self._session.run(feeds), strict=True))
        return {**given, **{name: value for name, value in found.items() if isinstance(value, np.ndarray)}}

    def _open_model(self) -> Path:
        import onnx

        opened = onnx.ModelProto()
        opened.CopyFrom(self.model)
        known = {value.name for value in opened.graph.output}
        for value in self.graph.values:
            if value not in known and value not in self.graph.inputs:
                opened.graph.output.append(onnx.ValueInfoProto(name=value))
        path = Path(self._folder.name) / "opened.onnx"
        onnx.save_model(
            opened, str(path), save_as_external_data=opened.ByteSize() > 1 << 30, all_tensors_to_one_file=True
        )
        return path


def observe(watcher: Watcher, samples: Iterable[Feeds]) -> dict[str, Observed]:
    """What is known of each value after all samples; GraphError without any.

    Shapes are those of the first sample: the others only widen the ranges.
    """
    found: dict[str, Observed] = {}
    seen = False
    for feeds in samples:
        seen = True
        for name, array in watcher.run(feeds).items():
            found[name] = _widened(found.get(name), name, array)
    if not seen:
        raise GraphError("there is no sample to run the model on")
    return found


def _widened(before: Observed | None, name: str, array: NDArray[Any]) -> Observed:
    from device_agents.split.codecs import measure

    if array.dtype.kind != "f":
        return before or Observed(name, array.dtype.name, array.shape)
    now = measure(array, per_channel=True)
    if before is None or len(before.low) != len(now.low):
        return Observed(name, array.dtype.name, before.shape if before else array.shape, now.low, now.high)
    low = tuple(min(pair) for pair in zip(before.low, now.low, strict=True))
    high = tuple(max(pair) for pair in zip(before.high, now.high, strict=True))
    return Observed(name, before.dtype, before.shape, low, high)


def value_infos(observed: Mapping[str, Observed]) -> dict[str, Any]:
    """An onnx ValueInfoProto of each value, with the type and shape that were seen."""
    import numpy as np
    import onnx

    return {
        name: onnx.helper.make_tensor_value_info(
            name, onnx.helper.np_dtype_to_tensor_dtype(np.dtype(value.dtype)), value.shape
        )
        for name, value in observed.items()
    }
