"""Value and gradient of a loss between two views of 4,096 images.

The functions are those of benchmarks/losses.py: d = 128, DINO with 1,024 and SwAV with 512
prototypes, float32.
Same: inputs, temperatures and weights of the terms.
Different: ours is compiled; lightly's runs as its users run it.
"""

from functools import partial

from peers.pair import Pair, Work

NAMES = ("nt_xent", "barlow_twins", "vicreg", "dino", "swav")


def side(which, name, quick):
    import losses  # benchmarks/losses.py

    step = losses.SIDES[which](name, 64 if quick else 4096)
    return Work(step, notes=lambda: {"value": step()})


def ours(name, quick):
    return side("ours", name, quick)


def theirs(name, quick):
    return side("theirs", name, quick)


PAIRS = {
    f"loss-{name.replace('_', '-')}": Pair(
        "step", partial(ours, name), {"lightly": partial(theirs, name)}, target=1.5
    )
    for name in NAMES
}
