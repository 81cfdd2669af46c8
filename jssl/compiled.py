"""What a compiled step needs: memory, arithmetic, and what its chips say to each other.

Products are counted in the traced step, whatever the compiler makes of it; memory and
collectives are read from the compiled program, each collective as often as the loop
around it turns. A ring of g chips sends of S bytes

    all-reduce 2 (g-1)/g S,  all-gather and all-to-all (g-1)/g S,  reduce-scatter (g-1) S

with S the bytes of the result on one chip, and a permutation sends S.
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
      count: how many, loops counted.
      bytes: of their results on one chip.
      sent: bytes that one chip sends.
    """

    count: int = 0
    bytes: int = 0
    sent: float = 0.0


def products(jaxpr: Any) -> float:
    """FLOPs of matrix products and convolutions in a (closed) jaxpr, on all devices.

    Two for each multiplication and addition; loops count as often as they turn (a
    `while` once), the costlier branch of a `cond`.

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
    """{kind: its sum} of a compiled program's text; kinds that it lacks are left out."""
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
    """{name: its lines}, the entry under "ENTRY"."""
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
    """How often each computation that is reached from the entry runs in one step."""
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
    """Of a loop: as the compiler knows it, or the number its condition compares with."""
    known = re.search(r"known_trip_count[^0-9]*(\d+)", line)
    if known:
        return int(known[1])
    limits = [int(x) for at in condition for x in re.findall(r"constant\((\d+)\)", at)]
    return max(limits, default=1)


def _result_bytes(shape, kind, started):
    """Of the result: what starts and is done later also carries its operands."""
    if started and kind != "all-reduce":
        shape = _elements(shape)[1]
    total = 0
    for dtype, sizes in re.findall(r"([a-z]+\d*\w*)\[([\d,]*)\]", shape):
        bits = re.search(r"\d+", dtype)
        width = WIDTHS.get(dtype, int(bits[0]) / 8 if bits else 1)
        total += int(width * math.prod(int(n) for n in sizes.split(",") if n))
    return total


def _elements(shape):
    """Of a tuple's text, its elements' texts."""
    depth, found = 0, [""]
    for letter in shape.strip()[1:-1]:
        depth += (letter in "([{") - (letter in ")]}")
        if letter == "," and not depth:
            found.append("")
        else:
            found[-1] += letter
    return found


def _group(line):
    """How many chips take part together."""
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
