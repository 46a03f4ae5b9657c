"""What an artifact computes at each use of a compressed weight: its inputs and results, or the decoded weight."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from exporters.lowering import LoweredUse
from exporters.runtime import Session

if TYPE_CHECKING:
    from numpy.typing import NDArray

Feeds = Mapping[str, "NDArray[Any]"]
ROWS = 64  # of a use's input that are recomputed


@dataclass(frozen=True)
class Seen:
    """What one inference showed of a use: its decoded weight, or up to ROWS rows of its input ``x`` and result ``y``.

    ``low`` and ``high`` are those of the whole input. None where it is inside a subgraph.
    """

    decoded: NDArray[Any] | None = None
    x: NDArray[Any] | None = None
    y: NDArray[Any] | None = None
    low: float = 0.0
    high: float = 0.0


def wanted(use: LoweredUse) -> list[str]:
    """The values that show a use."""
    return [use.carried.decoded] if use.carried.decoded else [use.input, use.output]


def observed(
    uses: Sequence[LoweredUse], artifact: Path, names: Sequence[str], feeds: Sequence[Feeds], folder: Path | None = None
) -> Iterator[tuple[int, Seen]]:
    """(number of the use, what was seen) of every use and feed; a decoded weight is looked at once.

    ``names`` are the values that the main graph has. With a ``folder``, for a large model, all is put away there and
    given when the session is gone.
    """
    watched = Watched(artifact, names, folder is not None)
    kept: list[tuple[int, Path]] = []
    products = [name for use in uses if not use.carried.decoded for name in wanted(use)]
    try:
        for turn, feed in enumerate(feeds):
            found = watched.run(feed, products)
            for number, use in enumerate(uses):
                if turn and use.carried.decoded:
                    continue
                seen = _seen(use, watched, feed, found)
                if folder is None:
                    yield number, seen
                else:
                    kept.append((number, _keep(seen, folder / f"{turn}-{number}.npz")))
    finally:
        watched.close()
    for number, path in kept:
        yield number, _kept(path)


def _seen(use: LoweredUse, watched: Watched, feed: Feeds, found: Mapping[str, NDArray[Any]]) -> Seen:
    if use.carried.decoded:
        return Seen(decoded=watched.run(feed, [use.carried.decoded]).get(use.carried.decoded))
    data, result = found.get(use.input), found.get(use.output)
    if data is None or result is None or use.kind != "matmul":
        return Seen(x=_nothing(data), y=_nothing(result))
    rows, wide = data.reshape(-1, data.shape[-1]), result.reshape(-1, result.shape[-1])
    low, high = float(data.min(initial=0.0)), float(data.max(initial=0.0))
    return Seen(x=rows[:ROWS], y=wide[:ROWS], low=low, high=high)


def _nothing(array: NDArray[Any] | None) -> NDArray[Any] | None:
    """That a value was there, without it."""
    import numpy as np

    return None if array is None else np.empty(0)


def _keep(seen: Seen, path: Path) -> Path:
    import numpy as np

    arrays = {"decoded": seen.decoded, "x": seen.x, "y": seen.y, "ends": np.array([seen.low, seen.high])}
    stored: dict[str, Any] = {name: array for name, array in arrays.items() if array is not None}
    np.savez(path, **stored)
    return path


def _kept(path: Path) -> Seen:
    import numpy as np

    with np.load(path, allow_pickle=False) as archive:
        low, high = archive["ends"].tolist()
        decoded, x, y = (archive.get(name) for name in ("decoded", "x", "y"))
    path.unlink()
    return Seen(decoded, x, y, low, high)


class Watched:
    """The artifact with further values as outputs; ``alone`` as of `Session`."""

    def __init__(self, artifact: Path, names: Sequence[str], alone: bool = False) -> None:
        import onnx

        model = onnx.load(str(artifact), load_external_data=False)
        self._outputs = [value.name for value in model.graph.output]
        stored = {tensor.name for tensor in model.graph.initializer} | {value.name for value in model.graph.input}
        for name in names:
            if name not in self._outputs and name not in stored:
                model.graph.output.append(onnx.ValueInfoProto(name=name))
                self._outputs.append(name)
        self._constants = {tensor.name: _copy(tensor) for tensor in model.graph.initializer if tensor.name in names}
        self._folder = artifact.parent
        self._file = artifact.with_name(f"watched-{artifact.name}")
        onnx.save(model, str(self._file))
        del model
        self._session: Session | None = None
        self._alone = alone

    def run(self, feed: Feeds, names: Sequence[str]) -> dict[str, NDArray[Any]]:
        """Those of these values that can be had, by name."""
        if self._session is None:
            self._session = Session(self._file, "the artifact under watch", self._alone)
        asked = [name for name in dict.fromkeys(names) if name in self._outputs]
        known = {**feed, **{name: self._constant(name) for name in names if name in self._constants}}
        if not asked:
            return known
        return {**known, **dict(zip(asked, self._session.run(feed, asked), strict=True))}

    def _constant(self, name: str) -> NDArray[Any]:
        from onnx import external_data_helper, numpy_helper

        tensor = _copy(self._constants[name])
        if tensor.external_data:
            external_data_helper.load_external_data_for_tensor(tensor, str(self._folder))
        return numpy_helper.to_array(tensor)

    def close(self) -> None:
        """Ends the session and removes its file."""
        self._file.unlink(missing_ok=True)
        if self._session is not None:
            self._session.close()


def _copy(tensor: Any) -> Any:
    """A message of its own: a part of one keeps all of it in memory."""
    copy = type(tensor)()
    copy.CopyFrom(tensor)
    return copy
