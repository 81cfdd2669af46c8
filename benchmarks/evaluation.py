"""Generates docs/evaluation.md: all methods under all protocols, from runs of results.py.

    python benchmarks/evaluation.py run [--only simclr mae] [--kind few] [--jobs 2]
    python benchmarks/evaluation.py table > docs/evaluation.md

`run` evaluates the checkpoints of `benchmarks/results.py run` in runs/results: seed 0 with
all protocols of whole images, several seeds of `PLACES` with dense protocols, and those of
`SEVERAL` with linear probe, kNN and few labels; `--kind` chooses among "whole", "places"
and "few" ones. The output of `python -m jssl.evaluate` is stored in docs/evaluations/.
"""

import argparse
import json
import shutil
import subprocess
import sys
from collections import defaultdict
from pathlib import Path

import numpy as np
from results import EXPERIMENTS, ROOT, gain, spread, together

KEPT = ROOT / "docs" / "evaluations"
KINDS = ("whole", "places", "few")
WHOLE = (
    "knn,linear,few_labels,few_shot,retrieval,clustering,linear_sgd,layers,"
    "fine_tune@10,fine_tune"
)
DENSE = "segmentation,segmentation_fcn,detection,action"
PLACES = {"mae": 3, "simclr": 3}
FEW = "linear,knn,few_labels"
SEVERAL = {  # seeds
    "simclr": 5,
    "mae": 5,
    "dino": 5,
    "swav": 5,
    "lejepa": 5,
    "i_jepa": 5,
    "barlow_twins": 3,
    "nnclr": 3,
    "ibot": 3,
    "data2vec": 3,
}
FEW_METRICS = {"linear": "linear", "kNN": "knn", "10 labels": "linear@10"}
METRICS = {  # heading: metric
    "linear": "linear",
    "SGD": "linear_sgd",
    "kNN": "knn",
    "1 label": "linear@1",
    "10 labels": "linear@10",
    "5-way 5-shot": "few_shot",
    "R@1": "recall@1",
    "mAP": "map",
    "NMI": "nmi",
    "ARI": "ari",
    "Hungarian": "hungarian",
    "tuned, 10": "fine_tune@10",
    "tuned": "fine_tune",
}
SPATIAL = {
    "mIoU, linear": "miou",
    "FCN": "miou/fcn",
    "AP": "ap",
    "AP50": "ap50",
    "action": "action",
    "one frame": "action/single_frame",
    "shuffled": "action/shuffled",
}
LAYERED = ("rotation", "jigsaw", "simclr", "mae")
OURS, UNTRAINED, SUPERVISED = "(this run)", "untrained network", "supervised reference"


def wanted(only, kinds):
    """(experiment, seed, protocols, kept file)."""
    for name in only or EXPERIMENTS:
        if "whole" in kinds:
            yield name, 0, WHOLE, f"{name}-0.json"
        for seed in range(PLACES.get(name, 0) if "places" in kinds else 0):
            yield name, seed, DENSE, f"{name}-{seed}-places.json"
        for seed in range(SEVERAL.get(name, 0) if "few" in kinds else 0):
            yield name, seed, FEW, f"{name}-{seed}-few.json"


def run(options):
    KEPT.mkdir(parents=True, exist_ok=True)

    def one(item):
        name, seed, protocols, kept = item
        folder = options.folder / name / str(seed)
        if (KEPT / kept).exists():
            return True
        if not (folder / "result.json").exists():
            print(f"{folder} holds no finished run", file=sys.stderr)
            return False
        command = [sys.executable, "-m", "jssl.evaluate", f"--workdir={folder}"]
        words = [f"--protocols={protocols}", f"--seed={seed}"]
        if subprocess.run([*command, *words], cwd=ROOT).returncode:
            return False
        shutil.copy(folder / "evaluation.json", KEPT / kept)
        return True

    return together(one, wanted(options.only, options.kind), options.jobs)


def read():
    """{experiment: {"whole", "places" or "few": {seed: evaluation}}}"""
    found = defaultdict(lambda: defaultdict(dict))
    for path in sorted(KEPT.glob("*.json")):
        name, seed, *rest = path.stem.split("-")
        kind = rest[0] if rest else "whole"
        found[name][kind][int(seed)] = json.loads(path.read_text())
    return found


def row_of(evaluation, wanted):
    """The row whose name has these words in it, or nothing."""
    rows = evaluation["rows"]
    return next((row for name, row in rows.items() if wanted in name), {})


def share(row, metric):
    return f"{100 * row[metric]:.1f}" if metric in row else ""


def table():
    known = read()
    whole = {name: of["whole"][0] for name, of in known.items() if of["whole"]}
    lines = [HEAD, "\n## Whole images\n"]
    lines += grid(["method", *METRICS], representations(whole))
    lines += ["\n## Several seeds\n", SEEDS]
    lines += grid(["", "seeds", *FEW_METRICS], several(known))
    lines += ["\n## Layer by layer\n", LAYERS]
    lines += grid(["method", "1", "2", "3", "4", "5"], layers(whole))
    lines += ["\n## Places and motions\n", SPACE]
    lines += grid(["", "seeds", *SPATIAL], places(known))
    lines += ["\n" + USE, "## Protocols\n"]
    told = {}
    for of in known.values():
        for kind in of.values():
            for evaluation in kind.values():
                told |= evaluation["protocols"]
    lines += [f"- **{name}**: {words}" for name, words in told.items()]
    return "\n".join(lines) + "\n"


def representations(whole):
    """A row a method, and under it those of its network untrained."""
    for name, evaluation in whole.items():
        for label, wanted in ((name, OURS), ("untrained", UNTRAINED)):
            row = row_of(evaluation, wanted)
            if row:
                yield [label, *(share(row, m) for m in METRICS.values())]
    first = next(iter(whole.values()), None)
    if first:
        raw = row_of(first, "raw pixels")
        yield ["raw pixels", *(share(raw, m) for m in METRICS.values())]


def several(known):
    """A row a method with the mean over its seeds, and its paired gain over untrained."""
    for name in SEVERAL:
        seeds = known[name]["few"]
        if not seeds:
            continue
        each = [seeds[seed] for seed in sorted(seeds)]
        ours, theirs = (
            {m: [row_of(e, kind)[m] for e in each] for m in FEW_METRICS.values()}
            for kind in (OURS, UNTRAINED)
        )
        yield [name, str(len(each)), *map(spread, ours.values())]
        gains = (gain(np.array(ours[m]), np.array(theirs[m])) for m in ours)
        yield ["gain over untrained", "", *gains]


def layers(whole):
    for name in LAYERED:
        if name not in whole:
            continue
        for label, wanted in (
            (name, OURS),
            (f"{name}'s network, untrained", UNTRAINED),
            (f"{name}'s network, supervised", SUPERVISED),
        ):
            row = row_of(whole[name], wanted)
            yield [label, *(share(row, f"layer {i}") for i in range(1, 6))]


def places(known):
    for name in PLACES:
        seeds = known[name]["places"]
        if not seeds:
            continue
        each = [seeds[seed] for seed in sorted(seeds)]
        values = {
            kind: {m: [row_of(e, kind).get(m) for e in each] for m in SPATIAL.values()}
            for kind in (OURS, UNTRAINED, SUPERVISED)
        }
        for label, kind in (
            (name, OURS),
            (f"{name}'s network, untrained", UNTRAINED),
            (f"{name}'s network, supervised", SUPERVISED),
        ):
            cells = [spread(x) if None not in x else "" for x in values[kind].values()]
            yield [label, str(len(each)), *cells]
        for label, kind in (
            ("gain over untrained", UNTRAINED),
            ("over supervised", SUPERVISED),
        ):
            pairs = [(values[OURS][m], values[kind][m]) for m in SPATIAL.values()]
            yield [label, "", *(gain(np.array(a), np.array(b)) for a, b in pairs)]


def grid(head, rows):
    lines = [f"| {' | '.join(head)} |", "|---" * len(head) + "|"]
    return lines + [f"| {' | '.join(cells)} |" for cells in rows]


HEAD = """# Evaluation by all protocols

Generated by `python benchmarks/evaluation.py table` from the output of `python -m
jssl.evaluate` for the runs of [results.md](results.md), stored in `docs/evaluations/`.
MNIST-5k, test split, in %; rows of a single seed (0) are not evidence. Below each method is
its untrained network, because dense layers, small convolutional networks and transformers
differ much before training. The protocols are described at the end."""
SEEDS = """\
Mean and standard deviation over seeds, paired gains over the same network untrained with
95 % intervals. *10 labels*: a linear probe on ten labels of each class.
"""
LAYERS = """\
The exact linear probe on each layer's maps, averaged to at most 600 numbers. Layers are
convolutions of stride 2, or blocks of a ViT.
"""
USE = """\
## Weights, arrays, files

Weights of other libraries give their features only for images normalized as in training,
which shapes do not tell. `python -m jssl.evaluate --weights` prints the normalization
beside the name and writes it to evaluation.json: that in the metadata of the file
(exports of jssl have it, measured through the method, in the words of timm's
`pretrained_cfg`: `mean`, `std`, `input_size`, `crop_pct`), else ImageNet's for color
images; `--mean` and `--std` precede both (0.5 for the ViTs of AugReg). Gray images are
repeated for networks of color images.

A protocol that does not fit the data (few-shot needs 20 test rows of each class, 10
labels as many train rows) is left out with the reason; one that fails costs a line, and
the others are written to evaluation.json as they are made. `--help` lists all protocols.

The same numbers of arrays: `jssl.evals.knn_accuracy(train_x, train_y, test_x, test_y)`,
`linear_accuracy`, `few_label_accuracy`, `regression_score`, `retrieval_scores`,
`clustering_scores` (results with a `protocol`), `diagnose_features`, `fid`, `kid`,
`prdc`. Any other eval takes `evals.Arrays(train=(x, y), test=(x, y))`. `python -m
jssl.embed` writes the features of a run, or of weights, to npz or parquet; `python -m
jssl.finetune` trains encoder and head to a classifier with the names of timm.

Raw pixels of images of more than 1,024 numbers are averaged to at most 16 x 16 cells, and
called "raw pixels, 16x16".
"""
SPACE = """\
Small heads on frozen maps of synthetic scenes and clips: maps of all layers for the linear
mIoU, of the last layer for the others; mean and standard deviation over seeds, paired gains
with 95 % intervals. *One frame* should be at chance (12.5), *shuffled* at most at half.
"""


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("command", choices=("run", "table"))
    parser.add_argument("--folder", type=Path, default=ROOT / "runs" / "results")
    parser.add_argument("--only", nargs="+", default=[], choices=EXPERIMENTS)
    parser.add_argument("--kind", nargs="+", default=KINDS, choices=KINDS)
    parser.add_argument("--jobs", type=int, default=1)
    options = parser.parse_args()
    if options.command == "table":
        print(table(), end="")
        return 0
    return 0 if run(options) else 1


if __name__ == "__main__":
    sys.exit(main())
