"""Makes modern.npz: losses of the modern standard set by lightly, solo-learn, transformers.

python -m venv other
other/bin/pip install torch torchvision lightly "transformers<5"
other/bin/pip install --no-deps solo-learn==1.0.2
other/bin/python tests/golden/make_modern.py

The layout is that of make_losses.py, which has the plain cases; here are several sizes of
crops, a queue, centers that are not 0, images without a mask, and the losses that were not
compared there. All are float64. `tests/losses/peers_test.py` compares them with ours.

Definitions that differ, by a factor that the test applies:

- solo-learn's Barlow Twins is 0.025 times the sum, as in its authors' runs.
- solo-learn 1.0.2 has VICReg's variance term as in the paper's eq. 6, without the half of
  the released code: weight 50 instead of 25.

Without a counterpart in a package, and therefore written here with functions of torch:
data2vec, whose loss is neither in transformers (its Data2VecVisionModel is an encoder, with
relative positions, which ours has not) nor in a module of the fairseq package. lightly has
no loss of NNCLR: its example passes neighbors to NT-Xent, with 2 n - 2 negatives, not the
paper's n - 1; its search of neighbors is used here, with the loss of solo-learn.
"""

import importlib.util
import runpy
from importlib.metadata import version
from pathlib import Path

import lightly.loss as lightly
import numpy as np
import torch
import torch.nn.functional as F
from lightly.models.modules import NNMemoryBankModule
from transformers import ViTMAEConfig, ViTMAEForPreTraining
from transformers.models.clip.modeling_clip import clip_loss

torch.set_default_dtype(torch.float64)
draw = np.random.default_rng(1)
N, D, K, T, M = 6, 5, 7, 4, 9  # samples, features, prototypes, tokens, rows of a queue
PACKAGES = ("torch", "lightly", "transformers", "solo-learn")
found = {"versions": np.array([f"{name} {version(name)}" for name in PACKAGES])}


def case(name, function, *inputs):
    """Stores function(*inputs), and its gradients with respect to the floating inputs."""
    tensors = [torch.tensor(x) for x in inputs]
    leaves = [x.requires_grad_() for x in tensors if x.is_floating_point()]
    value = function(*tensors).squeeze()
    grads = torch.autograd.grad(value, leaves, allow_unused=True)
    found[f"{name}/value"] = value.detach().numpy()
    for i, x in enumerate(inputs):
        found[f"{name}/in/{i}"] = x
    for i, (x, g) in enumerate(zip(leaves, grads, strict=True)):
        found[f"{name}/grad/{i}"] = (torch.zeros_like(x) if g is None else g).numpy()


def solo(file):
    """A file of solo-learn's losses; the package itself needs torch 1.9."""
    folder = importlib.util.find_spec("solo").submodule_search_locations[0]
    return runpy.run_path(str(Path(folder) / "losses" / f"{file}.py"))


def views(x):
    return list(x.unbind(1))


def normal(*shape):
    return draw.standard_normal(shape)


# DINO: two global crops, two local ones, a center
CENTER = 0.2 * normal(K)
lightlys = lightly.DINOLoss(output_dim=K, teacher_temp=0.05, warmup_teacher_temp_epochs=0)
solos = solo("dino")["DINOLoss"](K, 0.05, 0.05, 0, 1, num_large_crops=4)


def lightly_dino(student, teacher):
    lightlys.center.copy_(torch.tensor(CENTER))
    return lightlys(views(teacher.detach()), views(student))


def solo_dino(student, teacher):
    solos.center.copy_(torch.tensor(CENTER)[None])
    return solos(torch.cat(views(student)), torch.cat(views(teacher)))


CROPS = normal(N, 4, K), normal(N, 2, K)
for name, loss, of in (
    ("lightly.DINOLoss(crops)", lightly_dino, lightlys),
    ("solo.DINOLoss(crops)", solo_dino, solos),
):
    case(name, loss, *CROPS)
    found[f"{name}/center"] = CENTER
    found[f"{name}/next"] = of.center.numpy().reshape(K)

# iBOT: a center, an image without masked patches
MASK = draw.random((N, T)) < 0.5
MASK[0] = False
MASK[1] = True
ibot = lightly.IBOTPatchLoss(output_dim=K, teacher_temp=0.05, student_temp=0.2)


def ibot_loss(student, teacher):
    mask = torch.tensor(MASK)
    ibot.center.center.copy_(torch.tensor(CENTER))
    return ibot(teacher[mask].detach(), student[mask], mask.reshape(N, 2, T // 2))


name = "lightly.IBOTPatchLoss(center)"
case(name, ibot_loss, normal(N, T, K), normal(N, T, K))
found[f"{name}/mask"], found[f"{name}/center"] = MASK, CENTER
found[f"{name}/next"] = ibot.center.value.numpy().reshape(K)

# SwAV: two global crops, two local ones; codes of the batch alone, or of a queue and it
swav = lightly.SwaVLoss(temperature=0.2, sinkhorn_iterations=4, sinkhorn_epsilon=0.1)
SCORES, QUEUE = np.tanh(normal(N, 4, K) / 3), np.tanh(normal(M, 2, K) / 3)
case("lightly.SwaVLoss(crops)", lambda s: swav(views(s[:, :2]), views(s[:, 2:])), SCORES)
case(
    "lightly.SwaVLoss(queue)",
    lambda s, queue: swav(views(s[:, :2]), views(s[:, 2:]), views(queue)),
    SCORES,
    QUEUE,
)

# NNCLR: lightly's neighbors in a bank, solo-learn's loss of them
A, B, BANK = normal(N, D), normal(N, D), normal(M, D)
bank = NNMemoryBankModule(size=(M, D))
bank.bank = torch.tensor(BANK)
nnclr = solo("nnclr")["nnclr_loss_func"]
case(
    "solo.nnclr_loss_func",
    lambda z, p, queue: nnclr(bank(z.detach()).detach(), p, temperature=0.2),
    A,
    B,
    BANK,
)

# solo-learn's versions of what make_losses.py has of others
case("solo.barlow_loss_func", solo("barlow")["barlow_loss_func"], A, B)
case("solo.vicreg_loss_func", solo("vicreg")["vicreg_loss_func"], A, B)
case("solo.byol_loss_func", solo("byol")["byol_loss_func"], A, B)

# data2vec
LAYERS = normal(3, N, T, D) * np.array([1, 4, 9])[:, None, None, None]
PREDICTED = 2 * normal(N, T, D)


def normalized(x):
    return F.layer_norm(x, (D,), eps=1e-5)


def data2vec(beta):
    def loss(p, layers):
        y = normalized(normalized(layers).mean(0)).detach()
        if beta is None:
            error = F.mse_loss(p, y, reduction="none")
        else:
            error = F.smooth_l1_loss(p, y, reduction="none", beta=beta)
        return (error.sum(-1) / D**0.5)[torch.tensor(MASK)].mean()

    return loss


for name, beta in {"image": 2.0, "text": 4.0, "speech": None}.items():
    case(f"torch.data2vec({name})", data2vec(beta), PREDICTED, LAYERS)
    found[f"torch.data2vec({name})/mask"] = MASK

# transformers: MAE with normalized patches, CLIP
config = ViTMAEConfig(
    image_size=4,
    patch_size=2,
    hidden_size=4,
    num_hidden_layers=1,
    num_attention_heads=1,
    intermediate_size=4,
    decoder_hidden_size=4,
    decoder_num_hidden_layers=1,
    decoder_num_attention_heads=1,
    decoder_intermediate_size=4,
    norm_pix_loss=True,
)
mae = ViTMAEForPreTraining(config)
IMAGES = draw.random((N, 4, 4, 3))


def mae_loss(pred, images):
    mask = torch.tensor(MASK, dtype=pred.dtype)
    return mae.forward_loss(images.detach().permute(0, 3, 1, 2), pred, mask)


case("transformers.ViTMAE", mae_loss, normal(N, 4, 12), IMAGES)
found["transformers.ViTMAE/mask"] = MASK
case(
    "transformers.clip_loss",
    lambda a, b, scale: clip_loss(scale * F.normalize(b) @ F.normalize(a).T),
    A,
    B,
    np.array(14.0),
)

np.savez_compressed(Path(__file__).with_name("modern.npz"), **found)
print(len([k for k in found if k.endswith("/value")]), "values", found["versions"])
