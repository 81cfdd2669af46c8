"""Values and gradients of other libraries, in float64.

See tests/golden/make_losses.py, and make_modern.py for the modern standard set, where
definitions that differ by a factor are listed too.
"""

from functools import partial
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jssl import losses
from jssl.ops import diffusion
from jssl.ops.patches import normalize_patches, patchify
from jssl.ops.sinkhorn import sinkhorn

GOLDEN = Path(__file__).parents[1] / "golden"
FOUND = {**np.load(GOLDEN / "losses.npz"), **np.load(GOLDEN / "modern.npz")}
KEY = jax.random.key(0)


def constant(name):
    return jnp.asarray(FOUND[name])


def dino(student, teacher):
    center = constant("lightly.DINOLoss/center")
    return losses.dino(student, teacher, center)


def ibot(student, teacher):
    mask = constant("lightly.IBOTPatchLoss/mask")
    return losses.ibot(student, teacher, mask, jnp.zeros(student.shape[-1]))


def r1(x, w1, w2):
    return losses.r1_penalty(lambda x: jnp.tanh(x @ w1) @ w2, x)


def masked(logits, tokens):
    return losses.masked_lm(logits, tokens, constant("torch.cross_entropy(masked)/mask"))


def dino_of_crops(student, teacher):
    center = constant("lightly.DINOLoss(crops)/center")
    return losses.dino(student, teacher, center, teacher_temperature=0.05)


def ibot_with_center(student, teacher):
    name = "lightly.IBOTPatchLoss(center)"
    mask, center = constant(f"{name}/mask"), constant(f"{name}/center")
    return losses.ibot(student, teacher, mask, center, 0.2, 0.05)


SWAV = dict(epsilon=0.1, iterations=4)


def swav_with_queue(scores, queue):
    """Codes of the queue and the first two views of the batch, of each view apart."""
    both = jnp.concatenate([queue, scores[:, :2]])
    codes = jnp.stack([sinkhorn(both[:, i], **SWAV)[len(queue) :] for i in range(2)], 1)
    return losses.swav(scores, codes, temperature=0.2)


def data2vec(name, beta):
    mask = constant(f"torch.data2vec({name})/mask")
    return lambda p, layers: losses.data2vec(p, losses.data2vec_targets(layers), mask, beta)


def mae(pred, images):
    target = normalize_patches(patchify(jax.lax.stop_gradient(images), 2))
    return losses.masked_patch_error(pred, target, constant("transformers.ViTMAE/mask"))


OURS = {
    "lightly.NTXentLoss": partial(losses.nt_xent, temperature=0.1),
    "lightly.NTXentLoss(0.5)": partial(losses.nt_xent, temperature=0.5, chunk=4),
    "lightly.DCLLoss": partial(losses.dcl, temperature=0.1),
    "lightly.DCLWLoss": partial(losses.dclw, temperature=0.1, sigma=0.5),
    "lightly.BarlowTwinsLoss": losses.barlow_twins,
    "lightly.VICRegLoss": losses.vicreg,
    "lightly.NegativeCosineSimilarity": losses.negative_cosine,
    "lightly.KoLeoLoss": losses.koleo,
    "lightly.WMSELoss": partial(losses.w_mse, eps=0.0),
    "lightly.SwaVLoss": losses.swav,
    "lightly.DINOLoss": dino,
    "lightly.IBOTPatchLoss": ibot,
    "lightly.SIGReg": partial(losses.sigreg, KEY, slices=1, knots=17, reach=3.0),
    "pml.NTXentLoss": partial(losses.nt_xent, temperature=0.2),
    "pml.SupConLoss": partial(losses.supervised_contrastive, temperature=0.1),
    "pml.VICRegLoss": losses.vicreg,
    "torch.cross_entropy": losses.deepcluster,
    "torch.cross_entropy(smoothing)": partial(
        losses.token_cross_entropy, label_smoothing=0.1
    ),
    "torch.cross_entropy(masked)": masked,
    "torch.cross_entropy(shifted)": losses.causal_lm,
    "torch.cross_entropy(next)": losses.next_sentence,
    "torch.bce": losses.bernoulli_cross_entropy,
    "torch.mse": losses.squared_error,
    "torch.kl_div": losses.softmax_kl,
    "torch.mse(softmax)": losses.softmax_squared_error,
    "torch.Categorical.entropy": losses.entropy,
    "torch.kl_divergence(Normal)": losses.gaussian_kl,
    "torch.smooth_l1": losses.i_jepa,
    "torch.triplet_margin": losses.triplet,
    "torch.info_nce": partial(losses.info_nce, temperature=0.07),
    "torch.info_nce(queue)": partial(losses.info_nce, temperature=0.2),
    "torch.clip": losses.clip,
    "torch.siglip": losses.siglip,
    "torch.bce(gan)": losses.minimax_discriminator,
    "torch.bce(generator)": losses.non_saturating_generator,
    "torch.mse(gan)": losses.least_squares_discriminator,
    "torch.relu(gan)": losses.hinge_discriminator,
    "torch.r1": r1,
    "lightly.DINOLoss(crops)": dino_of_crops,
    "solo.DINOLoss(crops)": dino_of_crops,
    "lightly.IBOTPatchLoss(center)": ibot_with_center,
    "lightly.SwaVLoss(crops)": partial(losses.swav, temperature=0.2, **SWAV),
    "lightly.SwaVLoss(queue)": swav_with_queue,
    "solo.nnclr_loss_func": partial(losses.nnclr, temperature=0.2),
    "solo.barlow_loss_func": lambda a, b: 0.025 * losses.barlow_twins(a, b),
    "solo.vicreg_loss_func": partial(losses.vicreg, variance=50.0),
    "solo.byol_loss_func": losses.byol_regression,
    "torch.data2vec(image)": data2vec("image", 2.0),
    "torch.data2vec(text)": data2vec("text", 4.0),
    "torch.data2vec(speech)": data2vec("speech", None),
    "transformers.ViTMAE": mae,
    "transformers.clip_loss": losses.clip,
}


@pytest.mark.parametrize("name", OURS)
def test_value_and_gradients_equal_theirs(name, x64):
    inputs = []
    while f"{name}/in/{len(inputs)}" in FOUND:
        inputs.append(constant(f"{name}/in/{len(inputs)}"))
    leaves = [i for i, x in enumerate(inputs) if jnp.issubdtype(x.dtype, jnp.floating)]
    step = jax.jit(jax.value_and_grad(OURS[name], argnums=leaves))
    value, grads = step(*inputs)
    # float64's rounding of sums: all agree to 1e-11, except for lightly's KoLeo, which adds
    # its eps of 1e-8 to every coordinate of a difference, ours to the norm.
    rtol = 1e-6 if name == "lightly.KoLeoLoss" else 1e-10
    np.testing.assert_allclose(value, FOUND[f"{name}/value"], rtol=rtol)
    for i, grad in enumerate(grads):
        theirs = FOUND[f"{name}/grad/{i}"]
        atol = rtol * np.abs(theirs).max()  # where terms cancel
        np.testing.assert_allclose(grad, theirs, rtol=rtol, atol=atol, err_msg=f"{i}")


def test_every_case_is_compared():
    cases = {name.rsplit("/", 1)[0] for name in FOUND if name.endswith("/value")}
    assert cases - set(OURS) == {"lightly.sinkhorn", "gensim.score"}


def test_sinkhorn_equals_lightlys(x64):
    ours = sinkhorn(constant("lightly.sinkhorn/in/0"), 0.05, 3)
    np.testing.assert_allclose(ours, FOUND["lightly.sinkhorn/value"], rtol=1e-10)


@pytest.mark.parametrize(
    "name",
    ["lightly.DINOLoss", "lightly.DINOLoss(crops)", "solo.DINOLoss(crops)"]
    + ["lightly.IBOTPatchLoss(center)"],
)
def test_centers_move_as_theirs(name, x64):
    center, teacher = constant(f"{name}/center"), FOUND[f"{name}/in/1"]
    if f"{name}/mask" in FOUND:  # lightly averages the masked patches alone
        teacher = teacher[FOUND[f"{name}/mask"]]
    ours = losses.update_center(center, jnp.asarray(teacher))
    np.testing.assert_allclose(ours, FOUND[f"{name}/next"], rtol=1e-12)


def test_hierarchical_softmax_scores_a_sentence_as_gensim(x64):
    names = ("h", "nodes", "codes", "points", "lengths")
    ours = losses.hierarchical_softmax(*(constant(f"gensim.score/{n}") for n in names))
    np.testing.assert_allclose(ours, FOUND["gensim.score/value"], rtol=1e-6)


@pytest.mark.parametrize("name", ["linear", "scaled_linear", "cosine"])
def test_schedules_equal_diffusers(name):
    ours = getattr(diffusion, f"{name}_schedule")(1000).alpha_bar
    # diffusers multiplies a thousand numbers in float32
    theirs = FOUND[f"diffusers.{name}/alpha_bar"]
    np.testing.assert_allclose(ours, theirs, rtol=1e-4, atol=1e-9)


def test_noising_and_velocity_equal_diffusers(x64):
    levels = diffusion.linear_schedule(1000)
    x0, i, epsilon = (constant(f"diffusers.ddpm/{n}") for n in ("x0", "steps", "epsilon"))
    xt = diffusion.diffuse(levels, x0, i, epsilon)
    v = diffusion.diffusion_target(levels, x0, i, epsilon, "v")
    np.testing.assert_allclose(xt, FOUND["diffusers.ddpm/xt"], rtol=1e-6, atol=1e-7)
    np.testing.assert_allclose(v, FOUND["diffusers.ddpm/v"], rtol=1e-6, atol=1e-7)
