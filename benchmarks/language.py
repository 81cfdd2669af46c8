"""Generates docs/language.md: pretrained encoders of text on tasks with labels.

    python benchmarks/language.py run [--seeds 5] [--only BERT GPT]
    python benchmarks/language.py write

`run` trains the encoders on the Brown corpus, one seed each, as `benchmarks/results.py`
does, unless their runs are in runs/results; then it fine-tunes them on each task, for all
seeds, and stores the results in docs/language/. What is there, of the same encoders, is
skipped, so that it can be interrupted and resumed. `write` makes the page, with the other
tables from docs/results/, which `benchmarks/results.py run --only word2vec supervised`
makes.
"""

import json
import math
import shutil
import time
from functools import partial
from pathlib import Path
from types import SimpleNamespace

import numpy as np
from pages import RESULTS, Table, command, provenance, section
from results import ROOT, digest, fingerprint, one

from jssl import config, evals
from jssl.data import word_tests
from jssl.knobs import row_length, words_of
from jssl.session import provenance as here

KEPT = ROOT / "docs" / "language"
RUNS = Path("runs") / "results"
ENCODERS = {"BERT": "bert:brown", "GPT": "gpt:brown", "BART": "bart:brown"}
FINE = "lr=5e-4,dropout=0.1"
TASKS = {
    "genre": "sentiment,source=brown,length=64",
    "tweets": "sentiment,source=tweets",
    "entities": "entities,source=entities",
}
EPOCHS = {"genre": (1.0, 0.25), "tweets": (1.0, 0.125), "entities": (8.0, 2.0)}
LABELS = 100
TITLES = {
    "genre": "Genre of windows of Brown",
    "tweets": "Sentiment of tweets",
    "entities": "Entities in tweets",
}
ABOUT = {
    "genre": "Fifteen genres of windows of 64 tokens, parts of words, which are other "
    "windows for each encoder; the files of train, val and test are different ones. Top-1 "
    "accuracy in percent.",
    "tweets": "Negative, neutral or positive, of 29,740 training tweets. Top-1 accuracy in "
    "percent.",
    "entities": "Ten kinds of entities, of 1,916 training tweets. F1 of whole entities in "
    "percent. GPT sees the words before a token alone.",
}


def folder_of(encoder):
    """The run of an encoder, relative to the repository."""
    experiment, _, knobs = ENCODERS[encoder].partition(":")
    return RUNS / f"{experiment}-{digest(knobs)}" / "0"


def tuned(encoder, task, few):
    """The config of an encoder on a task, as EXPERIMENT:KNOBS without the seed."""
    labels = f",labels={LABELS}" if few else ""
    epochs = EPOCHS[task][few]
    init = folder_of(encoder)
    return f"supervised:{TASKS[task]},epochs={epochs}{labels},{FINE},init={init}"


def columns(task):
    """Fine-tuned, from scratch, and TF-IDF where there are classes."""
    metric = "entity_f1" if task == "entities" else "top1"
    others = {"from scratch": "from scratch"}
    if task != "entities":
        others["TF-IDF"] = "tf-idf"
    found = {"fine-tuned": (metric, ".1%")}
    for name, row in others.items():
        found[name] = f"{row}/{metric}", ".1%"
        gain = partial(difference, metric, f"{row}/{metric}")
        found[f"gain over {'it' if row == 'from scratch' else name}"] = gain, "paired"
    return found


def difference(metric, other, run):
    """Of two metrics of a run; NaN where a baseline failed."""
    return run[metric] - run.get(other, math.nan)


DOWNSTREAM = [
    Table(
        TITLES[task],
        ABOUT[task],
        {
            f"{encoder}, {f'{LABELS} labels' if few else 'all labels'}": tuned(
                encoder, task, few
            )
            for few in (False, True)
            for encoder in ENCODERS
        },
        columns(task),
    )
    for task in TASKS
]
PRETRAINED = [
    Table(
        "Pre-training on Brown",
        "Perplexity a token of the test files, beside those of a unigram and of a trigram "
        "with Kneser-Ney smoothing of the same tokens. That of GPT is of next tokens, of "
        "BERT of masked parts of words, given the others, of BART of all tokens given the "
        "corrupted text: only GPT's compares with the trigram's.",
        ENCODERS,
        {
            "perplexity": ("perplexity", ".1f"),
            "unigram": ("perplexity/unigram", ".1f"),
            "trigram": ("perplexity/trigram", ".1f"),
        },
    ),
    Table(
        "Words of Brown",
        "Spearman's correlation of cosine similarities with people's judgments, of the "
        "pairs of known words.",
        {
            "skip-gram": "word2vec:brown",
            "CBOW": "word2vec:brown,predict=center",
            "skip-gram, hierarchical softmax": "word2vec:brown,loss=hierarchical",
        },
        {
            "WordSim-353": ("wordsim353", ".3f"),
            "known pairs": ("wordsim353/known", ".0f"),
            "SimLex-999": ("simlex999", ".3f"),
            "known": ("simlex999/known", ".0f"),
        },
    ),
    Table(
        "Inference and answers on stories",
        "Of a network without pre-training on `toy_text`; without the premise or the "
        "question it should be at chance (33.3 %), or at what stories alone tell.",
        {
            "inference": "supervised:inference",
            "without the premise": "supervised:inference,premise=False",
            "answers": "supervised:answers",
            "without the question": "supervised:answers,question=False",
        },
        {
            "top-1": ("top1", ".1%"),
            "exact match": ("exact_match", ".1%"),
            "F1": ("answer_f1", ".1%"),
        },
    ),
]


GENSIM = {"skip-gram": {"sg": 1}, "CBOW": {"sg": 0}}  # arguments of gensim's Word2Vec
GENSIM |= {"skip-gram, hierarchical softmax": {"sg": 1, "hs": 1, "negative": 0}}
VECTORS = Table(
    "Words of Brown, by gensim",
    "gensim's Word2Vec on the same rows and vocabulary, with the same width, window, "
    "subsampling, passes and rates, one worker; it draws 5 noise words for each pair, jssl "
    "20 for a whole row. Seconds are of the training.",
    {name: f"gensim:{name}" for name in GENSIM},
    PRETRAINED[1].columns | {"seconds": ("seconds", ".1f")},
)


def gensim(name, seed):
    """Metrics of gensim's vectors of the training rows of `word2vec:brown`."""
    from gensim.models import Word2Vec

    (stage,) = config.load(f"experiments/word2vec.py:brown,seed={seed}").stages()
    train = stage.data
    words, corpus = np.array(words_of(train)), train.context["corpus"]
    at = train.column("start")[:, None] + np.arange(row_length(train))
    rows = [[x for x in row if x[0] != "["] for row in words[corpus[at]].tolist()]
    how = dict(vector_size=100, window=5, sample=1e-3, min_count=1, epochs=10)
    begun = time.perf_counter()
    made = Word2Vec(rows, **how, **GENSIM[name], workers=1, seed=seed + 1)
    seconds = time.perf_counter() - begun
    known = made.wv.key_to_index
    place = [known.get(word, -1) for word in words.tolist()]
    table = np.vstack([made.wv.vectors, np.zeros(100)])[place]  # the last: no vector
    metrics = {"seconds": seconds}
    for test in word_tests.SIMILARITIES:
        pairs = word_tests.similarities(test)
        judge = evals.word_similarity(test, pairs, words.tolist(), lambda _: table)
        metrics |= judge(None, final=True)
    return metrics


def beside_gensim():
    """Trains and judges gensim's vectors unless they are kept."""
    if not word_tests.are_installed():
        print("gensim is not installed: its vectors are left out")
        return
    for name in GENSIM:
        for seed in range(3):
            path = KEPT / f"gensim-{digest(name)}-{seed}.json"
            if not path.exists():
                stages = {"gensim": {"metrics": gensim(name, seed)}}
                record = {"stages": stages, "provenance": here()}
                path.write_text(json.dumps(record, indent=1) + "\n")


def run(options):
    """Pre-trains the encoders, then fine-tunes them; before, gensim's vectors.

    Raises:
      RuntimeError: a run failed.
    """
    KEPT.mkdir(parents=True, exist_ok=True)
    beside_gensim()
    given = {encoder: pretrained(encoder) for encoder in options.only or ENCODERS}
    for few in (False, True):
        for task in TASKS:
            for seed in range(options.seeds):
                for encoder in options.only or ENCODERS:
                    spec = tuned(encoder, task, few)
                    short = f"supervised-{digest(spec.partition(':')[2])}"
                    where = Path(short) / str(seed)
                    done(spec, where, KEPT, options.folder, seed, given[encoder])


def pretrained(encoder):
    """The fingerprint of an encoder's run, which is executed unless it is there."""
    where = folder_of(encoder)
    wanted = fingerprint(spec_of(ENCODERS[encoder], seed=0))
    stamp, result = ROOT / where / "fingerprint", ROOT / where / "result.json"
    if not result.exists() or stamp.read_text() != wanted:
        # Kept beside the run first: docs/results may hold one of another machine.
        beside, file = ROOT / RUNS, f"{where.parent.name}-0.json"
        (beside / file).unlink(missing_ok=True)
        done(ENCODERS[encoder], where.relative_to(RUNS), beside, RUNS, seed=0)
        shutil.copy(beside / file, RESULTS)
    return wanted


def spec_of(spec, seed):
    """EXPERIMENT:KNOBS as a config."""
    experiment, _, knobs = spec.partition(":")
    return f"experiments/{experiment}.py:{knobs},seed={seed}"


def done(spec, where, kept, folder, seed, given=""):
    """Executes a run unless its result is kept."""
    known = spec_of(spec, seed), str(where)
    if not one(SimpleNamespace(kept=kept, folder=ROOT / folder), known, given):
        raise RuntimeError(f"{spec} failed")


def page(kept=KEPT, results=RESULTS):
    """The page, as markdown.

    Raises:
      ValueError: no results.
    """
    paths = [*kept.glob("*.json")]
    for table in PRETRAINED:
        for spec in table.rows.values():
            experiment, _, knobs = spec.partition(":")
            paths += results.glob(f"{experiment}-{digest(knobs)}-*.json")
    if not paths:
        raise ValueError(f"{kept} has no results: run `python benchmarks/language.py run`")
    before = [section(table, results) for table in PRETRAINED]
    before.insert(2, section(VECTORS, kept))
    return PAGE.format(
        before="\n".join(before),
        after="\n".join(section(table, kept) for table in DOWNSTREAM),
        **provenance([json.loads(path.read_text()) for path in sorted(paths)]),
    )


PAGE = """# Language

    python benchmarks/language.py run
    python benchmarks/language.py write

Generated by these commands, and the tables of words and of stories by `python
benchmarks/results.py run --only word2vec supervised`. Cells are the mean over the seeds, ±
its standard error. Rows that are missing have not been run yet.

{before}
Each encoder, pretrained on Brown's training files (one seed), is fine-tuned with all layers
on a task; *from scratch* is the same network, untrained, with the same data, seeds and
updates; *TF-IDF* is logistic regression on the same texts. Of BART the encoder alone is
fine-tuned. Gains are paired, with 95 % intervals, over the seeds of the fine-tuning: each
encoder was pretrained once. They are not corrected for the number of rows. All have the
same learning rate and number of epochs, so that *from scratch* need not have converged.

{after}
Machine: {machine}. JAX {jax}. Commits: {commits}.
"""


if __name__ == "__main__":
    out, folder = KEPT.with_suffix(".md"), ROOT / "runs" / "language"
    command(__doc__, run, page, out, only=ENCODERS, seeds=5, folder=folder)
