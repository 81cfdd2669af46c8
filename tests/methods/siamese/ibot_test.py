"""iBOT: loss and gradient against loops, masks, both centers, and additions of DINOv2."""

from functools import cache, partial

import chex
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from toys import images, jitted, noisy, two_views

from jssl.methods.siamese.ibot import ibot, mask_views
from jssl.models import vit
from jssl.models.dino import Head, MaskedDistilled
from jssl.ops.sinkhorn import sinkhorn

headline = "loss"
KEY = jax.random.key(1)
TAUS = dict(teacher_temperature=0.05, patch_temperature=lambda count: 0.06 + 0.01 * count)


def network():
    encoder = vit.Encoder(8, 1, 2, 2, grid=(4, 4), interpolate=True)
    return jitted(MaskedDistilled(encoder, Head(6, (8, 4))))


def crops(key, batch):
    """Two views of 8 pixels, and two of 4."""
    small = noisy(key, jnp.stack([batch["image"][:, :4, :4], batch["image"][:, 4:, 4:]], 1))
    return two_views(key, batch), small


def method(tx, **more):
    settings = dict(steps=100, momentum=0.9) | TAUS | more
    return ibot(network(), tx, crops, 2, **settings)


def tiny(tx):
    """Without sharpening, so that the loss falls at once: to uniform probabilities."""
    flat = dict(teacher_temperature=0.5, patch_temperature=0.5)
    return method(tx or optax.adam(3e-3), **flat), {"image": images()}


@cache
def trained(**more):
    """The states before, between and after two steps, and the metrics of these."""
    made, seen = method(optax.chain(optax.trace(0.0), optax.scale(-0.01)), **more), []
    step, batch = jax.jit(made.step), {"image": images()}
    states = [jax.jit(made.init)(jax.random.key(0), batch)]
    for _ in range(2):
        state, metrics = step(KEY, states[-1], batch)
        states.append(state)
        seen.append(metrics)
    return states, seen


@cache
def drawn():
    """The views of a step, and the masks [n, 2, l] of the large ones."""
    with jax.ensure_compile_time_eval():
        view_key, mask_key, _ = jax.random.split(KEY, 3)
        mask = np.asarray(jax.jit(partial(mask_views, n=16, grid=(4, 4)))(mask_key))
        return crops(view_key, {"image": images()}), mask.reshape(8, 2, 16)


def outputs(params, group, mask=None):
    """[v] outputs, one view at a time."""
    apply = network().apply
    masks = [None if mask is None else jnp.asarray(mask[:, i]) for i in range(2)]
    return [apply(params, {}, group[:, i], masks[i])[0] for i in range(2)]


def cross(t, tau, s):
    """Cross entropy of student logits s at 0.1 with codes of the teacher."""
    return -(jax.nn.softmax(t / tau) * jax.nn.log_softmax(s / 0.1)).sum(-1)


def naive(params, teacher, centers, taus):
    """Losses of class and patch tokens, an image, view and patch after the other."""
    (large, small), mask = drawn()
    seen, whole = outputs(params, large, mask), outputs(teacher, large)
    every = seen + outputs(params, small)
    cls = [
        cross(t["prototypes"] - centers.cls, taus[0], s["prototypes"]).mean()
        for i, t in enumerate(whole)
        for v, s in enumerate(every)
        if v != i
    ]
    assert len(cls) == 6
    patch = 0.0
    for i, (t, s) in enumerate(zip(whole, seen, strict=True)):
        each = cross(t["patches"] - centers.patches, taus[1], s["patches"])
        for n in range(8):
            places = np.flatnonzero(mask[n, i])
            if len(places):
                patch += sum(each[n, place] for place in places) / len(places)
    return sum(cls) / 6 + patch / 16, (sum(cls) / 6, patch / 16)


def test_loss_and_gradient_are_those_of_loops():
    """In the second step, whose centers are those of the first step and no longer 0."""
    (_, before, after), (_, metrics) = trained()
    run = jax.jit(jax.value_and_grad(naive, has_aux=True), static_argnums=3)
    args = before.student.params, before.teacher.params, before.centers
    (value, (cls, patch)), slope = run(*args, (0.05, 0.07))
    assert patch > 0.1
    np.testing.assert_allclose(metrics["loss"], value, rtol=1e-5)
    np.testing.assert_allclose(metrics["cls"], cls, rtol=1e-5)
    np.testing.assert_allclose(metrics["patch"], patch, rtol=1e-5)
    found = after.student.opt[0].trace
    chex.assert_trees_all_close(found, slope, rtol=1e-3, atol=1e-5)
    assert np.any(found["mask_token"])


def test_the_centers_are_averages_of_the_teachers_logits_of_whole_views():
    states, _ = trained()
    (large, _), _ = drawn()
    cls, patches = np.zeros(6), np.zeros(6)
    for state in states[:2]:
        whole = outputs(state.teacher.params, large)
        cls = 0.9 * cls + 0.1 * np.mean([x["prototypes"] for x in whole], (0, 1))
        patches = 0.9 * patches + 0.1 * np.mean([x["patches"] for x in whole], (0, 1, 2))
    np.testing.assert_allclose(states[2].centers.cls, cls, rtol=1e-4, atol=1e-7)
    np.testing.assert_allclose(states[2].centers.patches, patches, rtol=1e-4, atol=1e-7)
    assert np.abs(cls - patches).max() > 1e-4


@pytest.mark.parametrize("blocks", [True, False])
def test_half_of_the_views_are_masked_at_a_tenth_to_a_half(blocks):
    mask = mask_views(KEY, 2000, (14, 14), blocks=blocks)
    counts = np.asarray(mask.sum(1))
    assert 0.45 < (counts == 0).mean() < 0.55
    some = counts[counts > 0]
    assert (some.min(), some.max()) == (19, 97)  # of 196
    assert abs(some.mean() / 196 - 0.3) < 0.01
    neighbors = (mask.reshape(-1, 14, 14)[:, 1:] & mask.reshape(-1, 14, 14)[:, :-1]).sum()
    assert (neighbors / mask.sum() > 0.6) == blocks


def test_sinkhorns_codes_take_the_place_of_centers_and_koleo_spreads_both_views():
    settings = dict(sinkhorn=True, koleo=0.1)
    (_, before, after), (_, metrics) = trained(**settings)
    np.testing.assert_array_equal(after.centers.cls, 0)
    (large, small), mask = drawn()
    seen = outputs(before.student.params, large, mask)
    whole = outputs(before.teacher.params, large)
    every = [x["prototypes"] for x in seen + outputs(before.student.params, small)]
    codes = sinkhorn(jnp.stack([x["prototypes"] for x in whole], 1).reshape(16, 6), 0.05)
    codes = codes.reshape(8, 2, 6)
    cls = [
        -(codes[:, i] * jax.nn.log_softmax(s / 0.1)).sum(-1).mean()
        for i in range(2)
        for v, s in enumerate(every)
        if v != i
    ]
    np.testing.assert_allclose(metrics["cls"], np.mean(cls), rtol=1e-4)
    spread = 0.0
    for out in seen:
        z = np.float64(out["h"])
        z /= np.linalg.norm(z, axis=1, keepdims=True)
        for i in range(8):
            near = min(np.linalg.norm(z[i] - z[j]) for j in range(8) if j != i)
            spread -= np.log(near + 1e-8) / 8
    np.testing.assert_allclose(metrics["koleo"], spread, rtol=1e-3)
    wanted = metrics["cls"] + metrics["patch"] + 0.1 * spread
    np.testing.assert_allclose(metrics["loss"], wanted, rtol=1e-4)


@pytest.mark.parametrize("settings", [dict(koleo=0.1), dict(sinkhorn=True)])
def test_comparisons_of_samples_refuse_parts_of_batches(settings):
    tx = optax.MultiSteps(optax.sgd(0.1), 2)
    with pytest.raises(ValueError, match="ibot: the loss compares the samples"):
        jax.eval_shape(method(tx, **settings).init, KEY, {"image": images()})
    jax.eval_shape(method(tx).init, KEY, {"image": images()})


def test_a_range_of_ratios_is_two_ascending_fractions():
    with pytest.raises(ValueError, match="two ascending fractions, got .0.5, 0.1"):
        method(optax.sgd(0.1), ratio=(0.5, 0.1))


def test_a_head_of_patches_may_be_apart():
    encoder = vit.Encoder(8, 1, 2, 2)
    module = MaskedDistilled(encoder, Head(6, (8, 4)), Head(5, (8, 4)))
    out, variables = module.init_with_output(KEY, images())
    assert out["patches"].shape == (8, 16, 5) and out["prototypes"].shape == (8, 6)
    assert not np.any(variables["params"]["mask_token"])
    tokens = variables["params"]["patch_head"]
    wanted = Head(5, (8, 4)).apply({"params": tokens}, out["tokens"])["prototypes"]
    np.testing.assert_allclose(out["patches"], wanted, rtol=1e-5, atol=1e-6)
