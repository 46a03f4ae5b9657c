"""Compressed checkpoints that people have: compressed-tensors, GPTQ, AWQ, BitNet, torchao, PT2E, LoRA adapters."""

from exporters.checkpoints.bind import LEFT_OUT, Bound, bind, put_reals, read_names
from exporters.checkpoints.entries import Checkpoint
from exporters.checkpoints.recognise import FORMATS, open_checkpoint, read_checkpoint

__all__ = [
    "FORMATS", "LEFT_OUT", "Bound", "Checkpoint", "bind", "open_checkpoint", "put_reals",
    "read_checkpoint", "read_names",
]  # fmt: skip
