"""What the launcher tells XLA and malloc: only where a CPU computes, and known to both."""

import platform

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


def test_glibc_takes_the_limits():
    assert tuning.keep_memory() is (platform.libc_ver()[0] == "glibc")
