"""RGB and flow of a clip share what happens: Cross and Learn, or InfoNCE between them.

    python -m jssl.main --config=experiments/rgb_flow.py
    python -m jssl.main --config=experiments/rgb_flow.py:kind=info_nce
    python -m jssl.main --config=experiments/rgb_flow.py:flow=lucas_kanade
    python -m jssl.main --config=experiments/rgb_flow.py:source=moving_digits,reading=

Sayed et al. 2018, https://arxiv.org/abs/1811.03879. Reference, UCF-101, fine-tuned: a
CaffeNet of frames 58 to 59 %. Ours: docs/results.md; UCF-101 is not at hand.
"""

import jax
import jax.numpy as jnp

from jssl import Stage, baselines, evals, nets, views
from jssl.config import Counts, Fraction, Positive, tiny
from jssl.knobs import CONVNET, Flow, Images, Run, Small, first_frame
from jssl.methods.crossmodal.rgb_flow import rgb_flow
from jssl.models.heads import MLP, Classifier
from jssl.models.multiview import PerView

RUNS = {"": 3, "kind=info_nce": 3, "flow=lucas_kanade": 1, "weight=1.0": 1}
REACH = 4.0  # pixels of flow that are 1 to the network


@tiny(CONVNET, source="scenes", reading="frames=3;count=64;size=16", epochs=0.3,
      supervised_epochs=0.3, projector=(4,))  # fmt: skip
def laptop(
    run: Run = Run(),
    images: Images = Images(
        source="scenes",
        reading="frames=3;count=4000;camera=0.05",
        epochs=15.0,
        batch=128,
        supervised_epochs=7.5,
    ),
    small: Small = Small(),
    kind: str = "cross",
    weight: Fraction = 0.5,
    temperature: Positive = 0.1,
    flow: Flow = Flow(),
    centered: bool = True,
    flip: Fraction = 0.5,
    projector: Counts = (64,),
) -> list[Stage]:
    """Rendered rooms, a frame and two flows of each clip: about two minutes on two cores.

    The label is the kind of the largest object; balls and triangles move, discs and squares
    rarely. Both modalities are mirrored alike, and x of the flow changes its sign. Heads
    end in batch norm, without which some units of their rectified outputs are 0 for every
    clip. The supervised baseline sees frames only.

    Args:
      source: Data set of clips: scenes, moving_digits, bouncing_digits, clips:FOLDER.
      kind: Loss: cross (the paper) or info_nce.
      weight: Weight of the agreement of modalities in cross, beside the diversity of clips.
      temperature: Temperature of the similarities of info_nce.
      centered: Subtract the mean flow of each frame, which the camera's motion dominates.
      flip: Probability of a horizontal flip.
      projector: Widths of the layers of each modality's head.
    """
    train = images.load(run)
    motion = flow.of(train)

    def pair(batch):
        """The first frame [n, h, w, c], and the flow [n, t - 1, h, w, 2]."""
        found = motion(batch)
        return batch["video"][:, 0], views.centered_flow(found) if centered else found

    def prepare(batch):
        rgb, found = pair(batch)
        return rgb, stacked(found)

    def augment(key, batch):
        rgb, found = pair(batch)
        turned = jax.random.bernoulli(key, flip, (len(rgb),))
        at = lambda x: turned.reshape(-1, *(1,) * (x.ndim - 1))
        mirrored = jnp.where(at(rgb), rgb[:, :, ::-1], rgb)
        return mirrored, stacked(jnp.where(at(found), views.flow_hflip(found), found))

    encoders, heads = (small.encoder(),) * 2, (MLP(projector, last_norm="affine"),) * 2
    method = rgb_flow(
        nets.linen(PerView(encoders, heads)),
        small.adamw(train.steps(images.epochs)),
        augment,
        prepare=prepare,
        kind=kind,
        weight=weight,
        temperature=temperature,
    )
    classifier = nets.linen(Classifier(small.encoder(), train.classes))
    of_flow = evals.renamed(evals.linear_probe(name="h/flow"), "flow")
    return [
        baselines.pretrain_stage(
            run,
            images,
            train,
            method,
            classifier if train.classes else None,
            prepare=first_frame,
            further={"linear flow": of_flow},
            chance={"flow_found": 1 / images.batch},
        )
    ]


def stacked(flow):
    """Flows [n, t, h, w, 2] as channels [n, h, w, 2 t], of about unit size."""
    n, t, h, w, _ = flow.shape
    return jnp.moveaxis(flow, 1, 3).reshape(n, h, w, 2 * t) / REACH
