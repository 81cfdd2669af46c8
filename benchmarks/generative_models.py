"""A generative model trained for a budget of seconds, and metrics of its samples.

The parts of `benchmarks/generative.py` that compute.
"""

import hashlib
import itertools
import time
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.interpreters.partial_eval import dce_jaxpr

from jssl import config, evals, loop, nets, optim, views
from jssl.engine import Engine
from jssl.features import Features
from jssl.knobs import Images, Run
from jssl.learner import Learner
from jssl.log import Log
from jssl.methods.transfer.supervised import supervised
from jssl.models.convnet import ConvNet
from jssl.models.heads import MLP, Classifier
from jssl.ops.belief import bound
from jssl.ops.partition import annealed_log_partition

ROOT = Path(__file__).parent.parent
PILOT = 0.05  # fraction of the epochs of `laptop` that is timed first
K = 5  # neighbors of precision, recall, density and coverage
DRAWS = 20  # noise levels of an image in the bound of DDPM; samples of h in that of DBN


class Judge(NamedTuple):
    """The classifier that all samples are judged by, and the images that it knows."""

    see: Callable  # images -> (features [n, 64], classes [n])
    about: dict  # accuracy on test, and a digest of the weights
    train: np.ndarray
    test: np.ndarray


def judge(workdir):
    """Trains the classifier, or reads it from its checkpoint."""
    run = Run()
    train = Images().load(run, labeled=True)
    steps = train.steps(20.0)
    # h is the hidden layer of the MLP, after its ReLU.
    net = nets.linen(Classifier(ConvNet(), train.classes, MLP((64, 64))))
    moved = views.on(views.View(size=28, rotate=10.0, pad=2))
    method = supervised(net, optim.adamw(3e-3, steps), train.classes, moved)
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


def config_of(name, seed):
    return f"{ROOT}/experiments/{name}.py:source=mnist,baselines=False,seed={seed}"


def trained(spec, factor):
    """(engine and state of the last stage, seconds of all) of so many of the epochs."""
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
    """Counts the numbers of a state that samples depend on, in the traced program."""
    generate, key = engine.stage.method.generate, jax.random.key(0)
    trace = jax.make_jaxpr(lambda state, rows: generate(key, state, rows))
    jaxpr = trace(engine.shapes, engine.rows).jaxpr
    _, used = dce_jaxpr(jaxpr, [True] * len(jaxpr.outvars))
    leaves = jax.tree.leaves(engine.shapes)
    return sum(x.size for x, needed in zip(leaves, used, strict=False) if needed)


def parameters(state):
    """Counts the trained numbers in all networks of a state."""
    learners = jax.tree.leaves(state, is_leaf=lambda x: isinstance(x, Learner))
    params = [x.params for x in learners if isinstance(x, Learner)]
    return sum(x.size for x in jax.tree.leaves(params))


def bounds(name, features):
    """Bounds on the likelihood of test, by name."""
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
    spec = config_of(name, seed)
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
