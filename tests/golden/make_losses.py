"""Makes losses.npz: values and gradients of other people's losses, in float64.

python -m venv other
other/bin/pip install torch torchvision lightly pytorch-metric-learning transformers \
    diffusers gensim
other/bin/python tests/golden/make_losses.py

Every case stores its inputs (`in`), its value (`value`) and the gradients with respect
to the inputs that are differentiated (`grad`), under `name/in/0`, `name/value` and so on.
`tests/losses/peers_test.py` says which of our functions each is to equal.
"""

from pathlib import Path

import diffusers
import gensim
import lightly.loss as lightly
import numpy as np
import pytorch_metric_learning.losses as pml
import torch
import torch.nn.functional as F
from lightly.loss import wmse_loss
from lightly.loss.swav_loss import sinkhorn

torch.set_default_dtype(torch.float64)
draw = np.random.default_rng(0)
N, D, K, T, L = 6, 5, 7, 4, 3  # samples, features, prototypes or classes, tokens, negatives
A, B, P, Q = (draw.standard_normal((N, D)) for _ in range(4))
B = A + 0.7 * B
LABELS = np.array([0, 1, 0, 2, 1, 2])
LOGITS, OTHERS = (draw.standard_normal((N, K)) for _ in range(2))
CLASSES = draw.integers(0, K, N)
TOKENS = draw.standard_normal((N, T, K))
TARGETS = draw.integers(0, K, (N, T))
MASK = (draw.random((N, T)) < 0.5) | (np.arange(T) == 0)
SCORES = np.tanh(draw.standard_normal((N, 2, K)) / 3)
UNIT = draw.random((N, D))
found = {}


def case(name, function, *inputs, **fixed):
    """Stores function(*inputs), and its gradients with respect to the floating inputs."""
    tensors = [torch.tensor(x) for x in inputs]
    leaves = [x.requires_grad_() for x in tensors if x.is_floating_point()]
    value = function(*tensors, **fixed)
    grads = torch.autograd.grad(value, leaves, allow_unused=True)
    found[f"{name}/value"] = value.detach().numpy()
    for i, x in enumerate(inputs):
        found[f"{name}/in/{i}"] = x
    for i, (x, g) in enumerate(zip(leaves, grads, strict=True)):
        found[f"{name}/grad/{i}"] = (torch.zeros_like(x) if g is None else g).numpy()


def unit(x):
    return F.normalize(x, dim=-1)


# lightly
case("lightly.NTXentLoss", lightly.NTXentLoss(temperature=0.1), A, B)
case("lightly.NTXentLoss(0.5)", lightly.NTXentLoss(temperature=0.5), A, B)
case("lightly.DCLLoss", lightly.DCLLoss(temperature=0.1), A, B)
case("lightly.DCLWLoss", lightly.DCLWLoss(temperature=0.1, sigma=0.5), A, B)
case("lightly.BarlowTwinsLoss", lightly.BarlowTwinsLoss(lambda_param=0.005), A, B)
case("lightly.VICRegLoss", lightly.VICRegLoss(), A, B)
cosine = lightly.NegativeCosineSimilarity()
case("lightly.NegativeCosineSimilarity", lambda p, z: cosine(p, z.detach()), A, B)
case("lightly.KoLeoLoss", lightly.KoLeoLoss(), A)
wmse_loss._SOLVE_TRIANGULAR_AVAILABLE = True  # it asks for an old torch by its number
options = dict(num_samples=2, w_size=N, w_iter=1, track_running_stats=False)
w_mse = lightly.WMSELoss(embedding_dim=3, **options)
case("lightly.WMSELoss", lambda a, b: w_mse(torch.cat([a, b])), A[:, :3], B[:, :3])
case(
    "lightly.SwaVLoss",
    lambda scores: lightly.SwaVLoss()([scores[:, 0], scores[:, 1]], []),
    SCORES,
)
found["lightly.sinkhorn/in/0"] = SCORES[:, 0]
found["lightly.sinkhorn/value"] = sinkhorn(torch.tensor(SCORES[:, 0]), 3, 0.05).numpy()
dino = lightly.DINOLoss(output_dim=K, teacher_temp=0.04, warmup_teacher_temp_epochs=0)
CENTER = 0.1 * draw.standard_normal(K)


def dino_loss(student, teacher):
    dino.center.copy_(torch.tensor(CENTER))
    return dino(
        [teacher[:, i].detach() for i in range(2)], [student[:, i] for i in range(2)]
    )


case("lightly.DINOLoss", dino_loss, *draw.standard_normal((2, N, 2, K)))
found["lightly.DINOLoss/center"] = CENTER
found["lightly.DINOLoss/next"] = dino.center.numpy().reshape(K)
ibot = lightly.IBOTPatchLoss(output_dim=K, teacher_temp=0.04, student_temp=0.1)


def ibot_loss(student, teacher):
    mask = torch.tensor(MASK)
    square = mask.reshape(N, 2, T // 2)
    ibot.center.center.zero_()
    return ibot(teacher[mask].detach(), student[mask], square)


case("lightly.IBOTPatchLoss", ibot_loss, *draw.standard_normal((2, N, T, K)))
found["lightly.IBOTPatchLoss/mask"] = MASK
sigreg = lightly.SIGReg(knots=9, t_max=3.0, num_vectors=1)
grid = torch.linspace(0, 3.0, 9)  # its own are float32
ratio = sigreg.weights[1] / sigreg.phi[1]
step = 2 * 3.0 / 8
weights = torch.full((9,), step)
weights[[0, -1]] /= 2
sigreg.t, sigreg.phi = grid, torch.exp(-(grid**2) / 2)
assert abs(ratio - step) < 1e-6
sigreg.weights = weights * sigreg.phi
case("lightly.SIGReg", sigreg, A[:, :1])

# pytorch-metric-learning
case(
    "pml.NTXentLoss",
    lambda a, b: pml.SelfSupervisedLoss(pml.NTXentLoss(temperature=0.2))(a, b),
    A,
    B,
)
case("pml.SupConLoss", lambda z, y: pml.SupConLoss(temperature=0.1)(z, y), A, LABELS)
case("pml.VICRegLoss", lambda a, b: pml.VICRegLoss()(a, ref_emb=b), A, B)

# torch
case("torch.cross_entropy", F.cross_entropy, LOGITS, CLASSES)
case(
    "torch.cross_entropy(smoothing)",
    lambda x, y: F.cross_entropy(x.reshape(-1, K), y.reshape(-1), label_smoothing=0.1),
    TOKENS,
    TARGETS,
)


def ignoring(x, y):
    y = torch.where(torch.tensor(MASK), y, -100)
    return F.cross_entropy(x.reshape(-1, K), y.reshape(-1))


case("torch.cross_entropy(masked)", ignoring, TOKENS, TARGETS)
found["torch.cross_entropy(masked)/mask"] = MASK


def shifted(x, y):
    return F.cross_entropy(x[:, :-1].reshape(-1, K), y[:, 1:].reshape(-1))


case("torch.cross_entropy(shifted)", shifted, TOKENS, TARGETS)
case("torch.cross_entropy(next)", F.cross_entropy, LOGITS[:, :2], CLASSES % 2)
case(
    "torch.bce",
    lambda x, t: F.binary_cross_entropy_with_logits(x, t, reduction="none").sum(1).mean(),
    A,
    UNIT,
)
case("torch.mse", lambda x, t: F.mse_loss(x, t, reduction="none").sum(1).mean(), A, UNIT)
case(
    "torch.kl_div",
    lambda s, t: F.kl_div(
        F.log_softmax(s, 1), F.softmax(t.detach(), 1), reduction="batchmean"
    ),
    LOGITS,
    OTHERS,
)
case(
    "torch.mse(softmax)",
    lambda s, t: F.mse_loss(F.softmax(s, 1), F.softmax(t.detach(), 1)),
    LOGITS,
    OTHERS,
)
case(
    "torch.Categorical.entropy",
    lambda x: torch.distributions.Categorical(logits=x).entropy().mean(),
    LOGITS,
)
case(
    "torch.kl_divergence(Normal)",
    lambda m, s: (
        torch.distributions.kl_divergence(
            torch.distributions.Normal(m, (s / 2).exp()),
            torch.distributions.Normal(0.0, 1.0),
        )
        .sum(1)
        .mean()
    ),
    A,
    B,
)
case(
    "torch.smooth_l1",
    lambda p, t: F.smooth_l1_loss(p, F.layer_norm(t.detach(), (D,), eps=1e-5)),
    A,
    B,
)
case("torch.triplet_margin", lambda a, b, c: F.triplet_margin_loss(a, b, c, eps=0), A, B, P)
case(
    "torch.info_nce",
    lambda q, k: F.cross_entropy(unit(q) @ unit(k).T / 0.07, torch.arange(N)),
    A,
    B,
)


def moco(q, k, queue):
    positive = (unit(q) * unit(k)).sum(1, keepdim=True)
    logits = torch.cat([positive, unit(q) @ unit(queue).T], 1) / 0.2
    return F.cross_entropy(logits, torch.zeros(N, dtype=torch.long))


case("torch.info_nce(queue)", moco, A, B, Q)


def clip(images, texts, scale):
    logits = scale * unit(images) @ unit(texts).T
    where = torch.arange(N)
    return (F.cross_entropy(logits, where) + F.cross_entropy(logits.T, where)) / 2


case("torch.clip", clip, A, B, np.array(14.0))


def siglip(images, texts, scale, bias):
    logits = scale * unit(images) @ unit(texts).T + bias
    return F.binary_cross_entropy_with_logits(logits, torch.eye(N), reduction="sum") / N


case("torch.siglip", siglip, A, B, np.array(10.0), np.array(-10.0))
BCE = F.binary_cross_entropy_with_logits
REAL, FAKE = draw.standard_normal((2, N))
case(
    "torch.bce(gan)",
    lambda r, f: BCE(r, torch.ones(N)) + BCE(f, torch.zeros(N)),
    REAL,
    FAKE,
)
case("torch.bce(generator)", lambda f: BCE(f, torch.ones(N)), FAKE)
case(
    "torch.mse(gan)",
    lambda r, f: (F.mse_loss(r, torch.ones(N)) + F.mse_loss(f, torch.zeros(N))) / 2,
    REAL,
    FAKE,
)
case(
    "torch.relu(gan)", lambda r, f: F.relu(1 - r).mean() + F.relu(1 + f).mean(), REAL, FAKE
)
W1, W2 = draw.standard_normal((D, K)), draw.standard_normal(K)


def r1(x, w1, w2):
    (slope,) = torch.autograd.grad((torch.tanh(x @ w1) @ w2).sum(), x, create_graph=True)
    return slope.square().sum(1).mean()


case("torch.r1", r1, A, W1, W2)

# gensim: the log-probability of a centre word's neighbours by its binary tree
words = [["the", "cat", "sat", "on", "the", "mat"], ["the", "dog", "sat", "on", "a", "cat"]]
model = gensim.models.Word2Vec(
    words, vector_size=D, min_count=1, hs=1, negative=0, sg=1, window=1, sample=0, seed=1
)
model.syn1[:] = draw.standard_normal(model.syn1.shape)
pair = ["cat", "mat"]  # window 1: mat from cat, and cat from mat


codes, points = (
    [model.wv.get_vecattr(word, name) for word in pair[::-1]] for name in ("code", "point")
)


def descent(log_sigmoid):
    """Minus the mean log-probability of walking down the tree to each word."""
    total = 0.0
    for word, code, point in zip(pair, codes, points, strict=True):
        for bit, node in zip(code, point, strict=True):
            total -= log_sigmoid((1 - 2 * int(bit)) * model.syn1[node] @ model.wv[word])
    return total / len(pair)


def from_table(x):
    """gensim's: a table of 1,000 entries, entered 83 a unit (its C divides integers)."""
    entry = int((x + 6) * 83)
    return -np.log1p(np.exp(-(entry / 1000 * 2 - 1) * 6))


theirs = -model.score([pair], total_sentences=1)[0] / len(pair)
assert abs(theirs - descent(from_table)) < 1e-6, "not the walk that gensim takes"
found["gensim.score/value"] = descent(lambda x: -np.logaddexp(0, -np.float64(x)))
found["gensim.score/h"] = np.stack([model.wv[w] for w in pair]).astype(np.float64)
found["gensim.score/nodes"] = model.syn1.astype(np.float64)
found["gensim.score/lengths"] = np.array([len(code) for code in codes], np.int32)
for name, rows in {"codes": codes, "points": points}.items():
    longest = max(map(len, rows))
    padded = [np.pad(np.asarray(row, np.int32), (0, longest - len(row))) for row in rows]
    found[f"gensim.score/{name}"] = np.stack(padded)

# diffusers
for name, options in {
    "linear": dict(beta_schedule="linear"),
    "scaled_linear": dict(
        beta_schedule="scaled_linear", beta_start=0.00085, beta_end=0.012
    ),
    "cosine": dict(beta_schedule="squaredcos_cap_v2"),
}.items():
    noise = diffusers.DDPMScheduler(num_train_timesteps=1000, **options)
    found[f"diffusers.{name}/alpha_bar"] = noise.alphas_cumprod.numpy().astype(np.float64)
noise = diffusers.DDPMScheduler(num_train_timesteps=1000, beta_schedule="linear")
noise.alphas_cumprod = torch.cumprod(
    1 - torch.linspace(1e-4, 0.02, 1000, dtype=torch.float64), 0
)
steps = np.array([0, 10, 300, 500, 900, 999])
x0, eps = torch.tensor(A), torch.tensor(P)
found["diffusers.ddpm/steps"] = steps
found["diffusers.ddpm/x0"], found["diffusers.ddpm/epsilon"] = A, P
found["diffusers.ddpm/xt"] = noise.add_noise(x0, eps, torch.tensor(steps)).numpy()
found["diffusers.ddpm/v"] = noise.get_velocity(x0, eps, torch.tensor(steps)).numpy()

np.savez_compressed(Path(__file__).with_name("losses.npz"), **found)
print(len([k for k in found if k.endswith("/value")]), "values")
