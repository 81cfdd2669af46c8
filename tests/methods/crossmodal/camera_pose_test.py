"""Camera pose: what guessing costs, the bins of poses, and the contrast's double loop."""

from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from toys import images, jitted, noisy

from jssl import config, course
from jssl.methods.crossmodal.camera_pose import camera_pose
from jssl.models.convnet import ConvNet
from jssl.models.siamese_pairs import PairsAndPoses, SiamesePairs

headline = "loss"
FILE = Path(__file__).parents[3] / "experiments/camera_pose.py"
EDGES = np.array([[-0.5, 0.5], [-0.5, 0.5]], np.float32)


def moved():
    """Motions [8, 2], of every class."""
    places = jnp.array([-1.0, 0.0, 1.0])
    return jnp.stack([places[jnp.arange(8) % 3], places[jnp.arange(8) // 3]], 1)


def clips():
    """Images and themselves, moved by whole pixels: [8, 2, 8, 8, 1]."""
    after = jax.vmap(lambda x, by: jnp.roll(x, by.astype(int), (0, 1)))(images(), moved())
    return jnp.stack([images(), after], 1)


def network(classes=(3, 3)):
    pairs = SiamesePairs(ConvNet((4, 8), (1, 1), maps=True), classes, (8,), 16)
    return jitted(pairs if classes else PairsAndPoses(pairs, 4, 8))


def tiny(tx, edges=EDGES, noise=0.01):
    net = network((3, 3) if edges is not None else ())
    motion = lambda batch: batch["motion"]
    look = lambda key, batch: noisy(key, batch["video"], noise)
    tx = tx or optax.adam(3e-3)
    method = camera_pose(net, tx, motion, look, edges=edges, temperature=0.5)
    # To contrast, no motion is zero, whose first embedding would be zero, too.
    away = 0.0 if edges is not None else 0.25
    return method, {"video": clips(), "motion": moved() + away}


def first_step(edges=EDGES, change=lambda params: params):
    method, batch = tiny(optax.sgd(0.0), edges, noise=0.0)
    state = jax.jit(method.init)(jax.random.key(0), batch)
    state = state._replace(params=change(state.params))
    return state, batch, jax.jit(method.step)(jax.random.key(1), state, batch)[1]


def test_equal_logits_cost_the_logarithm_of_the_bins_of_each_component():
    def silent(params):
        return params | {k: jax.tree.map(jnp.zeros_like, params[k]) for k in
                         ("head0", "head1")}  # fmt: skip

    _, _, metrics = first_step(change=silent)
    np.testing.assert_allclose(metrics["loss"], 2 * np.log(3), rtol=1e-6)


def test_the_loss_is_a_loop_over_pairs_and_components():
    state, batch, metrics = first_step()
    out, _ = network().apply(state.params, state.stats, batch["video"], train=True)
    total, right = 0.0, 0
    for k in range(2):
        logits = np.float64(out["logits"][k])
        for i in range(8):
            y = int(round(float(moved()[i, k]))) + 1
            total += np.log(np.exp(logits[i]).sum()) - logits[i, y]
            right += logits[i].argmax() == y
    np.testing.assert_allclose(metrics["loss"], total / 8, rtol=1e-5)
    assert metrics["pose_accuracy"] == pytest.approx(right / 16)


def test_the_contrast_matches_pairs_and_poses_both_ways():
    state, batch, metrics = first_step(edges=None)
    net = network(())
    given = (batch["video"], batch["motion"])
    out, _ = net.apply(state.params, state.stats, *given, train=True)
    one, two = (np.float64(out[x]) for x in ("z/pair", "z/pose"))
    one, two = (x / np.linalg.norm(x, axis=1, keepdims=True) for x in (one, two))
    total = 0.0
    for i in range(8):
        there = [one[i] @ two[j] / 0.5 for j in range(8)]
        back = [one[j] @ two[i] / 0.5 for j in range(8)]
        total += np.log(np.exp(there).sum()) + np.log(np.exp(back).sum()) - 2 * there[i]
    np.testing.assert_allclose(metrics["loss"], total / 16, rtol=1e-5)


def test_a_classifier_of_motions_embeds_pairs_whose_motion_is_unknown():
    method, batch = tiny(None)
    state = jax.jit(method.init)(jax.random.key(0), batch)
    alone = method.embed(state, {"video": batch["video"]})
    np.testing.assert_array_equal(alone["h"], method.embed(state, batch)["h"])


def test_h_is_of_the_frames_by_themselves_and_joint_of_their_order():
    for edges in (EDGES, None):
        method, batch = tiny(None, edges)
        state = jax.jit(method.init)(jax.random.key(0), batch)
        there = method.embed(state, batch)
        back = method.embed(state, batch | {"video": batch["video"][:, ::-1]})
        assert set(there) == {"h", "joint"}
        np.testing.assert_allclose(there["h"], back["h"], atol=1e-6)
        assert abs(there["joint"] - back["joint"]).max() > 1e-3


def test_the_laptop_traces_and_judges_joint_features_of_the_untrained_network(tmp_path):
    [stage] = config.load(f"{FILE}:tiny=True,source=scenes").stages()
    course.check([stage], tmp_path, keep=2)  # layers have two rows for each pair
    assert "linear joint" in stage.baselines["untrained network"].evals
    assert "supervised reference" in stage.baselines
