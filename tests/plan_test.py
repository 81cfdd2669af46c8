"""Plans: what is read of a compiled program, against programs that are known by heart."""

import importlib.util
import json
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import PartitionSpec as P

from jssl import sharding
from jssl.plan import __main__ as plan
from jssl.plan.chips import CHIPS, Chip
from jssl.plan.compiled import Collective, collectives, products


def compiled(body, out, size=32):
    """The text of body(x), x [size] float32 divided among 8 devices."""
    mesh = sharding.make_mesh()
    mapped = jax.shard_map(body, mesh=mesh, in_specs=P("data"), out_specs=out)
    return jax.jit(mapped).lower(jnp.zeros(size, jnp.float32)).compile().as_text()


def thrice(x):
    around = [(i, (i + 1) % 8) for i in range(8)]
    turn = lambda x, _: (jax.lax.ppermute(x, "data", around), None)
    return jax.lax.scan(turn, x, None, length=3)[0]


@pytest.mark.parametrize(
    ("body", "out", "kind", "wanted"),
    [
        (partial(jax.lax.psum, axis_name="data"), P(), "all-reduce", (1, 16, 28.0)),
        (
            partial(jax.lax.all_gather, axis_name="data", tiled=True),
            P("data"),
            "all-gather",
            (1, 128, 112.0),
        ),
        (thrice, P("data"), "collective-permute", (3, 48, 48.0)),
    ],
)
def test_a_collective_is_counted_with_its_bytes_and_as_often_as_its_loop_turns(
    body, out, kind, wanted
):
    found = collectives(compiled(body, out))
    assert found == {kind: Collective(*wanted)}


def test_a_scattered_sum_is_found_in_whatever_form_it_takes():
    scatter = partial(jax.lax.psum_scatter, axis_name="data", tiled=True)
    found = collectives(compiled(scatter, P("data"), 64))
    assert found == {"reduce-scatter": Collective(1, 4, 28.0)}


TPU = """
%body (p: (f32[2,4], s32[])) -> (f32[2,4], s32[]) {
  %start = (f32[2,4]{1,0:S(1)}, f32[2,4]{1,0:T(2,128)}, u32[], u32[]{:S(2)}) PERMUTE(%x)
  %done = f32[2,4]{1,0} collective-permute-done(%start)
}

%condition (p: (f32[2,4], s32[])) -> pred[] {
  %limit = s32[]{:T(128)} constant(7)
  ROOT %less = pred[] compare(%i, %limit), direction=LT
}

%never (p: f32[8]) -> f32[8] {
  %lost = f32[8]{0} all-reduce(%p), replica_groups={{0,1}}, to_apply=%add
}

ENTRY %main (p: f32[2,4]) -> f32[2,4] {
  %loop = (f32[2,4]{1,0}, s32[]) while(%tuple), condition=%condition, body=%body
  %pair = (bf16[4]{0}, f32[2,2]{1,0:T(2,128)}) all-reduce(%a, %b), NAMED, to_apply=%add
  %gather = ((f32[4]{0}), (f32[16]{0})) all-gather-start(%c), replica_groups=[4,4]<=[16]
}
"""
TPU = TPU.replace("PERMUTE", "collective-permute-start")  # short lines above
TPU = TPU.replace("NAMED", "replica_groups=mesh['x'=4,'y'=4] {'y'}")


def test_the_text_of_a_tpu_program_is_read_too():
    found = collectives(TPU)
    assert found == {
        "collective-permute": Collective(7, 7 * 32, 7 * 32.0),
        "all-reduce": Collective(1, 24, 2 * 3 / 4 * 24),
        "all-gather": Collective(1, 64, 48.0),
    }


def convolved(x, k):
    return jax.lax.conv_general_dilated(
        x, k, (2, 2), [(0, 0), (0, 0)], dimension_numbers=("NHWC", "HWIO", "NHWC")
    ).sum()


def test_products_are_counted_forward_and_back_as_by_hand():
    x, k = jnp.ones((2, 9, 9, 3)), jnp.ones((3, 3, 3, 5))
    forward = 2.0 * (2 * 4 * 4 * 5) * (3 * 3 * 3)
    assert products(jax.make_jaxpr(convolved)(x, k)) == forward
    # The gradient of the kernel is as dear; that of the images is a convolution of the
    # dilated slopes, [9, 9] places in place of [4, 4] with a stride of 2.
    back = products(jax.make_jaxpr(jax.grad(convolved, argnums=1))(x, k)) - forward
    assert back == pytest.approx(forward, rel=0.01)
    both = products(jax.make_jaxpr(jax.grad(convolved, argnums=(0, 1)))(x, k))
    assert both == pytest.approx(forward * (2 + 81 / 4 / 16), rel=0.01)


def test_products_agree_with_xla_on_matrices_under_every_kind_of_call():
    a, b = np.ones((6, 7), np.float32), np.ones((7, 8), np.float32)

    @jax.jit
    def step(a, b):
        inner = jax.checkpoint(lambda a: jax.jit(jnp.matmul)(a, b))
        return jax.lax.cond(a[0, 0] > 0, inner, lambda a: jnp.zeros((6, 8)), a)

    assert products(jax.make_jaxpr(step)(a, b)) == 2 * 6 * 7 * 8
    flat = jax.jit(jnp.matmul).lower(a, b).compile().cost_analysis()["flops"]
    assert flat == 2 * 6 * 7 * 8


def test_the_slowest_kind_of_work_is_the_bound():
    chip = Chip(flops=100.0, hbm=10.0, ici=1.0, memory=50)
    read = {
        "batch": 12,
        "products": 200.0,
        "flops": 250.0,
        "moved": 40.0,
        "memory": {"needs": 51},
        "collectives": {"all-reduce": {"count": 1, "bytes": 4, "sent": 3.0}},
    }
    found = plan.judged(read, chip, 4)
    assert found["seconds"] == {"products": 2.0, "memory": 4.0, "network": 3.0}
    assert (found["bound"], found["images a second"]) == ("memory", 3.0)
    assert found["utilisation"] == 0.5
    assert not found["fits"] and plan.judged(read, CHIPS["cpu"], 4)["fits"]


TINY = "experiments/simclr.py:tiny=True"


@pytest.fixture
def cached(tmp_path, monkeypatch):
    monkeypatch.setenv("JSSL_CACHE", str(tmp_path / "cache"))
    return tmp_path


def test_a_laptops_plan_for_eight_cpus_is_remembered(cached, capsys, monkeypatch):
    asked = [f"--config={TINY}", "--topology=cpu:8", f"--json={cached / 'plan.json'}"]
    assert plan.main(asked) == 0
    said = capsys.readouterr().out
    read = json.loads((cached / "plan.json").read_text())
    assert read["mesh"] == "data=8" and read["batch"] == 16 and read["chips"] == 8
    assert read["products"] > 0 and read["flops"] > 0
    assert set(read["collectives"]) == {"all-reduce", "all-gather"}, "nothing is permuted"
    assert "needs" in said and "all-gather" in said
    monkeypatch.setattr(plan, "examine", None)  # would be called, were it not remembered
    assert plan.main(asked) == 0
    assert capsys.readouterr().out == said


CONFIG = """
import jax, jax.numpy as jnp
from jssl import Stage, data
from jssl.method import Method

def laptop(mesh: str = "", source: str = "tfds:imagenet2012") -> list[Stage]:
    \"\"\"A matrix of 4 MB that fsdp divides.\"\"\"
    train = data.load(source, 8, size=4)
    init = lambda key, batch: jnp.ones((1024, 1024))
    step = lambda key, state, batch: (state * 0.5, {"loss": state.sum()})
    method = Method(init, step, lambda state, batch: {"h": batch["image"][:, 0, :, 0]})
    return [Stage(name="train", method=method, data=train, steps=9, mesh=mesh)]
"""


def test_what_does_not_fit_is_told_and_what_would_is_sought(cached, capsys):
    (cached / "wide.py").write_text(CONFIG)
    asked = [f"--config={cached / 'wide.py'}", "--topology=cpu:8", "--memory=0.003"]
    out = cached / "plan.json"
    assert plan.main([*asked, f"--json={out}"]) == 2
    said = capsys.readouterr().out
    head = "wide, train: batch 8, cpu:8, 8 chips, mesh data=8"
    assert said.startswith(f"{head}\ndoes not fit")
    assert "mesh=data=2;fsdp=4 makes it fit" in said
    assert json.loads(out.read_text())["would fit"]["change"] == {"mesh": "data=2;fsdp=4"}
    assert plan.main([*asked[:2], "--memory=0.0001"]) == 2
    assert "no knobs of this config make it fit" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ([f"--config={TINY}", "--topology=v9:4x4"], "such as v5e:16x16 or cpu:8"),
        ([f"--config={TINY}", "--topology=cpu:999"], "this process has 8 devices"),
        ([f"--config={TINY}", "--topology=cpu:8", "--stage=no"], "unknown stage 'no'"),
        (["--config=experiments/no.py", "--topology=cpu:8"], "no config file"),
        (
            [f"--config={TINY},mesh=data=3", "--topology=cpu:8"],
            "needs 3 devices, there are 8",
        ),
    ],
)
def test_mistakes_are_one_line(words, message, cached, capsys):
    assert plan.main(words) == 1
    said = capsys.readouterr().err
    assert said.count("\n") == 1 and message in said


@pytest.mark.skipif(importlib.util.find_spec("libtpu") is not None, reason="has libtpu")
def test_without_libtpu_the_extra_is_named(cached, capsys):
    assert plan.main([f"--config={TINY}", "--topology=v5e:4x4"]) == 1
    assert "pip install 'jssl[plan]'" in capsys.readouterr().err
