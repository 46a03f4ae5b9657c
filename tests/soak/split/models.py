"""The models of the experiment, published ones, and made inputs for them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tests.support.real_models import path_of

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

ITEMS = 4
SIDE = 320


@dataclass(frozen=True)
class Subject:
    """``shape``: of one item, NCHW or NHWC; ``of``: what the model takes of a picture with values from 0 to 1."""

    published: str
    name: str  # of the input
    shape: tuple[int, ...]
    of: Callable[[Any], Any]

    @property
    def path(self) -> Path:
        """The model's file."""
        return path_of(self.published)


SUBJECTS = {
    "nudenet": Subject("nudenet-320n", "images", (3, SIDE, SIDE), lambda picture: picture),
    "open-nsfw": Subject("open-nsfw", "input:0", (224, 224, 3), lambda picture: picture * 255.0 - 110.0),
    "ppocr-det": Subject("ppocr-v4-det", "x", (3, SIDE, SIDE), lambda picture: picture * 4.4 - 2.1),
    "orientation": Subject("orientation", "x", (3, 224, 224), lambda picture: picture * 4.4 - 2.1),
}


def inputs_of(name: str, folder: Path) -> Path:
    """A file with ITEMS made pictures as the model takes them."""
    import numpy as np

    subject, path = SUBJECTS[name], folder / f"{name}.npz"
    if not path.exists():
        source = np.random.default_rng(0)
        pictures = np.stack([picture(subject.shape, source) for _ in range(ITEMS)])
        np.savez(path, **{subject.name: subject.of(pictures).astype(np.float32)})
    return path


def picture(shape: tuple[int, ...], source: np.random.Generator) -> NDArray[Any]:
    """Squares of all sizes over each other and a little noise, from 0 to 1: it has the spectrum of photographs, about
    one over the frequency (Field, Relations between the statistics of natural images, JOSA A 4, 1987).
    """
    import numpy as np

    last = shape[-1] == 3
    channels, height, width = (3, *shape[:2]) if last else shape
    made = np.zeros((channels, height, width))
    for size in (1, 2, 4, 8, 16, 32):
        coarse = source.standard_normal((channels, -(-height // size), -(-width // size))) * size
        made += coarse.repeat(size, axis=1).repeat(size, axis=2)[:, :height, :width]
    low, high = np.quantile(made, (0.02, 0.98))
    made = np.clip((made - low) / (high - low), 0.0, 1.0)
    return np.moveaxis(made, 0, -1) if last else made
