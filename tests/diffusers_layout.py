"""Names and layout of the weights of diffusers' networks, for tests against them."""

import numpy as np

RESIDUAL = {
    "norm0": "norm1",
    "conv0": "conv1",
    "time": "time_emb_proj",
    "norm1": "norm2",
    "conv1": "conv2",
    "shortcut": "conv_shortcut",
}
QUERIES = {"query": "to_q", "key": "to_k", "value": "to_v", "out": "to_out.0"}
ATTENTION = {"norm": "group_norm"} | QUERIES
UNET = {  # of two levels of one block, with attention in the second
    "first": "conv_in",
    "time0": "time_embedding.linear_1",
    "time1": "time_embedding.linear_2",
    "halve0": "down_blocks.0.downsamplers.0.conv",
    "double1": "up_blocks.0.upsamplers.0.conv",
    "norm": "conv_norm_out",
    "last": "conv_out",
    "middle0": "mid_block.resnets.0",
    "middle1": "mid_block.resnets.1",
    "middle_attention": "mid_block.attentions.0",
    "down0_0": "down_blocks.0.resnets.0",
    "down1_0": "down_blocks.1.resnets.0",
    "down1_0_attention": "down_blocks.1.attentions.0",
    "up1_0": "up_blocks.0.resnets.0",
    "up1_0_attention": "up_blocks.0.attentions.0",
    "up1_1": "up_blocks.0.resnets.1",
    "up1_1_attention": "up_blocks.0.attentions.1",
    "up0_0": "up_blocks.1.resnets.0",
    "up0_1": "up_blocks.1.resnets.1",
}


def weight(found, places, leaf, shape):
    """The weight at dotted `places` in the arrays `found`, in the layout of Flax.

    Args:
      found: arrays by name.
      places: parts of the module's name.
      leaf: name of ours: "kernel", "scale" or "bias".
      shape: of ours; a shortcut is theirs as a 1 x 1 convolution.
    """
    kind = "bias" if leaf == "bias" else "weight"
    array = found[".".join([*places, kind])].astype(np.float32)
    if array.ndim == 4:
        array = array.transpose(2, 3, 1, 0)
    return (array.T if array.ndim == 2 else array).reshape(shape)
