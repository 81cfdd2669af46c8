"""A control task: a disc is moved to another one, seen in images among distractors.

State p (the controlled red disc) and g (the green goal) in [-1, 1]^2, actions a in
[-1, 1]^2; p <- clip(p + 0.1 a, -1, 1). An episode of 30 steps succeeds if |p - g| < 0.1 at
its end. Images have x to the right and y downward. Pure functions of one episode, for
`vmap` and `scan`.
"""

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Bool, Float, Int

STEPS = 30  # of an episode
SPEED = 0.1
NEAR = 0.1  # distance of a success
RADIUS = 0.2  # of the discs
MARGIN = 0.2  # of the image around [-1, 1]^2
NOISE = 0.3  # brightest background
DISTRACTORS = 3  # at most
RED, GREEN = (1.0, 0.0, 0.0), (0.0, 1.0, 0.0)
OTHERS = ((0.0, 0.0, 1.0), (1.0, 1.0, 0.0), (1.0, 0.0, 1.0), (0.0, 1.0, 1.0))


class Reach(NamedTuple):
    """The state of an episode.

    Attributes:
      position: p, of the controlled disc, (x, y).
      goal: g.
      distractors: their places; those from `present` on are not there.
      colors: of the distractors, rows of `OTHERS`.
      present: number of distractors, 0 to 3.
    """

    position: Float[Array, "2"]
    goal: Float[Array, "2"]
    distractors: Float[Array, "3 2"]
    colors: Int[Array, "3"]
    present: Int[Array, ""]


class Episode(NamedTuple):
    """A rollout of t steps.

    Attributes:
      states: before each step, [t, ...].
      images: of these states, [t, size, size, 3] in [0, 1].
      actions: [t, 2].
      success: at the end.
    """

    states: Reach
    images: Float[Array, "t h w 3"]
    actions: Float[Array, "t 2"]
    success: Bool[Array, ""]


def reset(key: jax.Array) -> Reach:
    """A random state: uniform places, 0 to 3 distractors.

    >>> state = reset(jax.random.key(0))
    >>> state.position.shape, bool((jnp.abs(state.goal) <= 1).all())
    ((2,), True)
    """
    places, colors, count = jax.random.split(key, 3)
    xy = jax.random.uniform(places, (2 + DISTRACTORS, 2), minval=-1.0)
    shades = jax.random.randint(colors, (DISTRACTORS,), 0, len(OTHERS))
    number = jax.random.randint(count, (), 0, DISTRACTORS + 1)
    return Reach(xy[0], xy[1], xy[2:], shades, number)


def step(state: Reach, action: Float[Array, "2"]) -> Reach:
    """The state after an action, which is clipped to [-1, 1].

    >>> state = reset(jax.random.key(0))._replace(position=jnp.array([0.0, 0.95]))
    >>> print(step(state, jnp.array([-9.0, 1.0])).position)
    [-0.1  1. ]
    """
    moved = state.position + SPEED * jnp.clip(action, -1, 1)
    return state._replace(position=jnp.clip(moved, -1, 1))


def expert(state: Reach) -> Float[Array, "2"]:
    """The action clip(4 (g - p), -1, 1).

    >>> state = reset(jax.random.key(0))
    >>> here = state._replace(position=jnp.zeros(2), goal=jnp.array([1.0, 0.125]))
    >>> expert(here).tolist()
    [1.0, 0.5]
    """
    return jnp.clip(4 * (state.goal - state.position), -1, 1)


def reached(state: Reach) -> Bool[Array, ""]:
    """True if |p - g| < 0.1.

    >>> state = reset(jax.random.key(0))
    >>> bool(reached(state._replace(position=state.goal + 0.05)))
    True
    """
    return jnp.linalg.norm(state.position - state.goal) < NEAR


def render(state: Reach, key: jax.Array, size: int = 32) -> Float[Array, "size size 3"]:
    """An image in [0, 1]: discs before uniform noise, the controlled one in front.

    >>> image = render(reset(jax.random.key(0)), jax.random.key(1))
    >>> image.shape, bool((image[..., 0] > 0.95).any())
    ((32, 32, 3), True)
    """
    edge = 1 + MARGIN
    pixel = 2 * edge / size
    at = -edge + pixel * (jnp.arange(size) + 0.5)
    grid = jnp.stack(jnp.meshgrid(at, at), -1)  # [size, size, 2], (x, y)
    image = NOISE * jax.random.uniform(key, (size, size, 3))
    there = jnp.arange(DISTRACTORS) < state.present
    places = jnp.concatenate([state.distractors, state.goal[None], state.position[None]])
    shown = jnp.concatenate([there, jnp.ones(2, bool)])
    own = jnp.array([GREEN, RED])
    colors = jnp.concatenate([jnp.array(OTHERS)[state.colors], own])
    for i in range(DISTRACTORS + 2):
        distance = jnp.linalg.norm(grid - places[i], axis=-1)
        cover = shown[i] * jnp.clip((RADIUS - distance) / pixel + 0.5, 0, 1)
        image = image + cover[..., None] * (colors[i] - image)
    return image


def rollout(
    key: jax.Array,
    policy: Callable[[Reach, jax.Array], jax.Array],
    steps: int = STEPS,
    size: int = 32,
) -> Episode:
    """An episode from a random state.

    Args:
      key: of the first state and of the backgrounds.
      policy: (state, image) -> action [2].
      steps: length.
      size: side of the images in pixels.

    >>> bool(rollout(jax.random.key(0), lambda state, image: expert(state)).success)
    True
    """
    begin, noise = jax.random.split(key)

    def advance(state, key):
        image = render(state, key, size)
        action = policy(state, image)
        return step(state, action), (state, image, action)

    last, seen = lax.scan(advance, reset(begin), jax.random.split(noise, steps))
    states, images, actions = seen
    return Episode(states, images, actions, reached(last))
