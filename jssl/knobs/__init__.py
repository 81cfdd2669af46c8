"""Knobs shared by many experiments, in groups, with functions of these knobs.

A config has a group as a parameter, with its own defaults; every field is then a knob of
that config, described here once:

    def laptop(run: Run = Run(), images: Images = Images(batch=256)) -> list[Stage]:

    --config=experiments/simclr.py:batch=64,mesh=data=2,lr=1e-3

A config may override the description of a knob under its "Args:".
"""

from jssl.knobs.diffusion import Denoising
from jssl.knobs.few_labels import FewLabels, SomeLabels, WeakAndStrong
from jssl.knobs.images import (
    CroppedImages,
    Data,
    Images,
    Pictures,
    ViewedImages,
    captions,
    in_color,
    mean_image,
    with_labels,
)
from jssl.knobs.motion import Flow, first_frame, in_motion, jittered
from jssl.knobs.networks import Small, SmallTransformer
from jssl.knobs.run import Run
from jssl.knobs.text import (
    Corpus,
    Decoding,
    LabeledText,
    SmallText,
    Text,
    check_pairs,
    continuations,
    decoder_of,
    even_loss,
    located,
    row_length,
    sizes_of,
    special,
    text_window,
    texts_of,
    token_counts,
    window,
    words_of,
)
from jssl.knobs.videos import Videos

__all__ = [
    "CLIPS",
    "CONVNET",
    "CORPUS",
    "CROPPED_GARMENTS",
    "DATA",
    "FASHION",
    "FEW_GARMENTS",
    "FEW_LABELS",
    "GARMENTS",
    "IMAGES",
    "STAMPS",
    "TEXT",
    "VIDEOS",
    "Corpus",
    "CroppedImages",
    "Data",
    "Decoding",
    "Denoising",
    "FewLabels",
    "Flow",
    "Images",
    "LabeledText",
    "Pictures",
    "Run",
    "Small",
    "SmallText",
    "SmallTransformer",
    "SomeLabels",
    "Text",
    "ViewedImages",
    "Videos",
    "WeakAndStrong",
    "captions",
    "check_pairs",
    "continuations",
    "decoder_of",
    "even_loss",
    "first_frame",
    "in_color",
    "in_motion",
    "jittered",
    "located",
    "mean_image",
    "row_length",
    "sizes_of",
    "special",
    "text_window",
    "texts_of",
    "token_counts",
    "window",
    "with_labels",
    "words_of",
]

FASHION = "source=fashion_mnist,limit=10000"  # the second data set of the results page
GARMENTS = f"{FASHION},recipe=garments"
CROPPED_GARMENTS = f"{FASHION},recipe=garments_multicrop"
FEW_GARMENTS = f"{FASHION},labels=40,epochs=10"  # for methods with few labels
STAMPS = "source=stamps,size=32,epochs=100,supervised_epochs=30"  # the third: in color
# Knobs of tests.
DATA = dict(source="digits", batch=16, epochs=0.03, dispatch=1)
IMAGES = DATA | dict(supervised_epochs=0.03)
CORPUS = dict(batch=16, epochs=0.2, length=16, dispatch=1, reading="documents=40")
TEXT = CORPUS | dict(supervised_epochs=0.2)
CONVNET = IMAGES | dict(widths=(4, 8))
CLIPS = IMAGES | dict(source="scenes", size=16, epochs=0.1, reading="count=64")
VIDEOS = IMAGES | dict(source="moving_digits", reading="frames=8", size=16, widths=(4, 8))
FEW_LABELS = DATA | dict(labels=2, labeled_batch=16, widths=(4, 8))
