"""Evaluation protocols by name, selected by the data set.

A protocol has a list of required outputs of `embed` and of required columns. It is omitted
for data sets without these columns, and for methods without these outputs.
"""

from collections.abc import Callable, Mapping
from functools import cache, partial
from types import MappingProxyType
from typing import NamedTuple

import jax
import numpy as np

from jssl import evals
from jssl.data import Labels, Numbers, Source, apart, worlds

SCENES = {"train": 400, "val": 100, "test": 200}
PICTURED = ("image", "video")  # columns [..., h, w, 1] of scenes and clips
OPPOSITE = tuple((i + 4) % 8 for i in range(8))  # of `worlds.DIRECTIONS`
CLIPS = {"train": 600, "val": 160, "test": 320}


class Protocol(NamedTuple):
    """An eval and its requirements.

    Attributes:
      judge: (features, final) -> metrics.
      outputs: required outputs of `embed`.
      fields: required columns of the data.
      quick: True if it takes seconds, for thousands of rows.
      from_start: True if it requires the state before training.
      splits: splits that it reads; all of them need labels if "label" is a field.
      per_class: least number of rows of each class of a split.
    """

    judge: evals.Eval
    outputs: tuple[str, ...] = ("h",)
    fields: tuple[str, ...] = ("label",)
    quick: bool = True
    from_start: bool = False
    splits: tuple[str, ...] = ("train", "val", "test")
    per_class: Mapping[str, int] = MappingProxyType({})

    def unfit(self, source: Source) -> str:
        """The reason why this protocol does not apply to a data set; empty if it does."""
        for split in self.splits:
            try:
                counts = _counts(source, split) if "label" in self.fields else {}
                source.split(split)
            except ValueError as error:
                return str(error)
            wanted = self.per_class.get(split, 1)
            rare = min(counts, key=counts.__getitem__, default=None)
            if rare is not None and counts[rare] < wanted:
                return (
                    f"it needs {wanted} {split} rows of each class, and there are "
                    f"{counts[rare]} of {source.class_names[rare]!r}"
                )
        return ""

    def missing(self, features) -> str:
        """The reason why this protocol does not apply to a method; empty if it does."""
        for name in self.outputs:
            if name not in features.names:
                return f"embed has no output {name!r}"
        if self.from_start and features.engine.stage.start and features.done is None:
            return "the stage starts from earlier ones, whose states are not available"
        return ""


def _counts(source, split):
    """Rows of each class that a split has.

    Raises:
      ValueError: no such split, or rows without a label.
    """
    labels = apart(source.split(split)).labels()
    numbers, counts = np.unique(labels, return_counts=True)
    if numbers[0] < 0:
        raise ValueError(f"{counts[0]} {split} rows have no label")
    return dict(zip(map(int, numbers), map(int, counts), strict=True))


def protocols(source: Source, seed: int = 0) -> dict[str, Protocol]:
    """All protocols that apply to the columns of a data set, by name.

    Scenes and clips are composed of images of the same split; clips of data sets of videos
    are their own: their classes are the actions, and masks are propagated in those with a
    column of objects. For one seed, few labels are the same for every method. "upto2" is
    fine-tuning with the first two layers transferred and the others as before training.
    Tags [n, l] are probed from tokens, numbers by
    regression. Tags of BIO are judged by whole entities, too.

    Args:
      source: any split.
      seed: of heads, scenes and the choice of labeled rows.
    """
    targets = source.target_columns()
    found = {}
    for name, shape in targets.items():
        kind = source.field_of(name)
        if isinstance(kind, Numbers):
            fit = evals.regression(name, metric=f"regression/{name}")
            found[f"regression/{name}"] = Protocol(fit, fields=(name,))
        elif isinstance(kind, Labels) and shape and name != "label":
            probe = evals.linear_probe(name="tokens", target=name)
            found[f"linear/{name}"] = Protocol(probe, ("tokens",), (name,))
            if _is_bio(kind.names):
                of_entities = evals.entity_probe(kind.names, target=name)
                found[f"entities/{name}"] = Protocol(of_entities, ("tokens",), (name,))
    known = source.row_shapes()
    if "video" in known and "objects" in {*known, *targets}:
        tracked = evals.propagation(task=source.data_name)
        found["propagation"] = Protocol(tracked, ("maps",), ("video",), quick=False)
    if source.classes:
        found |= _of_classes(source, seed)
    return {k: p for k, p in found.items() if set(p.fields) <= set(known)}


def _is_bio(names):
    """True for tags of entities: O, and B-TYPE or I-TYPE."""
    return "O" in names and all(x == "O" or x[:2] in ("B-", "I-") for x in names)


def _of_classes(source, seed):
    layered = {
        f"upto{i}{'-frozen' if frozen else ''}": Protocol(
            evals.fine_tune(10, upto=i, frozen=frozen, seed=seed),
            ("h", "layers"),
            quick=False,
            from_start=True,
            per_class={"train": 10},
        )
        for i in (1, 2)
        for frozen in (False, True)
    }
    way = _way(source)
    found = {
        "knn": Protocol(evals.knn()),
        "linear": Protocol(evals.linear_probe()),
        "svm": Protocol(evals.svm(), quick=False),
        "few_labels": Protocol(evals.few_labels_probe(seed=seed), per_class={"train": 10}),
        "few_shot": Protocol(
            evals.few_shot(way, seed=seed), splits=("test",), per_class={"test": 20}
        ),
        "retrieval": Protocol(evals.retrieval()),
        "clustering": Protocol(evals.clustering(seed=seed)),
        "linear_sgd": Protocol(evals.sgd_probe(seed=seed)),
        "layers": Protocol(evals.layer_probes(), ("layers",)),
        "fine_tune@10": Protocol(
            evals.fine_tune(10, seed=seed), quick=False, per_class={"train": 10}
        ),
        "fine_tune": Protocol(evals.fine_tune(seed=seed), quick=False),
        **layered,
    }
    shapes = source.row_shapes()
    if "video" in shapes and "image" not in shapes:
        judged = evals.video_action(source.class_names, seed=seed)
        found["action"] = Protocol(judged, fields=("video", "label"), quick=False)
    image = shapes.get("image")
    if image is None or len(image.shape) != 4:
        return found
    made, clips = places(source, seed), motions(source, seed)
    task = f"{SCENES['train']} scenes of {source.name.partition('/')[0]}"
    short = f"{CLIPS['train']} clips of {source.name.partition('/')[0]}"
    segmentation = partial(evals.segmentation, made, seed=seed, task=task)
    dense = partial(Protocol, outputs=("maps",), fields=("image", "label"), quick=False)
    return found | {
        "segmentation": dense(segmentation("layers")),
        "segmentation_fcn": dense(segmentation(head="fcn")),
        "detection": dense(evals.detection(made, seed=seed, task=task)),
        "action": dense(evals.action(clips, opposite=OPPOSITE, seed=seed, task=short)),
        "propagation": dense(evals.propagation(clips, frames=True, task=short)),
    }


def _way(source):
    """Classes of an episode: 5, or as many as the test split has."""
    try:
        return min(5, len(_counts(source, "test")))
    except ValueError:
        return min(5, source.classes)


def places(source: Source, seed: int) -> Callable[[str], Mapping[str, np.ndarray]]:
    """A function from a split to scenes twice as wide as images, with masks and boxes."""
    return _composed(worlds.glyph_scenes, source, SCENES, seed, 2)


def motions(source: Source, seed: int) -> Callable[[str], Mapping[str, np.ndarray]]:
    """A function from a split to clips of a drifting image, and the direction of motion."""
    return _composed(worlds.moving, source, CLIPS, seed, 1)


def _composed(make, source, counts, seed, wide):
    @cache
    def of(split):
        part = apart(source.split(split))
        images = part.field_of("image").decode(part.column("image"))
        glyphs = np.asarray(images).mean(-1, keepdims=True, dtype=np.float32)
        key = jax.random.fold_in(jax.random.key(seed), list(counts).index(split))
        size = wide * max(glyphs.shape[1:3])
        each = partial(make, size=size)
        made = dict(jax.device_get(each(key, glyphs, part.labels(), counts[split])))
        if "video" in made:
            made["objects"] = (made["video"][..., 0] > worlds.INK).astype(np.int32)
        channels = np.shape(images)[-1]  # of the network; the worlds are gray
        return made | {k: np.repeat(made[k], channels, -1) for k in PICTURED if k in made}

    return of
