"""Behavior cloning on frozen features, and the task that it is judged by."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from toys import images, jitted, noisy

from jssl import data, evals
from jssl.method import field
from jssl.methods.masked.mae import mae
from jssl.methods.masked.robot_mae import robot_mae
from jssl.methods.transfer.linear import after
from jssl.models.policy import Policy
from jssl.models.vit import Encoder, MaskedAutoencoder, Pooled
from jssl.nets import Net
from jssl.ops.point_reach import SPEED, Reach, expert, render, rollout

headline = "loss"
KEY = jax.random.key(0)
ENCODER = Encoder(16, 1, 2, 4)


def tiny(tx):
    policy = jitted(Policy(2, 8, (16, 8)))
    net = jitted(Pooled(ENCODER, "flat"))
    method = robot_mae(net, policy, tx or optax.adam(1e-2), noisy, known=field("position"))
    place = jnp.linspace(-1, 1, 16).reshape(8, 2)
    return method, {"image": images(), "position": place, "action": jnp.sin(3 * place)}


def test_the_encoder_has_no_gradient_and_is_not_updated():
    method, batch = tiny(optax.sgd(0.1, momentum=0.9))
    state = method.init(KEY, batch)
    after_one, _ = method.step(KEY, state, batch)
    jax.tree.map(np.testing.assert_array_equal, state.net, after_one.net)

    def loss(net):
        out = method.embed(state._replace(net=net), batch)
        return jnp.square(out["prediction"] - batch["action"]).mean()

    grads = jax.tree.leaves(jax.grad(loss)(state.net))
    assert grads and not any(np.any(grad) for grad in grads)


def test_the_policy_starts_from_the_encoder_of_the_pretraining():
    method, batch = tiny(None)
    net = jitted(MaskedAutoencoder(ENCODER, 8, 1, 2))
    below = mae(net, optax.adam(1e-3), 4).init(jax.random.key(7), batch)
    state = after("pretrain")(method.init(KEY, batch), {"pretrain": below})
    jax.tree.map(
        np.testing.assert_array_equal, state.net.params["encoder"], below.params["encoder"]
    )


def test_the_policy_is_that_of_a_loop_in_numpy():
    policy, rng = Policy(2, 3, (5, 4)), np.random.default_rng(0)
    z, s = rng.normal(size=(6, 7)), rng.normal(size=(6, 2))
    params = policy.init(KEY, jnp.asarray(z), jnp.asarray(s))["params"]
    params = jax.tree.map(lambda x: rng.normal(size=x.shape).astype(np.float32), params)
    out = policy.apply({"params": params}, jnp.asarray(z), jnp.asarray(s))
    dense = lambda name, x: x @ params[name]["kernel"] + params[name]["bias"]
    alpha, scale = 1.6732632423543772, 1.0507009873554805
    for i in range(6):
        row = (z[i] - z[i].mean()) / np.sqrt(z[i].var() + 1e-6)
        row = row * params["norm"]["scale"] + params["norm"]["bias"]
        x = np.concatenate([dense("features", row), dense("known", s[i])])
        for name in ("hidden0", "hidden1"):
            x = dense(name, x)
            x = scale * np.where(x > 0, x, alpha * np.expm1(x))
        np.testing.assert_allclose(out["h"][i], x, rtol=1e-4, atol=1e-5)
        np.testing.assert_allclose(
            out["prediction"][i], dense("action", x), rtol=1e-4, atol=1e-5
        )


def test_a_policy_with_batch_norm_is_independent_of_the_scale_of_each_feature():
    policy, rng = Policy(2, 3, (5,), norm="batch"), np.random.default_rng(0)
    z = jnp.asarray(rng.normal(size=(64, 7)), jnp.float32)
    weights = policy.init(KEY, z)
    out = lambda z: policy.apply(weights, z, train=True, mutable="batch_stats")[0]
    moved = 5 + jnp.arange(1.0, 8) * z
    np.testing.assert_allclose(out(moved)["h"], out(z)["h"], rtol=1e-3, atol=1e-4)


def test_a_policy_names_its_norms():
    with pytest.raises(ValueError, match="norm must be layer, batch or empty"):
        Policy(2, 3, (5,), norm="group").init(KEY, jnp.zeros((1, 8)))


def test_weights_of_the_policy_are_orthogonal():
    params = Policy(2, 8, (8, 8)).init(KEY, jnp.zeros((1, 8)))["params"]
    square = lambda name: params[name]["kernel"].T @ params[name]["kernel"]
    np.testing.assert_allclose(square("hidden1"), 2 * np.eye(8), atol=1e-5)
    np.testing.assert_allclose(square("action"), 1e-4 * np.eye(2), atol=1e-8)


def test_the_expert_always_succeeds_by_the_stated_dynamics():
    keys = jax.random.split(KEY, 50)
    play = jax.jit(jax.vmap(lambda key: rollout(key, lambda s, image: expert(s), size=8)))
    found = play(keys)
    assert found.success.all()
    p, goal = (np.asarray(x) for x in (found.states.position, found.states.goal))
    wanted = np.clip(p[:, :-1] + SPEED * np.clip(4 * (goal - p)[:, :-1], -1, 1), -1, 1)
    np.testing.assert_allclose(p[:, 1:], wanted, atol=1e-6)
    np.testing.assert_array_equal(goal, goal[:, :1].repeat(30, 1))
    still = jax.vmap(lambda key: rollout(key, lambda s, _: jnp.zeros(2), size=8))(keys)
    assert still.success.mean() < 0.2


def test_rollouts_and_images_are_functions_of_their_keys():
    play = jax.jit(lambda key: rollout(key, lambda s, image: expert(s), size=8))
    one, two, other = play(KEY), play(KEY), play(jax.random.key(1))
    jax.tree.map(np.testing.assert_array_equal, one, two)
    assert not np.allclose(one.images, other.images)


def test_an_image_has_the_discs_where_the_state_says():
    state = Reach(
        jnp.array([0.5, -0.5]),
        jnp.array([-0.5, 0.5]),
        jnp.zeros((3, 2)),
        jnp.zeros(3, int),
        jnp.array(0),
    )
    image = np.asarray(render(state, KEY, 48))
    at = lambda x: int((x + 1.2) / 2.4 * 48)
    np.testing.assert_allclose(image[at(-0.5), at(0.5)], [1, 0, 0], atol=1e-6)
    np.testing.assert_allclose(image[at(0.5), at(-0.5)], [0, 1, 0], atol=1e-6)
    assert image[at(0), at(0)].max() <= 0.3  # the distractors are not there
    beside = np.asarray(render(state._replace(present=jnp.array(1)), KEY, 48))
    np.testing.assert_allclose(beside[at(0), at(0)], [0, 0, 1], atol=1e-6)
    area = (image[..., 0] > 0.5).sum() * (2.4 / 48) ** 2
    np.testing.assert_allclose(area, np.pi * 0.2**2, rtol=0.1)


def plain():
    """The true state as features."""
    return Net(lambda key, x: ({}, {}), lambda params, stats, x, **how: (x, stats))


def test_a_policy_of_the_state_clones_the_expert():
    source = data.load("point_reach:demos", 128, labeled=True, size=8)
    policy = jitted(Policy(2, 32, (64, 64), norm=""))
    tx = optax.adam(optax.cosine_decay_schedule(3e-3, 2000))
    method = robot_mae(plain(), policy, tx, prepare=field("state"))
    table = {k: jnp.asarray(v) for k, v in source.table.items()}

    @jax.jit
    def trained(state, keys):
        def step(state, key):
            rows = jax.random.randint(key, (256,), 0, source.size)
            return method.step(key, state, {k: x[rows] for k, x in table.items()})

        return jax.lax.scan(step, state, keys)[0]

    state = trained(method.init(KEY, table), jax.random.split(KEY, 2000))
    test = {k: jnp.asarray(v) for k, v in source.split("test").table.items()}
    error = jnp.square(method.embed(state, test)["prediction"] - test["action"]).mean()
    assert error < 1e-3


class Played:
    """Features whose output is a policy of the state."""

    def __init__(self, policy):
        self.policy = policy

    names = ("prediction",)

    def of(self, rows, name="h"):
        assert rows["image"].shape == (20, 8, 8, 3)
        return self.policy(np.asarray(rows["state"]))

    def unused(self, *args, **kwargs):
        raise NotImplementedError

    __call__ = labels = targets = rows = few = generated = generated_of = unused


def test_rollouts_of_the_expert_succeed_and_of_its_opposite_fail():
    judge = evals.reaching(20, size=8)
    toward = lambda s: np.clip(4 * (s[:, 2:] - s[:, :2]), -1, 1)
    for final in (False, True):
        assert judge(Played(toward), final)["success"] == 1
        assert judge(Played(lambda s: -toward(s)), final)["success"] < 0.1


def test_rollouts_begin_in_states_that_are_not_in_the_data():
    def first(final):
        seen = []
        policy = Played(lambda s: seen.append(s) or np.zeros((20, 2)))
        evals.reaching(20, size=8)(policy, final)
        return [x.tobytes() for x in seen[0]]

    begun = {*first(False), *first(True)}
    assert len(begun) == 40
    source = data.load("point_reach", 8, size=8, count=80)
    for part in ("train", "val", "test"):
        assert not begun & {x.tobytes() for x in source.split(part).column("state")}


def test_demonstrations_are_columns_of_the_rollouts():
    source = data.load("point_reach:demos", 30, size=8, demos=3)
    table = source.table
    assert table["image"].shape == (90, 8, 8, 3) and table["image"].dtype == np.uint8
    p, g = np.split(table["state"], 2, axis=1)
    np.testing.assert_array_equal(p, table["position"])
    np.testing.assert_allclose(table["action"], np.clip(4 * (g - p), -1, 1), atol=1e-6)
    np.testing.assert_array_equal(table["episode"], np.arange(3).repeat(30))
    ends = [np.linalg.norm((g - p)[i]) for i in (29, 59, 89)]
    assert max(ends) < 0.1
    assert source.split("test").size == 600
    first = data.load("point_reach", 4, count=8, size=8)
    assert first.size == 8 and first.split("val").size == 2
