"""Generates docs/generative.md: generative models compared at one budget of training.

    python benchmarks/generative.py run [--seconds 120] [--seeds 3] [--only vae ddpm]
    python benchmarks/generative.py write

`run` trains the `laptop` of each model on the 5,000 digits, one after the other, and stores
numbers and a picture in docs/generative/; what is there for the same budget and knobs is
skipped, so that it can be interrupted and resumed. `write` makes the page. A twentieth of
the epochs of `laptop` is trained first, and timed; all its lengths of training are then
multiplied by the factor that fills the budget.
"""

import itertools
import json
from collections import defaultdict
from pathlib import Path

import numpy as np
from pages import cell, command, provenance

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


def run(options):
    from jssl.command import prepare_jax

    prepare_jax(False)  # before any computation
    import generative_models as models
    from PIL import Image

    from jssl import config, session
    from jssl.log import write_json
    from jssl.pictures import sheet

    KEPT.mkdir(parents=True, exist_ok=True)
    judge = models.judge(options.folder)
    for seed, name in itertools.product(range(options.seeds), options.only or NAMES):
        settings = {"seconds": options.seconds, "knobs": {}}
        if name in MODELS:
            settings["knobs"] = dict(config.load(models.config_of(name, seed)).knobs)
        settings = json.loads(json.dumps(settings))  # with lists for tuples
        out = KEPT / f"{name}-{seed}.json"
        if out.exists() and json.loads(out.read_text())["settings"] == settings:
            continue
        print(f"{name}, seed {seed}", flush=True)
        if name in REFERENCES:
            images, numbers = models.reference(judge, name, seed)
        else:
            images, numbers = models.model(judge, name, seed, options.seconds)
        if seed == 0:
            Image.fromarray(sheet(images[:40], 10)).save(
                KEPT / f"{name}.png", optimize=True
            )
        known = {"model": name, "seed": seed, "settings": settings, "images": len(images)}
        facts = {"judge": judge.about, "provenance": session.provenance()}
        write_json(out, known | {"numbers": numbers} | facts)


def table(found, columns):
    lines = [
        f"| model | seeds | {' | '.join(columns)} |",
        "|---" * (len(columns) + 2) + "|",
    ]
    for name, runs in found.items():
        numbers = [known["numbers"] for known in runs]
        cells = [
            cell([x[metric] for x in numbers if metric in x], form)
            for metric, form in columns.values()
        ]
        if any(cells):
            lines.append(f"| {NAMES[name]} | {len(runs)} | {' | '.join(cells)} |")
    return "\n".join(lines)


def failures(found):
    """One line for each run whose FID is over ten times the median of its model."""
    lines = []
    for name, runs in found.items():
        usual = np.median([known["numbers"]["fid"] for known in runs])
        for known in runs:
            fid, seed = known["numbers"]["fid"], known["seed"]
            if fid > 10 * usual:
                lines.append(
                    f"- Seed {seed} of {NAMES[name]} failed: FID {fid:,.0f}, where the "
                    f"median of the seeds is {usual:.2f}; the means above include it.\n"
                )
    return "".join(lines)


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
    parts = {
        "budget": {known["settings"]["seconds"] for known in every},
        "classifier": {known["judge"]["digest"] for known in every},
        "number of images": {known["images"] for known in every},
    }
    for part, kinds in parts.items():
        if len(kinds) != 1:
            raise ValueError(f"{kept} must have results of one {part}, has {len(kinds)}")
    shown = [f"**{NAMES[x]}**\n\n![]({kept.name}/{x}.png)\n" for x in found]
    return PAGE.format(
        seconds=every[0]["settings"]["seconds"],
        n=every[0]["images"],
        top1=100 * every[0]["judge"]["top1"],
        digest=every[0]["judge"]["digest"],
        cost=table(found, COST),
        samples=table(found, SAMPLES),
        failures=failures(found),
        pictures="\n".join(shown),
        seeds=max(len(runs) for runs in found.values()),
        folder=kept.name,
        **provenance(every),
    )


PAGE = """# Generative models at one budget

    python benchmarks/generative.py run --seconds {seconds:g} --seeds {seeds}
    python benchmarks/generative.py write

Generated by these commands; numbers are stored in `docs/{folder}/`. Each model is the
`laptop` of its experiment, trained on 3,500 digits of MNIST (`source=mnist`) for about
{seconds:g} seconds. Cells are the mean over the seeds ± its standard error.

## Cost

{cost}

- *Parameters* are the trained weights of all networks of the last stage: encoders,
  discriminators and the frozen autoencoder of latent diffusion among them. *Of the
  sampler* are the numbers that a sample depends on: weights, or their running averages,
  and statistics of batch norm.
- *Training* is the wall-clock time of the steps of all stages, with the choice of their
  batches and the measurement of the scale of latent codes. Initialization, compilation,
  evaluation, baselines, checkpoints and pictures are not included, nor is the pilot: 5 %
  of the epochs of `laptop`, which are timed to choose the epochs of the run, so that its
  schedules end with it. The phases of DBN (three RBMs, then up-down) and of latent
  diffusion (autoencoder, then diffusion) have the shares of epochs that `laptop` has.
- *ms a sample* is the time of {n:,} samples after a warm-up call, over {n:,}. They are made
  in the batches of training, by the sampler of `laptop`, and copied to the host.
- *Bound* and *IWAE* are minus lower bounds of the mean log-likelihood of test digits with
  binary pixels, 1 with the gray value as probability: less is better. The bound of DBN has
  20 samples of the hidden units, and log Z of the top RBM by annealed importance sampling
  (2,000 temperatures, 100 chains), whose error adds to it. *Bits a pixel* is the
  variational bound of DDPM on gray values, from 20 noise levels of each test digit; it is
  not comparable with the nats. GAN and DCGAN have no likelihood, and latent diffusion none
  of pixels.

## Samples

{samples}

{n:,} samples beside the {n:,} test digits. Features are the 64 hidden units, after ReLU,
of the last layer but one of a convolutional classifier, trained once on the training
digits, with small rotations and shifts: {top1:.1f} % accuracy on test, weights {digest}.
FID and KID are not comparable with those of other features. *Precision*, *recall*,
*density* and *coverage* use 5 neighbors. *JSD* is the Jensen-Shannon divergence, in nats,
between the frequencies of the ten classes, by this classifier. *Memorization* is the median
distance, in pixels, of samples to the nearest training digit, over that of test digits: far
below 1 for copies.

- *Independent pixels* draws each pixel from another training digit, at random.
- *Training images* is the floor: {n:,} training digits, drawn at random, whose memorization
  is relative to the other training digits. The classifier was trained on them.
- Latent diffusion is given the class names of the test digits as texts; the other models
  know no classes. Its *JSD* is therefore near 0 if it obeys.
- Samples of DBN and VAE are means of the pixels, not binary draws.
{failures}
The first 40 samples of seed 0:

{pictures}
## Runs

Machine: {machine}. JAX {jax}. Commits: {commits}.
Seconds depend on the load of the machine.
"""


if __name__ == "__main__":
    seconds = {"type": float, "default": 120.0, "help": "of training, for each model"}
    out, folder = KEPT.with_suffix(".md"), ROOT / "runs" / "generative"
    command(__doc__, run, page, out, NAMES, 3, folder, [("--seconds", seconds)])
