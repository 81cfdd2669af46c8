"""Makes weights.npz: tiny networks of timm, torchvision and transformers, with random
weights, each a safetensors file, and what they say of two images; and timm's positions on
other grids.

python -m venv other && other/bin/pip install torch torchvision timm transformers
other/bin/python tests/golden/make_weights.py
"""

import tempfile
from functools import partial
from pathlib import Path

import numpy as np
import timm
import torch
import torchvision
import transformers
from safetensors.numpy import load_file, save
from timm.layers import PatchEmbed, resample_abs_pos_embed
from timm.models import resnet as timm_resnet
from timm.models.vision_transformer import Block
from timm.models.vision_transformer import VisionTransformer as TimmViT
from torch import nn
from torchvision.models import resnet, vision_transformer

torch.manual_seed(0)
IMAGES = torch.rand(2, 3, 40, 24)
SQUARE = IMAGES[:, :, :24]


def random(model):
    """No zeros, no ones: every weight and every running statistic counts."""
    with torch.no_grad():
        for name, x in model.state_dict().items():
            if "running_var" in name or (x.ndim == 1 and name.endswith("weight")):
                x.uniform_(0.5, 1.5)
            elif x.is_floating_point():
                x.add_(0.15 * torch.randn_like(x))
            if x.is_floating_point():
                x.copy_(x.half())  # half of whose bits are zero: a small file
    return model.eval()


def settled(model):
    """The same for a ResNet, whose running statistics then are those of 32 images."""
    random(model).train()
    for layer in model.modules():
        if isinstance(layer, nn.BatchNorm2d):
            layer.momentum = 0.9
    with torch.no_grad():
        model(torch.rand(32, 3, 40, 24))
    return model.eval()


def narrow(block, layers, width, small):
    """torchvision's ResNet with another width than 64."""

    class Narrow(resnet.ResNet):
        def _make_layer(self, block, planes, blocks, stride=1, dilate=False):
            if planes == 64:
                self.inplanes = width
            return super()._make_layer(block, planes * width // 64, blocks, stride, dilate)

    model = Narrow(block, layers, num_classes=5)
    side, stride = (3, 1) if small else (7, 2)
    model.conv1 = nn.Conv2d(3, width, side, stride, side // 2, bias=False)
    model.bn1 = nn.BatchNorm2d(width)
    model.maxpool = nn.Identity() if small else model.maxpool
    model.fc = nn.Linear(8 * width * block.expansion, 5)
    return settled(model)


def torchvision_h(model, images):
    head, model.fc = model.fc, nn.Identity()
    h = model(images)
    model.fc = head
    return h


def timm_narrow(width):
    """timm's ResNet-18 with another width than 64."""
    model = timm_resnet.ResNet(timm_resnet.BasicBlock, (1, 1, 1, 1), num_classes=5)
    model.conv1 = nn.Conv2d(3, width, 7, 2, 3, bias=False)
    model.bn1 = nn.BatchNorm2d(width)
    widths = [width * 2**i for i in range(4)]
    basic = (timm_resnet.BasicBlock,) * 4
    stages, _ = timm_resnet.make_blocks(basic, widths, (2, 2, 2, 2), width)
    for name, stage in stages:
        setattr(model, name, stage)
    model.fc = nn.Linear(8 * width, 5)
    return settled(model)


class MAE(nn.Module):
    """The names of facebookresearch/mae's MaskedAutoencoderViT; positions are fixed there,
    sines and cosines, and any here: they too are only read."""

    def __init__(self, side, patch, d, depth, heads, d2):
        super().__init__()
        length = (side // patch) ** 2
        norm = {"norm_layer": partial(nn.LayerNorm, eps=1e-6), "qkv_bias": True}
        self.patch_embed = PatchEmbed(side, patch, 3, d)
        self.cls_token = nn.Parameter(torch.zeros(1, 1, d))
        self.pos_embed = nn.Parameter(torch.zeros(1, 1 + length, d), requires_grad=False)
        self.blocks = nn.ModuleList([Block(d, heads, **norm) for _ in range(depth)])
        self.norm = nn.LayerNorm(d, eps=1e-6)
        self.decoder_embed = nn.Linear(d, d2)
        self.mask_token = nn.Parameter(torch.zeros(1, 1, d2))
        self.decoder_pos_embed = nn.Parameter(
            torch.zeros(1, 1 + length, d2), requires_grad=False
        )
        self.decoder_blocks = nn.ModuleList([Block(d2, 2, **norm)])
        self.decoder_norm = nn.LayerNorm(d2, eps=1e-6)
        self.decoder_pred = nn.Linear(d2, patch**2 * 3)

    def forward(self, images):
        """The encoder's tokens, nothing hidden."""
        x = self.patch_embed(images) + self.pos_embed[:, 1:]
        cls = (self.cls_token + self.pos_embed[:, :1]).expand(len(x), -1, -1)
        x = torch.cat([cls, x], 1)
        for block in self.blocks:
            x = block(x)
        return self.norm(x)


def saved_by_transformers(model):
    with tempfile.TemporaryDirectory() as folder:
        model.save_pretrained(folder)
        return load_file(Path(folder) / "model.safetensors")


numbers = {}


def keep(case, state, images, h):
    file = save({name: np.asarray(x) for name, x in state.items()})
    numbers[f"{case}/file"] = np.frombuffer(file, np.uint8)
    numbers[f"{case}/images"] = images.numpy().transpose(0, 2, 3, 1)
    numbers[f"{case}/h"] = h.numpy()
    print(case, tuple(h.shape), f"deviation {h.std():.2f}")


with torch.no_grad():
    sizes = {"patch_size": 8, "embed_dim": 12, "depth": 2, "num_heads": 3}
    model = random(TimmViT((40, 24), num_classes=5, **sizes))
    keep("timm vit", model.state_dict(), IMAGES, model.forward_features(IMAGES)[:, 0])
    model = random(TimmViT(24, num_classes=5, global_pool="avg", **sizes))
    h = model.forward_head(model.forward_features(SQUARE), pre_logits=True)
    keep("timm vit mean", model.state_dict(), SQUARE, h)

    model = random(vision_transformer.VisionTransformer(24, 8, 2, 3, 12, 48, num_classes=5))
    head, model.heads = model.heads, nn.Identity()
    h, model.heads = model(SQUARE), head
    keep("torchvision vit", model.state_dict(), SQUARE, h)

    config = transformers.ViTConfig(
        hidden_size=12,
        num_hidden_layers=2,
        num_attention_heads=3,
        intermediate_size=48,
        image_size=(40, 24),
        patch_size=8,
        layer_norm_eps=1e-3,
    )
    model = random(transformers.ViTForImageClassification(config))
    h = model.vit(IMAGES).last_hidden_state[:, 0]
    keep("transformers vit", saved_by_transformers(model), IMAGES, h)
    keep("transformers 5 vit", model.state_dict(), IMAGES, h)

    model = random(MAE(24, 8, 12, 2, 3, 8))
    keep("mae", model.state_dict(), SQUARE, model(SQUARE)[:, 0])

    model = narrow(resnet.Bottleneck, (3, 4, 6, 3), 2, small=False)
    keep("torchvision resnet", model.state_dict(), IMAGES, torchvision_h(model, IMAGES))
    model = narrow(resnet.BasicBlock, (2, 2, 2, 2), 2, small=True)
    keep("small stem", model.state_dict(), IMAGES, torchvision_h(model, IMAGES))
    model = timm_narrow(2)
    h = model.forward_head(model.forward_features(IMAGES), pre_logits=True)
    keep("timm resnet", model.state_dict(), IMAGES, h)

    learned = torch.randn(1, 1 + 15, 4)
    numbers["positions/learned"] = learned.numpy()
    for rows, columns in ((7, 4), (3, 2), (4, 6)):
        numbers[f"positions/{rows}x{columns}"] = resample_abs_pos_embed(
            learned, (rows, columns), (5, 3)
        ).numpy()

modules = (torch, torchvision, timm, transformers)
numbers["versions"] = np.array([f"{m.__name__} {m.__version__}" for m in modules])
path = Path(__file__).with_name("weights.npz")
np.savez_compressed(path, **numbers)
print(path.stat().st_size)
