"""Published settings: lengths, weights and rates, on blank data of the published size."""

from functools import partial
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jssl import config, evals, nets
from jssl.models.alexnet import AlexNet
from jssl.models.heads import Classifier
from jssl.ops.cells import cell_maxima
from jssl.papers import of_layer

FOLDER = Path(__file__).parent.parent / "experiments"


@pytest.fixture(scope="module")
def cifar(tmp_path_factory):
    """An npz file with as many rows and classes as CIFAR-10, of 2 x 2 pixels."""
    file = tmp_path_factory.mktemp("cifar") / "blank.npz"
    arrays = {}
    for split, n in (("train", 50_000), ("test", 10_000)):
        arrays[f"x_{split}"] = np.zeros((n, 2, 2, 3), np.uint8)
        arrays[f"y_{split}"] = np.arange(n) % 10
    np.savez(file, **arrays)
    return f"npz:{file}"


LENGTHS = {
    "mixmatch.py:cifar": (1_048_576, 250, 45_000),
    "mixmatch.py:cifar,labels=400": (1_048_576, 4000, 45_000),
    "mean_teacher.py:cifar": (150_000, 4000, 50_000),
    "vat.py:cifar": (200_000, 4000, 50_000),
}


@pytest.mark.parametrize("setting", LENGTHS)
def test_semi_supervised_trainings_have_the_published_steps_and_labels(setting, cifar):
    [stage] = config.load(f"{FOLDER / setting},source={cifar}").stages()
    steps, labels, images = LENGTHS[setting]
    assert abs(stage.steps / steps - 1) < 1e-3
    sizes = {name: source.size for name, source in stage.data.parts.items()}
    assert sizes == {"labeled": labels, "unlabeled": images}
    assert stage.baselines == {}


IMAGENET = {  # epochs, and images of a step
    "deepcluster.py:paper": (200, 256),
    "deepcluster.py:paper,network=vgg": (200, 256),
    "rotation.py:imagenet": (50, 192),
    "jigsaw.py:paper,count=64": (70, 256),
}


@pytest.mark.parametrize("setting", IMAGENET)
def test_the_published_pretext_tasks_trace_by_shape(setting):
    """The real networks, batches and schedules, on blank images of ImageNet's shapes."""
    epochs, batch = IMAGENET[setting]
    path = f"{FOLDER / setting},source=blank:imagenet2012"
    for stage in config.load(path).stages():
        initial = jax.eval_shape(stage.data.decode, stage.data.initial_shapes())
        shapes = jax.eval_shape(stage.data.decode, stage.data.shapes())
        key = jax.random.key(0)
        state = jax.eval_shape(stage.method.init, key, initial)
        after, _ = jax.eval_shape(stage.method.step, key, state, shapes)
        assert jax.tree.map(jnp.shape, after) == jax.tree.map(jnp.shape, state)
        if stage.name == "pretrain":
            assert stage.steps == round(epochs * (1_281_167 // batch))
            assert len(shapes["index"]) == batch
        elif "vgg" not in setting:
            assert state.head.params["head"]["kernel"].shape == (9600, 1000)


def test_the_features_of_a_layer_are_means_of_its_maps():
    net = nets.linen(Classifier(AlexNet(1, widths=(4, 4, 6, 4, 4), hidden=(8,)), 3))
    x = jax.random.uniform(jax.random.key(0), (2, 16, 16, 3))
    params, stats = net.init(jax.random.key(1), x)
    with pytest.raises(ValueError, match="layer must be 1 to 5, got 6"):
        of_layer(net, 6).apply(params, stats, x)
    maps = net.apply(params, stats, x)[0]["layers"][2]
    h = of_layer(net, 3, partial(evals.pool_to_budget, budget=6)).apply(params, stats, x)
    np.testing.assert_allclose(h[0]["h"], maps.mean((1, 2)), rtol=1e-5)
    h = of_layer(net, 3, partial(cell_maxima, cells=(1, 1))).apply(params, stats, x)
    np.testing.assert_array_equal(h[0]["h"], maps.max((1, 2), keepdims=True))


def test_rotnets_linear_classifier_normalizes_the_channels_of_pooled_maps():
    name = f"{FOLDER}/rotation.py:imagenet,source=blank:imagenet2012"
    stage = config.load(name).stages()[-1]
    shapes = jax.eval_shape(stage.data.decode, stage.data.initial_shapes())
    state = jax.eval_shape(stage.method.init, jax.random.key(0), shapes)
    assert jax.tree.leaves(state.head.stats)[0].shape == (384,)


@pytest.mark.parametrize(("knobs", "widths"), [
    ("paper,source=blank:imagenet2012", [2048, 128]),
    ("paper,source=blank:imagenet2012,layers=3", [2048, 2048, 128]),
    ("cifar", [512, 512, 128]),
])  # fmt: skip
def test_simclrs_head_has_the_layers_of_the_paper_or_of_the_released_code(
    knobs, widths, cifar
):
    own = "" if "blank" in knobs else f",source={cifar}"
    stage = config.load(f"{FOLDER}/simclr.py:{knobs}{own}").stages()[0]
    shapes = jax.eval_shape(stage.data.decode, stage.data.initial_shapes())
    state = jax.eval_shape(stage.method.init, jax.random.key(0), shapes)
    kernels = jax.tree.leaves(state.params["projector"])
    assert [k.shape[1] for k in kernels if k.ndim == 2] == widths


def test_the_papers_gan_has_uniform_noise_of_deviation_one_and_a_halved_rate(monkeypatch):
    path, seen = FOLDER / "gan.py", {}

    def gan(generator, discriminator, generator_tx, discriminator_tx, prior, **more):
        seen.update(
            noise=prior(jax.random.key(0), 500), each=(generator_tx, discriminator_tx)
        )
        return make(generator, discriminator, generator_tx, discriminator_tx, prior, **more)

    from jssl.methods.generative import gan as module

    make = module.gan
    monkeypatch.setattr(module, "gan", gan)
    config.load(f"{path}:paper,tiny=True").stages()
    noise = np.asarray(seen["noise"])
    assert abs(noise).max() <= 3**0.5 and abs(noise.std() - 1) < 0.05
    moves = [tx.update(jnp.ones(()), tx.init(jnp.zeros(())))[0] for tx in seen["each"]]
    np.testing.assert_allclose(moves, [-0.1, -0.05], rtol=1e-5)


def test_dit_xl_2_has_the_published_size_and_traces_by_shape(tmp_path):
    """DiT-XL/2 has 675.1 million weights, of fixed positions and of variances too."""
    file = tmp_path / "latents.npz"
    x, y = np.zeros((1000, 32, 32, 4), np.uint8), np.arange(1000)
    np.savez(file, x_train=x, y_train=y, x_test=x[:300], y_test=y[:300])
    (stage,) = config.load(f"{FOLDER}/video_diffusion.py:paper,source=npz:{file}").stages()
    shapes = jax.eval_shape(stage.data.decode, stage.data.shapes())
    assert shapes["image"].shape == (256, 32, 32, 4)
    key = jax.random.key(0)
    state = jax.eval_shape(stage.method.init, key, shapes)
    d = 1152
    block = 6 * d * d + 6 * d + 4 * (d * d + d) + 8 * d * d + 5 * d
    ends = 16 * d + d + 256 * d + d + d * d + d + 1001 * d + 2 * d * d + 2 * d + 16 * d + 16
    sizes = [x.size for x in jax.tree.leaves(state.params)]
    assert sum(sizes) == 28 * block + ends == 675_129_632 - 256 * d - 16 * d - 16
    step = lambda state, batch: stage.method.step(key, state, batch)
    after, metrics = jax.eval_shape(step, state, shapes)
    assert jax.tree.map(jnp.shape, after) == jax.tree.map(jnp.shape, state)
    assert metrics["loss"].shape == ()
