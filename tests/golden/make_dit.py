"""Makes dit.npz: a small DiTTransformer2DModel of diffusers, and its output.

python -m venv other && other/bin/pip install torch==2.13.0 diffusers==0.42.1
other/bin/python tests/golden/make_dit.py

diffusers has an embedding of step and class in each block, where DiT has one: they are
given the same weights here.
"""

from pathlib import Path

import diffusers
import numpy as np
import torch
from diffusers import DiTTransformer2DModel

torch.manual_seed(0)
net = DiTTransformer2DModel(
    num_attention_heads=4,
    attention_head_dim=8,
    in_channels=3,
    out_channels=3,
    num_layers=2,
    sample_size=8,
    patch_size=2,
    num_embeds_ada_norm=10,
    norm_eps=1e-6,  # as in DiT
).eval()
with torch.no_grad():
    for weight in net.parameters():
        weight.add_(0.1 * torch.randn_like(weight))  # no zeros, no ones
        weight.copy_(weight.half())
    shared = net.transformer_blocks[0].norm1.emb.state_dict()
    for block in net.transformer_blocks[1:]:
        block.norm1.emb.load_state_dict(shared)
    x = torch.randn(3, 3, 8, 8).half().float()
    t, y = torch.tensor([0, 250, 999]), torch.tensor([1, 9, 4])
    output = net(x, timestep=t, class_labels=y).sample

found = {
    f"dit/{name}": weight.numpy().astype(np.float16)
    for name, weight in net.state_dict().items()
    if ".norm1.emb." not in name or name.startswith("transformer_blocks.0.")
}
found |= {
    "versions": np.array([f"torch {torch.__version__}, diffusers {diffusers.__version__}"]),
    "x": x.numpy().transpose(0, 2, 3, 1),
    "t": t.numpy().astype(np.int32),
    "y": y.numpy().astype(np.int32),
    "output": output.numpy().transpose(0, 2, 3, 1),
}
path = Path(__file__).with_name("dit.npz")
np.savez_compressed(path, **found)
print(f"{path}: {path.stat().st_size:,} bytes, {len(found)} arrays")
