"""Memory, FLOPs and communication of a compiled step.

FLOPs of products are counted in the traced step, before compilation; memory and
collectives are read from the compiled program, where collectives inside a loop count once
per iteration. In a ring of g chips each chip sends

    all-reduce 2 (g-1)/g S,  all-gather and all-to-all (g-1)/g S,  reduce-scatter (g-1) S

bytes, where S is the size of the result on one chip; a permutation sends S.
"""

import math
import re
from collections import defaultdict
from typing import Any, NamedTuple

KINDS = (
    "all-reduce",
    "all-gather",
    "reduce-scatter",
    "all-to-all",
    "collective-permute",
)
WIDTHS = {"pred": 1, "bf16": 2, "f16": 2, "c64": 8, "c128": 16}


class Collective(NamedTuple):
    """All collectives of one kind in a step.

    Attributes:
      count: number of executions in a step, loop iterations included.
      bytes: size of their results on one chip.
      sent: bytes sent by one chip.
    """

    count: int = 0
    bytes: int = 0
    sent: float = 0.0


def products(jaxpr: Any) -> float:
    """FLOPs of matrix products and convolutions in a (closed) jaxpr, on all devices.

    A multiply-add counts as two. Loops count once per iteration (`while` once), and a
    `cond` as its most expensive branch.

    >>> import jax
    >>> step = jax.make_jaxpr(lambda a, b: jax.lax.map(lambda row: row @ b, a))
    >>> products(step(jax.numpy.ones((3, 4)), jax.numpy.ones((4, 5))))  # 2 * 3 * 4 * 5
    120.0
    """
    total = 0.0
    for eqn in getattr(jaxpr, "jaxpr", jaxpr).eqns:
        name, params = eqn.primitive.name, eqn.params
        if name == "dot_general":
            (contracted, _), _ = params["dimension_numbers"]
            left = eqn.invars[0].aval.shape
            inner = math.prod(left[i] for i in contracted)
            total += 2.0 * math.prod(eqn.outvars[0].aval.shape) * inner
        elif name == "conv_general_dilated":
            kernel = eqn.invars[1].aval.shape
            out = math.prod(eqn.outvars[0].aval.shape)
            taps = math.prod(kernel) / kernel[params["dimension_numbers"].rhs_spec[0]]
            total += 2.0 * out * taps / math.prod(params["lhs_dilation"])
        else:
            inner = [products(part) for part in _inside(params)]
            if inner:
                turns = params.get("length", 1) if name == "scan" else 1
                total += turns * (max(inner) if name == "cond" else sum(inner))
    return total


def _inside(params):
    for value in params.values():
        for part in value if isinstance(value, tuple | list) else (value,):
            if hasattr(getattr(part, "jaxpr", part), "eqns"):
                yield part


def collectives(text: str) -> dict[str, Collective]:
    """Collectives in the text of a compiled program, summed by kind."""
    parts = _computations(text)
    found = defaultdict(Collective)
    for name, turns in _turns(text, parts).items():
        for line in parts[name]:
            match = re.search(rf"= (.*?) ({'|'.join(KINDS)})(-start)?\(", line)
            if match:
                kind, size = match[2], _result_bytes(match[1], match[2], bool(match[3]))
                old, group = found[kind], _group(line)
                sent = size * _sends(kind, group)
                found[kind] = Collective(
                    old.count + turns, old.bytes + turns * size, old.sent + turns * sent
                )
    return dict(found)


def _computations(text):
    """{name of a computation: its lines}; the entry computation is "ENTRY"."""
    parts, lines = {}, None
    for line in text.splitlines():
        head = re.match(r"(ENTRY )?%?([\w.-]+) \(.*\{$", line)
        if head:
            lines = parts.setdefault("ENTRY" if head[1] else head[2], [])
        elif line.startswith("}"):
            lines = None
        elif lines is not None:
            lines.append(line)
    return parts


def _turns(text, parts):
    """{computation: number of executions per step}, for those reachable from the entry."""
    turns, todo = defaultdict(int), [("ENTRY", 1)]
    while todo:
        name, times = todo.pop()
        if name not in parts:
            continue
        turns[name] += times
        for line in parts[name]:
            loop = re.search(r" while\(.*condition=%?([\w.-]+), body=%?([\w.-]+)", line)
            if loop:
                todo.append((loop[2], times * _trips(line, parts.get(loop[1], []))))
                continue
            todo += [
                (x, times) for x in re.findall(r"(?:calls|to_apply)=%?([\w.-]+)", line)
            ]
            for branches in re.findall(r"branch_computations=\{(.*?)\}", line):
                todo += [(x.strip(" %"), times) for x in branches.split(",")]
            pair = r"(?:true|false)_computation=%?([\w.-]+)"
            todo += [(x, times) for x in re.findall(pair, line)]
    return turns


def _trips(line, condition):
    """Trip count of a loop, from the compiler or from the constant in its condition."""
    known = re.search(r"known_trip_count[^0-9]*(\d+)", line)
    if known:
        return int(known[1])
    limits = [int(x) for at in condition for x in re.findall(r"constant\((\d+)\)", at)]
    return max(limits, default=1)


def _result_bytes(shape, kind, started):
    """Size of a result; the tuple of an asynchronous start also holds the operands."""
    if started and kind != "all-reduce":
        shape = _elements(shape)[1]
    total = 0
    for dtype, sizes in re.findall(r"([a-z]+\d*\w*)\[([\d,]*)\]", shape):
        bits = re.search(r"\d+", dtype)
        width = WIDTHS.get(dtype, int(bits[0]) / 8 if bits else 1)
        total += int(width * math.prod(int(n) for n in sizes.split(",") if n))
    return total


def _elements(shape):
    """Splits the text of a tuple into the texts of its elements."""
    depth, found = 0, [""]
    for letter in shape.strip()[1:-1]:
        depth += (letter in "([{") - (letter in ")]}")
        if letter == "," and not depth:
            found.append("")
        else:
            found[-1] += letter
    return found


def _group(line):
    """Number of chips in a replica group; 0 if unknown."""
    listed = re.search(r"replica_groups=\{\{([\d,]+)\}", line)
    if listed:
        return listed[1].count(",") + 1
    tiled = re.search(r"replica_groups=\[(\d+),(\d+)\]", line)
    if tiled:
        return int(tiled[2])
    named = re.search(r"replica_groups=mesh\[(.*?)\] \{(.*?)\}", line)
    if named:
        sizes = dict(re.findall(r"'(\w+)'=(\d+)", named[1]))
        return math.prod(int(sizes[x]) for x in re.findall(r"'(\w+)'", named[2]))
    return 0


def _sends(kind, group):
    share = (group - 1) / group if group else 1.0
    return {
        "all-reduce": 2 * share,
        "all-gather": share,
        "all-to-all": share,
        "reduce-scatter": group - 1 if group else 1.0,
        "collective-permute": 1.0,
    }[kind]
