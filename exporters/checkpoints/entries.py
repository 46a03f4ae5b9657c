"""What a checkpoint holds, before its arrays are read: weights in packed form, and the arrays that stayed real."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mobile.errors import ModelError

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from exporters.compress.tensors import CompressedTensor


@dataclass(frozen=True)
class Entry:
    """A weight of a checkpoint: ``name`` is the torch parameter's, ``shape`` the float weight's in torch's layout.

    ``load`` reads and unpacks it, with this name, shape and output axis. ``width``: bits of a code, 0 for factors.
    """

    name: str
    shape: tuple[int, ...]
    load: Callable[[], CompressedTensor]
    axis: int = 0
    width: int = 0


class Lazy(Mapping[str, "CompressedTensor"]):
    """Compressed tensors by name, each read at every access and not kept: what is held at once is one weight."""

    def __init__(self, loads: Mapping[str, Callable[[], CompressedTensor]]) -> None:
        self._loads = dict(loads)

    def __getitem__(self, name: str) -> CompressedTensor:
        return self._loads[name]()

    def __iter__(self) -> Iterator[str]:
        return iter(self._loads)

    def __len__(self) -> int:
        return len(self._loads)

    def __contains__(self, name: object) -> bool:
        return name in self._loads


@dataclass(frozen=True)
class RealEntry:
    """An array that the checkpoint holds as real numbers: a bias, a norm, an embedding. ``load`` gives float32."""

    shape: tuple[int, ...]
    load: Callable[[], NDArray[np.float32]]


@dataclass(frozen=True)
class Checkpoint:
    """A recognised checkpoint. ``form`` names its format, ``entries`` its packed weights by parameter name."""

    path: Path
    form: str
    entries: Mapping[str, Entry]
    reals: Mapping[str, RealEntry] = field(default_factory=dict)
    origin: Mapping[str, Any] = field(default_factory=dict)

    def need_some(self) -> Checkpoint:
        """Itself; ModelError when there is no packed weight in it."""
        if not self.entries:
            raise ModelError(
                f"{self.path}: {self.form} is what its configuration says, but no weight in it is packed so",
                "Was it saved before it was compressed?",
            )
        return self
