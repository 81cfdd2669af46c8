"""Losses: functions from arrays to a scalar, one file per family.

    from jssl import losses

    losses.nt_xent(a, b, temperature=0.1)

They depend on `jssl.ops` only. State (a center, a queue) is passed in and returned;
stop-gradients are applied inside. Losses that compare samples take `axis_name` for
`pmap` and `shard_map`, and return the global value. docs/losses.md lists them all.
"""

from jssl.losses.adversarial import (
    gradient_penalty,
    hinge_discriminator,
    hinge_generator,
    least_squares_discriminator,
    least_squares_generator,
    matching_aware_discriminator,
    minimax_discriminator,
    minimax_generator,
    non_saturating_generator,
    r1_penalty,
    wasserstein_critic,
    wasserstein_generator,
)
from jssl.losses.clustering import deepcluster, nat
from jssl.losses.consistency import (
    annealed_cross_entropy,
    class_fairness,
    entropy,
    fixmatch,
    ict,
    mixmatch,
    pseudo_label,
    softmax_kl,
    softmax_squared_error,
    uda,
)
from jssl.losses.contrastive import (
    dcl,
    dclw,
    graph_contrastive,
    info_nce,
    nt_xent,
    supervised_contrastive,
)
from jssl.losses.crossmodal import clip, cross_and_learn, mil_nce, siglip
from jssl.losses.dense import (
    depth_error,
    edge_cross_entropy,
    mask_cross_entropy,
    normal_error,
    relative_depth,
)
from jssl.losses.diffusion import simple_diffusion, variational_diffusion
from jssl.losses.distillation import dino, ibot, koleo, swav, update_center
from jssl.losses.energy import (
    cd_gradients,
    free_energy_difference,
    negative_pseudo_likelihood,
    pcd_gradients,
    stochastic_pseudo_likelihood,
)
from jssl.losses.information import (
    dim_global,
    dim_local,
    dim_prior,
    dv_bound,
    info_nce_bound,
    jsd_bound,
    mine,
    nwj_bound,
)
from jssl.losses.metric import counting, margin, triplet
from jssl.losses.motion import motion_cross_entropy, triplet_ranking
from jssl.losses.predictive import cpc, cpc_per_step, nce, nce_log_z, proximal
from jssl.losses.reconstruction import (
    bernoulli_cross_entropy,
    emphasized_cross_entropy,
    emphasized_squared_error,
    masked_patch_error,
    rebalanced_cross_entropy,
    rebalancing_weights,
    scaled_cosine_error,
    squared_error,
)
from jssl.losses.redundancy import barlow_twins, sigreg, vicreg, vicreg_terms, w_mse
from jssl.losses.sequence import (
    causal_lm,
    hierarchical_softmax,
    masked_lm,
    negative_sampling,
    next_sentence,
    token_cross_entropy,
)
from jssl.losses.siamese import (
    byol_regression,
    data2vec,
    data2vec_targets,
    i_jepa,
    negative_cosine,
    nnclr,
)
from jssl.losses.sparsity import average_activation, kl_sparsity, l1_sparsity
from jssl.losses.variational import gaussian_kl, negative_elbo, negative_iwae
from jssl.losses.vat import kl_hessian_vector_product, vat, vat_perturbation
from jssl.losses.video import memory_decoupling, pointer_nll

__all__ = [
    "annealed_cross_entropy",
    "average_activation",
    "barlow_twins",
    "bernoulli_cross_entropy",
    "byol_regression",
    "causal_lm",
    "cd_gradients",
    "class_fairness",
    "clip",
    "counting",
    "cpc",
    "cpc_per_step",
    "cross_and_learn",
    "data2vec",
    "data2vec_targets",
    "dcl",
    "dclw",
    "deepcluster",
    "depth_error",
    "dim_global",
    "dim_local",
    "dim_prior",
    "dino",
    "dv_bound",
    "edge_cross_entropy",
    "emphasized_cross_entropy",
    "emphasized_squared_error",
    "entropy",
    "fixmatch",
    "free_energy_difference",
    "gaussian_kl",
    "gradient_penalty",
    "graph_contrastive",
    "hierarchical_softmax",
    "hinge_discriminator",
    "hinge_generator",
    "i_jepa",
    "ibot",
    "ict",
    "info_nce",
    "info_nce_bound",
    "jsd_bound",
    "kl_hessian_vector_product",
    "kl_sparsity",
    "koleo",
    "l1_sparsity",
    "least_squares_discriminator",
    "least_squares_generator",
    "margin",
    "mask_cross_entropy",
    "masked_lm",
    "masked_patch_error",
    "matching_aware_discriminator",
    "memory_decoupling",
    "mil_nce",
    "mine",
    "minimax_discriminator",
    "minimax_generator",
    "mixmatch",
    "motion_cross_entropy",
    "nat",
    "nce",
    "nce_log_z",
    "negative_cosine",
    "negative_elbo",
    "negative_iwae",
    "negative_pseudo_likelihood",
    "negative_sampling",
    "next_sentence",
    "nnclr",
    "non_saturating_generator",
    "normal_error",
    "nt_xent",
    "nwj_bound",
    "pcd_gradients",
    "pointer_nll",
    "proximal",
    "pseudo_label",
    "r1_penalty",
    "rebalanced_cross_entropy",
    "rebalancing_weights",
    "relative_depth",
    "scaled_cosine_error",
    "siglip",
    "sigreg",
    "simple_diffusion",
    "softmax_kl",
    "softmax_squared_error",
    "squared_error",
    "stochastic_pseudo_likelihood",
    "supervised_contrastive",
    "swav",
    "token_cross_entropy",
    "triplet",
    "triplet_ranking",
    "uda",
    "update_center",
    "variational_diffusion",
    "vat",
    "vat_perturbation",
    "vicreg",
    "vicreg_terms",
    "w_mse",
    "wasserstein_critic",
    "wasserstein_generator",
]
