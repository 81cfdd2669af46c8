"""VAT: smoothness of predictions in the virtual adversarial direction.

Miyato, Maeda, Koyama and Ishii, "Virtual Adversarial Training: A Regularization Method
for Supervised and Semi-Supervised Learning", TPAMI 2019. https://arxiv.org/abs/1704.03976

    L = mean over labeled x of -log p(y | x)
        + lambda mean over all x of KL(p(x) || p(x + r(x)))
        + lambda_ent mean over unlabeled x of H(p(x)),
    r(x) = the perturbation of norm epsilon that maximizes this divergence,

found by power iteration. No gradient flows through r, nor through p(x) in the divergence.
The paper's mean is over the labeled and the unlabeled images of the data set. The released
code takes it over the unlabeled rows of a batch alone, among whose images are the labeled
ones: `everywhere=False`; else labeled images weigh more than their share of the data.
"""

import jax
import jax.numpy as jnp
import optax

from jssl.learner import Learner, fresh, minimize
from jssl.losses.consistency import entropy
from jssl.losses.vat import vat as divergence
from jssl.losses.vat import vat_perturbation
from jssl.method import Augment, Method, Prepare, field, first_row, part
from jssl.nets import Net
from jssl.pictures import Grid, in_range


def vat(
    net: Net,
    tx: optax.GradientTransformation,
    augment: Augment,
    *,
    epsilon: float = 2.0,
    weight: float = 1.0,
    entropy_weight: float = 0.0,
    iterations: int = 1,
    xi: float | None = None,
    everywhere: bool = True,
    prepare: Prepare = field("image"),
) -> Method[Learner]:
    """Semi-supervised learning with virtual adversarial training.

    Args:
      net: x -> {"logits": [n, classes], "h": [n, d]}.
      tx: optimizer of all weights.
      augment: (key, batch) -> one view of each row, [n, ...], normalized as `prepare` does;
        x above.
      epsilon: norm of the perturbation; 1 to 4 for 28 x 28 pixels in [0, 1].
      weight: lambda.
      entropy_weight: lambda_ent; 1 in the authors' VAT + EntMin.
      iterations: of the power method.
      xi: None for exact Hessian-vector products; else the step of finite differences.
      everywhere: whether the divergence, and the batch statistics of its passes, are of all
        rows of a batch or of the unlabeled ones.
      prepare: batch -> x, the network's input outside training (normalization, a crop).
    """

    def init(key, batch):
        return fresh(tx, *net.init(key, first_row(prepare(part(batch, "labeled")))))

    def loss(params, stats, views, labels, direction, noise, other):
        n = len(labels)

        # With batch statistics, as the authors do, so that rows are not independent;
        # running statistics are updated in the labeled pass only.
        def predict(x):
            out, _ = net.apply(params, stats, x, train=True, keys={"dropout": other})
            return out["logits"]

        keys = {"dropout": noise}
        out, moved = net.apply(params, stats, views[:n], train=True, keys=keys)
        logits = out["logits"]
        known = optax.softmax_cross_entropy_with_integer_labels(logits, labels).mean()
        smooth = views if everywhere else views[n:]
        change = divergence(direction, predict, smooth, epsilon, iterations, xi)
        value = known + weight * change
        metrics = {
            "labeled": known,
            "unlabeled": change,
            "accuracy": (logits.argmax(-1) == labels).mean(),
        }
        if entropy_weight:
            metrics["entropy"] = entropy(predict(smooth)[n if everywhere else 0 :])
            value += entropy_weight * metrics["entropy"]
        return value, (moved, metrics | {"loss": value})

    def step(key, state, batch):
        look, *keys = jax.random.split(key, 4)
        views = augment(look, part(batch, "labeled", "unlabeled"))
        return minimize(tx, loss, state, views, batch["labeled"]["label"], *keys)

    def embed(state, batch):
        return net.apply(state.weights, state.stats, prepare(batch))[0]

    def render(key, state, batch, collect):
        x = prepare(batch)[:10]
        if x.ndim != 4:
            return {}

        def predict(x):
            return net.apply(state.weights, state.stats, x)[0]["logits"]

        r = vat_perturbation(key, predict, x, epsilon, iterations, xi)
        scaled = 0.5 + r / (2 * jnp.abs(r).max((1, 2, 3), keepdims=True))
        moments = jnp.stack([in_range(x), scaled, in_range(x + r)], 1)
        headings = ("input", "perturbation", "perturbed")
        return {"adversarial perturbation": Grid(moments, headings)}

    return Method(init, step, embed, render=render)
