"""Makes semilearn.npz: five steps of each of semilearn's methods, on a linear classifier.

python -m venv other
other/bin/pip install torch torchvision semilearn "transformers<5"
other/bin/python tests/golden/make_semilearn.py

Each method is semilearn's own object; its `train_step` computes the loss, and plain
gradient descent moves the weights W [d, c] of the logits x W, in float64. A step stores its
inputs, its losses, the weights after it (and so the gradient), and what the method keeps
between steps. `tests/semilearn_test.py` takes the same steps with ours.

Where semilearn 0.3.2 differs, the case is one of both definitions:

- UDA: `T` has no effect there, because its hook does not sharpen probabilities. The case is
  T = 1. The loss is the cross entropy, ours the divergence: the difference, the entropy of
  the confident targets, has no gradient. Without annealing, since theirs compares the
  largest probability and divides by all rows, the paper's that of the label and by the rows
  that are left; the course of the threshold is stored by itself.
- Pi-model and mean teacher: the consistency is over unlabeled rows, in ours over all. The
  case has the labeled rows among the unlabeled ones too. The weight of Pi-model's and mean
  teacher's term rises linearly; the case is after the rise. Pi-model holds one side fixed,
  as ours with `symmetric=False`. The average of weights has a constant decay, ours a rising
  one that is at most 0.5 in its first step: the case has 0.5.
- MixMatch: one mixing share for the batch, ours one for each row: the case has no mixup.

Without a counterpart: temporal ensembling and interpolation consistency are not in
semilearn; its VAT runs on CUDA only; its ReMixMatch has p_model as a running average, the
authors' as the mean of the last 128 batches, so that the alignment alone is stored.
"""

import sys
from importlib.machinery import ModuleSpec
from importlib.metadata import version
from pathlib import Path
from types import ModuleType

import numpy as np
import torch

# It is imported for sound, and fits only one version of torch.
sys.modules["torchaudio"] = ModuleType("torchaudio")
sys.modules["torchaudio"].__spec__ = ModuleSpec("torchaudio", None)

from semilearn import get_algorithm, get_config  # noqa: E402
from semilearn.algorithms.hooks import DistAlignEMAHook  # noqa: E402

torch.set_default_dtype(torch.float64)
draw = np.random.default_rng(0)
STEPS, LABELED, UNLABELED, SIZE, D, C = 5, 4, 8, 12, 5, 4
RATE = 0.3
W = 0.8 * draw.standard_normal((D, C))
X = 1.5 * draw.standard_normal((STEPS, LABELED, D))
Y = draw.integers(0, C, (STEPS, LABELED))
U = 1.5 * draw.standard_normal((STEPS, UNLABELED, D))
WEAK, STRONG = U, U + 0.7 * draw.standard_normal(U.shape)
INDEX = np.stack([draw.permutation(SIZE)[:UNLABELED] for _ in range(STEPS)])
found = {"w": W, "x": X, "y": Y, "weak": WEAK, "strong": STRONG, "index": INDEX}
found["rate"] = np.array(RATE)
found["versions"] = np.array([f"{name} {version(name)}" for name in ("semilearn", "torch")])


class Linear(torch.nn.Module):
    """x [n, d] -> {"logits": x W, "feat": x}."""

    def __init__(self, num_classes, **_):
        super().__init__()
        self.w = torch.nn.Parameter(torch.tensor(W))

    def forward(self, x):
        return {"logits": x @ self.w, "feat": x}


def method(name, **options):
    common = dict(
        algorithm=name,
        dataset="none",
        num_classes=C,
        num_train_iter=1000,
        epoch=1,
        gpu=None,
        amp=False,
        clip_grad=0,
        rank=0,
        world_size=1,
        distributed=False,
        use_wandb=False,
        use_aim=False,
        ulb_dest_len=SIZE,
        lb_dest_len=LABELED,
    )
    made = get_algorithm(get_config(common | options), Linear, None, None)
    made.optimizer = torch.optim.SGD(made.model.parameters(), lr=RATE)
    made.scheduler = None
    return made


def run(case, made, start=0, state=(), **views):
    """Takes the steps; `state` names attributes of the hook that makes masks."""
    made.it = start
    made.call_hook("before_run", "EMAHook")
    for s in range(STEPS):
        given = {name: torch.tensor(x[s]) for name, x in views.items()}
        made.out_dict, made.log_dict = made.train_step(
            x_lb=torch.tensor(X[s]), y_lb=torch.tensor(Y[s]), **given
        )
        for hook in ("ParamUpdateHook", "EMAHook"):
            made.call_hook("after_train_step", hook)
        made.it += 1
        loss = made.out_dict["loss"].detach().numpy()
        kept = {"loss": loss, "w": made.model.w.detach().numpy().copy()}
        kept |= {k.split("/")[1]: np.array(v) for k, v in made.log_dict.items()}
        for name in state:
            kept[name] = getattr(made.hooks_dict["MaskingHook"], name).numpy().copy()
        found.update({f"{case}/{s}/{k}": v for k, v in kept.items()})


both = dict(x_ulb_w=WEAK, x_ulb_s=STRONG)
run("fixmatch", method("fixmatch", p_cutoff=0.7, ulb_loss_ratio=1.5), **both)
for warm in (True, False):
    run(
        f"flexmatch, warmup={warm}",
        method("flexmatch", p_cutoff=0.7, thresh_warmup=warm, ulb_loss_ratio=1.5),
        state=("selected_label", "classwise_acc"),
        idx_ulb=INDEX,
        **both,
    )
run(
    "freematch",
    method("freematch", ema_p=0.2, ent_loss_ratio=0.3, ulb_loss_ratio=1.5),
    state=("time_p", "p_model", "label_hist"),
    **both,
)
uda = method("uda", T=0.4, p_cutoff=0.6, tsa_schedule="none", ulb_loss_ratio=1.5)
run("uda", uda, **both)
found["uda/progress"] = np.array([0, 100, 500, 999])
for name in ("linear", "exp", "log"):
    course = [uda.TSA(name, int(i), 1000, C) for i in found["uda/progress"]]
    found[f"uda/{name}"] = np.array(course)
rise = dict(ulb_loss_ratio=30.0, unsup_warm_up=4 / 1000)
run(
    "pseudo_label",
    method("pseudolabel", p_cutoff=0.6, **rise),
    start=1,
    x_ulb_w=WEAK,
)
run("mixmatch", method("mixmatch", T=0.5, mixup_alpha=0.0, **rise), start=1, **both)
whole = dict(x_ulb_w=np.concatenate([X, WEAK], 1))
whole["x_ulb_s"] = np.concatenate([X, STRONG], 1)
run("pi_model", method("pimodel", **rise), start=4, **whole)
run("mean_teacher", method("meanteacher", ema_m=0.5, **rise), start=4, **whole)

# ReMixMatch's alignment
p = draw.dirichlet(np.ones(C), UNLABELED)
target = draw.dirichlet(np.ones(C))
hook = DistAlignEMAHook(C, p_target_type="gt", p_target=target)
found["alignment/p"], found["alignment/target"] = p, target
found["alignment/aligned"] = hook.dist_align(uda, torch.tensor(p)).numpy()

np.savez_compressed(Path(__file__).with_name("semilearn.npz"), **found)
names = sorted({key.split("/")[0] for key in found if key.count("/") == 2})
print({name: [float(found[f"{name}/{s}/loss"]) for s in range(STEPS)] for name in names})
print({k: float(v) for k, v in found.items() if k.endswith("util_ratio")})
