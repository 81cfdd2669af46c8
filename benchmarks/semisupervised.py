"""Generates docs/semisupervised.md: semi-supervised methods compared, from stored results.

    python benchmarks/results.py run --only pi_model mixmatch ...
    python benchmarks/semisupervised.py

The runs of all tables are evidence runs of their experiments, in docs/results/; rows that
have not been run are listed as missing.
"""

import itertools
import json
import sys

import numpy as np
from pages import RESULTS, Table, provenance, results_of, section
from results import ROOT

from jssl.knobs import FEW_GARMENTS

OUT = ROOT / "docs" / "semisupervised.md"
ALONE = "supervised, same labels/top1"
COLUMNS = {
    "top-1": ("top1", ".1%"),
    "same labels alone": (ALONE, ".1%"),
    "gain": (lambda x: x["top1"] - x[ALONE], "paired"),
    "all labels": ("supervised, all labels/top1", ".1%"),
}
METHODS = {  # knobs of 30 epochs, by name; those of the second data set are FEW_GARMENTS
    "Pi-model": "pi_model",
    "temporal ensembling": "temporal_ensembling",
    "Mean Teacher": "mean_teacher",
    "VAT": "vat:epochs=30",
    "VAT + EntMin": "vat:epochs=30,entropy_weight=0.1",
    "pseudo-labels": "pseudo_label:epochs=30",
    "interpolation consistency": "interpolation_consistency",
    "MixMatch": "mixmatch",
    "ReMixMatch": "remixmatch",
    "UDA": "uda",
    "FixMatch": "fixmatch",
    "FlexMatch": "flexmatch",
    "FreeMatch": "freematch",
    "S4L": "s4l:epochs=30",
}
WRONG = (0.0, 0.2, 0.5, 0.8)
FOREIGN = (0.0, 0.25, 0.5, 0.75, 1.0)


def _garments(spec):
    """The row of a method on the second data set."""
    experiment, _, knobs = spec.partition(":")
    more = [x for x in knobs.split(",") if x and not x.startswith("epochs=")]
    return f"{experiment}:{','.join([FEW_GARMENTS, *more])}"


def _wrong(experiment):
    return {
        f"{100 * x:.0f} % wrong": f"{experiment}:labels=200" + (f",wrong={x}" if x else "")
        for x in WRONG
    }


TABLES = [
    Table(
        "One hundred labels of MNIST",
        "Ten labels of each class of 3,500 digits (`source=mnist`), the same network of "
        "three convolutions, Adam with averaged weights and 1,050 updates of 100 unlabeled "
        "and 50 labeled images; views and weights are those of each `laptop`. *Same labels "
        "alone* has the network, updates and views of its row. A gain is the paired "
        "difference in points with its 95 % interval; with three seeds no claim is made. "
        "*Transfer*: no unlabeled images, but a start from the encoder trained with the "
        "labels of Fashion-MNIST's 55,000 images (Oliver et al. 2018, section 4.3).",
        METHODS | {"transfer": "supervised:transfer"},
        COLUMNS,
    ),
    Table(
        "Four hundred labels of Fashion-MNIST",
        "Forty labels of each class of 10,000 garments, 1,000 updates, one seed: a "
        "difference of a few points is noise.",
        {name: _garments(spec) for name, spec in METHODS.items()},
        COLUMNS,
    ),
    *(
        Table(
            f"Wrong labels: {name}",
            "Two hundred labels of each class, a part of which are replaced by random ones "
            "(Laine and Aila 2017, section 3.4), one seed.",
            _wrong(experiment),
            COLUMNS,
        )
        for name, experiment in (
            ("Pi-model", "pi_model"),
            ("temporal ensembling", "temporal_ensembling"),
        )
    ),
    Table(
        "Foreign classes",
        "Pi-model, ten labels for each of six classes; a part of the 1,400 unlabeled "
        "images is of the four others (Oliver et al. 2018, section 4.4). Val and test have "
        "the six classes.",
        {
            f"{100 * x:.0f} % foreign": f"pi_model:classes=6,mismatch={x},epochs=56"
            for x in FOREIGN
        },
        COLUMNS,
    ),
    Table(
        "Mean Teacher and Pi-model",
        "The teacher averages about 1 / (1 - decay) of 1,050 updates: with decay 0.99, the "
        "default, its predictions are those of a hundred updates before, with 0.9 of ten. "
        "The squared error has a gradient through both passes in the Pi-model, and through "
        "the student alone in Mean Teacher, so that its weight 100 is the Pi-model's 50.",
        {
            "Pi-model, weight 50": "pi_model",
            "Mean Teacher, weight 50": "mean_teacher",
            "Mean Teacher, weight 100": "mean_teacher:weight=100.0",
            "Mean Teacher, weight 50, decay 0.9": "mean_teacher:decay=0.9",
        },
        COLUMNS,
    ),
    Table(
        "MixMatch, part by part",
        "The ablations of table 4 of Berthelot et al. 2019, on one hundred labels of "
        "MNIST. The paper, on CIFAR-10 with 250 labels (error in %): MixMatch 11.80, K = 1 "
        "17.09, K = 3 11.55, K = 4 12.45, no sharpening 27.83, averaged weights 11.86, no "
        "mixup 39.11, mixup of labeled rows 32.16, of unlabeled rows 12.35, of each apart "
        "12.26, interpolation consistency 38.60.",
        {
            "MixMatch, K = 2": "mixmatch",
            "K = 1, no averaging": "mixmatch:k=1",
            "K = 3": "mixmatch:k=3",
            "K = 4": "mixmatch:k=4",
            "T = 1, no sharpening": "mixmatch:temperature=1.0",
            "guesses by averaged weights": "mixmatch:averaged=True",
            "no mixup": "mixmatch:alpha=0.0",
            "mixup of labeled rows only": "mixmatch:mixed=labeled",
            "mixup of unlabeled rows only": "mixmatch:mixed=unlabeled",
            "mixup of each apart": "mixmatch:mixed=apart",
            "interpolation consistency": "interpolation_consistency",
        },
        COLUMNS,
    ),
]


def validation(table, results=RESULTS, rows=100):
    """The pairs of rows of a table that a validation set of `rows` images tells apart.

    Two accuracies are apart if the 95 % interval of their difference excludes zero, for
    equal but independent errors (a normal approximation).
    """
    found = [results_of(spec, results) for spec in table.rows.values()]
    means = [np.mean([x["top1"] for x in each]) for each in found if each]
    if not means:
        return ""
    pairs = list(itertools.combinations(means, 2))
    apart = sum(
        abs(a - b) > 1.96 * np.sqrt((a * (1 - a) + b * (1 - b)) / rows) for a, b in pairs
    )
    middle = np.median(means)
    half = 1.96 * np.sqrt(middle * (1 - middle) / rows)
    return VALIDATION.format(
        rows=rows, half=100 * half, middle=100 * middle, apart=apart, pairs=len(pairs)
    )


def page(results=RESULTS):
    """The page, as markdown.

    Raises:
      ValueError: no row of any table has been run.
    """
    specs = {spec for table in TABLES for spec in table.rows.values()}
    done = [spec for spec in specs if results_of(spec, results)]
    if not done:
        raise ValueError(f"{results} has no results: {__doc__.splitlines()[2].strip()}")
    names = {spec.partition(":")[0] for spec in done}
    every = [
        json.loads(path.read_text())
        for path in sorted(results.glob("*.json"))
        if path.stem.partition("-")[0] in names
    ]
    first, *others = (section(table, results) for table in TABLES)
    sections = "\n".join([first, validation(TABLES[0], results), *others])
    return PAGE.format(sections=sections, **provenance(every))


VALIDATION = """\
**A validation set as small as the labeled set** (Oliver et al. 2018, section 4.6) cannot
rank these methods: with {rows} images the 95 % interval of an accuracy of {middle:.1f} % is
± {half:.1f} points, and {apart} of the {pairs} pairs of rows with a result are apart.
"""
PAGE = """# Semi-supervised learning

    python benchmarks/results.py run --only pi_model mixmatch ...
    python benchmarks/semisupervised.py

Generated by these commands from the runs in `docs/results/`. Accuracies of the test split
in percent, mean over the seeds ± its standard error. Rows that are missing have not been
run yet.

{sections}
Machine: {machine}. JAX {jax}. Commits: {commits}.
"""


if __name__ == "__main__":
    OUT.write_text(page())
    sys.exit(0)
