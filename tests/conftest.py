"""Eight CPU devices, warnings as errors, annotations checked, and times by method.

LLVM compiles at level 1, sooner than at its default, for programs that run once.
"""

import collections
import os
import re

os.environ["XLA_FLAGS"] = (
    os.environ.get("XLA_FLAGS", "")
    + " --xla_force_host_platform_device_count=8"
    + " --xla_backend_optimization_level=0 --xla_cpu_use_fusion_emitters=false"
)
os.environ["JAX_PLATFORMS"] = "cpu"

import jax
import jaxtyping
import pytest

jax.config.update("jax_persistent_cache_min_compile_time_secs", 0)
jax.config.update("jax_persistent_cache_min_entry_size_bytes", 0)

ONE_A_SHAPE = {  # the fast lane's methods, one for each shape of a step
    "rotation",  # one loss
    "byol",  # a slow target
    "gan",  # two players
    "rbm",  # a gradient given
    "stacked_denoising",  # a greedy stack
    "deepcluster",  # phases of an epoch
    "mixmatch",  # two streams
    "supervised",  # the reference
}
SECONDS: dict[str, float] = collections.defaultdict(float)


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


def method_of(test: str) -> str | None:
    """The method whose test this is, by its name or its file."""
    named = re.search(
        r"(?:contract|experiments)_test.py.*\[(\w+)|methods/\w+/(\w+)_test.py", test
    )
    return named and (named[1] or named[2])


def pytest_collection_modifyitems(items):
    """Leaves to the full suite the methods beyond one a shape, and the papers' settings."""
    for item in items:
        method = method_of(item.nodeid)
        if (method and method not in ONE_A_SHAPE) or ":paper" in item.nodeid:
            item.add_marker(pytest.mark.slow)


def pytest_runtest_logreport(report):
    """Adds a test's seconds to its method's."""
    if method := method_of(report.nodeid):
        SECONDS[method] += report.duration


def pytest_terminal_summary(terminalreporter):
    if SECONDS:
        terminalreporter.section("seconds a method, contract and own tests")
        for name, seconds in sorted(SECONDS.items(), key=lambda item: -item[1]):
            terminalreporter.write_line(f"{seconds:7.1f}  {name}")


collect_ignore = ["golden"]  # scripts that need other libraries
