"""An AWQ checkpoint (version GEMM) packed by autoawq 0.2.9, expanded by its own dequantize_gemm.

pip install torch==2.13.0 safetensors==0.8.0 transformers datasets accelerate
    pip install --no-deps autoawq==0.2.9
python make_awq.py FOLDER
"""

import json
import sys
from pathlib import Path

import torch
from awq.modules.linear.gemm import WQLinear_GEMM
from awq.utils.packing_utils import dequantize_gemm
from safetensors.torch import save_file

GROUP = 32


def make(out):
    torch.manual_seed(3)
    arrays, expected = {}, {}
    for key, columns, rows, bias in (("up", 96, 64, False), ("down", 64, 32, True)):
        layer = torch.nn.Linear(columns, rows, bias=bias)
        groups = layer.weight.data.reshape(rows, -1, GROUP)
        low, high = groups.amin(-1), groups.amax(-1)
        low[:2] = 0  # zero points of 0 and of 15 occur
        high[2:4] = 0
        scales = ((high - low).clamp(min=1e-5) / 15).half().float()
        zeros = (-low / scales).round().clamp(0, 15)
        wide, offset = scales.repeat_interleave(GROUP, 1), zeros.repeat_interleave(GROUP, 1)
        codes = (layer.weight.data / wide + offset).round().clamp(0, 15)
        layer.weight.data = (codes - offset) * wide
        packed = WQLinear_GEMM.from_linear(
            layer, 4, GROUP, scales=scales.t().contiguous(), zeros=zeros.t().contiguous()
        )
        arrays.update({f"{key}.{part}": value.contiguous() for part, value in packed.state_dict().items()})
        values = dequantize_gemm(packed.qweight, packed.qzeros, packed.scales, 4, GROUP)
        expected[f"{key}.weight"] = values.t().contiguous()
    out.mkdir(parents=True, exist_ok=True)
    save_file(arrays, out / "model.safetensors")
    save_file(expected, out / "expected.safetensors")
    config = {
        "bits": 4,
        "group_size": GROUP,
        "zero_point": True,
        "version": "gemm",
        "quant_method": "awq",
        "modules_to_not_convert": None,
    }
    (out / "config.json").write_text(json.dumps({"quantization_config": config}, indent=2) + "\n")


if __name__ == "__main__":
    with torch.inference_mode():
        make(Path(sys.argv[1]) / "awq4")
