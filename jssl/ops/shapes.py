"""Shape and dtype checks of arguments of public functions.

Values cannot be checked under `jit`; shapes and dtypes can, during tracing.
"""

from typing import Any

import jax.numpy as jnp

_KINDS: dict[str, Any] = {"float": jnp.floating, "int": jnp.integer, "bool": jnp.bool_}


def expect(function: str, /, **arguments) -> dict[str, int]:
    """Check arrays against shapes in which equal letters mean equal sizes.

    Args:
      function: name of the calling function, for the message.
      **arguments: name=(array, "n d") or name=(array, "n d", kind), where kind is
        "float" (the default), "int", "bool" or "any". A leading "..." stands for any
        number of axes. A None array, an omitted optional argument, is skipped.

    Returns:
      The size of each letter.

    Raises:
      ValueError: when a shape or dtype differs; the message has both.

    >>> expect("nt_xent", a=(jnp.ones((4, 2)), "n d"), b=(jnp.ones((4, 2)), "n d"))
    {'n': 4, 'd': 2}
    >>> expect("nt_xent", a=(jnp.ones((4, 2)), "n d"), b=(jnp.ones((4, 3)), "n d"))
    Traceback (most recent call last):
    ValueError: nt_xent: b must be float[n=4, d=2], got float32[4, 3]
    """
    sizes: dict[str, int] = {}
    for name, (array, shape, *kind) in arguments.items():
        if array is None:
            continue
        kind = kind[0] if kind else "float"
        letters = shape.split()
        came = jnp.shape(array)
        dtype = jnp.result_type(array)
        tail = came
        if letters and letters[0] == "...":
            letters = letters[1:]
            tail = came[len(came) - len(letters) :] if letters else ()
        right = kind == "any" or jnp.issubdtype(dtype, _KINDS[kind])
        fits = right and len(tail) == len(letters)
        if fits:
            pairs = list(zip(letters, tail, strict=True))
            wanted = {}
            for x, n in pairs:
                wanted.setdefault(x, int(x) if x.isdigit() else sizes.get(x, n))
            fits = all(wanted[x] == n for x, n in pairs)
        if not fits:
            sketch = [f"{x}={sizes[x]}" if x in sizes else x for x in shape.split()]
            raise ValueError(
                f"{function}: {name} must be {kind}[{', '.join(sketch)}], got "
                f"{dtype}{list(came)}"
            )
        sizes.update({x: n for x, n in pairs if not x.isdigit()})
    return sizes
