"""Fine-tunes an encoder on labels and writes the classifier, with the names of timm.

  --workdir runs/mae --out runs/mine                      on the labels of the run's data
  --workdir runs/mae --source folder:PATH --out runs/mine      on those of others
  --weights resnet50.safetensors --source folder:PATH --size 224 --labels 10 --out runs/mine

The encoder of a run (a ViT or ResNet) or of a file and a linear head are trained by
cross-entropy, with AdamW. --out is a workdir: a stopped training resumes with the same
command. At the end it holds model.safetensors, with the class names and the normalization
of images in its metadata, and result.json with the accuracies on val and test.
"""

import argparse
import json
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from jssl import cluster
from jssl.command import (
    add_encoder,
    check_encoder,
    new_parser,
    prepare_jax,
    say,
    terminable,
)

FREE = ("debug", "out", "config")  # options that change no number


def main(arguments: list[str] | None = None) -> int:
    """Runs the command and returns its exit status.

    0: done. 1: a user error, reported in one line. 130, 143: stopped by Ctrl-C or SIGTERM;
    the same command resumes.
    """
    options = parser().parse_args(arguments)
    return say(lambda: launch(options), options.debug, resumes=True)


def parser() -> argparse.ArgumentParser:
    parse = new_parser("finetune", __doc__)
    add_encoder(parse)
    add = parse.add_argument
    add("--source", help="labeled data, such as folder:PATH (default: those of the run)")
    add("--labels", type=int, default=0, help="labels of each class; 0: all (0)")
    add("--epochs", type=float, default=10.0, help="passes over the labeled images (10)")
    add("--batch", type=int, default=64, help="images per step (64)")
    add("--lr", type=float, default=3e-4, help="peak learning rate of AdamW (3e-4)")
    add("--decay", type=float, default=0.05, help="weight decay (0.05)")
    add("--smoothing", type=float, default=0.0, help="label smoothing (0)")
    add("--recipe", default="", help="augmentation: digits, simclr_cifar ...; empty: none")
    add("--seed", type=int, default=0, help="of the head, the order, the choice of labels")
    add("--out", metavar="FOLDER", help="workdir of the training")
    return parse


def launch(options) -> int:
    _check(options)
    prepare_jax(options.debug)
    from jssl import loop, session
    from jssl.log import Log, write_json

    out = Path(options.out)
    knobs = {k: v for k, v in vars(options).items() if k not in FREE}
    config = dict(title="finetune", file="finetune", function="finetune", knobs=knobs)
    tuned = fine_tuning(options)
    with terminable(resumes=True), session.claim(out, config, True):
        session.record(out, config)
        print(f"images normalized by {tuned.start.preprocessing.words}")
        done = loop.run(tuned.stage, out, {}, Log(out))
        save(out / "model.safetensors", tuned, done.state)
        metrics = {k: v for k, v in done.metrics.items() if not k.startswith("doctor/")}
        source = tuned.stage.data
        told = {"config": config, "metrics": metrics, "data": source.data_name}
        write_json(out / "result.json", told | {"provenance": session.provenance()})
    for line in summary(metrics, source):
        print(line)
    print(f"written to {out / 'model.safetensors'}")
    return 0


@dataclass(frozen=True)
class Tuned:
    """A fine-tuning.

    Attributes:
      start: the weights from which it starts.
      module: the classifier.
      stage: the training.
      pool: pooling of a ViT's tokens, else "".
    """

    start: Any
    module: Any
    stage: Any
    pool: str


def fine_tuning(options) -> Tuned:
    """The stage that fine-tunes the weights of the options.

    Raises:
      ValueError: weights or data that cannot be used.
    """
    import jax

    from jssl import data, nets, optim, views
    from jssl.config import Stage
    from jssl.learner import fresh
    from jssl.methods.transfer.supervised import supervised
    from jssl.models import heads, vit
    from jssl.pretrained import of_options

    path, own = (options.weights, None) if options.weights else _exported(options)
    start = of_options(options, path, source=own)
    source, module, pool = start.source, start.loaded.module, ""
    if options.labels:
        source = data.labels_per_class(source, options.labels, options.seed)
    if not source.classes:
        raise ValueError(f"{source.name} has no classes to learn")
    source = replace(source, batch=min(source.batch, source.size), seed=options.seed)
    if isinstance(module, vit.Pooled):
        pool = (
            module.pool if module.pool in ("cls", "mean") else "mean"
        )  # timm has no others
        network: Any = vit.Classifier(module.encoder, source.classes, pool, head_std=0.02)
    else:
        network = heads.Classifier(module, source.classes)
    steps = source.steps(options.epochs)
    tx = optim.adamw(options.lr, steps, decay=options.decay)
    augment = None
    if options.recipe:
        # `prepare` normalizes.
        view = views.on(views.recipe(options.recipe, size=source.side, statistics=None)[0])
        augment = lambda key, batch: start.prepare({**batch, "image": view(key, batch)})
    method = supervised(
        nets.linen(network),
        tx,
        source.classes,
        augment,
        prepare=start.prepare,
        smoothing=options.smoothing,
    )

    def begin(state, done):
        """The imported encoder in place of the random one; the head stays."""
        given = {"encoder": start.loaded.params}
        if pool:
            given = dict(start.loaded.params)
        stats = {k: {"encoder": x} for k, x in start.loaded.stats.items()}
        params = jax.tree.map(jax.numpy.asarray, dict(state.params) | given)
        return fresh(tx, params, jax.tree.map(jax.numpy.asarray, stats) or state.stats)

    stage = Stage(
        name="finetune",
        method=method,
        data=source,
        steps=steps,
        start=begin,
        evals={"top1": _accuracies(source)},
        save_every=200,
        seed=options.seed,
    )
    return Tuned(start, network, stage, pool)


def save(path: Path, tuned: Tuned, state: Any) -> None:
    """Writes the classifier with the names of timm, atomically."""
    import jax

    from jssl import session, weights

    module, source = tuned.module.encoder, tuned.stage.data
    image = source.row_shapes()["image"].shape[1:3]
    layout = weights.described(module, image) | ({"pool": tuned.pool} if tuned.pool else {})
    params, stats = jax.device_get((state.weights, state.stats))
    arrays = weights.to_torch(module, params, dict(stats or {}), layout.get("grid"))
    seen = tuned.start.preprocessing._replace(size=tuple(image), crop=1.0).written()
    told = {
        "format": "pt",
        "layout": json.dumps(layout),
        "preprocessing": json.dumps(seen | {"num_classes": source.classes}),
        "classes": json.dumps([*source.class_names]),
        "stage": "finetune",
        "commit": session.commit(),
    }
    weights.write(path, arrays, told)


def summary(metrics: Mapping[str, float], source: Any) -> list[str]:
    """The accuracies, with their splits, and the metrics of the last training step."""
    lines, training = [], []
    for name, value in metrics.items():
        if name.partition("/")[0] == "top1":
            split = name.partition("/")[2] or "test"
            rows = source.split(split.partition(" ")[0]).readable
            lines.append(f"top1 of {rows:,} {split} images: {100 * value:.1f} %")
        else:
            training.append(f"{name} {value:.4g}")
    return [*lines, f"last step of training: {', '.join(training)}"]


def _accuracies(source):
    """top1/val, and top1 of test if there is one."""
    from jssl import evals

    judge = evals.accuracy()

    def run(features, final):
        found = {}
        if "val" in source.siblings:
            found[f"top1/{source.split_words('val')}"] = judge(features, False)["top1"]
        if final and "test" in source.siblings:
            found["top1"] = judge(features, True)["top1"]
        return found

    return evals.Eval(f"{judge.protocol}, on val and test", run, ("logits",))


def _exported(options) -> tuple[Path, Any]:
    """The encoder of a run as a file in the workdir of the training; the data of the run.

    None in place of the data, if the options name others.
    """
    from jssl import runs, weights
    from jssl.export import encoders

    workdir = Path(options.workdir)
    config = runs.read_config(workdir)
    other = bool(options.source)
    stage, state = runs.restore(workdir, config, options.config, options.stage, quiet=other)
    own = None if other else _own(stage, options)
    found = encoders(stage, state)
    if len(found) > 1:
        raise ValueError(f"{workdir}: its h comes from {len(found)} networks, not one")
    [(arrays, layout, seen)] = found
    if layout["names"] != "timm":
        raise ValueError(
            f"{workdir}: its encoder is a {layout['network']}, which has no timm names: "
            f"fine-tune it by jssl train --config=supervised:network=convnet,init={workdir}"
        )
    told = {"format": "pt", "layout": json.dumps(layout)}
    if seen is not None:
        told["preprocessing"] = json.dumps(seen.written())
    out = Path(options.out)
    out.mkdir(parents=True, exist_ok=True)
    weights.write(out / "start.safetensors", arrays, told)
    return out / "start.safetensors", own


def _own(stage, options):
    """The data of a run, in plain batches."""
    if options.size or options.corrupt != "refuse":
        raise ValueError("--size and --corrupt are for --source: a run has its own")
    source = stage.data
    while hasattr(source, "main"):
        source = source.main
    if "image" not in source.shapes():
        raise ValueError(
            f"the run trains on crops of whole images: give --source={source.data_name} "
            f"and a --size, or other data"
        )
    if not source.classes:
        raise ValueError(f"{source.data_name} has no labels: give a labeled --source")
    return source


def _check(options):
    """Raises ValueError for options that cannot be, before any work."""
    check_encoder(options)
    if options.weights and not options.source:
        raise ValueError("give --source=DATA for --weights, such as folder:PATH")
    if not options.out:
        raise ValueError("give --out; see --help")
    for name, least in (("labels", 0), ("decay", 0), ("batch", 1)):
        if getattr(options, name) < least:
            value = getattr(options, name)
            raise ValueError(f"--{name} must be at least {least}, got {value}")
    for name in ("epochs", "lr"):
        if not 0 < getattr(options, name) < float("inf"):
            raise ValueError(f"--{name} must be positive, got {getattr(options, name)}")
    if not 0 <= options.smoothing < 1:
        raise ValueError(f"--smoothing must be in [0, 1), got {options.smoothing}")


if __name__ == "__main__":
    cluster.run(main)
