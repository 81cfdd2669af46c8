"""The protocols that every representation is judged by, alike: by name, for a data set.

Those of whole images need what `embed` gives as h, those of places its maps; a method
that has no maps (dense layers, say) has no row there.
"""

from collections.abc import Callable, Mapping
from functools import cache, partial
from typing import NamedTuple

import jax
import numpy as np

from jssl import evals
from jssl.data import Source, composed

SCENES = {"train": 400, "val": 100, "test": 200}
CLIPS = {"train": 600, "val": 160, "test": 320}


class Protocol(NamedTuple):
    """How to judge, and what for.

    Attributes:
      judge: features, final -> metrics.
      needs: an output of the method without which it has no number; "" if h will do.
      quick: whether it takes seconds, on a data set of thousands.
    """

    judge: evals.Eval
    needs: str = ""
    quick: bool = True


def protocols(source: Source, seed: int = 0) -> dict[str, Protocol]:
    """Every protocol, by name.

    Scenes and clips are composed of a split's own images, and have numbers only where
    those are pictures. Few labels are the same for every method of one seed. "upto2" is
    fine-tuning from the first two layers, the others as they were before training.

    Args:
      source: with labels, any split.
      seed: of heads, scenes and which rows have labels.
    """
    found = {
        "knn": Protocol(evals.knn()),
        "linear": Protocol(evals.linear_probe()),
        "few_labels": Protocol(evals.few_labels_probe(seed=seed)),
        "few_shot": Protocol(evals.few_shot(seed=seed)),
        "retrieval": Protocol(evals.retrieval()),
        "clustering": Protocol(evals.clustering(seed=seed)),
        "linear_sgd": Protocol(evals.sgd_probe(seed=seed)),
        "layers": Protocol(evals.layer_probes(), "layers"),
        "fine_tune@10": Protocol(evals.fine_tune(10, seed=seed), "", False),
        "fine_tune": Protocol(evals.fine_tune(seed=seed), "", False),
    } | {
        f"upto{i}{'-frozen' if frozen else ''}": Protocol(
            evals.fine_tune(10, upto=i, frozen=frozen, seed=seed), "layers", False
        )
        for i in (1, 2)
        for frozen in (False, True)
    }
    shape = source.row_shapes()["image"].shape
    if len(shape) != 4:
        return found
    made, clips = places(source, seed), motions(source, seed)
    task = f"{SCENES['train']} scenes of {source.name.partition('/')[0]}"
    short = f"{CLIPS['train']} clips of {source.name.partition('/')[0]}"
    return found | {
        "segmentation": Protocol(
            evals.segmentation(made, "layers", seed=seed, task=task), "maps", False
        ),
        "segmentation_fcn": Protocol(
            evals.segmentation(made, head="fcn", seed=seed, task=task), "maps", False
        ),
        "detection": Protocol(evals.detection(made, seed=seed, task=task), "maps", False),
        "action": Protocol(evals.action(clips, seed=seed, task=short), "maps", False),
    }


def places(source: Source, seed: int) -> Callable[[str], Mapping[str, np.ndarray]]:
    """split -> scenes of glyphs, masks and boxes, twice as wide as an image."""
    return _composed(composed.scenes, source, SCENES, seed, 2)


def motions(source: Source, seed: int) -> Callable[[str], Mapping[str, np.ndarray]]:
    """split -> clips of an image that drifts, and the direction of its motion."""
    return _composed(composed.moving, source, CLIPS, seed, 1)


def _composed(make, source, counts, seed, wide):
    @cache
    def of(split):
        part = source.split(split)
        images = np.concatenate([batch["image"] for batch in part.scan()])[: part.size]
        glyphs = images if images.dtype != np.uint8 else np.float32(images) / 255
        glyphs = glyphs.mean(-1, keepdims=True, dtype=np.float32)
        key = jax.random.fold_in(jax.random.key(seed), list(counts).index(split))
        size = wide * glyphs.shape[1]
        each = partial(make, size=size)
        return jax.device_get(each(key, glyphs, part.labels(), counts[split]))

    return of
