"""Checkpoints written by the package compressed-tensors itself, with its own decompression as the expected values.

    pip install torch==2.13.0 compressed-tensors==0.20.1 safetensors==0.8.0
    python make_compressed_tensors.py FOLDER

For each format: a small two-layer model gets quantisation parameters, ModelCompressor packs it, its state dict and
config are saved. ``expected.safetensors`` holds what the package's decompression gives, in the dtype it gives.
"""

import sys
from pathlib import Path

import torch
from compressed_tensors.compressors import ModelCompressor
from compressed_tensors.quantization import QuantizationConfig, QuantizationStatus, apply_quantization_config
from compressed_tensors.quantization.utils import calculate_qparams
from safetensors.torch import save_file

WEIGHTS = {
    "int8_channel": ({"num_bits": 8, "type": "int", "symmetric": True, "strategy": "channel"}, "int-quantized"),
    "int8_tensor_asym": ({"num_bits": 8, "type": "int", "symmetric": False, "strategy": "tensor"}, "int-quantized"),
    "pack4_group_asym": (
        {"num_bits": 4, "type": "int", "symmetric": False, "strategy": "group", "group_size": 32},
        "pack-quantized",
    ),
    "pack4_group_sym": (
        {"num_bits": 4, "type": "int", "symmetric": True, "strategy": "group", "group_size": 32},
        "pack-quantized",
    ),
    "pack8_channel": ({"num_bits": 8, "type": "int", "symmetric": True, "strategy": "channel"}, "pack-quantized"),
    "pack3_group": (
        {"num_bits": 3, "type": "int", "symmetric": False, "strategy": "group", "group_size": 32},
        "pack-quantized",
    ),
    "fp8_tensor": ({"num_bits": 8, "type": "float", "symmetric": True, "strategy": "tensor"}, "float-quantized"),
    "fp8_channel": ({"num_bits": 8, "type": "float", "symmetric": True, "strategy": "channel"}, "float-quantized"),
    "fp8_block": (
        {"num_bits": 8, "type": "float", "symmetric": True, "strategy": "block", "block_structure": [16, 32]},
        "float-quantized",
    ),
}


class Net(torch.nn.Module):
    """Two linear layers; the second has a bias and an odd number of outputs, the head stays float."""

    def __init__(self):
        super().__init__()
        self.up = torch.nn.Linear(96, 40, bias=False)
        self.down = torch.nn.Linear(64, 21)
        self.norm = torch.nn.LayerNorm(21)
        self.head = torch.nn.Linear(21, 5)


def ranges(weight, args):
    """Smallest and largest values per group, channel, block or tensor, in the shape of the scale."""
    rows, columns = weight.shape
    if args.strategy == "tensor":
        return weight.min().reshape(1), weight.max().reshape(1)
    if args.strategy == "channel":
        return weight.amin(1, keepdim=True), weight.amax(1, keepdim=True)
    if args.strategy == "group":
        parts = weight.reshape(rows, columns // args.group_size, args.group_size)
        return parts.amin(-1), parts.amax(-1)
    height, width = args.block_structure
    padded = torch.nn.functional.pad(weight, (0, -columns % width, 0, -rows % height))
    parts = padded.reshape(padded.shape[0] // height, height, padded.shape[1] // width, width)
    return parts.amin((1, 3)), parts.amax((1, 3))


def make(name, folder, dtype):
    weights, form = WEIGHTS[name]
    torch.manual_seed(sum(map(ord, name)))
    model = Net().to(dtype)
    activations = None
    if form != "pack-quantized":  # as in the recipes that give these formats
        kind = weights["type"]
        activations = {"num_bits": 8, "type": kind, "symmetric": True, "strategy": "token", "dynamic": True}
    config = QuantizationConfig(
        config_groups={"group_0": {"targets": ["Linear"], "weights": weights, "input_activations": activations}},
        ignore=["head"],
        format=form,
        quantization_status="frozen",
    )
    apply_quantization_config(model, config)
    for module in (model.up, model.down):
        low, high = ranges(module.weight.detach(), module.quantization_scheme.weights)
        scale, zero = calculate_qparams(low, high, module.quantization_scheme.weights)
        module.weight_scale.data.copy_(scale.reshape(module.weight_scale.shape))
        if hasattr(module, "weight_zero_point"):
            module.weight_zero_point.data.copy_(zero.reshape(module.weight_zero_point.shape))
        module.quantization_status = QuantizationStatus.FROZEN
    compressor = ModelCompressor.from_pretrained_model(model)
    compressor.compress_model(model)
    out = folder / name
    out.mkdir(parents=True, exist_ok=True)
    save_file({key: value.contiguous() for key, value in model.state_dict().items()}, out / "model.safetensors")
    (out / "config.json").write_text("{}")
    compressor.update_config(str(out))
    compressor.decompress_model(model)
    save_file(
        {f"{key}.weight": getattr(model, key).weight.data.contiguous() for key in ("up", "down")},
        out / "expected.safetensors",
    )


if __name__ == "__main__":
    for name in WEIGHTS:
        make(name, Path(sys.argv[1]), torch.float32 if name == "int8_channel" else torch.bfloat16)
