"""Eight CPU devices, warnings as errors, annotations checked, and times by method."""

import collections
import os
import re

os.environ["XLA_FLAGS"] = (
    os.environ.get("XLA_FLAGS", "") + " --xla_force_host_platform_device_count=8"
)
os.environ["JAX_PLATFORMS"] = "cpu"

import jax
import jaxtyping
import pytest

jax.config.update("jax_persistent_cache_min_compile_time_secs", 0)
jax.config.update("jax_persistent_cache_min_entry_size_bytes", 0)

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


def pytest_runtest_logreport(report):
    """Adds a test's seconds to its method's, where its name or its file has one."""
    named = re.search(r"contract_test.py.*\[(\w+)", report.nodeid) or re.search(
        r"methods/\w+/(\w+)_test.py", report.nodeid
    )
    if named:
        SECONDS[named[1]] += report.duration


def pytest_terminal_summary(terminalreporter):
    if SECONDS:
        terminalreporter.section("seconds a method, contract and own tests")
        for name, seconds in sorted(SECONDS.items(), key=lambda item: -item[1]):
            terminalreporter.write_line(f"{seconds:7.1f}  {name}")


collect_ignore = ["golden"]  # scripts that need other libraries
