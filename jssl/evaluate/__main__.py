"""Evaluates a trained run, or imported weights, with every applicable protocol.

  --workdir runs/mae                        the last stage of a run of jssl.main
  --workdir runs/dcgan --source tfds:cifar10    the same, on other data
  --weights resnet50.safetensors --source folder:PATH --size 224
  --protocols linear,layers,fine_tune@10    a selection; or "quick" (default) or "all"

Raw inputs, the untrained network and the supervised reference are evaluated the same way.
The metrics of a protocol are printed, with its seconds, and written to evaluation.json in
the workdir as soon as they are made; pictures (neighbors, layers, attention, strongest
images) are drawn to the folder exhibits. Protocols that do not fit the data are left out,
with the reason.
"""

import argparse
import dataclasses
import re
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

from jssl import cluster
from jssl.cluster import recorded
from jssl.command import (
    add_encoder,
    check_encoder,
    new_parser,
    prepare_jax,
    say,
    terminable,
)
from jssl.evaluate import SLOW, listing


class Subject(NamedTuple):
    """A row of the table: a stage, and a function that returns the state of its method."""

    name: str
    stage: Any
    state: Callable[[], Any]
    pictured: bool = True


def main(arguments: list[str] | None = None) -> int:
    """Runs the command `jssl evaluate` and returns its exit status.

    0: done, without the protocols that do not fit or fail, each of which costs a line.
    1: a user error, reported in one line, or no number at all. 130, 143: stopped by Ctrl-C
    or SIGTERM, with the numbers so far written; the same command starts over.
    """
    options = parser().parse_args(arguments)
    return say(lambda: launch(options), options.debug)


def launch(options) -> int:
    check_encoder(options)
    prepare_jax(options.debug)
    with terminable():
        return evaluate(options)


def evaluate(options) -> int:
    """Evaluates what the options name, and returns the exit status."""
    from jssl import session
    from jssl.exhibits import EXHIBITS, drawn
    from jssl.log import write_json

    told: dict[str, Any] = {}
    if options.workdir:
        subjects, source = of_run(options)
        words = re.sub(r"\W+", "-", f"evaluation {options.source or ''}").strip("-")
        out = Path(options.out or Path(options.workdir) / f"{words}.json")
    else:
        subjects, source, prepare = of_weights(options)
        told = {"preprocessing": prepare.written() | {"origin": prepare.origin}}
        out = Path(options.out or "evaluation.json")
    chosen, omitted = choose(options.protocols, source, options.seed)
    found: dict[str, Any] = {
        "rows": {},
        "protocols": {name: protocol.judge.protocol for name, protocol in chosen.items()},
        "omitted": omitted,
        "failed": {},
        "seed": options.seed,
        "split": "test",
        "trained_on": sorted(source.includes),
        "data": source.data_name,
        "provenance": session.provenance(),
    } | told
    for name, reason in omitted.items():
        print(f"{name} omitted: {reason}", file=sys.stderr)
    tried = partial(attempt, found["failed"])
    for subject in subjects:
        features = tried(subject.name, "", partial(opened, subject))
        if features is None:
            continue
        found["rows"][subject.name] = {}
        for metrics in judge(features, chosen, subject.name, tried):
            found["rows"][subject.name] |= metrics
            write_json(out, found)
        if subject.pictured:
            pictures, failed = drawn(EXHIBITS, features)
            for name, picture in pictures.items():
                with recorded(failed, name):
                    draw_to(out.parent / "exhibits", subject.name, name, picture)
            for name, why in failed.items():
                report(found["failed"], subject.name, name, why)
        write_json(out, found)
    print_table(found)
    print(f"written to {out}")
    return 0 if any(found["rows"].values()) or not (chosen or omitted) else 1


def opened(subject: Subject):
    """Features of a subject."""
    from jssl.engine import Engine
    from jssl.features import Features

    return Features(Engine(subject.stage), subject.state())


def attempt(failed: dict[str, str], subject: str, name: str, run: Callable):
    """run(), or None if it raises: the error is then printed, and recorded in `failed`."""
    met: dict[str, str] = {}
    result = None
    with recorded(met, name):
        result = run()
    for why in met.values():
        report(failed, subject, name, why)
    return result


def report(failed: dict[str, str], subject: str, name: str, why: str) -> None:
    """Prints and records a failure under "subject: name"."""
    what = ": ".join(filter(None, (subject, name)))
    print(f"{what} failed: {why}", file=sys.stderr)
    failed[what] = why


def parser() -> argparse.ArgumentParser:
    parse = new_parser("evaluate", __doc__, epilog=listing())
    add_encoder(parse)
    add = parse.add_argument
    add("--source", help="data (default: of a run its own, for --weights mnist)")
    add("--batch", type=int, default=64, help="images per batch of --source (64)")
    add("--out", metavar="FILE", help="default: evaluation.json, of a run in its workdir")
    add("--protocols", default="quick", help="comma-separated names, quick or all")
    add("--alone", action="store_true", help="omit the baselines")
    add("--seed", type=int, default=0, help="random seed: heads, scenes, choice of labels")
    return parse


def of_run(options) -> tuple[Iterator[Subject], Any]:
    """A stage of a run with its baselines, and its data or those of `--source`."""
    from jssl import runs
    from jssl.pretrained import elsewhere

    workdir = Path(options.workdir)
    config = runs.read_config(workdir)
    other = bool(options.source)
    trained, state = runs.restore(
        workdir, config, options.config, options.stage, quiet=other
    )
    stage = elsewhere(trained, state, options) if options.source else trained
    return beside(trained, stage, state, workdir, options.alone), stage.data


def beside(trained, stage, state, workdir: Path, alone: bool) -> Iterator[Subject]:
    """The run, then its untrained network, raw pixels and supervised reference.

    Args:
      trained: the stage of the run.
      stage: the same, with the data to judge.
      state: of its method.
      workdir: of the run, for the supervised reference.
      alone: True omits all but the run.
    """
    from jssl.engine import Engine
    from jssl.log import Log

    yield Subject(f"{stage.name} (this run)", stage, lambda: state)
    if alone:
        return
    if trained.start is None:
        yield Subject("untrained network", stage, lambda: Engine(trained).begin({}))
    yield from plain(stage)
    for name, other in stage.baselines.items():
        if other.steps:
            still = dataclasses.replace(other, evals={}, baselines={})
            folder = workdir / "evaluation" / name.replace(" ", "-")
            log = Log(folder, f"baseline, {name}")
            yield Subject(name, other, partial(_trained, still, folder, log))


def _trained(stage, folder, log):
    from jssl import loop

    return loop.run(stage, folder, {}, log).state


def plain(stage) -> Iterator[Subject]:
    """The raw features, if the data have any."""
    from jssl import baselines

    if baselines.has_plain(stage.data):
        method = baselines.plain(stage.data)
        raw = dataclasses.replace(stage, method=method, start=None, steps=0)
        yield Subject(stage.data.plain_name, raw, lambda: (), pictured=False)


def of_weights(options) -> tuple[Iterator[Subject], Any, Any]:
    """An imported encoder and the same network with random weights; data; normalization."""
    import jax

    from jssl.pretrained import of_options

    options.source = options.source or "mnist"
    found = of_options(options)
    name, stage = Path(options.weights).name, found.stage()
    print(f"{name}: images normalized by {found.preprocessing.words}")

    def fresh():
        shape = found.source.row_shapes()["image"].shape
        return stage.method.init(jax.random.key(0), {"image": jax.numpy.zeros(shape)})

    def each():
        yield Subject(name, stage, lambda: found.state)
        if not options.alone:
            yield Subject("random weights", stage, fresh)
            yield from plain(stage)

    return each(), found.source, found.preprocessing


def choose(words: str, source, seed: int) -> tuple[dict[str, Any], dict[str, str]]:
    """The selected protocols by name, and those that do not fit the data, with the reason.

    Raises:
      ValueError: an unknown name, or none of the wanted protocols fits.
    """
    from jssl.evaluate.protocols import protocols

    known = protocols(source, seed)
    if words in ("quick", "all"):
        wanted = {n: p for n, p in known.items() if p.quick or words == "all"}
    else:
        for name in words.split(","):
            if name not in known:
                there = ", ".join(known) or "none"
                raise ValueError(
                    f"unknown protocol {name!r}; known for {source.name} are {there}"
                )
        wanted = {name: known[name] for name in words.split(",")}
    reasons = {name: protocol.unfit(source) for name, protocol in wanted.items()}
    fit = {name: protocol for name, protocol in wanted.items() if not reasons[name]}
    if wanted and not fit:
        why = next(iter(reasons.values()))
        raise ValueError(f"no protocol fits {source.name}: {why}")
    return fit, {name: reason for name, reason in reasons.items() if reason}


def judge(
    features, chosen: Mapping[str, Any], subject: str, tried: Callable
) -> Iterator[dict[str, float]]:
    """Metrics of each applicable protocol, on the test split; reports the others.

    Each protocol costs a line with its metrics and seconds; slow ones are announced.
    """
    from numbers import Real

    for name, protocol in chosen.items():
        if reason := protocol.missing(features):
            print(f"{subject}: {name} omitted: {reason}", file=sys.stderr)
            continue
        if not protocol.quick:
            told = f"{SLOW.get(name, name)}, which may take minutes ..."
            print(f"{subject}: {name}: {told}", file=sys.stderr, flush=True)
        start = time.perf_counter()
        metrics = tried(subject, name, partial(protocol.judge, features, True)) or {}
        numbers = {k: float(v) for k, v in metrics.items() if isinstance(v, Real)}
        seconds = time.perf_counter() - start
        if numbers:
            words = "  ".join(f"{k} {v:.3f}" for k, v in numbers.items())
            print(f"{subject}: {words}  ({seconds:.1f} s)", file=sys.stderr, flush=True)
        yield numbers


def draw_to(folder: Path, subject: str, name: str, picture: Any) -> None:
    """Draws a picture to a file such as exhibits/untrained-network--attention.png."""
    from jssl.pictures import draw

    folder.mkdir(parents=True, exist_ok=True)
    words = (re.sub(r"\W+", "-", x.lower()).strip("-") for x in (subject, name))
    draw(picture, name, folder / "--".join(words))


def print_table(found: Mapping[str, Any]) -> None:
    """Prints a table with a row per metric and a column per subject."""
    rows = found["rows"]
    metrics = list(dict.fromkeys(m for row in rows.values() for m in row))
    wide = max(map(len, ["metric", *metrics]))
    columns = [max(len(name), 7) for name in rows]
    heads = (name.rjust(w) for name, w in zip(rows, columns, strict=True))
    print("  ".join(["metric".ljust(wide), *heads]))
    for metric in metrics:
        cells = (
            (f"{row[metric]:.3f}" if metric in row else "").rjust(w)
            for row, w in zip(rows.values(), columns, strict=True)
        )
        print("  ".join([metric.ljust(wide), *cells]))
    for name, told in found["protocols"].items():
        print(f"{name}: {told}")
    for split in found["trained_on"]:
        print(f"{split} (trained on): the protocols choose on rows of the training split")


if __name__ == "__main__":
    cluster.run(main)
