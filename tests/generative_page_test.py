"""The comparison of generative models: rows over seeds, and counts of weights."""

import importlib
import json
import sys
from pathlib import Path

import numpy as np
import pytest

from jssl import config
from jssl.engine import Engine

ROOT = Path(__file__).parent.parent
sys.path.insert(0, str(ROOT / "benchmarks"))  # they import one another by name
generative, models = map(importlib.import_module, ("generative", "generative_models"))

FID = [1.0, 2.0, 6.0]


def result(seed, name="vae", **changes):
    numbers = {"fid": FID[seed], "kid": 0.5, "parameters": 1234567, "seconds": 120.5}
    machine = {"machine": "two cores", "devices": "1 x cpu", "commit": "abc"}
    return {
        "model": name,
        "seed": seed,
        "settings": {"seconds": 120.0},
        "numbers": numbers,
        "images": 1000,
        "judge": {"top1": 0.98, "digest": "d0"},
        "provenance": machine | {"versions": {"jax": "0.10"}},
    } | changes


@pytest.fixture
def kept(tmp_path):
    for seed in range(3):
        (tmp_path / f"vae-{seed}.json").write_text(json.dumps(result(seed)))
    return tmp_path


def test_a_row_has_the_mean_over_the_seeds_and_its_standard_error(kept):
    page = generative.page(kept)
    error = np.std(FID, ddof=1) / np.sqrt(3)
    assert f"| VAE | 3 | 3.00 ± {error:.2f} | 0.5000 |" in page
    assert "| VAE | 3 | 1,234,567 |" in page
    assert "98.0 % accuracy" in page and "1,000 samples" in page
    assert "{" not in page


def test_a_run_that_failed_is_named(kept):
    numbers = result(2)["numbers"] | {"fid": 500.0}
    (kept / "vae-2.json").write_text(json.dumps(result(2) | {"numbers": numbers}))
    assert "- Seed 2 of VAE failed: FID 500," in generative.page(kept)


def test_a_reference_has_no_costs(kept):
    known = result(0, "real") | {"numbers": {"fid": 0.1}}
    (kept / "real-0.json").write_text(json.dumps(known))
    page = generative.page(kept)
    assert page.count("| training images |") == 1
    assert "| training images | 1 | 0.10 |" in page


@pytest.mark.parametrize(
    ("part", "change"),
    [
        ("budget", {"settings": {"seconds": 5.0}}),
        ("classifier", {"judge": {"top1": 0.9, "digest": "d1"}}),
    ],
)
def test_budgets_and_classifiers_are_not_mixed(kept, part, change):
    (kept / "gan-0.json").write_text(json.dumps(result(0, "gan", **change)))
    with pytest.raises(ValueError, match=f"one {part}, has 2"):
        generative.page(kept)


def test_the_sampler_of_a_vae_is_its_decoder():
    spec = f"{ROOT}/experiments/vae.py:baselines=False,widths=(8,),latent=3"
    (stage,) = config.load(spec).stages()
    engine = Engine(stage)
    decoder = (3 + 1) * 8 + (8 + 1) * 784
    encoder = (784 + 1) * 8 + (8 + 1) * 2 * 3
    assert models.sampler(engine) == decoder
    assert models.parameters(engine.shapes) == decoder + encoder
