"""Makes latent.npz: a small autoencoder and a U-Net with cross-attention of diffusers.

python -m venv other && other/bin/pip install torch diffusers
other/bin/python tests/golden/make_latent.py
"""

from pathlib import Path

import diffusers
import numpy as np
import torch
from diffusers import AutoencoderKL, UNet2DConditionModel

draw = np.random.default_rng(0)
found = {
    "versions": np.array([f"torch {torch.__version__}, diffusers {diffusers.__version__}"])
}


def normal(*shape):
    return torch.tensor(draw.standard_normal(shape), dtype=torch.float32)


def rounded(net, name):
    """Weights without zeros and ones, rounded to float16, also in `found`."""
    with torch.no_grad():
        for weight in net.parameters():
            weight.add_(0.1 * torch.randn_like(weight))
            weight.copy_(weight.half())
    weights = {f"{name}/{k}": v.numpy() for k, v in net.state_dict().items()}
    found.update({k: v.astype(np.float16) for k, v in weights.items()})
    return net.eval()


def last(x):
    """Channels last."""
    return x.numpy().transpose(0, 2, 3, 1)


torch.manual_seed(0)
coder = rounded(
    AutoencoderKL(
        in_channels=3,
        out_channels=3,
        down_block_types=("DownEncoderBlock2D",) * 2,
        up_block_types=("UpDecoderBlock2D",) * 2,
        block_out_channels=(4, 8),
        layers_per_block=1,
        latent_channels=4,
        norm_num_groups=4,
        sample_size=8,
    ),
    "coder",
)
x, z = normal(2, 3, 8, 8), normal(2, 4, 4, 4)
with torch.no_grad():
    posterior, y = coder.encode(x).latent_dist, coder.decode(z).sample
found |= {
    "coded/x": last(x),
    "coded/mean": last(posterior.mean),
    "coded/log_variance": last(posterior.logvar),
    "coded/z": last(z),
    "coded/y": last(y),
}

net = rounded(
    UNet2DConditionModel(
        sample_size=8,
        in_channels=4,
        out_channels=4,
        layers_per_block=1,
        block_out_channels=(4, 12),
        down_block_types=("DownBlock2D", "CrossAttnDownBlock2D"),
        up_block_types=("CrossAttnUpBlock2D", "UpBlock2D"),
        cross_attention_dim=12,
        attention_head_dim=2,  # the number of heads
        norm_num_groups=4,
        downsample_padding=0,
    ),
    "unet",
)
x, context, t = normal(3, 4, 8, 8), normal(3, 5, 12), torch.tensor([3, 700, 41])
mask = torch.tensor([[1, 1, 1, 1, 1], [1, 1, 0, 0, 0], [1, 0, 0, 0, 0]]).bool()
with torch.no_grad():
    y = net(x, t, context, encoder_attention_mask=mask).sample
found |= {
    "told/x": last(x),
    "told/t": t.numpy().astype(np.int32),
    "told/context": context.numpy(),
    "told/mask": mask.numpy(),
    "told/y": last(y),
}
path = Path(__file__).with_name("latent.npz")
np.savez_compressed(path, **found)
print(f"{path}: {path.stat().st_size:,} bytes, {len(found)} arrays")
