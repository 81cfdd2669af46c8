"""What the launcher tells XLA and malloc: only where a CPU computes, and known to both."""

import os
import platform
import subprocess
import sys

import jax
import pytest

from jssl import tuning


@pytest.fixture
def nothing_said(monkeypatch):
    """JAX without a word on platforms, and an environment without flags."""
    before = jax.config.jax_platforms
    monkeypatch.delenv("XLA_FLAGS", raising=False)
    jax.config.update("jax_platforms", None)
    yield monkeypatch
    jax.config.update("jax_platforms", before)


@pytest.mark.parametrize(
    ("platforms", "answer"), [("cpu", True), ("tpu,cpu", False), ("cuda", False)]
)
def test_what_jax_was_told_decides(platforms, answer, nothing_said):
    jax.config.update("jax_platforms", platforms)
    assert tuning.on_cpu() is answer


def test_a_plugin_that_could_compute_is_left_alone(nothing_said, tmp_path):
    (tmp_path / "libtpu.py").touch()
    nothing_said.syspath_prepend(tmp_path)
    assert not tuning.on_cpu()
    environment = {}
    nothing_said.setattr("os.environ", environment)
    tuning.tune()
    assert environment == {}


def test_versions_that_were_not_measured_get_no_flags(monkeypatch):
    for version, told in (("0.9.2", False), ("0.12.0", True), ("0.13.1", False)):
        monkeypatch.setattr("importlib.metadata.version", lambda _, v=version: v)
        environment = {}
        tuning.tell_xla(environment)
        assert bool(environment) is told


def test_the_users_own_flags_come_last_and_ours_once():
    environment = {"XLA_FLAGS": f"{tuning.FLAGS[1]} --xla_dump_to=here"}
    for _ in range(2):
        tuning.tell_xla(environment)
    given = environment["XLA_FLAGS"].split()
    assert sorted(given) == sorted([*tuning.FLAGS, "--xla_dump_to=here"])
    assert given[-1] == "--xla_dump_to=here"


def test_glibc_takes_the_limits_where_nothing_else_is_said(monkeypatch):
    for name in [name for name in os.environ if name.startswith(("MALLOC_", "GLIBC_"))]:
        monkeypatch.delenv(name)
    assert tuning.keep_memory() is (platform.libc_ver()[0] == "glibc")
    monkeypatch.setenv("MALLOC_TRIM_THRESHOLD_", "131072")
    assert not tuning.keep_memory()


STEPS = """
from resource import RUSAGE_SELF, getrusage
from jssl import tuning
tuning.tune()
import jax, jax.numpy as jnp
x, step = jnp.ones(24 << 20), jax.jit(lambda x: 2 * x[::-1])  # 96 MiB
faults = []
for _ in range(6):
    before = getrusage(RUSAGE_SELF).ru_minflt
    step(x).block_until_ready()
    faults.append(getrusage(RUSAGE_SELF).ru_minflt - before)
print(min(faults))
"""


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="needs glibc")
def test_a_step_finds_the_memory_of_the_one_before():
    told = [name for name in os.environ if name.startswith(("MALLOC_", "GLIBC_"))]
    shell = {k: v for k, v in os.environ.items() if k not in told}
    shell["JAX_PLATFORMS"] = "cpu"
    fetched = [
        int(subprocess.check_output([sys.executable, "-c", STEPS], env=shell | more))
        for more in ({}, {"MALLOC_ARENA_TEST": "8"})  # the second left to itself
    ]
    assert fetched[0] < 10 < 40 < fetched[1]  # pages, of 4 KiB or of 2 MiB


def test_the_users_word_on_dispatch_prevails(monkeypatch):
    said = []
    monkeypatch.setattr(jax.config, "update", lambda *option: said.append(option))
    monkeypatch.setenv("JAX_CPU_ENABLE_ASYNC_DISPATCH", "true")
    tuning.one_at_a_time()
    assert said == []
    monkeypatch.delenv("JAX_CPU_ENABLE_ASYNC_DISPATCH")
    tuning.one_at_a_time()
    assert said == [("jax_cpu_enable_async_dispatch", False)]
