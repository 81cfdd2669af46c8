"""Makes diffusion.npz: schedules, steps and a small U-Net of diffusers.

python -m venv other && other/bin/pip install torch diffusers
other/bin/python tests/golden/make_diffusion.py
"""

from pathlib import Path

import diffusers
import numpy as np
import torch
from diffusers import DDIMScheduler, DDPMScheduler, UNet2DModel

draw = np.random.default_rng(0)
found = {
    "versions": np.array([f"torch {torch.__version__}, diffusers {diffusers.__version__}"])
}
KINDS = {"epsilon": "epsilon", "x0": "sample", "v": "v_prediction"}
LINEAR = dict(beta_start=1e-4, beta_end=0.02, beta_schedule="linear")
SCALED = dict(beta_start=0.00085, beta_end=0.012, beta_schedule="scaled_linear")
COSINE = dict(beta_schedule="squaredcos_cap_v2")


def normal(*shape):
    return torch.tensor(draw.standard_normal(shape), dtype=torch.float32).double()


def exact(levels):
    """The scheduler with its levels in float64, computed from its own betas."""
    levels.betas = levels.betas.double()
    levels.alphas = 1 - levels.betas
    levels.alphas_cumprod = levels.alphas.cumprod(0)
    return levels


for name, options in {"linear": LINEAR, "scaled": SCALED, "cosine": COSINE}.items():
    levels = exact(DDPMScheduler(num_train_timesteps=1000, **options))
    found[f"alpha_bar/{name}"] = levels.alphas_cumprod[::37].numpy()

xt, output, noise = normal(6, 5), normal(6, 5), normal(6, 5)
at = [0, 1, 250, 500, 750, 999]
found |= {
    "xt": xt.numpy(),
    "output": output.numpy(),
    "noise": noise.numpy(),
    "at": np.int32(at),
}
levels = exact(DDPMScheduler(num_train_timesteps=1000, **LINEAR))
rows = [
    levels.add_noise(x[None], e[None], torch.tensor([t]))
    for x, e, t in zip(xt, noise, at, strict=True)
]
found["diffused"] = torch.cat(rows).numpy()
rows = [
    levels.get_velocity(x[None], e[None], torch.tensor([t]))
    for x, e, t in zip(xt, noise, at, strict=True)
]
found["velocity"] = torch.cat(rows).numpy()


def ancestral(kind, variance, clip):
    """One step of DDPM of each row, and the noise of its generator."""
    levels = DDPMScheduler(
        **LINEAR,
        prediction_type=KINDS[kind],
        variance_type=f"fixed_{variance}",
        clip_sample=clip,
    )
    levels = exact(levels)
    rows, drawn = [], []
    for i, t in enumerate(at):
        now, out = xt[i : i + 1], output[i : i + 1]
        again = lambda seed=i: torch.Generator().manual_seed(seed)
        rows.append(levels.step(out, t, now, generator=again()).prev_sample)
        drawn.append(torch.randn(out.shape, generator=again(), dtype=out.dtype))
    found["drawn"] = torch.cat(drawn).numpy()
    return torch.cat(rows).numpy()


for kind in KINDS:
    for variance in ("small", "large"):
        for clip in (False, True):
            name = f"ddpm/{kind}/{variance}/{'clip' if clip else 'free'}"
            found[name] = ancestral(kind, variance, clip)

# Steps of a tenth of the levels, each row from its own to the one before.
for kind in KINDS:
    for eta in (0.0, 0.5, 1.0):
        levels = DDIMScheduler(**LINEAR, prediction_type=KINDS[kind], clip_sample=True)
        levels = exact(levels)
        levels.set_timesteps(10)
        rows = [
            levels.step(
                output[i : i + 1],
                t,
                xt[i : i + 1],
                eta=eta,
                use_clipped_model_output=True,
                variance_noise=noise[i : i + 1],
            ).prev_sample
            for i, t in enumerate((0, 100, 300, 500, 700, 900))
        ]
        found[f"ddim/{kind}/{eta:g}"] = torch.cat(rows).numpy()

# A whole chain, of a network that is a formula.
for kind in KINDS:
    levels = DDIMScheduler(**SCALED, prediction_type=KINDS[kind], clip_sample=False)
    levels = exact(levels)
    levels.set_timesteps(20)
    found["chain/indices"] = np.int32(levels.timesteps.flip(0))
    x = xt
    for t in levels.timesteps:
        x = levels.step(torch.tanh(0.7 * x + 0.001 * t), t, x).prev_sample
    found[f"chain/{kind}"] = x.numpy()

torch.manual_seed(0)
net = UNet2DModel(
    in_channels=3,
    out_channels=3,
    layers_per_block=1,
    block_out_channels=(8, 16),
    down_block_types=("DownBlock2D", "AttnDownBlock2D"),
    up_block_types=("AttnUpBlock2D", "UpBlock2D"),
    attention_head_dim=None,
    downsample_padding=0,
    norm_num_groups=4,
    norm_eps=1e-6,
    flip_sin_to_cos=False,
    freq_shift=1,
).eval()
with torch.no_grad():
    for weight in net.parameters():
        weight.add_(0.1 * torch.randn_like(weight))  # no zeros, no ones
        weight.copy_(weight.half())
    x, t = normal(2, 3, 8, 8).float(), torch.tensor([3, 700])
    y = net(x, t).sample
found |= {f"unet/{k}": v.numpy().astype(np.float16) for k, v in net.state_dict().items()}
found |= {
    "net/x": x.numpy().transpose(0, 2, 3, 1),
    "net/t": t.numpy().astype(np.int32),
    "net/y": y.numpy().transpose(0, 2, 3, 1),
}
found = {k: np.float32(v) if v.dtype == np.float64 else v for k, v in found.items()}
path = Path(__file__).with_name("diffusion.npz")
np.savez_compressed(path, **found)
print(f"{path}: {path.stat().st_size:,} bytes, {len(found)} arrays")
