"""Import and export of pretrained encoders in the formats of other libraries.

    loaded = weights.load("dino_deitsmall16_pretrain.safetensors")
    h = loaded.module.apply({"params": loaded.params, **loaded.stats}, images)

ResNets of torchvision, timm, MoCo, SimSiam and DINO; ViTs of timm, torchvision,
transformers, MAE, MoCo v3 and DINO; GPT-2, GPT, BERT, BART and PEGASUS in the folders of
transformers (`load_language`). Unknown arrays in a file are an error, never ignored.
"""

from jssl.weights.channels import adapt_input
from jssl.weights.exporting import Used, described, encoders, own_names, to_torch, used
from jssl.weights.files import metadata, read, write
from jssl.weights.importing import Loaded, load
from jssl.weights.language import (
    Language,
    is_language,
    load_language,
    network,
    save_language,
    text_encoder,
    to_transformers,
)
from jssl.weights.layout import Layout, recognize
from jssl.weights.preprocessing import Preprocessing, preprocessing

__all__ = [
    "Language",
    "Layout",
    "Loaded",
    "Preprocessing",
    "Used",
    "adapt_input",
    "described",
    "encoders",
    "is_language",
    "load",
    "load_language",
    "metadata",
    "network",
    "own_names",
    "preprocessing",
    "read",
    "recognize",
    "save_language",
    "text_encoder",
    "to_torch",
    "to_transformers",
    "used",
    "write",
]
