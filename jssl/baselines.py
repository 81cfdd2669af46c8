"""Baselines: raw inputs, the untrained network, a supervised network; cached.

A baseline is an ordinary stage, evaluated the same way: raw inputs and untrained networks
are stages without steps. Results are cached under a fingerprint of everything that
determines them: the data, the budget, the protocols, and the traced computation
(architecture, optimizer and schedule constants included).
"""

import hashlib
import json
import re
import sys
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from types import MappingProxyType
from typing import Any

import jax
import numpy as np
import optax
from jax.interpreters.partial_eval import dce_jaxpr

from jssl import evals, loop, optim
from jssl.cache import cache_folder
from jssl.config import Stage
from jssl.data import Source, labels_per_class, pair, random_labels
from jssl.data.tokenizing import pieces
from jssl.knobs import Images, Run, SmallText, SomeLabels, Text, with_labels
from jssl.learner import GRAD_NORM
from jssl.log import Log, write_json
from jssl.method import Augment, Method, Prepare, field, no_samples, part
from jssl.methods.transfer.supervised import supervised
from jssl.models.heads import Classifier
from jssl.models.transformer import TextMean, Transformer
from jssl.nets import Net, linen


def plain(source: Source) -> Method:
    """A method without a network: pixels, a waveform, counts of words."""

    def step(key, state, batch):
        raise ValueError("raw inputs cannot be trained: give the stage no steps")

    def embed(state, batch):
        return {"h": source.plain(batch)}

    return Method(lambda key, batch: (), step, embed)


def has_plain(source: Source) -> bool:
    """True if the columns of a source have raw features [n, d]."""
    rows = jax.eval_shape(source.decode, source.row_shapes(), _context(source))
    return jax.eval_shape(source.plain, rows) is not None


def _context(source):
    return jax.eval_shape(source.decoded_context)


def rows(
    run: Run,
    method: Method,
    train: Source,
    judged: Mapping[str, Callable],
    *,
    reference: Stage | None = None,
) -> dict[str, Stage]:
    """The baselines of a method: raw inputs, untrained network, optional supervised stage.

    Raw inputs are omitted if the data have no raw features; they have the evals of "h".

    Args:
      run: settings of the stages.
      method: its initial state is the untrained network.
      train: the training source.
      judged: evals of raw inputs and untrained network.
      reference: a supervised stage.
    """
    stages = {}
    if has_plain(train):
        name = train.plain_name
        stages[name] = run.baseline(
            name.replace(" ", "-"), plain(train), train, 0, evals=_of_h(judged)
        )
    stages["untrained network"] = run.baseline("untrained", method, train, 0, evals=judged)
    return stages if reference is None else stages | {"supervised reference": reference}


def _of_h(judged: Mapping[str, Callable]) -> dict[str, Callable]:
    """The evals that need no output but "h"."""
    needs = lambda judge: getattr(judge, "outputs", ("h",))
    return {key: judge for key, judge in judged.items() if needs(judge) == ("h",)}


def tfidf(run: Run, train: Source, texts: Callable[..., Sequence[str]]) -> Stage:
    """Logistic regression on TF-IDF of the words of texts, as top1.

    Words are those of `tokenizing.pieces`: punctuation is no part of them.

    Args:
      run: settings of the stage.
      train: the labeled training source.
      texts: decoded columns -> texts, as of `knobs.texts_of`.
    """
    judged = {"top1": evals.tfidf(texts, pieces)}
    return run.baseline("tf-idf", plain(train), train, 0, evals=judged)


def pretrain_stage(
    run: Run,
    images: Images | Text,
    train: Source,
    method: Method,
    classifier: Net | None,
    *,
    name: str = "pretrain",
    labeled: Source | None = None,
    prepare: Prepare = field("image"),
    tx: Callable[[int], optax.GradientTransformation] = partial(optim.adamw, 1e-3),
    pictures: Mapping[str, Callable] = MappingProxyType({}),
    further: Mapping[str, Callable] = MappingProxyType({}),
    **fields: Any,
) -> Stage:
    """A stage evaluated by kNN and linear probe, with all baselines.

    The baselines are raw inputs, the untrained network and a supervised network. Without
    labels there are no such evaluations and baselines.

    Args:
      run: settings of all stages.
      images: the budget: `epochs` of the stage, `supervised_epochs` of the baseline.
      train: the training source.
      method: the method that is trained.
      classifier: of the supervised baseline: x -> {"logits", "h"}, with the same encoder as
        the method; None without labels.
      name: of the stage.
      labeled: source of the supervised baseline; None: `train` with labels.
      prepare: batch -> x, the input of the classifier, as in the method.
      tx: steps -> the optimizer of the supervised baseline.
      pictures: further evals, by name.
      further: further evals, of the baselines too, for data with labels. Those of outputs
        other than h are not of raw inputs and the supervised network.
      **fields: further fields of the stage.

    Raises:
      ValueError: labels, and no classifier.
    """
    stage = partial(run.stage, name, method, train, train.steps(images.epochs), **fields)
    if not train.classes:
        return stage(evals=pictures)
    if classifier is None:
        raise ValueError(f"{name}: the baseline of {train.name} needs a classifier")
    labeled = labeled or with_labels(train)
    judged = {"knn": evals.knn(), "linear": evals.linear_probe()} | dict(further)
    reference = None
    if images.supervised_epochs:
        steps = labeled.steps(images.supervised_epochs)
        reference = run.baseline(
            "supervised",
            supervised(classifier, tx(steps), labeled.classes, prepare=prepare),
            labeled,
            steps,
            evals=_of_h(judged) | {"top1": evals.accuracy()},
        )
    return stage(
        evals=judged | {"embedding": evals.embedding_picture()} | dict(pictures),
        baselines=rows(run, method, train, judged, reference=reference),
    )


def text_stage(
    run: Run,
    text: Text,
    network: SmallText,
    train: Source,
    method: Method,
    encoder: Transformer,
    **fields: Any,
) -> Stage:
    """`pretrain_stage` of a transformer of text.

    The supervised baseline is a linear layer on the mean output of the same network.

    Args:
      run, text, train, method: as in `pretrain_stage`.
      network: sizes of the network, and the optimizer of the baseline.
      encoder: texts int [n, l] -> [n, l, d], untrained.
      **fields: further arguments of `pretrain_stage`.
    """
    judge = Classifier(TextMean(encoder), train.classes)
    classifier = linen(judge) if train.classes else None
    return pretrain_stage(run, text, train, method, classifier, tx=network.adamw, **fields)


def few_label_stage(
    run: Run,
    few: SomeLabels,
    train: Source,
    method: Method | None,
    *,
    augment: Augment,
    prepare: Prepare = field("image"),
    net: Net | None = None,
    tx: optax.GradientTransformation | None = None,
    further: Mapping[str, Callable] = MappingProxyType({}),
    **fields: Any,
) -> Stage:
    """The stage "train" of semi-supervised learning, with supervised baselines.

    The baselines have the same network, optimizer, augmentation, number of updates and
    labeled batches, and no unlabeled images: one with the same few labels, as a lower
    bound, and one with all labels, as an upper bound.

    The main metric is top1, of the trained classifier. kNN and linear probe evaluate h with
    all labels of the training split.

    Args:
      run: settings of all stages; its seed also draws the labels.
      few: labels and budget, network and optimizer, also of the method. Baselines predict
        with averaged weights. Wrong labels are those of the method and of the baseline with
        the same labels.
      train: the unlabeled training source. Labels are drawn from its split "train", which
        is the source itself unless it has classes without labels.
      method: the method that is trained, on nested batches; embeds "logits". None: that of
        the baselines, to be started from other weights.
      augment: (key, batch) -> one view of each row, as in the method.
      prepare: batch -> x, the network's input outside training, as in the method.
      net: of the baselines: x -> {"logits", "h"}; None: that of `few`.
      tx: optimizer of the baselines; None: that of `few`.
      further: evals of the method only, by name.
      **fields: further fields of the stage.
    """
    judged = {"knn": evals.knn(), "linear": evals.linear_probe()}
    own = {"top1": evals.accuracy()} | judged
    every = with_labels(train.split("train"), batch=few.labeled_batch)
    some = labels_per_class(every, few.labels, run.seed)
    if few.wrong:
        some = random_labels(some, few.wrong, run.seed)
    steps = train.steps(few.epochs)
    net, tx = net or few.classifier(every), tx or few.averaged_adam(train)
    reference = _of_labeled(supervised(net, tx, every.classes, augment, prepare=prepare))

    def from_labels(name, labeled):
        both = pair(labeled=labeled, unlabeled=train)
        return run.baseline(name, reference, both, steps, evals=own)

    both = pair(labeled=some, unlabeled=train)
    return run.stage(
        "train",
        method or reference,
        both,
        steps,
        evals=own | dict(further) | {"embedding": evals.embedding_picture()},
        baselines={
            "supervised, same labels": from_labels("supervised-few", some),
            "supervised, all labels": from_labels("supervised-all", every),
        }
        | rows(run, method or reference, both, judged),
        **fields,
    )


def _of_labeled(method: Method) -> Method:
    """Adapts a method of plain batches to the labeled part of nested batches."""

    def init(key, batch):
        return method.init(key, part(batch, "labeled"))

    def step(key, state, batch):
        return method.step(key, state, part(batch, "labeled"))

    return method._replace(init=init, step=step)


def fingerprint(stage: Stage) -> str:
    """Digest of everything that determines the final metrics of a stage.

    Seeds and batch sizes without effect, as for raw pixels, are not included.
    """
    method, data = stage.method, stage.data
    context = _context(data)
    batch = jax.eval_shape(data.decode, data.shapes(), context)
    initial = jax.eval_shape(data.decode, data.initial_shapes(), context)
    two = jax.tree.map(
        lambda x: jax.ShapeDtypeStruct((2, *x.shape[1:]), x.dtype), data.row_shapes()
    )
    rows = jax.eval_shape(data.decode, two, context)
    key = jax.random.key(0)
    state = jax.eval_shape(method.init, key, initial)
    parts: list[Any] = [data.name, data.digest, [e.protocol for e in stage.evals.values()]]
    traced = [_live(method.embed, state, rows)]
    init = _live(method.init, key, initial)
    if init.eqns or stage.steps:
        parts += [stage.seed]
        traced += [init]
    if stage.steps:
        parts += [data.batch, data.seed, stage.steps]
        traced += [_live(_without_norms(method.step), key, state, batch)]
    if method.generate is not no_samples:
        traced += [_live(method.generate, key, state, rows)]
    text = "\n".join([*map(str, parts), *(_without_names(str(x)) for x in traced)])
    constants = [np.asarray(c).tobytes() for jaxpr in traced for c in jaxpr.consts]
    return hashlib.sha256(b"".join([text.encode(), *constants])).hexdigest()[:16]


def _without_norms(step):
    """A training step without the metrics that every gradient step reports."""

    def stepped(*args):
        state, metrics = step(*args)
        return state, {k: x for k, x in metrics.items() if not k.endswith(GRAD_NORM)}

    return stepped


def _live(fn, *args):
    """The jaxpr of fn(*args) after dead-code elimination."""
    traced = jax.make_jaxpr(fn)(*args)
    used = [True] * len(traced.jaxpr.outvars)
    return traced.replace(jaxpr=dce_jaxpr(traced.jaxpr, used, instantiate=True)[0])


def _without_names(program: str) -> str:
    """A printed jaxpr without names and addresses of functions.

    Shared subprograms, which JAX prints under the name of their function, are numbered in
    order, so that renaming a jitted function does not change the text.
    """
    shared = re.findall(r"^let (\w+) = \{", program, flags=re.MULTILINE)
    numbers = {name: f"f{i}" for i, name in enumerate(dict.fromkeys(shared))}

    def number(found):
        return found[1] + numbers.get(found[2], found[2])

    program = re.sub(r"((?:^let |\b\w*jaxpr=))(\w+)", number, program, flags=re.MULTILINE)
    return re.sub(r"\b(?:name|jvp|fwd|bwd)=[\w.<>]+| at 0x[0-9a-f]+", "", program)


def score(
    name: str, stage: Stage, workdir: Path, provenance: Callable[[], Mapping[str, Any]]
) -> dict[str, Any]:
    """{"metrics": ..., "provenance": ...} of a baseline, from the cache if available.

    A baseline with failed evals is not cached.

    Raises:
      ValueError, OSError: the baseline cannot be trained.
    """
    kept = cache_folder() / "baselines" / f"{fingerprint(stage)}.json"
    if _first_process_says(kept.exists()):
        return json.loads(kept.read_text()) if kept.exists() else {"metrics": {}}
    folder = Path(workdir) / "baselines" / re.sub(r"\W+", "-", name)
    finished = loop.run(stage, folder, {}, Log(folder, f"baseline, {name}"))
    result = {"metrics": finished.metrics, "provenance": provenance()}
    if finished.failed:
        missing = ", ".join(finished.failed)
        told = f"is incomplete and not cached: {missing} failed"
        print(f"jssl: baseline {name} {told}", file=sys.stderr)
    elif jax.process_index() == 0:
        try:
            kept.parent.mkdir(parents=True, exist_ok=True)
            write_json(kept, {"baseline": name, "data": stage.data.name} | result)
        except OSError as error:
            print(f"jssl: cannot cache the baseline {name}: {error}", file=sys.stderr)
    return result


def _first_process_says(answer: bool) -> bool:
    """Broadcasts the value of the first process, since disks may differ."""
    if jax.process_count() == 1:
        return answer
    from jax.experimental import multihost_utils

    return bool(multihost_utils.broadcast_one_to_all(np.array(answer)))
