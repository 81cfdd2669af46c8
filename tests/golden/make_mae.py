"""Makes mae.npz: the masked autoencoder of `transformers`, its weights and its numbers.

python -m venv other && other/bin/pip install torch transformers
other/bin/python tests/golden/make_mae.py
"""

from pathlib import Path

import numpy as np
import torch
import transformers
from transformers import ViTMAEConfig, ViTMAEForPreTraining

torch.manual_seed(0)
config = ViTMAEConfig(
    image_size=32,
    patch_size=8,
    num_channels=3,
    hidden_size=24,
    num_hidden_layers=2,
    num_attention_heads=3,
    intermediate_size=96,
    decoder_hidden_size=16,
    decoder_num_hidden_layers=2,
    decoder_num_attention_heads=2,
    decoder_intermediate_size=64,
    layer_norm_eps=1e-6,
    mask_ratio=0.75,
    norm_pix_loss=True,
)
model = ViTMAEForPreTraining(config).eval()
with torch.no_grad():
    model.vit.embeddings.patch_embeddings.projection._is_hf_initialized = False
    model.vit.embeddings.initialize_weights()  # among others, the sine-cosine tables
    model.decoder.initialize_weights(num_patches=16)
    for name, weight in model.named_parameters():
        if "position" not in name and "pos_embed" not in name:
            weight.add_(0.1 * torch.randn_like(weight))  # no zeros, no ones
    images = torch.rand(4, 3, 32, 32)
    noise = torch.rand(4, 16)
    out = model(images, noise=noise)
    whole = model.vit(images, noise=noise).last_hidden_state

numbers = {f"weights/{name}": value.numpy() for name, value in model.state_dict().items()}
numbers |= {
    "images": images.numpy().transpose(0, 2, 3, 1),
    "noise": noise.numpy(),
    "mask": out.mask.numpy(),
    "prediction": out.logits.numpy(),
    "loss": out.loss.numpy(),
    "tokens": whole.numpy(),
    "versions": np.array(
        [f"torch {torch.__version__}, transformers {transformers.__version__}"]
    ),
}
np.savez_compressed(Path(__file__).with_name("mae.npz"), **numbers)
print({k: v.shape for k, v in numbers.items()})
print(float(out.loss))
