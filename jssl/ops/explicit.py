"""Comparisons of rows on meshes of Explicit axes, JAX's default kind.

There every intermediate array has a sharding in its type, and an array [n, n] of pairs
whose rows and columns both lie on one axis has none: JAX raises `ShardingTypeError`.
Inside `auto_axes` the compiler chooses, as under `jit` on a mesh of Auto axes.
"""

import inspect
from collections.abc import Callable
from functools import partial, wraps
from typing import TypeVar, overload

import jax
from jax.sharding import AxisType, PartitionSpec, auto_axes

F = TypeVar("F", bound=Callable)


@overload
def compares_rows(function: F, /, *, like: str | None = None) -> F: ...
@overload
def compares_rows(*, like: str) -> Callable[[F], F]: ...
def compares_rows(function=None, /, *, like=None):
    """Decorate a function of arrays whose samples meet: Explicit axes are Auto within.

    Elsewhere the function is called as it is: the traced computation is the same.

    Args:
      function: any function of arrays and other arguments.
      like: the argument whose rows the outputs have: outputs of as many rows are sharded
        as it is along them. All others are replicated.

    >>> mean = compares_rows(lambda x: x - x.mean(0), like="x")
    >>> mesh = jax.make_mesh((1,), ("data",))    # Explicit
    >>> with jax.set_mesh(mesh):
    ...     x = jax.device_put(jax.numpy.ones((2, 3)), PartitionSpec("data"))
    ...     jax.typeof(mean(x))
    ShapedArray(float32[2@data,3])
    """
    if function is None:
        return partial(compares_rows, like=like)
    signature = inspect.signature(function)

    @wraps(function)
    def call(*args, **kwargs):
        leaves, tree = jax.tree.flatten((args, kwargs))
        at = [i for i, x in enumerate(leaves) if isinstance(x, jax.Array)]
        mesh = _explicit(leaves[i] for i in at)
        if mesh is None:
            return function(*args, **kwargs)

        def of_arrays(*arrays):
            filled = dict(enumerate(leaves)) | dict(zip(at, arrays, strict=True))
            args, kwargs = jax.tree.unflatten(tree, filled.values())
            return function(*args, **kwargs)

        arrays = [leaves[i] for i in at]
        given = signature.bind(*args, **kwargs).arguments
        rows = None if like is None else jax.tree.leaves(given[like])[0]
        with jax.sharding.use_abstract_mesh(mesh):
            spec = _specs(of_arrays, arrays, rows)
            return auto_axes(of_arrays, out_sharding=spec)(*arrays)

    return call


def _explicit(arrays):
    """The mesh with Explicit axes in use, of the context or of an array; or None."""
    for mesh in (jax.sharding.get_abstract_mesh(), *(_mesh(x) for x in arrays)):
        if AxisType.Explicit in mesh.axis_types:
            return mesh
    return None


def _mesh(x):
    return jax.typeof(x).sharding.mesh


def _specs(function, arrays, rows):
    """The sharding of each output."""
    if rows is None:
        return PartitionSpec()
    outputs = jax.eval_shape(auto_axes(function, out_sharding=PartitionSpec()), *arrays)
    axis = PartitionSpec(*jax.typeof(rows).sharding.spec[:1])

    def spec(x):
        return axis if x.shape[:1] == rows.shape[:1] else PartitionSpec()

    return jax.tree.map(spec, outputs)
