"""Video prediction: the cells against loops in torch, sampling of true inputs, the loss."""

from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from toys import images, jitted

from jssl.methods.video.video_prediction import video_prediction
from jssl.models.video_prediction import FORGET, ConvLSTMCell, FramePredictor, STLSTMCell
from jssl.nets import Net

headline = "loss"
GOLDEN = Path(__file__).parents[2] / "golden" / "video_prediction.npz"
KEY = jax.random.key(0)


def clips(frames=4):
    """Videos [8, t, 8, 8, 1]: the pictures, which move to the right."""
    return jnp.stack([jnp.roll(images(), t, 2) for t in range(frames)], 1)


def shaky(key, batch):
    x = batch["video"]
    return x + 0.01 * jax.random.normal(key, x.shape, x.dtype)


def tiny(tx):
    net = FramePredictor((4, 4), "st_lstm", patch=2, decouple=True)
    method = video_prediction(
        jitted(net), tx or optax.adam(2e-2), 2, shaky, sampling=40, decoupling=0.05
    )
    return method, {"video": clips()}


def golden_params(golden, cell):
    """The weights of the loops in torch, [out, in, y, x], under our names."""
    of = lambda name: golden[name].astype(np.float32)
    flax = lambda *kernels: np.concatenate(kernels, 1).transpose(2, 3, 1, 0)
    prefix, state = {"convlstm": ("lstm", "h"), "st_lstm": ("st", "state")}[cell]

    def gates(layer, *names):
        kernels, biases = [], []
        for name in names:
            at = f"{prefix}/{layer}/{name}"
            kernels.append(flax(of(f"{at}/x"), of(f"{at}/{state}")))
            biases.append(of(f"{at}/b").ravel())
        return {"kernel": np.concatenate(kernels, -1), "bias": np.concatenate(biases)}

    params = {}
    for layer in range(2):
        own = {"gates": gates(layer, *"ifgo")}
        if cell == "convlstm":
            peeps = [of(f"lstm/{layer}/{gate}/c") for gate in "ifo"]
            own["peephole"] = np.stack(peeps).transpose(0, 2, 3, 1)
        else:
            own["memory_gates"] = gates(layer, "i2", "f2", "g2")
            both = of(f"st/{layer}/co"), of(f"st/{layer}/mo")
            own["output_gate"] = {"kernel": flax(*both)}
            own["output"] = {"kernel": flax(of(f"st/{layer}/last"))}
        params[f"cell{layer}"] = own
    head = {"kernel": flax(of(f"{prefix}/head")), "bias": of(f"{prefix}/bias").ravel()}
    params["head"] = head
    if cell == "st_lstm":
        params["adapter"] = {"kernel": flax(of("st/adapter"))}
    return {"layers": params}


@pytest.mark.parametrize("cell", ["convlstm", "st_lstm"])
def test_the_predictions_are_those_of_loops_in_torch(cell):
    """tests/golden/make_video_prediction.py made the numbers."""
    golden = dict(np.load(GOLDEN))
    spatiotemporal = cell == "st_lstm"
    net = FramePredictor(
        (3, 3), cell, patch=2, peephole=not spatiotemporal, decouple=spatiotemporal
    )
    params = golden_params(golden, cell)
    video = jnp.asarray(golden["video"][..., None], jnp.float32)
    given = jnp.broadcast_to(golden["given"], (2, 4))
    own = jax.eval_shape(net.init, KEY, video, given)["params"]
    shapes = lambda tree: jax.tree.map(lambda x: tuple(x.shape), tree)
    assert shapes(own) == shapes(params)  # every weight has its place, none is left
    out = jax.jit(net.apply)({"params": params}, video, given)
    np.testing.assert_allclose(out["frames"][..., 0], golden[cell], atol=1e-5)
    if spatiotemporal:
        method = video_prediction(
            Net(lambda *_: (params, {}), lambda p, s, *_, **__: (out, s)),
            optax.sgd(0.0),
            2,
            decoupling=1.0,
        )
        batch = {"video": video}
        _, metrics = method.step(KEY, method.init(KEY, batch), batch)
        np.testing.assert_allclose(metrics["decoupling"], golden["decoupling"], rtol=1e-5)
        np.testing.assert_allclose(
            metrics["loss"], metrics["pixel_mse"] + metrics["decoupling"], rtol=1e-6
        )


def test_a_convlstm_of_one_place_is_an_lstm():
    from flax.linen import LSTMCell

    theirs = LSTMCell(3)
    x, h, c = (
        jax.random.normal(jax.random.key(i), (5, k)) for i, k in enumerate((4, 3, 3))
    )
    weights = theirs.init(KEY, (c, h), x)["params"]
    kernel = np.concatenate(
        [
            np.concatenate([weights[f"i{g}"]["kernel"], weights[f"h{g}"]["kernel"]])
            for g in "ifgo"
        ],
        1,
    )
    bias = np.concatenate([weights[f"h{g}"]["bias"] for g in "ifgo"])
    bias[3:6] -= FORGET
    params = {"params": {"gates": {"kernel": kernel[None, None], "bias": bias}}}
    pixel = lambda x: x[:, None, None]
    ours = ConvLSTMCell(3, 1).apply(params, pixel(h), pixel(c), pixel(x))
    (wanted_c, wanted_h), _ = theirs.apply({"params": weights}, (c, h), x)
    np.testing.assert_allclose(ours[0][:, 0, 0], wanted_h, atol=1e-6)
    np.testing.assert_allclose(ours[1][:, 0, 0], wanted_c, atol=1e-6)


@pytest.mark.parametrize("kind", [ConvLSTMCell, STLSTMCell])
def test_a_cell_is_equivariant_to_translations_of_what_is_inside(kind):
    cell = kind(2, 3)
    size = (1, 9, 9, 2)
    count = 2 if kind is ConvLSTMCell else 3
    inside = jnp.zeros((1, 9, 9, 1)).at[:, 3:6, 3:6].set(1)
    states = [inside * jax.random.normal(jax.random.key(i), size) for i in range(count + 1)]
    params = cell.init(KEY, *states)
    move = lambda tree: jax.tree.map(lambda x: jnp.roll(x, (1, -1), (1, 2)), tree)
    moved = jax.tree.leaves(cell.apply(params, *move(states)))
    for one, two in zip(
        jax.tree.leaves(move(cell.apply(params, *states))), moved, strict=True
    ):
        np.testing.assert_allclose(one[:, 2:-2, 2:-2], two[:, 2:-2, 2:-2], atol=1e-6)


def test_frames_that_are_not_given_are_never_read():
    net, x = FramePredictor((4,), patch=2), clips(5)
    given = jnp.array([[True, True, False, False]] * 8)
    params = jitted(net).init(KEY, x, given)
    other = x.at[:, 2:].set(0.3)
    apply = lambda x, given: jitted(net).apply(*params, x, given)[0]["frames"]
    np.testing.assert_array_equal(apply(x, given), apply(other, given))
    every = jnp.ones_like(given)
    assert not np.allclose(apply(x, every), apply(other, every))
    # The first frame is given, whatever is said.
    np.testing.assert_array_equal(apply(x, given), apply(x, given.at[:, 0].set(False)))


def teller():
    """A network that predicts 1 in frames whose input is given, and 0 elsewhere."""

    def apply(params, stats, x, given, train=False, keys={}):
        frames = params["w"] * given[:, :, None, None, None] + 0 * x[:, 1:]
        return {"frames": frames, "states": frames.mean((2, 3))}, stats

    return Net(lambda key, *_: ({"w": jnp.ones(())}, {}), apply)


def test_true_inputs_become_rarer_until_only_observed_frames_are_given():
    method = video_prediction(teller(), optax.sgd(0.0), 2, sampling=4)
    batch = {"video": jnp.zeros((500, 6, 2, 2, 1))}
    state, shares = method.init(KEY, batch), []
    for i in range(6):
        state, metrics = jax.jit(method.step)(jax.random.key(i), state, batch)
        shares.append((5 * float(metrics["loss"]) - 2) / 3)  # 2 of 5 inputs are observed
    np.testing.assert_allclose(shares, [1, 0.75, 0.5, 0.25, 0, 0], atol=0.05)


def test_the_loss_is_over_all_frames_after_the_first_and_zeros_cost_their_energy():
    nothing = Net(
        lambda key, *_: ({"w": jnp.zeros(())}, {}),
        lambda p, s, x, given, train=False, keys={}: (
            {"frames": p["w"] * x[:, 1:], "states": x[:, 1:].mean((2, 3))},
            s,
        ),
    )
    method = video_prediction(nothing, optax.sgd(0.0), 2)
    batch = {"video": clips()}
    _, metrics = method.step(KEY, method.init(KEY, batch), batch)
    frames = np.asarray(batch["video"])[:, 1:]
    np.testing.assert_allclose(metrics["loss"], np.mean(frames**2), rtol=1e-5)


def test_samples_begin_with_the_observed_frames_and_do_not_depend_on_the_others():
    method, batch = tiny(None)
    state = jax.jit(method.init)(KEY, batch)
    generate = jax.jit(method.generate)
    made = generate(KEY, state, batch)["video"]
    np.testing.assert_array_equal(made[:, :2], batch["video"][:, :2])
    other = {"video": batch["video"].at[:, 2:].set(0.5)}
    np.testing.assert_array_equal(generate(KEY, state, other)["video"], made)
    h = jax.jit(method.embed)(state, batch)["h"]
    np.testing.assert_array_equal(jax.jit(method.embed)(state, other)["h"], h)
    assert h.shape == (8, 8)  # two layers of four channels


@pytest.mark.parametrize(
    ("options", "reason"),
    [
        (dict(cell="gru"), "convlstm or st_lstm"),
        (dict(cell="st_lstm", widths=(4, 8)), "one width"),
        (dict(decouple=True), "cell=st_lstm"),
        (dict(cell="st_lstm", peephole=True), "cell=convlstm"),
        (dict(kernel=4), "odd"),
    ],
)
def test_networks_that_cannot_be_are_refused(options, reason):
    with pytest.raises(ValueError, match=reason):
        FramePredictor(**options).init(KEY, clips(), jnp.ones((8, 3), bool))


def test_clips_without_a_frame_to_predict_are_refused():
    method = video_prediction(teller(), optax.sgd(0.1), 4)
    with pytest.raises(ValueError, match="longer than the 4 observed frames, got 4"):
        method.init(KEY, {"video": clips()})
