"""Generates docs/pretexts.md: pretext tasks and their knobs compared.

    python benchmarks/pretexts.py run [--seeds 3] [--only rotation jigsaw]
    python benchmarks/pretexts.py write

`run` trains the methods of the table of layers with one network and one budget, and stores
their probes in docs/pretexts/; what is there for the same config is skipped, so that it can
be interrupted and resumed. `write` makes the page, with the other tables from the results
in docs/results/, which are those of `benchmarks/results.py`.
"""

import json
import re
from dataclasses import replace

from pages import PROBES, RESULTS, Table, command, markdown, provenance, section
from results import ROOT

KEPT = ROOT / "docs" / "pretexts"
# Knobs of all rows of the table of layers, and those of each row. "EXPERIMENT@BASELINE" is
# a baseline of an experiment.
COMMON = (
    "source=stamps,size=32,epochs=40,batch=64,widths=(16,32,64,64,64),"
    "strides=(2,1,2,1,1),supervised_epochs=40"
)
ROWS = {
    "random": ("rotation@untrained network", {}),
    "random, rescaled": ("rotation", {"epochs": 2, "lr": 1e-9}),
    "supervised": ("rotation@supervised reference", {}),
    "rotation": ("rotation", {}),
    "jigsaw": ("jigsaw", {"tile": 9}),
    "relative position": ("relative_position", {"patch": 8}),
    "counting": ("counting", {}),
    "context encoder": ("context_encoder", {}),
    "super-resolution": ("super_resolution", {"factor": 2}),
    "colorization": ("colorization", {}),
    "split-brain": ("split_brain", {}),
    "noise as targets": ("noise_as_targets", {}),
    "instance discrimination": ("instance_discrimination", {}),
    "contrastive multiview": ("multiview_coding", {}),
}
BANK = "instance_discrimination"
LAYERS = [f"layer {i}" for i in range(1, 6)]


TABLES = [
    Table(
        "Jigsaw: the set of permutations",
        "Number of permutations and rule of their choice (maximal, middle or minimal mean "
        "Hamming distance), on the digits, 20 epochs. *Puzzles* is the accuracy in the "
        "pretext task on the last batch of training.",
        {
            f"{count}, {choice}": f"jigsaw:epochs=20,count={count},choice={choice}"
            for count, choice in (
                (4, "max"),
                (24, "max"),
                (96, "max"),
                (24, "middle"),
                (24, "min"),
            )
        },
        {"puzzles": ("jigsaw_accuracy", ".2f")} | PROBES,
    ),
    Table(
        "Instance discrimination: width and noise samples",
        "Numbers of the embedding, with the softmax over all 3,500 digits; noise samples "
        "of noise-contrastive estimation, with 64 numbers; and a learned weight vector of "
        "each image in place of the memory bank. *kNN of z* is the paper's measure. With "
        "noise samples the constant of normalization is estimated from the first batch, as "
        "in the paper: e^8.9 here, where that of the trained softmax is e^13.3. With the "
        "latter, 1,000 noise samples had 86.0 % (a trial of one seed): the small constant, "
        "not the number of samples, is what these rows lack.",
        {f"width {width}": f"{BANK}:width={width}" for width in (8, 16, 32)}
        | {"width 64": BANK, "width 128": f"{BANK}:width=128"}
        | {f"{n:,} noise samples": f"{BANK}:noise={n}" for n in (1, 10, 100, 1000)}
        | {
            "1,000, proximal term": f"{BANK}:noise=1000,momentum=0.0,proximal=30.0",
            "parametric softmax": f"{BANK}:parametric=True",
        },
        {"kNN of z": ("knn/z", ".1%")} | PROBES,
    ),
    Table(
        "Deep InfoMax: global and local terms, estimators",
        "Weights of the global term (alpha), the local term (beta) and the prior (gamma), "
        "and the estimator of mutual information, on the digits.",
        {
            "both, JSD": "deep_infomax",
            "global and prior": "deep_infomax:alpha=1.0,beta=0.0,gamma=1.0",
            "local and prior": "deep_infomax:alpha=0.0",
            "local": "deep_infomax:alpha=0.0,gamma=0.0",
            "both, DV": "deep_infomax:measure=dv",
            "both, InfoNCE": "deep_infomax:measure=nce",
        },
        PROBES,
    ),
    Table(
        "Context encoder: the mask",
        "Kind of the hole, and the adversarial term, on the digits.",
        {
            "random region": "context_encoder",
            "random blocks": "context_encoder:mask=blocks",
            "center": "context_encoder:mask=central",
            "center, adversarial": "context_encoder:mask=central,adversarial=0.01",
        },
        {"PSNR": ("psnr", ".1f")} | PROBES,
    ),
]


def run(options):
    from jssl.command import prepare_jax

    prepare_jax(False)  # before any computation
    from jssl import config, evals, loop, session
    from jssl.engine import Engine
    from jssl.features import Features
    from jssl.log import Log, write_json

    KEPT.mkdir(parents=True, exist_ok=True)
    for seed in range(options.seeds):
        for name in options.only or ROWS:
            given, knobs = ROWS[name]
            experiment, _, baseline = given.partition("@")
            words = [f"{knob}={value}" for knob, value in (knobs | {"seed": seed}).items()]
            config_of = config.load(f"{ROOT}/experiments/{experiment}.py:{COMMON}", words)
            known = {"experiment": given, "knobs": dict(config_of.knobs)}
            known = json.loads(json.dumps(known))  # with lists for tuples
            slug = re.sub(r"\W+", "-", f"{name}-{seed}")
            out, folder = KEPT / f"{slug}.json", options.folder / slug
            if out.exists() and json.loads(out.read_text())["config"] == known:
                continue
            print(f"{name}, seed {seed}", flush=True)
            stage = config_of.stages()[-1]
            stage = stage.baselines[baseline] if baseline else stage
            stage = replace(stage, baselines={}, evals={}, eval_every=0, save_every=0)
            folder.mkdir(parents=True, exist_ok=True)
            engine = Engine(stage)
            done = loop.run(engine, folder, {}, Log(folder))
            features = Features(engine, done.state)
            numbers = evals.layer_probes()(features, True)
            facts = {"seconds": done.seconds, "provenance": session.provenance()}
            write_json(out, {"row": name, "seed": seed, "config": known,
                             "numbers": numbers} | facts)  # fmt: skip


def page(kept=KEPT, results=RESULTS):
    """The page, as markdown.

    Raises:
      ValueError: no layers were probed.
    """
    every = [json.loads(path.read_text()) for path in sorted(kept.glob("*.json"))]
    if not every:
        raise ValueError(f"{kept} has no results: run `python benchmarks/pretexts.py run`")
    layers = {n: [x["numbers"] for x in every if x["row"] == n] for n in ROWS}
    names = {f"conv{i + 1}": (layer, ".1%") for i, layer in enumerate(LAYERS)}
    return PAGE.format(
        folder=kept.name,
        layers=markdown(names, layers),
        sections="\n".join(section(table, results) for table in TABLES),
        **provenance(every),
    )


PAGE = """# Pretext tasks

    python benchmarks/pretexts.py run
    python benchmarks/pretexts.py write

Generated by these commands. Probes are in percent of the test split. Cells are the mean
over the seeds, ± its standard error; with one seed, differences of a few points are noise.
Rows that are missing have not been run yet.

## Probes of every layer

Accuracy of an exact linear probe on each of five convolutions of 16, 32, 64, 64 and 64
channels, whose maps are averaged to at most 600 numbers, on the 630 training and 81 test
images of `stamps` (16 topics): one test image is 1.2 points. All rows have the same network
and 40 epochs of batches of 64, and the other knobs of their `laptop`; methods of tiles
encode each tile by this network, split-brain has two networks of half the width, and
contrastive multiview coding one of this width for lightness and one for color. *Random,
rescaled* has statistics of batch norm that are measured on the data, as in the
data-dependent initialization of Krähenbühl et al. 2016. Numbers are stored in
`docs/{folder}/`.

{layers}

Machine: {machine}. JAX {jax}. Commits: {commits}.

{sections}"""


if __name__ == "__main__":
    out, folder = KEPT.with_suffix(".md"), ROOT / "runs" / "pretexts"
    command(__doc__, run, page, out, only=ROWS, seeds=1, folder=folder)
