"""Generates docs/generative.md: generative models compared at one budget of training.

    python benchmarks/generative.py run [--seconds 120] [--seeds 3] [--only vae ddpm]
    python benchmarks/generative.py write

`run` trains the `laptop` of each model on the 5,000 digits, one after the other, and stores
numbers and a picture in docs/generative/; what is there for the same budget is skipped, so
that it can be interrupted and resumed. `write` makes the page. A twentieth of the epochs
of `laptop` is trained first, and timed; all its lengths of training are then multiplied by
the factor that fills the budget.
"""

import argparse
import itertools
import json
import sys
import time
from collections import defaultdict
from pathlib import Path
from typing import NamedTuple

import numpy as np

ROOT = Path(__file__).parent.parent
KEPT = ROOT / "docs" / "generative"
MODELS = {
    "dbn": "DBN",
    "vae": "VAE",
    "gan": "GAN",
    "dcgan": "DCGAN",
    "ddpm": "DDPM",
    "latent_diffusion": "latent diffusion",
}
REFERENCES = {"independent_pixels": "independent pixels", "real": "training images"}
NAMES = MODELS | REFERENCES
PILOT = 0.05  # fraction of the epochs of `laptop` that is timed first
K = 5  # neighbors of precision, recall, density and coverage
DRAWS = 20  # noise levels of an image in the bound of DDPM; samples of h in that of DBN
COST = {  # heading: number, format
    "parameters": ("parameters", ",.0f"),
    "of the sampler": ("sampler", ",.0f"),
    "epochs / `laptop`": ("factor", ".2f"),
    "training, s": ("seconds", ".1f"),
    "ms a sample": ("milliseconds", ".3f"),
    "bound, nats": ("negative_elbo", ".1f"),
    "IWAE, nats": ("negative_iwae", ".1f"),
    "bits a pixel": ("bits", ".2f"),
}
SAMPLES = {
    "FID": ("fid", ".2f"),
    "KID": ("kid", ".4f"),
    "pixel FID": ("pixel_fid", ".2f"),
    "precision": ("precision", ".3f"),
    "recall": ("recall", ".3f"),
    "density": ("density", ".3f"),
    "coverage": ("coverage", ".3f"),
    "JSD": ("jsd", ".4f"),
    "memorization": ("memorization", ".3f"),
}


class Judge(NamedTuple):
    """The classifier that all samples are judged by, and the images that it knows."""

    see: object  # images -> (features [n, 64], classes [n])
    about: dict  # accuracy on test, and a digest of the weights
    train: np.ndarray
    test: np.ndarray


def judge(workdir):
    """Trains the classifier, or reads it from its checkpoint."""
    import hashlib

    import jax

    from jssl import evals, loop, nets, optim
    from jssl.engine import Engine
    from jssl.features import Features
    from jssl.knobs import Images, Run
    from jssl.log import Log
    from jssl.methods.transfer.supervised import supervised
    from jssl.models.convnet import ConvNet
    from jssl.models.heads import MLP, Classifier

    run = Run()
    train = Images().load(run, labeled=True)
    steps = train.steps(30.0)
    # h is the hidden layer of the MLP, after its ReLU.
    net = nets.linen(Classifier(ConvNet(), train.classes, MLP((64, 64))))
    method = supervised(net, optim.adamw(1e-3, steps), train.classes)
    top1 = {"top1": evals.accuracy()}
    engine = Engine(run.baseline("classifier", method, train, steps, evals=top1))
    workdir.mkdir(parents=True, exist_ok=True)
    done = loop.run(engine, workdir, {}, Log(workdir))
    features = Features(engine, done.state)

    def see(images):
        h, logits = (features.of({"image": images}, name) for name in ("h", "logits"))
        return np.asarray(h, np.float64), np.asarray(logits).argmax(1)

    weights = b"".join(np.asarray(x).tobytes() for x in jax.tree.leaves(done.state.weights))
    digest = hashlib.sha256(weights).hexdigest()[:12]
    about = {"top1": done.metrics["top1"], "digest": digest}
    return Judge(see, about, *(features.rows(x)["image"] for x in ("train", "test")))


def judged(judge, images, bank):
    """Metrics of images beside the real ones of test; `bank` is where copies come from."""
    from jssl import evals

    flat = lambda x: np.asarray(x, np.float64).reshape(len(x), -1)
    (real, wanted), (made, found) = judge.see(judge.test), judge.see(images)
    return evals.prdc(real, made, K)._asdict() | {
        "fid": evals.fid(real, made),
        "kid": evals.kid(real, made),
        "pixel_fid": evals.fid(flat(judge.test), flat(images)),
        "jsd": evals.class_histogram_jsd(wanted, found, 10),
        "memorization": evals.memorization(flat(bank), flat(judge.test), flat(images)),
    }


def reference(judge, name, seed):
    """(images, numbers) of a row that nothing is trained for."""
    rng, train = np.random.default_rng(seed), judge.train
    rows = rng.permutation(len(train))
    chosen, rest = rows[: len(judge.test)], rows[len(judge.test) :]
    if name == "real":
        return train[chosen], judged(judge, train[chosen], train[rest])
    choice = rng.integers(len(train), size=(len(judge.test), *train.shape[1:]))
    images = np.take_along_axis(train, choice, 0)  # each pixel of another image
    p = train.mean(0).clip(1e-3, 1 - 1e-3)
    nats = -(judge.test * np.log(p) + (1 - judge.test) * np.log1p(-p))
    own = {"negative_elbo": float(nats.sum((1, 2, 3)).mean())}
    return images, judged(judge, images, train) | own


def fit(engine, done):
    """The final state of a stage, and the seconds of its steps, without compilation."""
    import jax

    def run(begin, dispatches=None):
        state, order, step = engine.begin(done), None, begin
        jax.block_until_ready(state)
        clock = time.perf_counter()
        if engine.stage.refresh_every:  # of these models, only at the first step
            state, order = engine.refresh(state, 0)
        for batches in itertools.islice(engine.batches(begin, order), dispatches):
            state, metrics = engine.advance(state, step, batches)
            step += len(next(iter(metrics.values())))
        jax.block_until_ready(state)
        return state, time.perf_counter() - clock

    dispatch = engine.stage.dispatch
    run(0, 1)  # compiles, and so does the last dispatch, which may have fewer steps
    run((engine.stage.steps - 1) // dispatch * dispatch)
    return run(0)


def trained(spec, factor):
    """(engine and state of the last stage, seconds of all) of so many of the epochs."""
    from jssl import config
    from jssl.engine import Engine

    knobs = config.load(spec).knobs
    lengths = [x for x in knobs if x.endswith("epochs") and x != "supervised_epochs"]
    words = [f"{name}={factor * knobs[name]:.6g}" for name in lengths]
    done, seconds = {}, 0.0
    for stage in config.load(spec, words).stages():
        engine = Engine(stage)
        state, each = fit(engine, done)
        done[stage.name], seconds = state, seconds + each
    return engine, state, seconds


def sampler(engine):
    """How many numbers of a state its samples depend on, found in the traced program."""
    import jax
    from jax.interpreters.partial_eval import dce_jaxpr

    generate, key = engine.stage.method.generate, jax.random.key(0)
    trace = jax.make_jaxpr(lambda state, rows: generate(key, state, rows))
    jaxpr = trace(engine.shapes, engine.rows).jaxpr
    _, used = dce_jaxpr(jaxpr, [True] * len(jaxpr.outvars))
    leaves = jax.tree.leaves(engine.shapes)
    return sum(x.size for x, needed in zip(leaves, used, strict=False) if needed)


def parameters(state):
    """How many numbers were trained, in all networks of a state."""
    import jax

    from jssl.learner import Learner

    learners = jax.tree.leaves(state, is_leaf=lambda x: isinstance(x, Learner))
    params = [x.params for x in learners if isinstance(x, Learner)]
    return sum(x.size for x in jax.tree.leaves(params))


def bounds(name, features):
    """Bounds on the likelihood of test, by name."""
    import jax
    import jax.numpy as jnp

    from jssl.ops.belief import bound
    from jssl.ops.partition import annealed_log_partition

    engine, state = features.engine, features.state
    if name == "vae":
        return engine.stage.evals["bounds"](features, True)
    if name == "dbn":
        one, two = jax.random.split(jax.random.key(0))
        net = state.learner.weights
        betas = 1 - jnp.linspace(1, 0, 2001) ** 2  # dense near 1
        log_z = annealed_log_partition(one, net.top, betas).log_z
        v = jnp.asarray(features("test", "input"))
        return {"negative_elbo": -float(bound(two, net, v, log_z, DRAWS).mean())}
    if name != "ddpm":
        return {}

    def bits(key, state, batch):  # the step has the bound, which its update does not move
        key = jax.random.fold_in(key, batch["index"][0])
        averaged = state._replace(params=state.weights)
        found = engine.stage.method.step(key, averaged, batch)[1]["bits"]
        return jnp.broadcast_to(found, batch["index"].shape)

    keys = jax.random.split(jax.random.key(0), DRAWS)
    each = [engine.collect(bits, key, state, split="test").mean() for key in keys]
    return {"bits": float(np.mean(each))}


def model(judge, name, seed, seconds):
    """(images, numbers) of a model trained for so many seconds."""
    from jssl.features import Features

    spec = f"{ROOT}/experiments/{name}.py:source=mnist,baselines=False,seed={seed}"
    factor = PILOT * seconds / trained(spec, PILOT)[-1]
    engine, state, used = trained(spec, factor)
    features = Features(engine, state)
    features.generated("test")  # compiles
    clock = time.perf_counter()
    images = Features(engine, state).generated("test")["image"]
    milliseconds = 1000 * (time.perf_counter() - clock) / len(images)
    images = np.asarray(images).reshape(judge.test.shape)
    numbers = {
        "parameters": parameters(state),
        "sampler": sampler(engine),
        "factor": factor,
        "seconds": used,
        "milliseconds": milliseconds,
    }
    return images, numbers | bounds(name, features) | judged(judge, images, judge.train)


def run(options):
    from PIL import Image

    from jssl import session
    from jssl.command import prepare_jax
    from jssl.log import write_json
    from jssl.pictures import sheet

    prepare_jax(False)
    KEPT.mkdir(parents=True, exist_ok=True)
    judges = judge(options.folder)
    for seed, name in itertools.product(range(options.seeds), options.only or NAMES):
        out, settings = KEPT / f"{name}-{seed}.json", {"seconds": options.seconds}
        if out.exists() and json.loads(out.read_text())["settings"] == settings:
            continue
        print(f"{name}, seed {seed}", flush=True)
        if name in REFERENCES:
            images, numbers = reference(judges, name, seed)
        else:
            images, numbers = model(judges, name, seed, options.seconds)
        if seed == 0:
            Image.fromarray(sheet(images[:40], 10)).save(KEPT / f"{name}.png", optimize=True)
        facts = {"judge": judges.about, "provenance": session.provenance()}
        known = {"model": name, "seed": seed, "settings": settings, "numbers": numbers}
        write_json(out, known | {"images": len(images)} | facts)


def cell(values, form):
    """Mean and standard error over the seeds."""
    if not values:
        return ""
    mean, n = format(np.mean(values), form), len(values)
    if n == 1 or len(set(values)) == 1:
        return mean
    return f"{mean} ± {format(np.std(values, ddof=1) / np.sqrt(n), form)}"


def table(found, columns):
    lines = [f"| model | seeds | {' | '.join(columns)} |", "|---" * (len(columns) + 2) + "|"]
    for name, runs in found.items():
        numbers = [known["numbers"] for known in runs]
        cells = [
            cell([x[metric] for x in numbers if metric in x], form)
            for metric, form in columns.values()
        ]
        if any(cells):
            lines.append(f"| {NAMES[name]} | {len(runs)} | {' | '.join(cells)} |")
    return "\n".join(lines)


def page(kept=KEPT):
    """The page, as markdown.

    Raises:
      ValueError: no results, or of several budgets or classifiers.
    """
    found = defaultdict(list)
    for path in sorted(kept.glob("*.json")):
        known = json.loads(path.read_text())
        found[known["model"]].append(known)
    found = {name: found[name] for name in NAMES if name in found}
    every = [known for runs in found.values() for known in runs]
    for part in ("settings", "judge", "images"):
        kinds = {json.dumps(known[part]) for known in every}
        if len(kinds) != 1:
            raise ValueError(f"{kept} must have results of one {part}, has {len(kinds)}")
    given = [known["provenance"] for known in every]
    several = lambda values: ", ".join(sorted(set(values)))
    shown = [f"**{NAMES[x]}**\n\n![]({kept.name}/{x}.png)\n" for x in found]
    return PAGE.format(
        seconds=every[0]["settings"]["seconds"],
        n=every[0]["images"],
        top1=100 * every[0]["judge"]["top1"],
        digest=every[0]["judge"]["digest"],
        cost=table(found, COST),
        samples=table(found, SAMPLES),
        pictures="\n".join(shown),
        machine=several(f"{g['machine']}, {g['devices']}" for g in given),
        jax=several(g["versions"]["jax"] for g in given),
        commits=several(g["commit"] for g in given),
        **{"k": K, "draws": DRAWS, "pilot": PILOT},
    )


PAGE = """# Generative models at one budget
"""


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    kinds = parser.add_subparsers(dest="command", required=True)
    running = kinds.add_parser("run")
    add = running.add_argument
    add("--seconds", type=float, default=120.0, help="of training, for each model")
    add("--seeds", type=int, default=3)
    add("--only", nargs="+", default=[], choices=NAMES)
    folder = ROOT / "runs" / "generative"
    add("--folder", type=Path, default=folder, help="of the classifier's checkpoint")
    kinds.add_parser("write")
    options = parser.parse_args()
    if options.command == "run":
        run(options)
    else:
        KEPT.with_suffix(".md").write_text(page())
    return 0


if __name__ == "__main__":
    sys.exit(main())
