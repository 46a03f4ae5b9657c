"""Profiles that were not measured: so many seconds a piece, for tests of what is made of profiles."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx

from mobile.formats import index
from offload.costs.profile import PieceTime, Place, Profile
from offload.model.pieces import pieces_of


def made_up(model: Path, name: str, whole_s: float, seed: int = 0) -> Profile:
    """A profile whose pieces add up to ``whole_s`` seconds, shared among them at random."""
    graph = pieces_of(onnx.load(model).graph)
    shares = np.random.default_rng(seed).gamma(2.0, 1.0, len(graph.pieces))
    seconds = shares / shares.sum() * whole_s
    pieces = tuple(
        PieceTime(piece.name, piece.operators, float(s), float(s), "assumed", weight_bytes=1000)
        for piece, s in zip(graph.pieces, seconds, strict=True)
    )
    return Profile(model.name, index(model).sha256, Place(name), pieces, how="assumed")
