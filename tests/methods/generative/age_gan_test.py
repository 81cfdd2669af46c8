"""Age GAN: the encoder's regression, the inversion step by step, and edits of one code."""

from functools import cache, partial

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from toys import images, jitted

from jssl import Stage
from jssl.data import dataset
from jssl.engine import Engine
from jssl.features import Features
from jssl.learner import fresh
from jssl.method import Method, field
from jssl.methods.generative.age_gan import _searched, age_gan, invert
from jssl.methods.generative.conditional_gan import conditional_gan
from jssl.methods.generative.gan import State
from jssl.models import gan
from jssl.models.conditional import Conditional, Conditioned, Inverter
from jssl.models.convnet import ConvNet
from jssl.models.heads import Trunk
from jssl.nets import Net

headline = "loss"
KEY = jax.random.key(0)

MAKER = jitted(Conditioned(gan.Generator((8, 8, 1), (8,))))
JUDGE = jitted(Conditional(gan.Discriminator((8,)), "projection"))
ENCODER = jitted(Inverter(gan.Discriminator((32,)), 4))
RECOGNIZER = jitted(Trunk(ConvNet((4, 4))))


def normal(width, key, n):
    return jax.random.normal(key, (n, width))


PRIOR = partial(normal, 4)


def brightness(batch):
    """Three bins of the mean, as an attribute."""
    return (batch["image"].mean((1, 2, 3))[:, None] > jnp.array([0.45, 0.55])).sum(1)


def game():
    return conditional_gan(MAKER, JUDGE, *[optax.sgd(0.1)] * 2, PRIOR, 3)


def made(tx, **more):
    nets = MAKER, RECOGNIZER
    return age_gan(ENCODER, tx, game(), *nets, PRIOR, brightness, 3, **more)


def tiny(tx):
    batch = {"image": images(), "label": jnp.arange(8) % 3, "index": jnp.arange(8)}
    return made(tx or optax.adam(1e-2), steps=3), batch


@cache
def begun():
    """`tiny`, and its first state."""
    method, batch = tiny(None)
    return method, batch, jax.jit(method.init)(KEY, batch)


def network(params, apply) -> Net:
    """A network without statistics, of one function (params, *inputs) -> out."""

    def applied(params, stats, *inputs, train=False, keys={}):
        return apply(params, *inputs), stats

    return Net(lambda key, *inputs: (jnp.asarray(params), ()), applied)


def fixed(embedded=lambda state, batch: {"h": batch["image"]}) -> Method:
    """A conditional GAN whose generator has no weights."""

    def init(key, batch):
        return State(*[fresh(optax.identity(), jnp.zeros(()))] * 2)

    return Method(init, None, embedded)


def plane(noise, **more):
    """G(z, y) = (z, y) of three numbers each; E(x) = 0.2 times the first at the start."""
    return age_gan(
        network(0.2, lambda w, x: {"h": w * x[:, :3]}),
        optax.sgd(1.0),
        fixed(),
        network((), lambda params, z, y: jnp.concatenate([z, y], 1)),
        network((), lambda params, x: {"h": x[:, :2]}),
        noise,
        lambda batch: batch["own"],
        3,
        **more,
    )


def test_the_encoder_goes_down_the_error_of_the_codes_of_samples(x64):
    z = np.random.default_rng(0).normal(size=(6, 3))
    method = plane(lambda key, n: jnp.asarray(z)[:n])
    batch = {"image": jnp.zeros((6, 6)), "own": jnp.zeros(6, int), "index": jnp.arange(6)}
    state = method.init(KEY, batch)
    after, metrics = jax.jit(method.step)(KEY, state, batch)
    np.testing.assert_allclose(metrics["loss"], np.square(0.8 * z).mean(), rtol=1e-12)
    slope = (2 * -0.8 * z * z).mean()
    np.testing.assert_allclose(after.encoder.params, 0.2 - slope, rtol=1e-12)


def test_steps_leave_the_gan_and_the_recognizer_as_they_were():
    method, batch, state = begun()
    after, _ = jax.jit(method.step)(KEY, state, batch)
    for name in ("gan", "recognizer"):
        old, new = (getattr(x, name) for x in (state, after))
        jax.tree.map(np.testing.assert_array_equal, old, new)
    old, new = (x.encoder.params["code"]["kernel"] for x in (state, after))
    assert np.any(old != new)


def test_the_inversion_finds_the_code_of_a_sample():
    """Below 1 % of the distance of other codes, and never farther than before."""
    _, _, state = begun()
    maker = state.gan.generator
    y = jax.nn.one_hot(jnp.arange(6) % 3, 3)

    def features(z):
        return MAKER.apply(maker.params, maker.stats, z, y)[0].reshape(len(z), -1)

    true, start = (normal(4, jax.random.key(i), 6) for i in (1, 2))

    def apart(wanted, z):
        return jnp.square(features(z) - wanted).sum(1)

    distance = jax.tree_util.Partial(apart, features(true))
    np.testing.assert_allclose(distance(true), 0, atol=1e-6)
    z, trace = invert(distance, start, steps=300, lr=0.05)
    assert trace.shape == (301, 6) and z.shape == (6, 4)
    assert np.all(np.diff(trace, axis=0) <= 0)
    np.testing.assert_allclose(trace[0], distance(start), rtol=1e-5)
    np.testing.assert_allclose(trace[-1], distance(z), rtol=1e-4, atol=1e-6)
    assert np.median(trace[-1] / trace[0]) < 0.01


def test_the_steps_of_the_inversion_are_those_of_adam_and_of_each_row(x64):
    goal = jnp.array([[1.0, -2.0], [0.5, 3.0]])
    apart = lambda goal, z: jnp.square(z - goal).sum(1)
    z, trace = invert(jax.tree_util.Partial(apart, goal), goal * 0, steps=40, lr=0.1)
    wanted, m, v = np.zeros((2, 2)), 0, 0
    for i in range(1, 41):
        slope = 2 * (wanted - goal)
        m, v = 0.9 * m + 0.1 * slope, 0.999 * v + 0.001 * slope**2
        wanted = wanted - 0.1 * (m / (1 - 0.9**i)) / (np.sqrt(v / (1 - 0.999**i)) + 1e-8)
    closer = np.square(wanted - goal).sum(1) <= trace[-1] + 1e-9
    np.testing.assert_allclose(z[closer], wanted[closer], rtol=1e-9)
    assert closer[1]  # the farther row is still on its way
    alone, _ = invert(
        jax.tree_util.Partial(apart, goal[:1]), goal[:1] * 0, steps=40, lr=0.1
    )
    np.testing.assert_allclose(alone, z[:1], rtol=1e-12)


def test_steps_are_dispatched_and_compiled_once():
    traces = []

    def apart(goal, z):
        traces.append(1)
        return jnp.square(z - goal).sum(1)

    for shift in (0.0, 1.0):
        distance = jax.tree_util.Partial(apart, jnp.full((3, 2), shift))
        invert(distance, jnp.zeros((3, 2)), steps=20, lr=0.1)
    assert len(traces) == 1
    method, batch, state = begun()
    program = str(jax.make_jaxpr(method.generate)(KEY, state, batch))
    assert "conv" in program and "scan" not in program and "while" not in program


def edited(**more):
    """Edits of x = (z, y_0) in `plane`, with labels 2, 0, 1, from E = 0.2 z."""
    method = plane(partial(normal, 3), steps=200, lr=0.1, **more)
    z, own = np.array([[1.0, -1, 2], [0.5, 2, 1], [-1, 1, 0.3]]), np.array([0, 1, 2])
    x = np.concatenate([z, np.eye(3)[own]], 1)
    batch = {
        "image": jnp.asarray(x),
        "own": jnp.asarray(own),
        "label": jnp.array([2, 0, 1]),
        "index": jnp.arange(3),
    }
    return method, method.init(KEY, batch), batch, z


def test_edits_have_one_code_and_every_attribute():
    method, state, batch, z = edited()
    out = method.generate(KEY, state, batch)
    each = np.asarray(out["edits"])
    assert each.shape == (3, 3, 6)
    np.testing.assert_array_equal(each[:, :, 3:], np.broadcast_to(np.eye(3), (3, 3, 3)))
    np.testing.assert_array_equal(each[:, :, :3], each[:, :1, :3].repeat(3, 1))
    # The recognizer reads the first two numbers; the third stays that of the encoder.
    np.testing.assert_allclose(each[:, 0, :2], z[:, :2], atol=1e-3)
    np.testing.assert_allclose(each[:, 0, 2], 0.2 * z[:, 2], atol=1e-6)
    np.testing.assert_array_equal(out["image"], each[np.arange(3), [2, 0, 1]])
    np.testing.assert_array_equal(out["original"], batch["image"])
    kept = {name: x for name, x in batch.items() if name != "label"}
    out = method.generate(KEY, state, kept)
    np.testing.assert_array_equal(out["image"], each[np.arange(3), [0, 1, 2]])


def test_the_distance_of_pixels_reads_all_of_them():
    method, state, batch, z = edited(distance="pixels")
    each = method.generate(KEY, state, batch)["edits"]
    np.testing.assert_allclose(each[:, 0, :3], z, atol=1e-3)


def test_h_is_that_of_the_discriminator():
    method, batch, state = begun()
    out = method.embed(state, batch)
    np.testing.assert_array_equal(out["h"], game().embed(state.gan, batch)["h"])
    learner = state.encoder
    z = ENCODER.apply(learner.params, learner.stats, images())[0]["h"]
    np.testing.assert_allclose(out["z"], z, rtol=1e-5)
    maker = state.gan.generator
    y = jax.nn.one_hot(brightness(batch), 3)
    wanted = MAKER.apply(maker.params, maker.stats, z, y)[0]
    np.testing.assert_allclose(out["reconstruction"], wanted, rtol=1e-5)


def test_a_picture_has_the_edits_beside_the_original():
    method, batch, state = begun()
    [grid] = method.render(KEY, state, batch, None).values()
    assert grid.columns == ("original", "y = 0", "y = 1", "y = 2")
    assert grid.images.shape == (8, 4, 8, 8, 1)
    np.testing.assert_array_equal(grid.images[:, 0], images())


def test_mistakes_are_refused():
    with pytest.raises(ValueError, match='"identity" or "pixels", got \'faces\''):
        made(optax.sgd(0.1), distance="faces")
    _, batch = tiny(None)
    short = jitted(Inverter(gan.Discriminator((8,)), 3))
    method = age_gan(
        short, optax.sgd(0.1), game(), MAKER, RECOGNIZER, PRIOR, field("label"), 3
    )
    with pytest.raises(ValueError, match=r"shape of z, \(4,\), got \(3,\)"):
        method.init(KEY, batch)


def test_evals_dispatch_the_steps_of_the_inversion_too():
    """On two batches of the engine: what a call outside of it returns."""
    method, _, _ = begun()
    x = np.asarray(255 * images()).astype(np.uint8)
    x = np.concatenate([x, 255 - x])
    rows = {"image": x, "label": np.arange(16, dtype=np.int32) % 3}
    source = dataset("toy", {"train": rows}, 8, labeled=True)
    engine = Engine(Stage(name="edit", method=method, data=source, steps=1))
    before = _searched._cache_size()
    features = Features(engine, engine.begin({}))
    edits = features.generated("train")["edits"]
    # The first step reads moments that are not sharded yet. Unrolled steps add no program.
    assert 1 <= _searched._cache_size() - before <= 2
    assert edits.shape == (16, 3, 8, 8, 1)
    second = {"image": jnp.asarray(x[8:] / 255), "label": jnp.arange(8, 16) % 3}
    second |= {"index": jnp.arange(8, 16)}
    wanted = method.generate(KEY, features.state, second)["edits"]
    np.testing.assert_allclose(edits[8:], wanted, atol=1e-5)
