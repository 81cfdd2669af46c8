"""Gradients accumulated over several steps: one update, and targets that wait for it."""

import jax
import numpy as np
import optax
import pytest
from tiers import module

WAITING = {  # the parameters that follow the trained ones
    "byol": lambda state: state.target.params,
    "mean_teacher": lambda state: state.teacher.params,
    "i_jepa": lambda state: state.target.params,
    "data2vec": lambda state: state.teacher.params,
    "mixmatch": lambda state: (),
    "uda": lambda state: (),
    "dbn": lambda state: (),
}
COMPARING = ("freematch", "moco", "remixmatch", "simclr", "simclr_v2", "vicreg")


def same(a, b):
    return all(jax.tree.leaves(jax.tree.map(np.array_equal, a, b)))


@pytest.mark.parametrize("name", WAITING)
def test_counts_and_targets_move_with_the_weights(name):
    method, batch = module(name).tiny(optax.MultiSteps(optax.sgd(0.1), 2))
    state, step = jax.jit(method.init)(jax.random.key(0), batch), jax.jit(method.step)
    counts, moved = [], []
    for i in range(4):
        before, (state, _) = state, step(jax.random.key(i), state, batch)
        counts.append(int(state.count))
        moved.append(not same(WAITING[name](before), WAITING[name](state)))
    assert counts == [0, 1, 1, 2]
    assert moved == [False, True] * 2 if WAITING[name](state) else not any(moved)


@pytest.mark.parametrize("name", COMPARING)
def test_a_loss_that_compares_samples_refuses_to_accumulate(name):
    for wrapped in (lambda tx: tx, lambda tx: optax.chain(optax.clip(1.0), tx)):
        method, batch = module(name).tiny(wrapped(optax.MultiSteps(optax.sgd(0.1), 4)))
        with pytest.raises(ValueError, match="compares the samples of a batch.*MultiSteps"):
            jax.eval_shape(method.init, jax.random.key(0), batch)
