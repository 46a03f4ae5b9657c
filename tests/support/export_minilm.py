"""all-MiniLM-L6-v2's encoder as ONNX: `export_minilm.py WEIGHTS OUTPUT`; batch and tokens are free.

The architecture is BERT (Devlin et al., 2018): 6 layers, 384 wide, 12 heads, learned positions, post-normalisation.
"""

from __future__ import annotations

import json
import math
import struct
import sys
from pathlib import Path

import numpy as np
import torch
from torch import nn
from torch.nn import functional

_WIDTH, _HEADS, _LAYERS, _EPSILON = 384, 12, 6, 1e-12


def read_safetensors(path: str) -> dict[str, torch.Tensor]:
    """The tensors of a .safetensors file (its length, a JSON header, the bytes)."""
    content = Path(path).read_bytes()
    (length,) = struct.unpack("<Q", content[:8])
    header = json.loads(content[8 : 8 + length])
    header.pop("__metadata__", None)
    kinds = {"F32": np.float32, "I64": np.int64}
    found = {}
    for name, entry in header.items():
        first, last = (8 + length + offset for offset in entry["data_offsets"])
        array = np.frombuffer(content[first:last], kinds[entry["dtype"]]).reshape(entry["shape"])
        found[name] = torch.from_numpy(array.copy())
    return found


class Encoder(nn.Module):
    def __init__(self, tensors: dict[str, torch.Tensor]) -> None:
        super().__init__()
        self.names = {name: name.replace(".", "_") for name in tensors if tensors[name].is_floating_point()}
        for name, attribute in self.names.items():
            self.register_parameter(attribute, nn.Parameter(tensors[name], requires_grad=False))

    def _get(self, name: str) -> torch.Tensor:
        return getattr(self, self.names[name])

    def _linear(self, x: torch.Tensor, name: str) -> torch.Tensor:
        return functional.linear(x, self._get(f"{name}.weight"), self._get(f"{name}.bias"))

    def _norm(self, x: torch.Tensor, name: str) -> torch.Tensor:
        weight, bias = self._get(f"{name}.LayerNorm.weight"), self._get(f"{name}.LayerNorm.bias")
        return functional.layer_norm(x, (_WIDTH,), weight, bias, _EPSILON)

    def _heads(self, x: torch.Tensor) -> torch.Tensor:
        return x.reshape(x.shape[0], x.shape[1], _HEADS, _WIDTH // _HEADS).transpose(1, 2)

    def forward(self, ids: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
        words = self._get("embeddings.word_embeddings.weight")[ids]
        places = self._get("embeddings.position_embeddings.weight")[: ids.shape[1]]
        kinds = self._get("embeddings.token_type_embeddings.weight")[0]
        x = self._norm(words + places + kinds, "embeddings")
        hidden = (1.0 - mask[:, None, None, :].to(x.dtype)) * -10000.0
        for layer in range(_LAYERS):
            base = f"encoder.layer.{layer}"
            query, key, value = (
                self._heads(self._linear(x, f"{base}.attention.self.{part}")) for part in ("query", "key", "value")
            )
            scores = query @ key.transpose(-1, -2) / math.sqrt(_WIDTH // _HEADS) + hidden
            mixed = (scores.softmax(-1) @ value).transpose(1, 2).reshape(x.shape)
            x = self._norm(x + self._linear(mixed, f"{base}.attention.output.dense"), f"{base}.attention.output")
            wide = functional.gelu(self._linear(x, f"{base}.intermediate.dense"))
            x = self._norm(x + self._linear(wide, f"{base}.output.dense"), f"{base}.output")
        return x


def main(weights: str, output: str) -> None:
    model = Encoder(read_safetensors(weights)).eval()
    batch, tokens = torch.export.Dim("batch"), torch.export.Dim("tokens", max=512)
    ids, mask = torch.ones(2, 7, dtype=torch.int64), torch.ones(2, 7, dtype=torch.int64)
    torch.onnx.export(
        model, (ids, mask), output, dynamo=True, external_data=False, verbose=False,
        input_names=["ids", "mask"], output_names=["states"],
        dynamic_shapes=({0: batch, 1: tokens}, {0: batch, 1: tokens}),
    )  # fmt: skip


if __name__ == "__main__":
    main(*sys.argv[1:])
