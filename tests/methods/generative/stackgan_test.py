"""StackGAN: its texts, the wrong pairs, and a second stage that leaves the first alone."""

from functools import cache, partial
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import optax
from scipy.stats import norm
from toys import images, jitted

from jssl import config
from jssl.learner import Learner
from jssl.method import Above
from jssl.methods.generative.stackgan import mismatched, stackgan, upon
from jssl.models.stackgan import (
    Augmentation,
    FirstGenerator,
    PairDiscriminator,
    SecondGenerator,
)
from jssl.nets import Net
from jssl.ops.cells import cell_means

headline = "disc/loss"  # the generator hardly moves, so that the discriminator gains
batch_axis = 1
KEY = jax.random.key(0)
FIRST = jitted(FirstGenerator((4, 4, 1), (8,), 1, False))
SECOND = jitted(SecondGenerator((8, 8, 1), (4, 8), (4, 4), 1))
JUDGE = jitted(PairDiscriminator((4, 8), 4, (), False))
TEXTS = jnp.eye(4)[jnp.arange(8) % 3]


def prior(key, n):
    both = jax.random.normal(key, (n, 7))
    return both[:, :4], both[:, 4:]


def stage(number, tx=None, **more):
    how = dict(condition=lambda batch: batch["text"]) | more
    players = (tx or optax.sgd(1e-3), tx or optax.sgd(0.1))
    if number == 1:
        small = lambda batch: cell_means(2 * batch["image"] - 1, (4, 4))
        large = lambda x: ((x + 1) / 2).repeat(2, 1).repeat(2, 2)
        return stackgan(FIRST, JUDGE, *players, prior, prepare=small, show=large, **how)
    whole, shown = (lambda batch: 2 * batch["image"] - 1), lambda x: (x + 1) / 2
    return stackgan(
        SECOND, JUDGE, *players, prior, lower=FIRST, prepare=whole, show=shown, **how
    )


def tiny(tx):
    batch = {"image": images()[None], "text": TEXTS[None], "index": jnp.arange(8)[None]}
    return stage(2, tx), batch


def rows(batch):
    return {name: x[0] for name, x in batch.items()}


@cache
def begun(number):
    """A stage, a batch, and its state after a step."""
    method, batch = stage(number), tiny(None)[1]
    state = jax.jit(method.init)(KEY, batch)
    return method, batch, jax.jit(method.step)(KEY, state, batch)[0]


def test_the_divergence_of_augmentation_is_the_closed_form():
    """KL(N(m, s^2) || N(0, 1)) = s^2 / 2 + m^2 / 2 - 1/2 - log s, also by quadrature."""
    text = jax.random.normal(KEY, (5, 4))
    net = Augmentation()
    variables = net.init(KEY, text, jnp.zeros((5, 3)))
    variables = jax.tree.map(lambda w: 30 * w, variables)
    c, mean, log_sigma = net.apply(variables, text, jnp.full((5, 3), 2.0))
    np.testing.assert_allclose(c, mean + 2 * np.exp(log_sigma), rtol=1e-6)

    def losses(kl):
        method, batch, state = stage(1, kl=kl), *begun(1)[1:]
        return jax.jit(method.step)(KEY, state, batch)[1]

    with_kl, without = losses(3.0), losses(0.0)
    maker = begun(1)[2].own.generator
    z, eps = prior(KEY, 8)
    out, _ = FIRST.apply(maker.params, maker.stats, z, TEXTS, eps)
    m, s = np.float64(out["mean"]), np.exp(np.float64(out["log_sigma"]))
    assert np.abs(m).max() > 0
    wanted = (s**2 / 2 + m**2 / 2 - 0.5 - np.log(s)).mean()
    np.testing.assert_allclose(with_kl["gen/kl"], wanted, rtol=1e-3)
    grown = with_kl["gen/loss"] - without["gen/loss"]
    np.testing.assert_allclose(grown, 3 * wanted, rtol=1e-3)
    x = np.linspace(-8, 8, 20_001) * s[0, 0] + m[0, 0]
    q = norm.logpdf(x, m[0, 0], s[0, 0])
    nats = np.trapezoid(np.exp(q) * (q - norm.logpdf(x)), x)
    single = (s**2 / 2 + m**2 / 2 - 0.5 - np.log(s))[0, 0]
    np.testing.assert_allclose(nats, single, atol=1e-8)


def test_wrong_images_have_another_text_and_all_of_these_are_drawn():
    text = jnp.array([[1.0, 0], [1, 0], [0, 1], [1, 1]])
    other = np.array([mismatched(key, text)[0] for key in jax.random.split(KEY, 60)])
    for i, wanted in enumerate(({2, 3}, {2, 3}, {0, 1, 3}, {0, 1, 2})):
        assert set(other[:, i]) == wanted
    assert mismatched(KEY, jnp.ones((3, 2)))[1].tolist() == [False] * 3


def network(params, apply) -> Net:
    """A network without statistics, of one function (params, *inputs) -> out."""

    def applied(params, stats, *inputs, train=False):
        return apply(params, *inputs), stats

    return Net(lambda key, *inputs: (params, ()), applied)


def game(judge, **more):
    """Stage 1 against samples that are 9, of data that are their row number."""
    fake = lambda p, z, t, eps: {"image": z * 0 + 9, "mean": eps * 0, "log_sigma": eps * 0}
    return stackgan(
        network((), fake),
        judge if isinstance(judge, Net) else network(jnp.zeros(()), judge),
        optax.sgd(0.0),
        optax.sgd(0.0),
        lambda key, n: (jnp.zeros((n, 1)), jnp.zeros((n, 1))),
        condition=lambda batch: batch["text"],
        prepare=lambda batch: batch["image"],
        **more,
    )


def test_the_discriminator_is_asked_for_real_wrong_and_fake_pairs():
    """Logits that name the pair: right (0), wrong (1) or fake (2)."""
    value = lambda x, t: jnp.where(x[:, 0] == 9, 2.0, 1.0 * (x[:, 0] != t[:, 0]))
    judge = lambda p, x, t: {"logits": value(x, t), "h": x}
    x = jnp.arange(4.0)[None, :, None]
    batch = {"image": x, "text": x, "index": jnp.arange(4)[None]}
    method = game(judge)
    _, metrics = method.step(KEY, method.init(KEY, batch), batch)
    soft = lambda s: np.log1p(np.exp(s))
    wanted = soft(-0.0) + (soft(1.0) + soft(2.0)) / 2
    np.testing.assert_allclose(metrics["disc/loss"], wanted, rtol=1e-6)
    alone = batch | {"text": 0 * x}  # one text: there are no wrong pairs
    value = lambda x, t: jnp.where(x[:, 0] == 9, 2.0, 0.0)
    method = game(lambda p, x, t: {"logits": value(x, t), "h": x})
    _, metrics = method.step(KEY, method.init(KEY, alone), alone)
    np.testing.assert_allclose(metrics["disc/loss"], soft(0.0) + soft(2.0), rtol=1e-6)


def test_three_passes_of_a_step_begin_the_same_power_iteration():
    """Logits that count the passes since the vectors of spectral norm were kept."""

    def apply(params, stats, x, text, train=False, keys={}):
        count = stats["spectral"]
        out = {"logits": count + 0 * x[:, 0], "h": x}
        return out, {"spectral": count + 1, "norm": stats["norm"] + 1}

    first = {"spectral": jnp.zeros(()), "norm": jnp.zeros(())}
    judge = Net(lambda key, x, text: ({"w": jnp.zeros(())}, first), apply)
    x = jnp.arange(4.0)[None, :, None]
    batch = {"image": x, "text": x, "index": jnp.arange(4)[None]}
    method = game(judge)
    after, metrics = method.step(KEY, method.init(KEY, batch), batch)
    np.testing.assert_allclose(metrics["disc/loss"], 2 * np.log(2), rtol=1e-6)
    kept = after.own.discriminator.stats
    assert (float(kept["spectral"]), float(kept["norm"])) == (1, 3)


def test_logits_of_zero_cost_twice_log_two():
    judge = lambda p, x, t: {"logits": 0 * x[:, 0], "h": x}
    x = jnp.arange(4.0)[None, :, None]
    batch = {"image": x, "text": x, "index": jnp.arange(4)[None]}
    method = game(judge)
    _, metrics = method.step(KEY, method.init(KEY, batch), batch)
    np.testing.assert_allclose(metrics["disc/loss"], 2 * np.log(2), rtol=1e-6)


def test_the_second_stage_starts_upon_the_first_and_leaves_it_as_it_is():
    _, batch, done = begun(1)
    method = stage(2)
    state = upon("stage1")(jax.jit(method.init)(KEY, batch), {"stage1": done})
    assert isinstance(state, Above)
    maker = done.own.generator
    assert state.below == Learner(maker.params, maker.stats, ())
    before = jax.device_get(state.below)
    step = jax.jit(method.step)
    for key in jax.random.split(KEY, 3):
        state, _ = step(key, state, batch)
    jax.tree.map(np.testing.assert_array_equal, state.below, before)


def test_an_image_of_the_second_stage_is_drawn_upon_one_of_the_first():
    """With stage 1 constant, only the second draw of c remains."""
    method, batch, state = begun(2)
    made = jax.jit(method.generate)(KEY, state, rows(batch))["image"]
    assert made.shape == (8, 8, 8, 1) and made.min() >= 0 and made.max() <= 1
    maker = state.own.generator
    z, eps = prior(KEY, 8)
    low, _ = FIRST.apply(state.below.params, state.below.stats, z, TEXTS, eps)
    again = prior(jax.random.fold_in(KEY, 1), 8)[1]
    out, _ = SECOND.apply(maker.params, maker.stats, low["image"], TEXTS, again)
    np.testing.assert_allclose(made, (out["image"] + 1) / 2, atol=1e-5)
    small, _, first = begun(1)
    shown = jax.jit(small.generate)(KEY, first, rows(batch))["image"]
    assert shown.shape == (8, 8, 8, 1)
    np.testing.assert_array_equal(shown[:, ::2, ::2], shown[:, 1::2, 1::2])


def test_h_ignores_the_text_and_logits_do_not():
    method, batch, state = begun(2)
    embed = jax.jit(method.embed)
    one, two = (embed(state, rows(batch) | {"text": t}) for t in (TEXTS, TEXTS[::-1]))
    np.testing.assert_array_equal(one["h"], two["h"])
    assert one["h"].shape == (8, 2 * 2 * 8)
    judge, x = state.own.discriminator, 2 * images() - 1
    apply = partial(JUDGE.apply, judge.params, judge.stats, x)
    assert np.abs(apply(TEXTS)[0]["logits"] - apply(TEXTS[::-1])[0]["logits"]).max() > 0


def test_the_papers_networks_have_its_maps_and_its_lengths():
    path = Path(__file__).parents[3] / "experiments" / "stackgan.py"
    stages = config.load(f"{path}:paper,source=blank:5994x200,size=256").stages()
    sizes = {"stage1": (64, 4 * 4 * 512), "stage2": (256, 4 * 4 * 512)}
    assert [stage.name for stage in stages] == [*sizes]
    for stage in stages:
        batch = jax.eval_shape(stage.data.decode, stage.data.shapes())
        state = jax.eval_shape(stage.method.init, KEY, batch)
        after, metrics = jax.eval_shape(stage.method.step, KEY, state, batch)
        assert jax.tree.map(jnp.shape, after) == jax.tree.map(jnp.shape, state)
        assert metrics["gen/kl"].shape == ()
        some = jax.eval_shape(stage.data.decode, stage.data.row_shapes())
        side, width = sizes[stage.name]
        assert jax.eval_shape(stage.method.embed, state, some)["h"].shape == (64, width)
        assert jax.eval_shape(stage.method.generate, KEY, state, some)["image"].shape == (
            (64, 256, 256, 3)
        )
        maker = state.own.generator.params
        last = maker["up2" if side == 64 else "up4"]["kernel"]
        assert last.shape[-1] == (128 if side == 64 else 3)
        assert stage.steps == round(600 * (5994 // 64))
