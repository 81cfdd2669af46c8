"""Eight CPU devices, warnings as errors, annotations checked, tiers, times by method.

XLA compiles in a quarter of its usual time, for programs that run once: LLVM at level 0
and, where jaxlib can do without, no emitters of fusions, which go through MLIR.
"""

import collections
import gc
import os
import re
from importlib.metadata import version

os.environ["XLA_FLAGS"] = (
    os.environ.get("XLA_FLAGS", "")
    + " --xla_force_host_platform_device_count=8"
    + " --xla_backend_optimization_level=0"
)
if version("jaxlib").startswith("0.10."):  # later ones do not know the flag, and abort
    os.environ["XLA_FLAGS"] += " --xla_cpu_use_fusion_emitters=false"
os.environ["JAX_PLATFORMS"] = "cpu"

import jax
import jaxtyping
import numpy as np
import pytest
import tiers

jax.config.update("jax_persistent_cache_min_compile_time_secs", 0)
jax.config.update("jax_persistent_cache_min_entry_size_bytes", 0)

SECONDS: dict[str, float] = collections.defaultdict(float)
AGREED: collections.Counter[str] = collections.Counter()
FAILED: set[str] = set()


@pytest.fixture
def unhooked():
    """Leaves shape errors to the functions' own messages."""
    jaxtyping.config.update("jaxtyping_disable", True)
    yield
    jaxtyping.config.update("jaxtyping_disable", False)


@pytest.fixture
def x64():
    """float64 for one test."""
    with jax.enable_x64(True):
        yield


@pytest.fixture(autouse=True)
def caches(tmp_path_factory, monkeypatch):
    """Baselines computed by tests go to a place of their own."""
    if "JSSL_CACHE" not in os.environ:
        monkeypatch.setenv("JSSL_CACHE", str(tmp_path_factory.getbasetemp() / "cache"))


@pytest.fixture(autouse=True, scope="module")
def compiled():
    """Programs of a module's tests are freed at its end."""
    yield
    jax.clear_caches()
    gc.collect()


@pytest.fixture
def freed():
    """Programs of a test are freed at its end: for modules with a test a method."""
    yield
    jax.clear_caches()


@pytest.fixture(scope="session")
def cifar(tmp_path_factory):
    """An npz file with as many rows and classes as CIFAR-10, of 2 x 2 pixels."""
    file = tmp_path_factory.mktemp("cifar") / "blank.npz"
    arrays = {}
    for split, n in (("train", 50_000), ("test", 10_000)):
        arrays[f"x_{split}"] = np.zeros((n, 2, 2, 3), np.uint8)
        arrays[f"y_{split}"] = np.arange(n) % 10
    np.savez(file, **arrays)
    return f"npz:{file}"


def method_of(test: str) -> str | None:
    """The method whose test this is, by its name or its file."""
    named = re.search(
        r"(?:contract|experiments)_test.py.*\[(\w+)|methods/\w+/(\w+)_test.py", test
    )
    return named and (named[1] or named[2])


def pytest_addoption(parser):
    parser.addoption(
        "--settle",
        action="store_true",
        help="note in tests/full-tier.json the methods whose tests passed",
    )


def pytest_collection_modifyitems(items):
    """Marks what the fast lane and `make test` leave out.

    The fast lane: methods beyond one a shape, and the papers' settings. Both: what is
    marked `changed`, and the agreement of devices and the whole run of methods beyond one a
    shape, if no file of the method changed since that agreement was seen.
    """
    done = {"changed": tiers.unchanged()} | dict.fromkeys(
        ("agreement", "whole"), tiers.settled()
    )
    for item in items:
        method = method_of(item.nodeid)
        if (method and method not in tiers.ONE_A_SHAPE) or ":paper" in item.nodeid:
            item.add_marker(pytest.mark.slow)
        for marker, methods in done.items():
            if method in methods and item.get_closest_marker(marker):
                item.add_marker(pytest.mark.settled)


def pytest_runtest_logreport(report):
    """Adds a test's seconds to its method's, and notes failures and agreement."""
    if method := method_of(report.nodeid):
        SECONDS[method] += report.duration
        if report.failed:
            FAILED.add(method)
        elif report.when == "call" and "agreement" in report.keywords:
            AGREED[method] += report.passed


def pytest_sessionfinish(session):
    """Settles the methods all of whose tests passed, in the process that reports."""
    if session.config.getoption("--settle") and not hasattr(session.config, "workerinput"):
        tiers.settle({name for name, n in AGREED.items() if n == 2} - FAILED)


def pytest_terminal_summary(terminalreporter):
    if SECONDS:
        terminalreporter.section("seconds a method, contract and own tests")
        for name, seconds in sorted(SECONDS.items(), key=lambda item: -item[1]):
            terminalreporter.write_line(f"{seconds:7.1f}  {name}")


collect_ignore = ["golden"]  # scripts that need other libraries
