"""SimCLR end to end: batches drawn, two views an image, one AdamW step; 32 pixels, colour.

Same: images in memory, views as in `views`, a ResNet-18 with the stem for small images
(width 16 at batch 256; width 64 at batch 64), a projector of two layers with batch norm,
NT-Xent at temperature 0.2, AdamW, float32, the loss read at every step.
Different: theirs is lightly's loader, head and loss around torchvision's blocks, channels
last and AdamW fused, which are torch's fastest here, with 0, 1 and 2 workers; our weight
decay leaves out the vectors; ours reads a step's loss after dispatching the next.
"""

from functools import partial

from peers.pair import Pair, Work, noise, training, without_end
from peers.views import WORKERS, loader, look

SIZE, RATE, DECAY, TEMPERATURE = 32, 1e-3, 1e-4, 0.2
BATCHES = {16: 256, 64: 64}  # by width


def sizes(width, quick):
    """(images, batch, widths of the projector)."""
    return (64, 8, (32, 16)) if quick else (8192, BATCHES[width], (8 * width, 128))


def ours(width, quick):
    import optax

    from jssl import Stage, data, nets, optim, views
    from jssl.methods.contrastive.simclr import simclr
    from jssl.models.heads import MLP, Siamese
    from jssl.models.resnet import ResNet

    n, batch, projector = sizes(width, quick)
    encoder = ResNet(18, stem="cifar", width=width)
    method = simclr(
        nets.linen(Siamese(encoder, MLP(projector, last_norm="affine"))),
        optax.adamw(RATE, weight_decay=DECAY, mask=optim.matrices),
        views.on(look(SIZE, 3)),
        temperature=TEMPERATURE,
    )
    source = data.dataset("noise", {"train": {"image": noise(n, SIZE, 3)}}, batch)
    return training(Stage(name="simclr", method=method, data=source, steps=10**9), batch)


def trunk(width, channels=3):
    """ResNet-18 with the stem for small images, of torchvision's blocks."""
    from torch import nn
    from torchvision.models.resnet import BasicBlock

    layers = [
        nn.Conv2d(channels, width, 3, padding=1, bias=False),
        nn.BatchNorm2d(width),
        nn.ReLU(inplace=True),
    ]
    before = width
    for stage in range(4):
        after = width * 2**stage
        for i in range(2):
            stride = 2 if stage and i == 0 else 1
            shortcut = None
            if before != after:
                conv = nn.Conv2d(before, after, 1, stride, bias=False)
                shortcut = nn.Sequential(conv, nn.BatchNorm2d(after))
            layers.append(BasicBlock(before, after, stride, shortcut))
            before = after
    return nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten())


def theirs(width, workers, quick):
    import torch
    from lightly.loss import NTXentLoss
    from lightly.models.modules import SimCLRProjectionHead

    n, batch, projector = sizes(width, quick)
    head = SimCLRProjectionHead(8 * width, *projector)
    net = torch.nn.Sequential(trunk(width), head).to(memory_format=torch.channels_last)
    tx = torch.optim.AdamW(net.parameters(), RATE, weight_decay=DECAY, fused=True)
    criterion, last = NTXentLoss(TEMPERATURE), 0.0
    batches = without_end(loader(SIZE, 3, n, batch, workers))

    def call():
        nonlocal last
        views = torch.cat(next(batches)).to(memory_format=torch.channels_last)
        loss = criterion(*net(views).chunk(2))
        tx.zero_grad()
        loss.backward()
        tx.step()
        last = loss.item()

    return Work(call, batch, warm=2 + 2 * workers, notes=lambda: {"loss": last})


PAIRS = {
    f"simclr-{name}": Pair(
        "image",
        partial(ours, width),
        {f"lightly, {w} workers": partial(theirs, width, w) for w in WORKERS},
        target,
    )
    for name, width, target in (("small", 16, 3), ("resnet18", 64, 1))
}
