"""DCGAN end to end: batches drawn, a step of the discriminator and one of the generator.

The laptop setting of experiments/dcgan.py: 28 pixels, grey, kernels of 4, widths 64 and 32,
batch 64, Adam (2e-4, b1 0.5) for both players, float32.
Same: images in memory, real and fake images pass the discriminator apart, the generator
is judged on fresh noise, both losses are read at every step.
Different: ours reports four more numbers of each step, and reads a step's after it
dispatched the next; torch's Adam is fused, its maps are channels last or first, whichever
is faster.
"""

from functools import partial
from pathlib import Path

from peers.pair import Pair, Work, noise, training

ROOT = Path(__file__).parents[2]
SIZE, NOISE, WIDTHS, RATE = 28, 64, (64, 32), 2e-4


def sizes(quick):
    """(images, batch)."""
    return (64, 8) if quick else (4096, 64)


def ours(quick):
    from dataclasses import replace

    from jssl import config, data

    n, batch = sizes(quick)
    source = data.dataset("noise", {"train": {"image": noise(n, SIZE, 1)}}, batch)
    stage = config.load(f"{ROOT}/experiments/dcgan.py:batch={batch}").stages()[-1]
    quiet = dict(evals={}, baselines={}, render_every=0)
    twice = data.minibatches(source, 1)
    return training(replace(stage, data=twice, steps=10**9, **quiet), batch)


def players():
    """torch: (generator, discriminator)."""
    from torch import nn

    wide, narrow = WIDTHS
    quarter = SIZE // 4
    generator = nn.Sequential(
        nn.Linear(NOISE, quarter**2 * wide, bias=False),
        nn.BatchNorm1d(quarter**2 * wide),
        nn.ReLU(inplace=True),
        nn.Unflatten(1, (wide, quarter, quarter)),
        nn.ConvTranspose2d(wide, narrow, 4, 2, 1, bias=False),
        nn.BatchNorm2d(narrow),
        nn.ReLU(inplace=True),
        nn.ConvTranspose2d(narrow, 1, 4, 2, 1, bias=False),
        nn.Tanh(),
    )
    discriminator = nn.Sequential(
        nn.Conv2d(1, narrow, 4, 2, 1, bias=False),
        nn.LeakyReLU(0.2, inplace=True),
        nn.Conv2d(narrow, wide, 4, 2, 1, bias=False),
        nn.BatchNorm2d(wide),
        nn.LeakyReLU(0.2, inplace=True),
        nn.Flatten(),
        nn.Linear(quarter**2 * wide, 1, bias=False),
    )
    for part in (*generator, *discriminator):
        if isinstance(part, nn.Linear | nn.Conv2d | nn.ConvTranspose2d):
            nn.init.normal_(part.weight, std=0.02)
    return generator, discriminator


def theirs(channels_last, quick):
    import torch
    from torch.nn.functional import softplus

    n, batch = sizes(quick)
    layout = torch.channels_last if channels_last else torch.contiguous_format
    maker, judge = (net.to(memory_format=layout) for net in players())
    adam = partial(torch.optim.Adam, lr=RATE, betas=(0.5, 0.999), fused=True)
    maker_tx, judge_tx = adam(maker.parameters()), adam(judge.parameters())
    images = torch.from_numpy(noise(n, SIZE, 1)).permute(0, 3, 1, 2).contiguous()
    last = {}

    def rows():
        while True:
            yield from torch.randperm(n).split(batch)

    order = rows()

    def draw():
        return 2 * torch.rand(batch, NOISE) - 1

    def call():
        real = (images[next(order)].float() / 127.5 - 1).to(memory_format=layout)
        with torch.no_grad():
            fake = maker(draw())
        judged = (softplus(-judge(real)) + softplus(judge(fake))).mean()
        judge_tx.zero_grad()
        judged.backward()
        judge_tx.step()
        made = softplus(-judge(maker(draw()))).mean()
        maker_tx.zero_grad()
        made.backward()
        maker_tx.step()
        last.update({"disc/loss": judged.item(), "gen/loss": made.item()})

    return Work(call, batch, notes=lambda: last)


LAYOUTS = {"torch": False, "torch, channels last": True}
PAIRS = {
    "dcgan-28": Pair(
        "image",
        ours,
        {name: partial(theirs, last) for name, last in LAYOUTS.items()},
        target=1,
    )
}
