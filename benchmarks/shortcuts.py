"""Generates docs/shortcuts.md: pretext tasks solved by artifacts, and the remedies.

    python benchmarks/shortcuts.py run [--seeds 3] [--only fringes light]
    python benchmarks/shortcuts.py write

`run` trains each case, one after the other, in about five minutes on one core, and stores
numbers and pictures in docs/shortcuts/; what is there for the same config is skipped, so
that it can be interrupted and resumed. `write` makes the page.
"""

import itertools
import json
import time
from collections import defaultdict
from pathlib import Path
from typing import NamedTuple

import numpy as np
from pages import cell, command, provenance

ROOT = Path(__file__).parent.parent
KEPT = ROOT / "docs" / "shortcuts"
ACCURACY = {  # of a pretext task: metric of its step, accuracy of guessing
    "relative_position": ("position_accuracy", 1 / 8),
    "jigsaw": ("jigsaw_accuracy", 1 / 24),
    "colorization": ("color_accuracy", 1 / 4),
}
GRID = (1e-2,)  # penalty of the linear probe
REPEATS = 4  # passes over val, with other patches each


class Case(NamedTuple):
    """A shortcut with its remedies.

    Attributes:
      pretext: the experiment.
      shortcut: in words.
      source: the images, and knobs that all runs have.
      remedies: knobs of the runs by the name of the remedy, that without one first.
    """

    pretext: str
    shortcut: str
    source: str
    remedies: dict[str, str]


SQUARES = "size=48,patch=10,shift=0.0,gap=7,jitter=1"
CHROMA = {
    "none": "chroma=none",
    "projection": "chroma=project",
    "color dropping": "chroma=drop",
}
CASES = {
    "fringes": Case(
        "relative_position",
        "color fringes of a lens",
        f"source=shortcuts:aberration,epochs=4,{SQUARES}",
        CHROMA,
    ),
    "fringes-digits": Case(
        "relative_position",
        "color fringes, on digits",
        "source=shortcuts:aberration,reading=over=mnist,size=28,epochs=4,shift=0.0",
        CHROMA,
    ),
    "edges": Case(
        "relative_position",
        "edges that continue",
        "source=shortcuts:none,epochs=8,size=48,patch=10,shift=0.0,width=128,hidden=256",
        {"none": "gap=0,jitter=0", "gap and jitter": "gap=7,jitter=1"},
    ),
    "light": Case(
        "jigsaw",
        "a gradient of light",
        "source=shortcuts:light,epochs=6,size=48,tile=12,shift=0.0",
        {"none": "normalize=False", "normalized tiles": "normalize=True"},
    ),
    "light-digits": Case(
        "jigsaw",
        "a gradient of light, on digits",
        "source=shortcuts:light,reading=over=mnist,size=28,epochs=4,shift=0.0",
        {"none": "normalize=False", "normalized tiles": "normalize=True"},
    ),
    "mosaic": Case(
        "colorization",
        "the mosaic of a sensor",
        "source=shortcuts:mosaic,epochs=3,shift=0.0,spacing=20",
        {"none": "size=16", "half the size": "size=32,reading=reduce=2"},
    ),
}


def spec(name, remedy, seed):
    case = CASES[name]
    knobs = f"{case.source},{case.remedies[remedy]},baselines=False,seed={seed}"
    return f"experiments/{case.pretext}.py:{knobs}"


def slug(name, remedy, seed):
    return f"{name}-{remedy.replace(' ', '-')}-{seed}"


def run(options):
    from jssl.command import prepare_jax

    prepare_jax(False)  # before any computation
    from PIL import Image

    from jssl import session
    from jssl.log import write_json
    from jssl.pictures import sheet

    KEPT.mkdir(parents=True, exist_ok=True)
    for seed, name in itertools.product(range(options.seeds), options.only or CASES):
        for remedy in CASES[name].remedies:
            out, config = (
                KEPT / f"{slug(name, remedy, seed)}.json",
                spec(name, remedy, seed),
            )
            if out.exists() and json.loads(out.read_text())["config"] == config:
                continue
            print(config, flush=True)
            images, numbers = measure(config, CASES[name].pretext)
            if seed == 0 and remedy == next(iter(CASES[name].remedies)):
                drawn = Image.fromarray(sheet(images[:12] / 255, 12))
                drawn.save(KEPT / f"{name}.png", optimize=True)
            known = {"case": name, "remedy": remedy, "seed": seed, "config": config}
            write_json(
                out, known | {"numbers": numbers, "provenance": session.provenance()}
            )


def measure(config, pretext):
    """Images of val, and accuracies of pretext task and content, of a config."""
    import jax

    from jssl import evals
    from jssl.config import load
    from jssl.engine import Engine
    from jssl.features import Features

    (stage,) = load(f"{ROOT}/{config}").stages()
    engine, probe = Engine(stage), evals.linear_probe(GRID)
    content = lambda state: probe(Features(engine, state), True)["linear"]
    state = engine.begin({})
    untrained = content(state)
    if stage.refresh_every:
        state, _ = engine.refresh(state, 0)
    clock, step = time.perf_counter(), 0
    for batches in engine.batches(0, None):
        state, metrics = engine.advance(state, step, batches)
        step += len(next(iter(metrics.values())))
    jax.block_until_ready(state)
    seconds = time.perf_counter() - clock
    metric, val = ACCURACY[pretext][0], stage.data.split("val")

    @jax.jit
    def accuracy(key, state, batch):
        """Of a step that is not taken, with its draws and its statistics of the batch."""
        batch = stage.data.decode(batch, stage.data.decoded_context())
        return stage.method.step(key, state, batch)[1][metric]

    right = [
        float(accuracy(jax.random.key(i), state, batch))
        for i in range(REPEATS)
        for batch in itertools.islice(val.scan(), val.size // val.batch)
    ]
    numbers = {
        "pretext": float(np.mean(right)),
        "content": content(state),
        "untrained": untrained,
        "seconds": round(seconds, 1),
    }
    return val.column("image"), numbers


def table(found):
    columns = ("pretext task", "shortcut", "remedy", "seeds", "pretext", "chance")
    lines = [f"| {' | '.join((*columns, 'content', 'untrained'))} |", "|---" * 8 + "|"]
    for name, case in CASES.items():
        for remedy in case.remedies:
            runs = found.get((name, remedy), [])
            if not runs:
                continue
            column = lambda key, runs=runs: cell([x["numbers"][key] for x in runs], ".1%")
            chance = f"{100 * ACCURACY[case.pretext][1]:.1f}"
            words = case.pretext.replace("_", " "), case.shortcut, remedy, str(len(runs))
            cells = (
                *words,
                column("pretext"),
                chance,
                column("content"),
                column("untrained"),
            )
            lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)


def page(kept=KEPT):
    """The page, as markdown.

    Raises:
      ValueError: no results, or of configs that are no longer those of the cases.
    """
    found = defaultdict(list)
    for path in sorted(kept.glob("*.json")):
        known = json.loads(path.read_text())
        where = known["case"], known["remedy"]
        case = CASES.get(where[0])
        if not (case and where[1] in case.remedies):
            raise ValueError(f"{path} is of no case any more: delete it")
        if known["config"] != spec(*where, known["seed"]):
            raise ValueError(f"{path} is of other knobs, {known['config']}: run it anew")
        found[where].append(known)
    if not found:
        raise ValueError(f"{kept} has no results: python benchmarks/shortcuts.py run")
    every = [known for runs in found.values() for known in runs]
    drawn = [
        f"**{case.shortcut}** ({case.pretext.replace('_', ' ')})\n\n"
        f"![]({kept.name}/{name}.png)\n"
        for name, case in CASES.items()
        if any(where[0] == name for where in found)
    ]
    configs = [f"    {spec(*where, 0)}" for where in found]
    return PAGE.format(
        seeds=max(map(len, found.values())),
        seconds=sum(known["numbers"]["seconds"] for known in every),
        table=table(found),
        pictures="\n".join(drawn),
        configs="\n".join(configs),
        folder=kept.name,
        **provenance(every),
    )


PAGE = """# Shortcuts of pretext tasks

    python benchmarks/shortcuts.py run --seeds {seeds}
    python benchmarks/shortcuts.py write

Generated by these commands; numbers are stored in `docs/{folder}/`. A pretext task made by
hand is worth what its solution needs to know. Artifacts of cameras and of the task itself
are often easier to see than the content:

- Lenses focus green elsewhere than red and blue, the more the farther from the center:
  color fringes betray the place of a patch (Doersch et al. 2015, section 3.1).
- Edges and textures continue from a patch into its neighbor (the same).
- Light falls from one side: the mean brightness of a tile betrays its place (Noroozi and
  Favaro 2016, section 3.3).
- Each pixel of a sensor measures one color: traces of the mosaic in the brightness betray
  the color.

Each data set here has one such artifact. On textures, noise with the same statistics
everywhere, nothing else solves the task: an accuracy above chance is that of the shortcut,
and with a remedy that works it is at chance. Digits have a content that solves the task,
too.

{table}

In percent, mean over the seeds ± its standard error. *Pretext* is the accuracy of the
pretext task on val, as in a training step: random patches, statistics of the batch.
*Content* is that of a linear probe for what the images show (eight orientations of the
textures, or ten digits) on test, *untrained* that before training.

## Limits

Each of these tasks needs knowledge of the domain: someone must know the artifact, and
choose the remedy. Patches need images that are large enough for several of them with gaps;
colors need color. What a network learns stays tied to one task. Methods that compare
views, clusters or predictions of features were found in search of less.

## Images

{pictures}
## Runs

{configs}

Machine: {machine}. JAX {jax}. Commits: {commits}. {seconds:.0f} seconds of training steps.
"""


if __name__ == "__main__":
    command(__doc__, run, page, KEPT.with_suffix(".md"), only=CASES, seeds=3)
