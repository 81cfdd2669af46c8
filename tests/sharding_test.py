from itertools import islice

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import PartitionSpec as P

from jssl import config, sharding
from jssl.engine import Engine


def test_all_devices_stand_on_data_by_default():
    assert dict(sharding.make_mesh().shape) == {"data": 8}


def test_a_product_of_sharded_rows_is_not_refused():
    mesh = sharding.make_mesh()
    z = jax.device_put(jnp.ones((8, 4)), sharding.rows(mesh))
    np.testing.assert_array_equal(jax.jit(lambda z: z @ z.T)(z), np.full((8, 8), 4))


@pytest.mark.parametrize(
    ("axes", "message"),
    [
        ("data=4", "needs 4 devices, there are 8"),
        ("data:8", "a mesh must look like"),
        ("dat=8", "unknown axis 'dat'.*the axes are data, fsdp, tensor"),
        ("data=4;tesnor=2", "unknown axis 'tesnor'"),
        ("data=8;data=8", "each axis once"),
        ("data=8;fsdp=0", "of size 1 or more"),
    ],
)
def test_a_mesh_that_does_not_fit_is_refused(axes, message):
    with pytest.raises(ValueError, match=message):
        sharding.make_mesh(axes)


def test_a_batch_must_divide_among_the_devices():
    sharding.check_divides(16, sharding.make_mesh("data=4;fsdp=2"))
    with pytest.raises(ValueError, match="batch of 12 does not divide among 8 devices"):
        sharding.check_divides(12, sharding.make_mesh("data=4;fsdp=2"))


def test_the_first_rule_that_matches_a_path_counts():
    mesh = sharding.make_mesh("data=2;fsdp=4")
    shapes = {"a": {"kernel": jnp.ones((256, 64))}, "b": jnp.ones(3)}
    rules = [("a/kernel", P(None, "fsdp")), ("a", P("fsdp"))]
    found = sharding.infer(shapes, mesh, rules)
    assert found["a"]["kernel"].spec == P(None, "fsdp")
    assert found["b"].spec == P()
    assert sharding.infer(jnp.ones((256, 64)), mesh).spec == P("fsdp", None)


def test_a_method_without_rules_trains_alike_fully_sharded():
    losses = {}
    for mesh in ("data=8", "data=2;fsdp=4"):
        knobs = f"tiny=True,batch=16,widths=(4,128),projector=(256,256),mesh={mesh}"
        [stage] = config.load(f"simsiam:{knobs}").stages()
        engine = Engine(stage)
        state = engine.begin({})
        losses[mesh] = []
        for step, batch in enumerate(islice(engine.batches(0, None), 3)):
            state, metrics = engine.advance(state, step, batch)
            losses[mesh].append(np.asarray(metrics["loss"]).item())
        specs = {str(x.sharding.spec) for x in jax.tree.leaves(state)}
        assert ("fsdp" in str(specs)) == ("fsdp" in mesh)
    np.testing.assert_allclose(*losses.values(), rtol=1e-4)


def test_fully_sharded_cuts_the_widest_axis_that_divides():
    mesh = sharding.make_mesh("data=2;fsdp=4")
    assert sharding.fully_sharded((128, 1024), mesh) == P(None, "fsdp")
    assert sharding.fully_sharded((1021, 1024 * 3 + 1), mesh) == P()
    assert sharding.fully_sharded((16,), mesh) == P()


def test_rows_are_placed_in_order():
    mesh = sharding.make_mesh()
    x = np.arange(32).reshape(2, 16)
    placed = sharding.place({"x": x}, mesh, axis=1)["x"]
    np.testing.assert_array_equal(placed, x)
    assert placed.addressable_shards[3].data.shape == (2, 2)


def test_rows_of_a_queue_are_divided_where_they_divide():
    mesh = sharding.make_mesh("data=2;fsdp=2;tensor=2")
    assert sharding.rows_sharded((64, 3), mesh) == P(("data", "fsdp"))
    assert sharding.rows_sharded((6, 3), mesh) == sharding.rows_sharded((), mesh) == P()


def test_a_transformers_heads_and_hidden_units_are_cut_along_tensor():
    mesh = sharding.make_mesh("data=2;fsdp=2;tensor=2")
    shapes = {
        "block0": {
            "attention": {
                "query": {"kernel": jnp.ones((8, 8)), "bias": jnp.ones(8)},
                "out": {"kernel": jnp.ones((8, 8)), "bias": jnp.ones(8)},
            },
            "fc1": {"kernel": jnp.ones((8, 31)), "bias": jnp.ones(31)},
            "fc2": {"kernel": jnp.ones((32, 8))},
        },
        "positions": jnp.ones((1, 197, 768)),
    }
    found = jax.tree.map(
        lambda s: s.spec, sharding.infer(shapes, mesh, sharding.TRANSFORMER)
    )
    attention = found["block0"]["attention"]
    assert attention["query"] == {"kernel": P("fsdp", "tensor"), "bias": P("tensor")}
    assert attention["out"] == {"kernel": P("tensor", "fsdp"), "bias": P()}
    assert found["block0"]["fc1"] == {"kernel": P("fsdp", None), "bias": P(None)}
    assert found["block0"]["fc2"]["kernel"] == P("tensor", "fsdp")
    assert found["positions"] == P(None, None, "fsdp")
    factors = {
        "rows": {"query": {"kernel": jnp.ones(2**15)}, "fc2": {"kernel": jnp.ones(1)}}
    }
    found = sharding.infer(factors, mesh, sharding.TRANSFORMER)["rows"]  # of Adafactor
    assert found["query"]["kernel"].spec == P("fsdp")
    assert found["fc2"]["kernel"].spec == P()
