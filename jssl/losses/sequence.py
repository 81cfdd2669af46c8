r"""Language modeling losses: masked, causal, and word2vec.

A language model gives every word w of the vocabulary a probability conditional on its
context, and is trained by the negative log likelihood of the true word:

.. math:: -\log p(w \mid \text{context})

The context is both sides of a masked word (BERT), all words before (GPT, and the
decoders of BART and PEGASUS), or a window's bag of words (word2vec, which replaces the
sum over the vocabulary by a few noise words or by a path in a binary tree).

Devlin et al. 2019, "BERT", https://arxiv.org/abs/1810.04805; Mikolov et al. 2013,
"Distributed Representations of Words and Phrases and their Compositionality",
https://arxiv.org/abs/1310.4546; for the others see each function.
"""

from functools import partial

import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array, Float, Int, Shaped

from jssl.ops.explicit import compares_rows
from jssl.ops.means import masked_mean
from jssl.ops.precision import widen
from jssl.ops.shapes import expect


def token_cross_entropy(
    logits: Float[Array, "n l v"],
    targets: Int[Array, "n l"],
    weights: Shaped[Array, "n l"] | None = None,
    label_smoothing: float = 0.0,
    axis_name: str | None = None,
) -> Float[Array, ""]:
    r"""Weighted mean cross entropy of tokens, in nats.

    .. math:: \frac{\sum_{it} m_{it} \, (-\log p_{it}(y_{it}))}{\sum_{it} m_{it}}

    Position t of `logits` predicts position t of `targets`: the caller shifts them. This
    is the loss of a decoder under teacher forcing (BART, PEGASUS), where the weights are
    1 on all but padding. They are float or bool and default to 1; if all are 0, the loss
    is 0. The sums run over all devices of `axis_name`.

    Args:
      label_smoothing: fraction s of each target spread uniformly over the vocabulary.

    Raises:
      ValueError: when the logits are not float[n, l, v] or the targets not int[n, l].

    >>> targets, weights = jnp.array([[7, 0, 0]]), jnp.array([[1, 0, 0]])
    >>> loss = token_cross_entropy(jnp.zeros((1, 3, 8)), targets, weights)
    >>> print(f"{loss:.4f}")    # log 8
    2.0794
    """
    expect(
        "token_cross_entropy",
        logits=(logits, "n l v"),
        targets=(targets, "n l", "int"),
        weights=(weights, "n l", "any"),
    )
    (logits,) = widen(logits)
    nats = optax.softmax_cross_entropy_with_integer_labels(logits, targets)  # [n, l]
    if label_smoothing:
        even = -jax.nn.log_softmax(logits).mean(-1)
        nats = (1 - label_smoothing) * nats + label_smoothing * even
    weights = jnp.ones_like(nats) if weights is None else weights
    return masked_mean(nats, weights, axis_name)


def masked_lm(
    logits: Float[Array, "n l v"],
    tokens: Int[Array, "n l"],
    mask: Shaped[Array, "n l"],
    axis_name: str | None = None,
) -> Float[Array, ""]:
    r"""Masked language modeling: cross entropy of the tokens chosen for prediction.

    .. math:: \frac{\sum_{it} m_{it} \, (-\log p_{it}(w_{it}))}{\sum_{it} m_{it}}

    `tokens` are the ids before masking. `mask` (float or bool) is 1 at chosen tokens,
    including those kept or replaced at random; both come from
    `jssl.ops.token_masking.mlm_mask`. With none chosen the loss is 0. The sums run over
    all devices of `axis_name`.

    Devlin et al. 2019, "BERT", section 3.1. https://arxiv.org/abs/1810.04805

    Raises:
      ValueError: when the logits are not float[n, l, v], the tokens not int[n, l] or
        the mask not [n, l].

    >>> loss = masked_lm(jnp.zeros((1, 3, 8)), jnp.zeros((1, 3), int), jnp.eye(3)[:1])
    >>> print(f"{loss:.4f}")    # log 8
    2.0794
    """
    expect(
        "masked_lm",
        logits=(logits, "n l v"),
        tokens=(tokens, "n l", "int"),
        mask=(mask, "n l", "any"),
    )
    return token_cross_entropy(logits, tokens, mask, axis_name=axis_name)


def causal_lm(
    logits: Float[Array, "n l v"],
    tokens: Int[Array, "n l"],
    mask: Shaped[Array, "n l"] | None = None,
    axis_name: str | None = None,
) -> Float[Array, ""]:
    r"""Causal language modeling: cross entropy of each token given the previous ones.

    .. math:: \frac{\sum_{i, t > 1} m_{it} \, (-\log p(w_{it} \mid w_{i, <t}))}
                   {\sum_{i, t > 1} m_{it}}

    Position t of `logits` is computed from `tokens` up to t and predicts the token at
    t + 1: the shift is applied here, and the last position's logits are ignored. `mask`
    is 1 on real tokens. Divide by log 2 for bits; the exponential is the perplexity.

    Radford et al. 2018, "Improving Language Understanding by Generative Pre-Training".

    Raises:
      ValueError: when the logits are not float[n, l, v], the tokens not int[n, l] or
        the mask not [n, l].

    >>> tokens = jnp.array([[0, 1, 2]])
    >>> knows_the_next = 100 * jax.nn.one_hot(jnp.array([[1, 2, 0]]), 3)
    >>> print(causal_lm(knows_the_next, tokens))
    0.0
    """
    expect(
        "causal_lm",
        logits=(logits, "n l v"),
        tokens=(tokens, "n l", "int"),
        mask=(mask, "n l", "any"),
    )
    ahead = None if mask is None else mask[:, 1:]
    return token_cross_entropy(logits[:, :-1], tokens[:, 1:], ahead, axis_name=axis_name)


def next_sentence(
    logits: Float[Array, "n 2"], labels: Int[Array, " n"]
) -> Float[Array, ""]:
    r"""Next-sentence prediction: classify segments as consecutive (0) or random (1).

    .. math:: -\frac{1}{n} \sum_i \log p_i(y_i)

    ALBERT predicts sentence order (0, or 1 if swapped) instead; the loss is the same.

    Devlin et al. 2019, "BERT", section 3.1. https://arxiv.org/abs/1810.04805

    Raises:
      ValueError: when the logits are not float[n, 2] or the labels not int[n].

    >>> loss = next_sentence(jnp.zeros((3, 2)), jnp.array([0, 1, 1]))
    >>> print(f"{loss:.4f}")    # log 2
    0.6931
    """
    expect("next_sentence", logits=(logits, "n 2"), labels=(labels, "n", "int"))
    (logits,) = widen(logits)
    return optax.softmax_cross_entropy_with_integer_labels(logits, labels).mean()


@compares_rows
def negative_sampling(
    h: Float[Array, "n d"],
    outputs: Float[Array, "v d"],
    words: Int[Array, "n *c"],
    negatives: Int[Array, "n k"],
    mask: Shaped[Array, "n *c"] | None = None,
    axis_name: str | None = None,
) -> Float[Array, ""]:
    r"""word2vec with negative sampling: discriminate the true word from k noise words.

    .. math:: \frac{1}{n} \sum_i \Big[ -\log \sigma(u_{o_i} \cdot h_i)
              - \sum_j \log \sigma(-u_{n_{ij}} \cdot h_i) \Big]

    Skip-gram: h is the center word's vector, `words` its neighbors. CBOW: h is
    `jssl.ops.word2vec.bag_of_words` of the window, `words` the centers. `outputs` is
    the table of u. Draw negatives from `jssl.ops.word2vec.noise_distribution`; those
    equal to the true word are ignored. The loss is (1 + k) log 2 while `outputs` is 0.

    `words` [n] is one word for each h. [n, c] is the whole window of each center, whose c
    pairs share the center's k negatives, so that a row is gathered once per window
    instead of once per pair (Ji et al. 2016). `mask` (float or bool) is 1 where the
    window holds a word: the mean is over those pairs, 0 if there are none, and over all
    devices of `axis_name`.

    Mikolov et al. 2013, eq. 4. https://arxiv.org/abs/1310.4546
    Ji et al. 2016. https://arxiv.org/abs/1604.04661

    Raises:
      ValueError: when a shape does not fit, a vector is not floating or a word is not
        an integer.

    >>> h, outputs = jnp.ones((1, 2)), jnp.zeros((9, 2))
    >>> negatives = jnp.array([[4, 5, 6, 7, 8]])
    >>> loss = negative_sampling(h, outputs, jnp.array([3]), negatives)
    >>> print(f"{loss:.4f}")    # 6 log 2
    4.1589
    """
    window = "n c" if jnp.ndim(words) == 2 else "n"
    expect(
        "negative_sampling",
        h=(h, "n d"),
        outputs=(outputs, "v d"),
        words=(words, window, "int"),
        negatives=(negatives, "n k", "int"),
        mask=(mask, window, "any"),
    )
    mask = jnp.ones_like(words) if mask is None else mask
    if window == "n":
        words, mask = words[:, None], mask[:, None]
    h, right, wrong = widen(h, outputs[words], outputs[negatives])
    product = partial(jnp.einsum, "nd,nxd->nx", h, precision="highest")
    is_right, is_wrong = product(right), product(wrong)  # [n, c], [n, k]
    others = negatives[:, :, None] != words[:, None]  # [n, k, c]
    noise = (others * jax.nn.softplus(is_wrong)[..., None]).sum(1)  # [n, c]
    return masked_mean(jax.nn.softplus(-is_right) + noise, mask, axis_name)


@compares_rows
def hierarchical_softmax(
    h: Float[Array, "n d"],
    nodes: Float[Array, "m d"],
    codes: Int[Array, "n b"],
    points: Int[Array, "n b"],
    lengths: Int[Array, " n"],
) -> Float[Array, ""]:
    r"""word2vec with hierarchical softmax: binary decisions along a Huffman tree.

    .. math:: -\frac{1}{n} \sum_i \sum_{j < l_i}
              \log \sigma\big((1 - 2 b_{ij}) \, u_{p_{ij}} \cdot h_i\big)

    for word i's code b along the inner nodes p, rows of `nodes`; row w of each table
    of `jssl.ops.word2vec.huffman` belongs to word w. The probabilities of all words sum
    to 1. h is as in `negative_sampling`. The loss is l log 2 while `nodes` is 0.

    Mikolov et al. 2013, section 2.1. https://arxiv.org/abs/1310.4546

    Raises:
      ValueError: when a shape does not fit, a vector is not floating or a code is not
        an integer.

    >>> h, nodes = jnp.ones((1, 2)), jnp.zeros((7, 2))
    >>> codes, points = jnp.array([[0, 1, 0]]), jnp.array([[6, 5, 0]])
    >>> loss = hierarchical_softmax(h, nodes, codes, points, jnp.array([2]))
    >>> print(f"{loss:.4f}")    # two turns: 2 log 2
    1.3863
    """
    expect(
        "hierarchical_softmax",
        h=(h, "n d"),
        nodes=(nodes, "m d"),
        codes=(codes, "n b", "int"),
        points=(points, "n b", "int"),
        lengths=(lengths, "n", "int"),
    )
    h, along = widen(h, nodes[points])  # [n, d], [n, b, d]
    turns = (along * h[:, None]).sum(-1)
    step = jnp.arange(codes.shape[1], dtype=lengths.dtype)
    walked = step[None] < lengths[:, None]  # [n, b]
    nats = jax.nn.softplus(turns * (2 * codes - 1).astype(h.dtype))
    return jnp.where(walked, nats, 0).sum(-1).mean()
