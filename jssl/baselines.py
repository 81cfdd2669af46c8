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
from jssl.data import Source
from jssl.method import Method, identity
from jssl.methods.transfer.supervised import supervised
from jssl.nets import Net
from jssl.report import Log, write_json


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
    labelled: Source,
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
      labelled: the training source, with labels.
      supervised_epochs: of the supervised reference.
      prepare: what the classifier sees of an image, as the method's.
      pictures: further evals, by name.
      lr: peak of the supervised learning rate.
      **fields: further ones of the stage; seed, mesh and dispatch also of its baselines.
    """
    judged = {"knn": evals.knn(), "linear": evals.linear_probe()}
    shared = {k: v for k, v in fields.items() if k in ("seed", "mesh", "dispatch")}
    budget = labelled.steps(supervised_epochs)
    schedule = optim.warmup_cosine(lr, budget // 20, budget)
    tx = optax.adamw(schedule, weight_decay=1e-4, mask=optim.matrices)
    reference = Stage(
        name="supervised",
        method=supervised(classifier, tx, labelled.classes, prepare=prepare),
        data=labelled,
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


def fingerprint(stage: Stage) -> str:
    """A digest of all that the stage's final metrics depend on."""
    method, data = stage.method, stage.data
    batch = jax.eval_shape(loop.decode, data.shapes())
    key = jax.random.key(0)
    state = jax.eval_shape(method.init, key, batch)
    traced = [
        jax.make_jaxpr(method.init)(key, batch),
        jax.make_jaxpr(method.embed)(state, jax.eval_shape(loop.decode, data.row_shapes())),
    ]
    if stage.steps:
        traced.append(jax.make_jaxpr(method.step)(key, state, batch))
    protocols = [e.protocol for e in stage.evals.values()]
    parts = (
        data.name,
        data.digest,
        data.batch,
        data.seed,
        stage.steps,
        stage.seed,
        protocols,
    )
    text = re.sub(r" at 0x[0-9a-f]+", "", "\n".join(map(str, (*parts, *traced))))
    constants = [np.asarray(c).tobytes() for jaxpr in traced for c in jaxpr.consts]
    return hashlib.sha256(b"".join([text.encode(), *constants])).hexdigest()[:16]


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
