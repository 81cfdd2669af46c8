"""MAE end to end: batches drawn, three patches in four hidden, one AdamW step.

28: the laptop setting of experiments/mae.py (grey, patches of 7, encoder 96 x 4, decoder
64 x 2, batch 64). vits4: ViT-S/4 at 32 pixels in colour, decoder 192 x 4, batch 32.
Same: images in memory, pixels normalised per patch, AdamW (b2 0.95, decay 0.05), float32,
the encoder sees the visible patches and a class token only.
Different: theirs is timm's blocks, eager and under torch.compile, AdamW fused, one joint
product for query, key and value; our rate follows a schedule in the laptop setting, which
runs four steps in a dispatch, and our weight decay leaves out the vectors there.
"""

from functools import partial
from pathlib import Path
from typing import NamedTuple

from peers.pair import Pair, Work, noise, training

ROOT = Path(__file__).parents[2]
RATE, B2, DECAY, MASK = 1e-3, 0.95, 0.05, 0.75


class Setting(NamedTuple):
    size: int
    channels: int
    patch: int
    encoder: tuple[int, int, int]  # width, depth, heads
    decoder: tuple[int, int, int]
    batch: int
    images: int = 4096


SETTINGS = {
    "28": Setting(28, 1, 7, (96, 4, 4), (64, 2, 4), 64),
    "vits4": Setting(32, 3, 4, (384, 12, 6), (192, 4, 6), 32),
}


def setting(name, quick):
    if not quick:
        return SETTINGS[name]
    tiny = dict(encoder=(16, 1, 2), decoder=(8, 1, 2), batch=8, images=64)
    return SETTINGS[name]._replace(**tiny)


def ours(name, quick):
    from dataclasses import replace

    import optax

    from jssl import Stage, config, data, nets
    from jssl.method import field
    from jssl.methods.masked.mae import mae
    from jssl.models import vit

    s = setting(name, quick)
    images = {"train": {"image": noise(s.images, s.size, s.channels)}}
    source = data.dataset("noise", images, s.batch)
    if name == "28":
        words = f":batch={s.batch},width={s.encoder[0]},depth={s.encoder[1]}"
        words += f",heads={s.encoder[2]},decoder={s.decoder[:2]}"
        stage = config.load(f"{ROOT}/experiments/mae.py{words}").stages()[-1]
        quiet = dict(evals={}, baselines={}, chance={})
        stage = replace(stage, data=source, steps=10**9, **quiet)
        return training(stage, s.batch * stage.dispatch)
    net = vit.MaskedAutoencoder(vit.Encoder(*s.encoder, s.patch), *s.decoder)
    tx = optax.adamw(RATE, b2=B2, weight_decay=DECAY)
    prepare = field("image", lambda x: 2 * x - 1)
    method = mae(nets.linen(net), tx, s.patch, prepare=prepare, mask=MASK)
    return training(Stage(name="mae", method=method, data=source, steps=10**9), s.batch)


def network(s):
    """torch: (patches [n, l, k], order [n, l]) -> the loss of an MAE of timm's blocks."""
    import torch
    from timm.layers import build_sincos2d_pos_embed
    from timm.models.vision_transformer import Block
    from torch import nn

    side, visible = s.size // s.patch, round((s.size // s.patch) ** 2 * (1 - MASK))
    pixels = s.channels * s.patch**2

    def stack(width, depth, heads):
        return nn.Sequential(*[Block(width, heads, qkv_bias=True) for _ in range(depth)])

    def positions(width):
        return build_sincos2d_pos_embed([side, side], width, interleave_sin_cos=False)

    def rows(x, order):
        return x.gather(1, order[..., None].expand(-1, -1, x.shape[-1]))

    class Autoencoder(nn.Module):
        def __init__(self):
            super().__init__()
            (width, *_), (narrow, *_) = s.encoder, s.decoder
            self.embed = nn.Linear(pixels, width)
            self.cls = nn.Parameter(0.02 * torch.randn(1, 1, width))
            self.hidden = nn.Parameter(0.02 * torch.randn(1, 1, narrow))
            self.encoder, self.decoder = stack(*s.encoder), stack(*s.decoder)
            self.norm, self.last = nn.LayerNorm(width), nn.LayerNorm(narrow)
            self.bridge, self.out = nn.Linear(width, narrow), nn.Linear(narrow, pixels)
            self.register_buffer("places", positions(width)[None])
            self.register_buffer("all_places", positions(narrow)[None])

        def forward(self, patches, order):
            n, length, _ = patches.shape
            keep = order[:, :visible]
            x = self.embed(rows(patches, keep)) + rows(self.places.expand(n, -1, -1), keep)
            x = torch.cat([self.cls.expand(n, -1, -1), x], 1)
            x = self.bridge(self.norm(self.encoder(x)))
            mask = self.hidden.expand(n, length - visible, -1)
            seen = rows(torch.cat([x[:, 1:], mask], 1), order.argsort(1))
            x = torch.cat([x[:, :1], seen + self.all_places], 1)
            found = self.out(self.last(self.decoder(x)))[:, 1:]
            target = patches - patches.mean(-1, keepdim=True)
            target = target / (patches.var(-1, keepdim=True) + 1e-6).sqrt()
            error = rows((found - target).square().mean(-1)[..., None], order)
            return error[:, visible:].mean()

    return Autoencoder()


def theirs(name, compiled, quick):
    import torch

    s = setting(name, quick)
    side, last = s.size // s.patch, 0.0
    images = torch.from_numpy(noise(s.images, s.size, s.channels))
    net = network(s)
    tx = torch.optim.AdamW(
        net.parameters(), RATE, betas=(0.9, B2), weight_decay=DECAY, fused=True
    )
    loss_of = torch.compile(net) if compiled else net
    grid = (s.batch, side, s.patch, side, s.patch, s.channels)

    def rows():
        while True:
            yield from torch.randperm(s.images).split(s.batch)

    order = rows()

    def call():
        nonlocal last
        x = images[next(order)].float() / 127.5 - 1
        patches = x.reshape(grid).transpose(2, 3).reshape(s.batch, side * side, -1)
        loss = loss_of(patches, torch.rand(s.batch, side * side).argsort(1))
        tx.zero_grad()
        loss.backward()
        tx.step()
        last = loss.item()

    return Work(call, s.batch, warm=4, notes=lambda: {"loss": last})


MODES = {"timm": False, "timm, compiled": True}
PAIRS = {
    f"mae-{name}": Pair(
        "image",
        partial(ours, name),
        {how: partial(theirs, name, compiled) for how, compiled in MODES.items()},
        target=1.3,
    )
    for name in SETTINGS
}
