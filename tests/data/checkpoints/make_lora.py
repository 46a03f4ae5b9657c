"""LoRA adapters saved by peft 0.21.2 (save_pretrained), with its own merged weights as the expected values.

pip install torch==2.13.0 peft==0.21.2 transformers accelerate safetensors==0.8.0
python make_lora.py FOLDER
"""

import sys
from pathlib import Path

import torch
from peft import LoraConfig, get_peft_model
from safetensors.torch import save_file


class Net(torch.nn.Module):
    """An embedding, two linear layers and a convolution."""

    def __init__(self):
        super().__init__()
        self.embed = torch.nn.Embedding(30, 24)
        self.up = torch.nn.Linear(24, 40, bias=False)
        self.down = torch.nn.Linear(40, 12)
        self.conv = torch.nn.Conv2d(3, 8, 3)

    def forward(self, ids):
        return self.down(torch.relu(self.up(self.embed(ids))))


def make(out, **options):
    torch.manual_seed(8)
    base = Net()
    plain = {key: value.clone() for key, value in base.state_dict().items()}
    model = get_peft_model(base, LoraConfig(lora_alpha=12, lora_dropout=0.0, **options))
    for key, value in model.named_parameters():
        if "lora_" in key:
            value.data = torch.randn_like(value) * 0.1
    model.save_pretrained(str(out))
    (out / "README.md").unlink(missing_ok=True)
    merged = model.merge_and_unload().state_dict()
    changed = [key for key in plain if key in merged and not torch.equal(plain[key], merged[key])]
    save_file({key: plain[key] for key in changed}, out / "base.safetensors")
    save_file({key: merged[key].contiguous() for key in changed}, out / "expected.safetensors")


if __name__ == "__main__":
    make(Path(sys.argv[1]) / "lora", r=4, target_modules=["up", "down", "embed", "conv"])
    make(
        Path(sys.argv[1]) / "lora_rs",
        r=8,
        use_rslora=True,
        target_modules=["up", "down"],
        rank_pattern={"down": 2},
        alpha_pattern={"up": 3},
    )
