"""Makes videomae.npz: VideoMAE of `transformers`, its weights and its numbers.

python -m venv other && other/bin/pip install torch transformers
other/bin/python tests/golden/make_videomae.py
"""

from pathlib import Path

import numpy as np
import torch
import transformers
from transformers import VideoMAEConfig, VideoMAEForPreTraining

torch.manual_seed(0)
config = VideoMAEConfig(
    image_size=16,
    patch_size=4,
    num_channels=3,
    num_frames=6,
    tubelet_size=2,
    hidden_size=24,
    num_hidden_layers=2,
    num_attention_heads=3,
    intermediate_size=96,
    decoder_hidden_size=16,
    decoder_num_hidden_layers=2,
    decoder_num_attention_heads=2,
    decoder_intermediate_size=64,
    layer_norm_eps=1e-6,
    norm_pix_loss=True,
    use_mean_pooling=False,
)
model = VideoMAEForPreTraining(config).eval()
model.decoder.norm.eps = 1e-6  # as in the authors' code; there torch's default, 1e-5
frames = torch.rand(4, 6, 3, 16, 16)
order = torch.rand(4, 16).argsort(1)
mask = torch.ones(4, 3, 16, dtype=torch.bool)  # tubes: 4 of 16 places are visible
mask[torch.arange(4)[:, None], :, order[:, :4]] = False
mask = mask.reshape(4, 48)
mean, std = torch.tensor([[0.485, 0.456, 0.406], [0.229, 0.224, 0.225]]).reshape(
    2, 1, 1, 3, 1, 1
)
with torch.no_grad():
    for weight in model.parameters():  # no zeros, no ones, and numbers of float16
        weight.add_(0.1 * torch.randn_like(weight))
        weight.copy_(weight.half().float())
    pixels = (frames - mean) / std  # as the model undoes it
    out = model(pixels, bool_masked_pos=mask)
    whole = model.videomae(pixels).last_hidden_state

numbers = {
    f"weights/{name}": value.numpy().astype(np.float16)
    for name, value in model.state_dict().items()
}
numbers |= {
    "frames": frames.numpy().transpose(0, 1, 3, 4, 2),
    "mask": mask.numpy(),
    "prediction": out.logits.numpy(),
    "loss": out.loss.numpy(),
    "tokens": whole.numpy(),
    "versions": np.array(
        [f"torch {torch.__version__}, transformers {transformers.__version__}"]
    ),
}
np.savez_compressed(Path(__file__).with_name("videomae.npz"), **numbers)
print({k: v.shape for k, v in numbers.items()})
print(float(out.loss))
