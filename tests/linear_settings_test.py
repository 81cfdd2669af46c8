"""Linear evaluations of published settings, against the values of papers and their code."""

import re
from pathlib import Path
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jssl import baselines, config, data, papers, views
from jssl.papers import evaluation

FOLDER = Path(__file__).parent.parent / "experiments"
IMAGES = {"imagenet": 1_281_167, "cifar": 50_000}


class Recipe(NamedTuple):
    """A published linear evaluation.

    Attributes:
      source: of the values.
      rule: "sgd", "nesterov" or "lars", all with momentum 0.9.
      rate: peak of the learning rate of this batch.
      batch: images of a step.
      epochs: of the training.
      decay: of the weights.
      falls: factors of the rate, by the epoch from which they apply; empty: a cosine to 0.
      warmup: epochs of linear warm-up.
      filter: of the resizing of random crops.
      area: least area of a crop, as a fraction; the most is 1, unless they are equal.
      statistics: by which images are normalized.
      norm: batch norm without scale and offset before the classifier.
      std: deviation of the initial weights.
      data: the data set.
    """

    source: str
    rule: str
    rate: float
    batch: int
    epochs: float
    decay: float = 0.0
    falls: dict = {}
    warmup: float = 0.0
    filter: str = "bilinear"
    area: float = 0.08
    statistics: views.Statistics | None = views.IMAGENET
    norm: bool = False
    std: float = 0.01
    data: str = "imagenet"


SIMCLR = Recipe(
    "README of google-research/simclr; arXiv:2002.05709, B.6 has no decay",
    "nesterov", 1.6, 4096, 90, decay=1e-6, filter="bicubic", statistics=None, std=0.0,
)  # fmt: skip
SIMCLR_CIFAR = SIMCLR._replace(
    source="README of google-research/simclr, CIFAR-10",
    rate=0.2, batch=512, epochs=100, decay=0.0, data="cifar",
)  # fmt: skip
MOCO = Recipe(
    "main_lincls.py of facebookresearch/moco",
    "sgd", 30.0, 256, 100, falls={60: 0.1, 80: 0.1},
)  # fmt: skip
MOCO_V3 = Recipe("main_lincls.py of facebookresearch/moco-v3", "sgd", 0.4, 1024, 90)
BYOL = Recipe(
    "byol/configs/eval.py, eval_experiment.py and utils/dataset.py of deepmind-research",
    "nesterov", 0.8, 1024, 80, filter="bicubic",
)  # fmt: skip
SIMSIAM = Recipe(
    "README and main_lincls.py of facebookresearch/simsiam: --lars",
    "lars", 1.6, 4096, 90,
)  # fmt: skip
SOLO = Recipe(
    "as SimCLR's for CIFAR-10: solo-learn trains its classifier beside the encoder",
    "nesterov", 0.2, 512, 100, statistics=views.CIFAR10, data="cifar",
)  # fmt: skip

DINO = Recipe("eval_linear.py of facebookresearch/dino", "sgd", 0.004, 1024, 100)

ROTNET = Recipe(
    "RotNet's rates", "nesterov", 0.01, 192, 35, decay=5e-4,
    falls={5: 0.2, 15: 0.2, 25: 0.2},
)  # fmt: skip

COLORS = Recipe(
    "feature_learning_tests/linear of richzhang/colorization: 140,000 steps of 256 images",
    "sgd", 0.01, 256, 28, decay=5e-4, falls={8: 0.1, 16: 0.1, 24: 0.1}, statistics=None,
    norm=True,
)  # fmt: skip

RECIPES = {
    "simclr.py:paper": SIMCLR,
    "simclr.py:cifar": SIMCLR_CIFAR,
    "simclr_v2.py:paper": SIMCLR._replace(
        source="arXiv:2002.05709, B.6, whose protocol is that of arXiv:2006.10029",
        decay=0.0,
    ),
    "moco.py:paper": MOCO,
    "moco.py:paper,version=1": MOCO,
    "moco.py:v3": MOCO_V3,
    "moco.py:v3_vit": MOCO_V3._replace(source="CONFIG.md of moco-v3: --lr=3", rate=12.0),
    "byol.py:paper": BYOL,
    "byol.py:cifar": SOLO,
    "simsiam.py:paper": SIMSIAM,
    "simsiam.py:cifar": Recipe(
        "MoCo's of facebookresearch/simsiam, where --lars is not given, with its cosine",
        "sgd", 30.0, 256, 100, statistics=views.CIFAR10, data="cifar",
    ),
    "dino.py:paper": DINO,
    "dino.py:cifar": SOLO,
    "ibot.py:paper": DINO._replace(
        source="evaluation/eval_linear.py of bytedance/ibot, whose rate is the best of many"
    ),
    "vicreg.py:paper": Recipe(
        "README and evaluate.py of facebookresearch/vicreg: --lr-head 0.02",
        "sgd", 0.02, 256, 100, decay=1e-6,
    ),
    "vicreg.py:cifar": SOLO,
    "barlow_twins.py:paper": Recipe(
        "evaluate.py of facebookresearch/barlowtwins", "sgd", 0.3, 256, 100, decay=1e-6,
    ),
    "barlow_twins.py:cifar": SOLO,
    "nnclr.py:paper": SIMCLR._replace(
        source="SimCLR's: that of NNCLR is not known to us", decay=0.0, filter="bilinear",
        statistics=views.IMAGENET, std=0.01,
    ),
    "nnclr.py:cifar": SOLO,
    "swav.py:paper": Recipe(
        "eval_linear.py of facebookresearch/swav, on 8 GPUs", "sgd", 0.3, 256, 100,
        decay=1e-6, statistics=views.IMAGENET_SWAV,
    ),
    "swav.py:cifar": SOLO,
    "lejepa.py:paper": MOCO_V3._replace(
        source="as DINO's, with batch norm: no rate is known to us", norm=True,
    ),
    "mae.py:paper": Recipe(
        "main_linprobe.py and FINETUNE.md of facebookresearch/mae",
        "lars", 6.4, 16384, 90, warmup=10, filter="bicubic", norm=True,
    ),
    "i_jepa.py:paper": Recipe(
        "arXiv:2301.08243, appendix A, with one of its rates and weight decays",
        "lars", 3.2, 16384, 50, falls={15: 0.1, 30: 0.1, 45: 0.1}, norm=True,
    ),
    "deepcluster.py:paper": Recipe(
        "eval_linear.py of facebookresearch/deepcluster; its crops and its rate, which "
        "falls by a sixth, are departures",
        "sgd", 0.01, 256, 90, decay=1e-4,
    ),
    "rotation.py:imagenet": Recipe(
        "config/ImageNet_LinearClassifiers_ImageNet_RotNet_AlexNet_Features.py and "
        "architectures/MultipleLinearClassifiers.py of gidariss/FeatureLearningRotNet",
        "nesterov", 0.01, 192, 35, decay=5e-4, falls={5: 0.2, 15: 0.2, 25: 0.2},
        area=(224 / 256) ** 2, norm=True, std=(2 / 1000) ** 0.5,
    ),
    "relative_position.py:paper": ROTNET._replace(
        source="RotNet's rates; the deviations are those of patches with an RMS of 50",
        statistics=views.Statistics(
            views.IMAGENET.mean, tuple(x / 50 for x in views.IMAGENET.std)
        ),
    ),
    "counting.py:paper": ROTNET,
    "colorization.py:paper": COLORS,
    "split_brain.py:paper": COLORS,
    "context_encoder.py:paper": Recipe(
        "as DeepCluster's, with the rate of none", "sgd", 0.1, 256, 30, decay=1e-4,
    ),
    "instance_discrimination.py:paper": MOCO,
    "instance_discrimination.py:cifar": SOLO._replace(
        source="as SimCLR's for CIFAR-10, with plain momentum", rule="sgd",
    ),
    "multiview_coding.py:paper": MOCO._replace(
        source="LinearProbing.py of HobbitLong/CMC", epochs=60,
        falls={30: 0.2, 40: 0.2, 50: 0.2}, statistics=None,
    ),
    "cpc_image.py:paper": Recipe(
        "arXiv:1807.03748, section 3.2: 50,000, 25,000 and 10,000 steps of 2,048 images",
        "sgd", 0.1, 2048, 136, falls={80: 0.1, 120: 0.1}, area=(256 / 300) ** 2,
        statistics=None,
    ),
    "cpc_image.py:v2": Recipe(
        "none is known to us", "sgd", 0.8, 2048, 90, area=(260 / 300) ** 2, statistics=None,
    ),
    "linear.py:paper": SIMCLR._replace(
        source="the protocol of Kolesnikov et al. 2019 with SimCLR's numbers",
        decay=0.0, filter="bilinear", statistics=views.IMAGENET, std=0.01,
    ),
    "linear.py:paper,optimizer=lars": SIMSIAM,
    "linear.py:paper,resize=bicubic,linear_lr=0.2,linear_batch=1024,linear_epochs=80": BYOL,
    "linear.py:paper,normalize=False,resize=bicubic,decay=1e-6": SIMCLR._replace(std=0.01),
    "linear.py:paper,optimizer=sgd,linear_lr=30,linear_batch=256,linear_epochs=100":
        MOCO._replace(source=f"{MOCO.source}, along a cosine", falls={}),
}  # fmt: skip


def test_every_experiment_with_a_linear_evaluation_is_in_the_table():
    group = re.compile(r"\ndef (\w+)\((?:(?!\ndef ).)*?: LinearEvaluation = ", re.DOTALL)
    found = {
        f"{path.name}:{name}"
        for path in FOLDER.glob("*.py")
        for name in group.findall(path.read_text())
    }
    assert found == {name.partition(",")[0] for name in RECIPES}


@pytest.fixture
def built(monkeypatch, cifar):
    """Builds a setting: its stage "linear", and the arguments of its parts."""
    seen, found = {}, {}
    linear, viewed = evaluation.linear, papers.Published.viewed

    def spy_linear(net, head, tx, classes, augment, **more):
        found.update(seen, head=head, tx=tx, classes=classes)
        return linear(net, head, tx, classes, augment, **more)

    def spy_viewed(images, run, look, labeled=False):
        seen["look"] = look
        return viewed(images, run, look, labeled)

    # Blank images are all of one class.
    assert baselines  # imported before what it imports by name is replaced
    monkeypatch.setattr(data, "labels_per_class", lambda source, *_: source)
    monkeypatch.setattr(evaluation, "linear", spy_linear)
    monkeypatch.setattr(papers.Published, "viewed", spy_viewed)

    def build(setting, images):
        source = {"imagenet": "blank:imagenet2012", "cifar": cifar}[images]
        stages = config.load(f"{FOLDER / setting},source={source}").stages()
        [stage] = [stage for stage in stages if stage.name == "linear"]
        return stage, found

    return build


@pytest.mark.parametrize("setting", RECIPES)
def test_a_linear_evaluation_is_the_published_one(setting, built):
    recipe = RECIPES[setting]
    stage, seen = built(setting, recipe.data)
    per_epoch = IMAGES[recipe.data] // recipe.batch
    assert stage.data.batch == recipe.batch
    assert stage.data.size == IMAGES[recipe.data]
    assert stage.steps == round(recipe.epochs * per_epoch)
    look = seen["look"]
    assert (look.flip, look.method, look.statistics) == (
        0.5, recipe.filter, recipe.statistics
    )  # fmt: skip
    most = 1.0 if recipe.area == 0.08 else recipe.area
    assert look.area == (recipe.area, most)
    assert look.ratio == ((3 / 4, 4 / 3) if most == 1.0 else (1.0, 1.0))
    assert not any((look.jitter, look.gray, look.blur, look.solarize, look.erase))
    _head(recipe, seen)
    _moves(recipe, seen["tx"], stage.steps, per_epoch)


def _head(recipe, seen):
    """Batch norm, and the deviation of the initial weights."""
    h = jnp.ones((2, 300))
    params, stats = seen["head"].init(jax.random.key(0), h)
    assert bool(jax.tree.leaves(stats)) == recipe.norm
    [kernel] = [x for x in jax.tree.leaves(params) if x.ndim == 2]
    assert kernel.shape == (300, seen["classes"])
    assert float(kernel.std()) == pytest.approx(recipe.std, rel=0.1)
    assert not any(x.any() for x in jax.tree.leaves(params) if x.ndim == 1)


def _moves(recipe, tx, steps, per_epoch):
    """Two updates in numpy, from several steps of the training on."""
    rng = np.random.default_rng(0)
    params = {"kernel": rng.normal(size=(3, 2)), "bias": np.zeros(2)}
    grads = [{k: 1e-3 * rng.normal(size=x.shape) for k, x in params.items()} for _ in "12"]
    places = {0, 1, steps // 3, steps // 2, 9 * steps // 10}
    for epoch in (*recipe.falls, recipe.warmup):
        edge = round(epoch * per_epoch)
        places |= {max(edge - 3, 0), edge + 2}
    update = jax.jit(tx.update)
    for place in sorted(places):
        state = jax.tree_util.tree_map_with_path(
            lambda path, x, at=place: jnp.int32(at) if _counts(path) else x,
            tx.init(params),
        )
        trace = dict.fromkeys(params, 0.0)
        for i, slopes in enumerate(grads):
            updates, state = update(slopes, state, params)
            rate = _rate(recipe, place + i, steps, per_epoch)
            for name, weight in params.items():
                g = slopes[name] + recipe.decay * weight
                if recipe.rule == "lars" and weight.ndim > 1:
                    g = g * 0.001 * np.linalg.norm(weight) / np.linalg.norm(g)
                trace[name] = 0.9 * trace[name] + g
                ahead = g + 0.9 * trace[name]
                move = ahead if recipe.rule == "nesterov" else trace[name]
                least = 1e-7 * recipe.rate * np.abs(move).max()  # of a rate in float32
                np.testing.assert_allclose(
                    updates[name], -rate * move, rtol=2e-4, atol=least
                )


def _counts(path):
    return getattr(path[-1], "name", "") == "count"


def _rate(recipe, step, steps, per_epoch):
    if recipe.falls:
        passed = [f for epoch, f in recipe.falls.items() if step >= epoch * per_epoch]
        return recipe.rate * np.prod(passed)
    warmup = round(recipe.warmup * per_epoch)
    if step < warmup:
        return recipe.rate * step / warmup
    return recipe.rate * (1 + np.cos(np.pi * (step - warmup) / (steps - warmup))) / 2
