"""Two SimCLR views an image: crop, flip, colour jitter, greyscale, blur, normalise.

Same: uint8 images in memory, batches of 256, probabilities and strengths of the SimCLR
paper, antialiased bilinear crops; grey images have no saturation and hue to jitter.
Different: ours are floats from the first operation on, in one compiled function; theirs
are PIL images made one by one by lightly's SimCLRTransform in torch's DataLoader, which
is given 0, 1 and 2 workers. PIL approximates the Gaussian blur by box filters.
"""

from functools import partial

from peers.pair import Pair, Work, noise, without_end

SHAPES = {"28-grey": (28, 1), "32-colour": (32, 3)}
MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


def sizes(quick):
    """(images, batch)."""
    return (64, 8) if quick else (8192, 256)


def look(size, channels):
    """Our recipe of both views."""
    from jssl import views

    statistics = views.Statistics(MEAN[:channels], STD[:channels])
    strength = (0.8, 0.8, 0.8, 0.2) if channels == 3 else (0.8, 0.8, 0.0, 0.0)
    changes = dict(size=size, method="bilinear", strength=strength, statistics=statistics)
    if channels == 1:
        changes |= dict(gray=0.0)
    return partial(views.multi_view, views=views.recipe("simclr", **changes))


def ours(size, channels, quick):
    import jax

    augment = look(size, channels)
    n, batch = sizes(quick)
    images, step = noise(n, size, channels), 0

    @jax.jit
    def make(key, step, rows):
        return augment(jax.random.fold_in(key, step), rows.astype("float32") / 255)

    key = jax.random.key(0)

    def call():
        nonlocal step
        at = step * batch % n
        make(key, step, images[at : at + batch]).block_until_ready()
        step += 1

    return Work(call, batch)


def loader(size, channels, n, batch, workers):
    """Batches of two views, each [batch, c, h, w], by lightly's transform."""
    from lightly.transforms import SimCLRTransform
    from PIL import Image
    from torch.utils.data import DataLoader, Dataset

    color = dict(cj_sat=0.0, cj_hue=0.0, random_gray_scale=0.0) if channels == 1 else {}
    transform = SimCLRTransform(
        input_size=size,
        normalize={"mean": list(MEAN[:channels]), "std": list(STD[:channels])},
        **color,
    )
    arrays = noise(n, size, channels)
    arrays = arrays[..., 0] if channels == 1 else arrays
    pictures = [Image.fromarray(x) for x in arrays]

    class Views(Dataset):
        def __len__(self):
            return n

        def __getitem__(self, i):
            return transform(pictures[i])

    return DataLoader(
        Views(),
        batch_size=batch,
        shuffle=True,
        drop_last=True,
        num_workers=workers,
        persistent_workers=workers > 0,
    )


def theirs(size, channels, workers, quick):
    n, batch = sizes(quick)
    batches = without_end(loader(size, channels, n, batch, workers))
    # Workers run ahead: the queues must have settled, and the clock run long enough.
    return Work(lambda: next(batches), batch, warm=2 + 4 * workers, calls=4 + 4 * workers)


WORKERS = (0, 1, 2)
PAIRS = {
    f"views-{name}": Pair(
        "image",
        partial(ours, *shape),
        {f"lightly, {w} workers": partial(theirs, *shape, w) for w in WORKERS},
        target=10,
    )
    for name, shape in SHAPES.items()
}
