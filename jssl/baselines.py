"""What a representation is held against: computed once, then taken from a cache.

A baseline is a stage like any other, judged by the same evals: raw pixels and untrained
networks are stages of no steps. Its number is kept under a fingerprint of everything
that determines it: the data, the budget, the protocols, and the traced computation itself
(architecture, optimiser and schedule constants included).
"""

import hashlib
import json
import os
import re
from collections.abc import Callable, Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any

import jax
import numpy as np
import optax

from jssl import evals, loop, optim
from jssl.config import Stage
from jssl.data import Source, labels_per_class, pair
from jssl.engine import decode
from jssl.log import Log, write_json
from jssl.method import Augment, Method, identity
from jssl.methods.transfer.supervised import supervised
from jssl.nets import Net


def cache_folder() -> Path:
    """$JSSL_CACHE, or jssl in the user's cache folder."""
    fallback = Path(os.environ.get("XDG_CACHE_HOME", Path.home() / ".cache")) / "jssl"
    return Path(os.environ.get("JSSL_CACHE", fallback))


def raw_pixels() -> Method:
    """Represents an image by its pixels."""

    def step(key, state, batch):
        raise ValueError("raw pixels learn nothing: give the stage no steps")

    def embed(state, batch):
        return {"h": batch["image"].reshape(len(batch["image"]), -1)}

    return Method(lambda key, batch: (), step, embed)


def beside(
    method, data, judged, reference: Stage | None = None, **shared
) -> dict[str, Stage]:
    """The rows that stand beside a method's number: raw pixels, its untrained network,
    and a supervised stage if there is one.

    Args:
      method: whose initial state is the untrained network.
      data: the training source.
      judged: the evals, which judge them all.
      reference: learns from the labels.
      **shared: further fields of the stages.
    """
    still = dict(data=data, steps=0, evals=judged) | shared
    stages = {
        "raw pixels": Stage(name="raw-pixels", method=raw_pixels(), **still),
        "untrained network": Stage(name="untrained", method=method, **still),
    }
    return stages if reference is None else stages | {"supervised reference": reference}


def compared(
    method: Method,
    train: Source,
    steps: int,
    classifier: Net,
    labeled: Source,
    supervised_epochs: float,
    prepare: Callable = identity,
    pictures: Mapping[str, Callable] = MappingProxyType({}),
    lr: float = 1e-3,
    **fields,
) -> Stage:
    """The stage "pretrain", judged by kNN and linear probe beside its baselines.

    The supervised reference is `classifier` under AdamW, a short warm-up and a cosine.

    Args:
      method: what learns.
      train: its source.
      steps: of training.
      classifier: images -> {"logits", "h"}, an encoder as the method's.
      labeled: the training source, with labels.
      supervised_epochs: of the supervised reference.
      prepare: what the classifier sees of an image, as the method's.
      pictures: further evals, by name.
      lr: peak of the supervised learning rate.
      **fields: further ones of the stage; seed, mesh and dispatch also of its baselines.
    """
    judged = {"knn": evals.knn(), "linear": evals.linear_probe()}
    shared = {k: v for k, v in fields.items() if k in ("seed", "mesh", "dispatch")}
    budget = labeled.steps(supervised_epochs)
    schedule = optim.warmup_cosine(lr, budget // 20, budget)
    tx = optax.adamw(schedule, weight_decay=1e-4, mask=optim.matrices)
    reference = Stage(
        name="supervised",
        method=supervised(classifier, tx, labeled.classes, prepare=prepare),
        data=labeled,
        steps=budget,
        evals=judged,
        **shared,
    )
    return Stage(
        name="pretrain",
        method=method,
        data=train,
        steps=steps,
        evals=judged | {"embedding": evals.embedding_picture()} | dict(pictures),
        baselines=beside(method, train, judged, reference, **shared),
        **fields,
    )


def few_labels(
    method: Method,
    labeled: Source,
    unlabeled: Source,
    per_class: int,
    steps: int,
    classifier: Net,
    tx: optax.GradientTransformation,
    augment: Augment,
    further: Mapping[str, Callable] = MappingProxyType({}),
    seed: int = 0,
    **fields,
) -> Stage:
    """The stage "train" of semi-supervised learning, beside learning from labels alone.

    Its baselines have the same network, optimiser, augmentation, number of updates and
    batches of labels, and no unlabelled images: one with the same few labels, which the
    method should beat, and one with all labels, which it may come up to.

    The number to read is top1, of the classifier that was trained. kNN and linear probe
    judge h, and are given every label of the training split to do so.

    Args:
      method: what learns, of nested batches; embeds "logits".
      labeled: the training source, with labels and the batch of labelled rows.
      unlabeled: the same with the batch of unlabelled rows; those with labels are among
        them.
      per_class: labels of each class.
      steps: of training, the baselines' too.
      classifier: images -> {"logits", "h"}, the method's network.
      tx: moves the baselines' weights, as the method's; where the method predicts with an
        average of weights, it ends in `ema_weights`.
      augment: (key, images) -> one view of each, as the method's.
      further: evals of the method alone, by name.
      seed: of the stages, and of the draw of labels.
      **fields: further ones of the stage; mesh also of its baselines.
    """
    judged = {"knn": evals.knn(), "linear": evals.linear_probe()}
    own = {"top1": evals.accuracy()} | judged
    shared = dict(seed=seed) | {k: v for k, v in fields.items() if k == "mesh"}
    few = labels_per_class(labeled, per_class, seed)
    reference = _of_labeled(supervised(classifier, tx, labeled.classes, augment))

    def taught(name, source):
        both = pair(labeled=source, unlabeled=unlabeled)
        return Stage(
            name=name, method=reference, data=both, steps=steps, evals=own, **shared
        )

    both = pair(labeled=few, unlabeled=unlabeled)
    return Stage(
        name="train",
        method=method,
        data=both,
        steps=steps,
        evals=own | dict(further) | {"embedding": evals.embedding_picture()},
        baselines={
            "supervised, same labels": taught("supervised-few", few),
            "supervised, all labels": taught("supervised-all", labeled),
        }
        | beside(method, both, judged, **shared),
        seed=seed,
        **fields,
    )


def _of_labeled(method: Method) -> Method:
    """A method of plain batches, for the labelled half of nested ones."""

    def init(key, batch):
        return method.init(key, batch["labeled"])

    def step(key, state, batch):
        return method.step(key, state, batch["labeled"])

    return method._replace(init=init, step=step)


def fingerprint(stage: Stage) -> str:
    """A digest of all that the stage's final metrics depend on.

    A seed or a batch that decides nothing does not count: raw pixels are raw pixels.
    """
    method, data = stage.method, stage.data
    batch = jax.eval_shape(decode, data.shapes())
    rows = jax.eval_shape(_two_rows, data.row_shapes())
    key = jax.random.key(0)
    state = jax.eval_shape(method.init, key, batch)
    parts = [data.name, data.digest, [e.protocol for e in stage.evals.values()]]
    traced = [jax.make_jaxpr(method.embed)(state, rows)]
    init = jax.make_jaxpr(method.init)(key, batch)
    if init.eqns or stage.steps:
        parts += [stage.seed]
        traced += [init]
    if stage.steps:
        parts += [data.batch, data.seed, stage.steps]
        traced += [jax.make_jaxpr(method.step)(key, state, batch)]
    text = "\n".join([*map(str, parts), *(_without_names(str(x)) for x in traced)])
    constants = [np.asarray(c).tobytes() for jaxpr in traced for c in jaxpr.consts]
    return hashlib.sha256(b"".join([text.encode(), *constants])).hexdigest()[:16]


def _without_names(program: str) -> str:
    """A printed jaxpr in which no function's name or address appears.

    Shared sub-programs, which JAX prints under their function's name, are numbered in the
    order in which they are printed: renaming a jitted function changes nothing.
    """
    shared = re.findall(r"^let (\w+) = \{", program, flags=re.MULTILINE)
    numbers = {name: f"f{i}" for i, name in enumerate(dict.fromkeys(shared))}

    def number(found):
        return found[1] + numbers.get(found[2], found[2])

    program = re.sub(r"((?:^let |\b\w*jaxpr=))(\w+)", number, program, flags=re.MULTILINE)
    return re.sub(r"\b(?:name|jvp|fwd|bwd)=[\w.<>]+| at 0x[0-9a-f]+", "", program)


def _two_rows(batch):
    """Its first two rows, decoded."""
    return jax.tree.map(lambda x: x[:2], decode(batch))


def score(
    name: str, stage: Stage, workdir: Path, provenance: Callable[[], Mapping[str, Any]]
) -> dict[str, Any]:
    """{"metrics": ..., "provenance": ...} of a baseline, from the cache if it is there."""
    kept = cache_folder() / "baselines" / f"{fingerprint(stage)}.json"
    if _first_process_says(kept.exists()):
        return json.loads(kept.read_text()) if kept.exists() else {"metrics": {}}
    folder = Path(workdir) / "baselines" / re.sub(r"\W+", "-", name)
    finished = loop.run(stage, folder, {}, Log(folder, f"baseline, {name}"))
    result = {"metrics": finished.metrics, "provenance": provenance()}
    if jax.process_index() == 0:
        kept.parent.mkdir(parents=True, exist_ok=True)
        write_json(kept, {"baseline": name, "data": stage.data.name} | result)
    return result


def _first_process_says(answer: bool) -> bool:
    """The first process's answer, for all of them: each may have a disk of its own."""
    if jax.process_count() == 1:
        return answer
    from jax.experimental import multihost_utils

    return bool(multihost_utils.broadcast_one_to_all(np.array(answer)))
