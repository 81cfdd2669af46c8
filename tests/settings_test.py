"""Published settings: lengths, weights and rates, on blank data of the published size."""

import importlib
from functools import partial
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from jssl import config, evals, nets, papers, views
from jssl.knobs import Run
from jssl.learner import rates
from jssl.models.alexnet import AlexNet
from jssl.models.heads import Classifier
from jssl.ops.cells import cell_maxima
from jssl.ops.ema import ema_decay_warmup
from jssl.ops.ramps import sigmoid_rampup
from jssl.papers import of_layer

FOLDER = Path(__file__).parent.parent / "experiments"


LENGTHS = {
    "mixmatch.py:cifar": (1_048_576, 250, 45_000),
    "mixmatch.py:cifar,labels=400": (1_048_576, 4000, 45_000),
    "mean_teacher.py:cifar": (150_000, 4000, 50_000),
    "vat.py:cifar": (200_000, 4000, 50_000),
    "pi_model.py:cifar,whiten=False": (150_000, 4000, 50_000),
    "temporal_ensembling.py:cifar,whiten=False": (150_000, 4000, 50_000),
    "pseudo_label.py:cifar": (1_048_576, 4000, 45_000),
    "pseudo_label.py:cifar,labels=25": (1_048_576, 250, 45_000),
    "interpolation_consistency.py:cifar,whiten=False": (180_000, 4000, 45_000),
    "fixmatch.py:cifar": (1_048_576, 250, 50_000),
    "fixmatch.py:cifar,labels=400": (1_048_576, 4000, 50_000),
    "uda.py:cifar": (500_000, 250, 50_000),
    "flexmatch.py:cifar": (1_048_576, 250, 50_000),
    "freematch.py:cifar": (1_048_576, 250, 50_000),
    "remixmatch.py:cifar": (1_048_576, 250, 45_000),
}


@pytest.mark.parametrize("setting", LENGTHS)
def test_semi_supervised_trainings_have_the_published_steps_and_labels(setting, cifar):
    [stage] = config.load(f"{FOLDER / setting},source={cifar}").stages()
    steps, labels, images = LENGTHS[setting]
    assert abs(stage.steps / steps - 1) < 1e-3
    sizes = {name: source.size for name, source in stage.data.parts.items()}
    assert sizes == {"labeled": labels, "unlabeled": images}
    assert stage.baselines == {}


ZERO_LAST = {  # the scale of the last batch norm of a block: 0 or 1 at first
    "moco.py:paper": False,  # models.resnet50(num_classes=dim) in moco/builder.py
    "moco.py:paper,version=1": False,
    "moco.py:v3": True,  # zero_init_residual=True in main_moco.py of moco-v3
    "simsiam.py:paper": True,  # zero_init_residual=True in simsiam/builder.py
    "vicreg.py:paper": True,  # zero_init_residual=True in main_vicreg.py
    "byol.py:paper": True,  # Haiku's hk.nets.ResNet
    "simclr.py:paper": True,  # init_zero=True in resnet.py
    "barlow_twins.py:paper": True,  # zero_init_residual=True in main.py
    "barlow_twins.py:cifar": False,
    "nnclr.py:cifar": False,
    "swav.py:paper": False,  # ResNet in src/resnet50.py
    "swav.py:cifar": False,
    "byol.py:cifar": False,  # torchvision's resnet18() in solo-learn
    "vicreg.py:cifar": False,
    "dino.py:cifar": False,
}


@pytest.mark.parametrize("setting", ZERO_LAST)
def test_residual_networks_start_as_in_the_released_codes(setting, cifar, monkeypatch):
    made, encoder = [], papers.Large.encoder

    def seen(self, images, **more):
        made.append(encoder(self, images, **more))
        return made[-1]

    monkeypatch.setattr(papers.Large, "encoder", seen)
    source = cifar if ":cifar" in setting else "blank:imagenet2012"
    config.load(f"{FOLDER / setting},source={source}").stages()
    [network] = made
    assert network.zero_last == ZERO_LAST[setting]
    assert network.depth == (18 if ":cifar" in setting else 50)


def caught(monkeypatch, name, knobs):
    """A setting's stage, and the arguments of its method."""
    module, seen = importlib.import_module(f"jssl.methods.semisupervised.{name}"), {}
    make = getattr(module, name)

    def method(net, tx, augment, **more):
        seen.update(tx=tx, augment=augment, **more)
        return make(net, tx, augment, **more)

    monkeypatch.setattr(module, name, method)
    [stage] = config.load(f"{FOLDER}/{name}.py:cifar,{knobs}").stages()
    return stage, seen


def test_mean_teachers_ramps_are_those_of_the_released_code(monkeypatch, cifar):
    """CuriousAI/mean-teacher, tensorflow: sigmoid_rampup and sigmoid_rampdown of
    mean_teacher/model.py, with the numbers of experiments/cifar10_final_eval.py."""
    stage, seen = caught(monkeypatch, "mean_teacher", f"source={cifar}")
    total = stage.steps
    assert abs(total / 150_000 - 1) < 1e-3
    assert seen["weight"] == pytest.approx(100.0 * 4000 / 50_000)
    assert (seen["ramp"], seen["momentum"], seen["divisor"]) == (40_000, 0.999, "batch")
    params = {"kernel": jnp.ones((2, 2))}
    start, update = seen["tx"].init(params), jax.jit(seen["tx"].update)
    fall = total - 25_000
    for step in (0, 1, 10_000, 39_999, 40_000, 100_000, fall, fall + 1, total - 1):
        state = jax.tree_util.tree_map_with_path(
            lambda path, x, at=step: (
                jnp.int32(at) if getattr(path[-1], "name", "") == "count" else x
            ),
            start,
        )
        _, after = update(params, state, params)
        up = np.exp(-5 * (1 - step / 40_000) ** 2) if step < 40_000 else 1.0
        down = np.exp(-12.5 * (1 - (total - step) / 25_000) ** 2) if step >= fall else 1.0
        held = after.hyperparams
        np.testing.assert_allclose(held["learning_rate"], 0.003 * up * down, rtol=1e-4)
        np.testing.assert_allclose(held["b1"], 0.9 * down + 0.5 * (1 - down), rtol=1e-5)
        np.testing.assert_allclose(held["b2"], 0.999, rtol=1e-6)
        np.testing.assert_allclose(sigmoid_rampup(step, seen["ramp"]), up, rtol=1e-4)


def test_mean_teachers_average_is_that_of_the_released_code():
    """update_ema_variables of CuriousAI/mean-teacher, pytorch/main.py."""
    for step in (1, 2, 10, 998, 999, 1000, 100_000):
        alpha = min(1 - 1 / (step + 1), 0.999)
        np.testing.assert_allclose(ema_decay_warmup(step, 0.999), alpha, rtol=1e-6)


def test_fixmatchs_sgd_is_that_of_the_released_code(cifar):
    """google-research/fixmatch: MomentumOptimizer with use_nesterov, l2_loss of kernels,
    and lr cos(7 pi t / 16), over three steps around the middle of the training."""
    images = papers.CifarWeakAndStrong(source=cifar)
    train = images.load(Run())
    total = train.steps(images.epochs)
    tx = images.averaged_sgd(train)
    kernel, bias, average = 0.5, 0.5, 0.5
    params = {"kernel": jnp.array(kernel), "bias": jnp.array(bias)}
    state = jax.tree_util.tree_map_with_path(
        lambda path, x: (
            jnp.int32(total // 2) if getattr(path[-1], "name", "") == "count" else x
        ),
        tx.init(params),
    )
    update = jax.jit(tx.update)
    velocity = {"kernel": 0.0, "bias": 0.0}
    for step, grad in enumerate((1.0, -0.5, 2.0), start=total // 2):
        grads = {"kernel": jnp.array(grad), "bias": jnp.array(grad)}
        updates, state = update(grads, state, params)
        params = optax.apply_updates(params, updates)
        rate = 0.03 * np.cos(7 * np.pi / 16 * step / total)
        slopes = {"kernel": grad + 5e-4 * kernel, "bias": grad}
        velocity = {name: 0.9 * velocity[name] + g for name, g in slopes.items()}
        moves = {name: rate * (g + 0.9 * velocity[name]) for name, g in slopes.items()}
        kernel, bias = kernel - moves["kernel"], bias - moves["bias"]
        average = 0.999 * average + 0.001 * kernel
        np.testing.assert_allclose(params["kernel"], kernel, rtol=1e-5)
        np.testing.assert_allclose(params["bias"], bias, rtol=1e-5)
    np.testing.assert_allclose(state[-1].average["kernel"], average, rtol=3e-6)


@pytest.mark.parametrize("name", ["mean_teacher", "vat"])
def test_images_are_whitened_before_they_move(name, monkeypatch, tmp_path):
    """Mean Teacher's after their contrast is normalized, with 0.1 added to variances."""
    recipe = views.recipe
    monkeypatch.setattr(views, "recipe", lambda name, **more: recipe(name, size=8, **more))
    bits = np.random.default_rng(0).integers(0, 256, (1500, 8, 8, 3)).astype(np.uint8)
    labels, file = np.arange(1500) % 10, tmp_path / "noise.npz"
    np.savez(file, x_train=bits, y_train=labels, x_test=bits[:99], y_test=labels[:99])
    quiet = ",noise=0.0" if name == "mean_teacher" else ""
    _, seen = caught(monkeypatch, name, f"source=npz:{file},labels=5{quiet}")
    batch = {"image": jnp.asarray(bits / 255, jnp.float32)}
    z, x = np.asarray(seen["prepare"](batch)), bits.reshape(1500, -1) / 255
    if name == "mean_teacher":
        x -= x.mean(1, keepdims=True)
        x *= 55 / np.linalg.norm(x, axis=1, keepdims=True)
    before, after = (np.linalg.eigvalsh(np.cov(a.reshape(1500, -1).T)) for a in (x, z))
    wanted = before / (before + 0.1) if name == "mean_teacher" else np.ones(192)
    np.testing.assert_allclose(after, wanted, atol=1e-3)
    few = {"image": batch["image"][:9]}
    moved = np.asarray(seen["augment"](jax.random.key(0), few))
    for still, image in zip(z, moved, strict=False):
        known = np.append(still.ravel(), 0.0)  # VAT's border
        off = abs(image.ravel()[:, None] - known).min(1).max()
        assert off < 1e-5 * abs(z).max()  # of a product in float32
    assert np.any(moved != z[:9])


def test_data2vecs_rates_decays_and_clipping_are_those_of_the_released_commands(
    monkeypatch,
):
    """beit/README.md of facebookresearch/data2vec_vision: ViT-B, its loss a mean over d."""
    seen = []

    def spied(make):
        def method(net, tx, *more, **how):
            seen.append(tx)
            return make(net, tx, *more, **how)

        return method

    for name in ("masked.data2vec", "transfer.supervised"):
        module, own = importlib.import_module(f"jssl.methods.{name}"), name.split(".")[1]
        monkeypatch.setattr(module, own, spied(getattr(module, own)))
    knobs = "variant=16x1x2/16,source=blank:imagenet2012"
    stages = config.load(f"{FOLDER}/data2vec.py:paper,{knobs}").stages()
    settings = (800, 2048, 2e-3, 1e-5, 0.05), (100, 1024, 4e-3, 1e-6, 0.0)
    params = {"kernel": jnp.ones((2, 2)), "bias": jnp.ones(2)}
    for stage, tx, (epochs, batch, peak, end, decay) in zip(
        stages, seen, settings, strict=True
    ):
        epoch = 1_281_167 // batch
        assert (stage.data.batch, stage.steps) == (batch, epochs * epoch)
        for step in (0, 5 * epoch, 10 * epoch, epochs * epoch // 2, stage.steps):
            state = jax.tree_util.tree_map_with_path(
                lambda path, x, at=step: jnp.int32(at) if "count" in str(path[-1]) else x,
                tx.init(params),
            )
            updates, state = tx.update(jax.tree.map(jnp.zeros_like, params), state, params)
            fall = max(step / epoch - 10, 0) / (epochs - 10)
            falls = end + (peak - end) * (1 + np.cos(np.pi * fall)) / 2
            rate = falls if step >= 10 * epoch else peak * step / epoch / 10
            np.testing.assert_allclose(
                rates(state)["learning_rate"], rate, rtol=1e-4, atol=1e-9
            )
            np.testing.assert_allclose(updates["kernel"], -rate * decay, rtol=1e-4)
            assert not updates["bias"].any()
    grads = {"kernel": jnp.full((2, 2), 100.0), "bias": jnp.zeros(2)}
    _, state = seen[0].update(grads, seen[0].init(params), params)
    moment = optax.tree.get(state, "mu")["kernel"]
    np.testing.assert_allclose(jnp.linalg.norm(moment), 0.1 * 3 * 16**0.5, rtol=1e-5)


IMAGENET = {  # epochs, and images of a step
    "deepcluster.py:paper": (200, 256),
    "deepcluster.py:paper,network=vgg": (200, 256),
    "rotation.py:imagenet": (50, 192),
    "jigsaw.py:paper,count=64": (70, 256),
    "colorization.py:paper": (28.1, 80),
    "split_brain.py:paper": (28.1, 80),
    "relative_position.py:paper": (74, 56),
    "counting.py:paper": (40, 256),
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


def test_latent_diffusion_has_the_networks_and_the_length_of_the_text_to_image_model():
    """872.3 million weights by the log of the released U-Net, 83,653,863 of the coder."""
    name = f"{FOLDER}/latent_diffusion.py:paper,source=blank:imagenet2012"
    size = lambda tree: sum(x.size for x in jax.tree.leaves(tree))

    def began(knobs=""):
        stage = config.load(name + knobs).stages()[-1]
        shapes = jax.eval_shape(stage.data.decode, stage.data.shapes())
        return stage, shapes, jax.eval_shape(stage.method.init, jax.random.key(0), shapes)

    stage, _, state = began()
    text = size(state.prior.params["text"])
    assert size(state.coder.params) == 83_653_863
    assert abs((size(state.prior.params) - text) / 872.3e6 - 1) < 1e-3
    assert 500e6 < text < 560e6  # 32 blocks of width 1280, and the words
    assert abs(stage.steps / 390_000 - 1) < 1e-2
    assert stage.data.batch == 680
    stage, shapes, state = began(",text_depth=1")
    after, _ = jax.eval_shape(stage.method.step, jax.random.key(0), state, shapes)
    assert jax.tree.map(jnp.shape, after) == jax.tree.map(jnp.shape, state)


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
