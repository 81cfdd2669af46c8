"""Draws samples from a run of a generative method, as a picture or as arrays.

  --workdir runs/ddpm --number 64 --out samples.png
  --workdir runs/ddpm --number 64 --out digits.npz --label 3        of one class
  --workdir runs/ddpm --out varied.png --like IMAGE --strength 0.5  near an image
  --workdir runs/latent_diffusion --out a.png --caption "a bold seven"  of a text
  --workdir runs/gpt --out texts.txt --prompt "finally she"         from a prefix
  --workdir runs/pegasus --out summaries.txt --prompt "TEXT"        of another text

Sample i depends on the seed, the run and row i of its test split, whose fields are the
conditions of the sample: a class-conditional model without --label draws the classes of
these rows. A PNG file is a grid of images; those of several fields of a sample, such as a
pair of two domains, are adjacent. An npz file has the samples by field, and JSON text in
the array `metadata`. A txt file has a text a line.
"""

import argparse
import difflib
import json
import math
from collections.abc import Mapping
from functools import wraps
from pathlib import Path
from typing import Any

import numpy as np

from jssl import cluster
from jssl.cache import written
from jssl.command import add_run, new_parser, prepare_jax, say, terminable

KINDS = (".npz", ".png", ".txt")


def main(arguments: list[str] | None = None) -> int:
    """Runs the command `python -m jssl.sample` and returns its exit status.

    0: written. 1: a user error, reported in one line; 130, 143: stopped by Ctrl-C or
    SIGTERM; nothing is written.
    """
    options = parser().parse_args(arguments)
    return say(lambda: launch(options), options.debug)


def parser() -> argparse.ArgumentParser:
    parse = new_parser("sample", __doc__)
    add_run(parse)
    add = parse.add_argument
    add("--number", type=int, default=64, help="samples (64)")
    add("--seed", type=int, default=0, help="random seed of the samples (0)")
    add("--label", help="class of all samples, by number or name")
    add("--caption", metavar="TEXT", help="text of all samples, in the words of the data")
    add("--prompt", metavar="TEXT", help="beginning of all texts, or what is read for them")
    add("--like", metavar="IMAGE", help="image that all samples start from")
    add("--strength", type=float, help="noise added to that image, 0 to 1 (0.5)")
    add("--out", metavar="FILE.png|FILE.npz|FILE.txt")
    return parse


def launch(options) -> int:
    out = Path(options.out or "")
    if not options.workdir or out.suffix not in KINDS:
        raise ValueError("give --workdir=FOLDER and --out=FILE.png, FILE.npz or FILE.txt")
    if not out.parent.is_dir():
        raise ValueError(f"--out: no such folder {out.parent}")
    if options.number < 1:
        raise ValueError(f"--number must be positive, got {options.number}")
    if options.strength is not None and not options.like:
        raise ValueError("--strength is of the noise added to an image: give --like=IMAGE")
    strength = 0.5 if options.strength is None else options.strength
    if not 0 <= strength <= 1:
        raise ValueError(f"--strength must be 0 to 1, got {strength:g}")
    prepare_jax(options.debug)
    from jssl import runs, session

    workdir = Path(options.workdir)
    config = runs.read_config(workdir)
    stage, state = runs.restore(workdir, config, options.config, options.stage)
    given: dict[str, Any] = {}
    if options.label is not None:
        given["label"] = np.int32(class_number(options.label, stage.data))
    if options.caption is not None:
        given |= text(options.caption, stage.data)
    if options.prompt is not None:
        given["prompt"] = prompt(options.prompt, stage.data)
    if options.like:
        given |= {"like": image(options.like, stage.data), "strength": np.float32(strength)}
    with terminable():
        made = drawn(stage, state, options.number, options.seed, given)
    told = {k: v for k, v in config.items() if k != "provenance"}
    asked = {k: x for k, x in vars(options).items() if x is not None and k != "debug"}
    told = asked | {"config": told, "provenance": session.provenance()}
    write(out, made, told, stage.data)
    shapes = ", ".join(f"{name} {list(x.shape)}" for name, x in made.items())
    print(f"{out}: {shapes}")
    return 0


def drawn(
    stage, state, number: int, seed: int = 0, given: Mapping[str, Any] = {}
) -> dict[str, np.ndarray]:
    """Samples by field, [number, ...], of a stage's method.

    Args:
      stage: of the run.
      state: of its method.
      number: of samples.
      seed: of the random keys.
      given: conditions of every sample, of one row each; they replace the fields of the
        rows of the test split, or of the training split if there is none.

    Raises:
      ValueError: a method that generates nothing, or not by these conditions.
    """
    import jax
    import jax.numpy as jnp

    from jssl.data import subset
    from jssl.engine import Engine
    from jssl.features import existing_split
    from jssl.method import no_samples

    generate, source = stage.method.generate, stage.data
    if generate is no_samples:
        raise ValueError(f"the method of the stage {stage.name} generates no samples")

    @wraps(generate)
    def samples(key, state, batch):
        n, first = len(batch["index"]), batch["index"][0]
        rows = {k: jnp.broadcast_to(x, (n, *np.shape(x))) for k, x in given.items()}
        return generate(jax.random.fold_in(key, first), state, dict(batch) | rows)

    engine, key = Engine(stage), jax.random.key(seed)
    masks = {getattr(source.field_of(name), "mask", None) for name in given}
    for name in unused(generate, key, engine.shapes, engine.rows, given):
        if name in masks:  # of tokens, whose padding may be recognized by itself
            continue
        raise ValueError(f"samples of the stage {stage.name} do not depend on a {name!r}")
    split = source.split(existing_split(source, "test"))
    rows = subset(split, np.arange(number) % split.size)
    made = engine.collect(samples, key, state, split=rows)
    if not made:
        raise ValueError(f"the method of the stage {stage.name} generates no samples here")
    return made


def unused(generate, key, state, rows, given: Mapping[str, Any]) -> list[str]:
    """Names of conditions that have no effect on samples, found in the traced program."""
    import jax
    from jax.interpreters.partial_eval import dce_jaxpr

    n = rows["index"].shape[0]
    given = {
        name: jax.ShapeDtypeStruct((n, *np.shape(x)), np.asarray(x).dtype)
        for name, x in given.items()
    }

    def sampled(given, state, rows):
        return generate(key, state, dict(rows) | given)

    closed = jax.make_jaxpr(sampled)(given, state, rows)
    _, used = dce_jaxpr(closed.jaxpr, [True] * len(closed.jaxpr.outvars))
    return [name for name, needed in zip(sorted(given), used, strict=False) if not needed]


def class_number(text: str, source) -> int:
    """The class of a name or number.

    Raises:
      ValueError: no such class; the message has those there are.
    """
    names = [str(name) for name in source.class_names]
    if text in names:
        return names.index(text)
    if text.isdigit() and int(text) < len(names):
        return int(text)
    known = ", ".join(names) or "none"
    raise ValueError(f"--label: no class {text!r}; {source.data_name} has {known}")


def text(caption: str, source) -> dict[str, np.ndarray]:
    """Tokens and mask of a text, as columns of the data; an empty one has none.

    Raises:
      ValueError: data without captions, unknown words, or too many words.
    """
    from jssl.data.captioned import PAD, tokenized, words

    columns = source.row_shapes()
    if "tokens" not in columns:
        raise ValueError(f"--caption: {source.data_name} has no captions")
    field, length = source.field_of("tokens"), columns["tokens"].shape[1]
    padded = PAD in field.vocabulary
    spoken = words(caption) if padded else caption.lower().split()
    for word in spoken:
        if word not in field.vocabulary:
            near = difflib.get_close_matches(word, field.vocabulary, 3, 0.0)
            raise ValueError(
                f"--caption: no caption of {source.data_name} has the word {word!r}; the "
                f"nearest of its {len(field.vocabulary)} words are {', '.join(near)}"
            )
    if len(spoken) > length:
        raise ValueError(
            f"--caption: captions of {source.data_name} have at most {length} words, got "
            f"{len(spoken)}"
        )
    if not padded:
        if len(spoken) != length:
            raise ValueError(
                f"--caption: captions of {source.data_name} have {length} words, such as "
                f"those of {', '.join(field.vocabulary)}; got {len(spoken)}"
            )
        return {"tokens": np.array([field.vocabulary.index(x) for x in spoken], np.int32)}
    tokens, mask = tokenized([caption], field.vocabulary, length)
    return {"tokens": tokens[0]} | ({field.mask: mask[0]} if field.mask in columns else {})


def prompt(beginning: str, source) -> np.ndarray:
    """Tokens of the beginning of a text, int32 [p].

    Raises:
      ValueError: data without a tokenizer, or an empty text.
    """
    from jssl.data.tokenizing import FILE, parsed

    if FILE not in source.files:
        raise ValueError(f"--prompt: {source.data_name} is no text")
    found = parsed(source.files[FILE]).encode(beginning)
    if not found or not beginning.strip():  # a space can be a token
        raise ValueError("--prompt must have a word")
    return np.array(found, np.int32)


def image(path: str, source) -> np.ndarray:
    """The image of a file, in the shape of those of the data, floats in [0, 1].

    Raises:
      ValueError: a file that is no image, or data that are no square images.
    """
    from jssl.data.decoding import decode

    if "image" not in source.row_shapes():
        raise ValueError(f"--like: {source.data_name} has no images")
    h, w, c = source.image_shape
    if h != w:
        raise ValueError(f"--like needs data of square images, got {w}x{h} pixels")
    return np.asarray(decode(path, path, h, c) / 255, np.float32)


def write(
    out: Path, made: Mapping[str, np.ndarray], told: Mapping[str, Any], source: Any = None
) -> None:
    """Writes samples by field to a PNG, npz or txt file, atomically.

    Args:
      out: the file.
      made: samples by field.
      told: metadata, for npz.
      source: the data, whose fields show tokens as text.

    Raises:
      ValueError: samples that are no images, for PNG, or no text, for txt.
    """
    if out.suffix == ".txt":
        write_text(out, made, source)
        return
    if out.suffix == ".npz":
        with written(out) as part, part.open("wb") as file:
            text = json.dumps(told, default=str)
            np.savez(file, **made, metadata=np.array(text))  # type: ignore[arg-type]
        return
    from PIL import Image

    from jssl.pictures import sheet

    images = [x for x in made.values() if x.ndim == 4]
    if not images:
        shapes = ", ".join(f"{name} {list(x.shape)}" for name, x in made.items())
        raise ValueError(f"the samples are no images, but {shapes}: give --out=FILE.npz")
    alike = [x for x in images if x.shape == images[0].shape]  # a sample's are adjacent
    cells = np.stack(alike, 1).reshape(-1, *images[0].shape[1:])
    pixels = sheet(cells, len(alike) * math.ceil(math.sqrt(len(images[0]) / len(alike))))
    with written(out) as part:
        Image.fromarray(pixels).save(part, format="png")


def write_text(out: Path, made: Mapping[str, np.ndarray], source: Any) -> None:
    """Writes samples that are tokens as a text a line.

    Raises:
      ValueError: samples that are no tokens.
    """
    from jssl.data import Tokens

    kinds = {name: source.field_of(name) for name in made}
    found = [name for name, kind in kinds.items() if isinstance(kind, Tokens)]
    if not found:
        shapes = ", ".join(f"{name} {list(x.shape)}" for name, x in made.items())
        raise ValueError(f"the samples are no text, but {shapes}: give --out=FILE.npz")
    rows = made[found[0]]
    lines = [" ".join(str(kinds[found[0]].shown(row[None, None])).split()) for row in rows]
    with written(out) as part:
        part.write_text("\n".join(lines) + "\n")


if __name__ == "__main__":
    cluster.run(main)
