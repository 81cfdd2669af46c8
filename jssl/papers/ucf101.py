"""UCF101 at the scale of papers: its clips, and views of them."""

from dataclasses import dataclass

import jax

from jssl import views
from jssl.config import Count, Fraction
from jssl.knobs import Data
from jssl.method import Augment, Batch, Prepare
from jssl.ops.cells import cell_means
from jssl.ops.frame_order import crop_frames


@dataclass(frozen=True, kw_only=True)
class UCF101(Data):
    """UCF101 at the scale of a paper, as clips held in memory.

    Attributes:
      source: Data set: clips:FOLDER, with a subfolder of videos for each class.
      size: Side in pixels of the squares that frames are fitted to on loading.
      crop: Side in pixels of the squares that are cut from all frames of a clip.
      flip: Probability of a horizontal flip of a clip.
      dtype: Floating-point type of the network, e.g. bfloat16; empty: float32.
    """

    source: str = "clips:UCF101"
    hold_out: bool = False
    size: int = 256
    crop: Count = 224
    flip: Fraction = 0.5
    dtype: str = "bfloat16"

    def looks(self, frames: int = 0, reduce: int = 1) -> tuple[Augment, Prepare]:
        """A view of each clip, [n, t, crop, crop, c], and the input outside training.

        All frames of a clip are cropped and flipped alike, and normalized.

        Args:
          frames: successive frames that are taken at random in training; 0: all. Outside
            training all are.
          reduce: factor by which the sides of frames are reduced first, by means of pixels.
        """

        def augment(key, batch):
            begin, place, mirror = jax.random.split(key, 3)
            videos = batch["video"]
            n, t = videos.shape[:2]
            if frames:
                first = jax.random.randint(begin, (n,), 0, t - frames + 1)
                part = lambda x, at: jax.lax.dynamic_slice_in_dim(x, at, frames)
                videos = jax.vmap(part)(videos, first)
            videos = crop_frames(_reduced(videos, reduce), self.crop, place)
            flipped = jax.random.bernoulli(mirror, self.flip, (n, 1, 1, 1, 1))
            return _normal(jax.numpy.where(flipped, videos[..., ::-1, :], videos))

        def prepare(batch):
            return _normal(crop_frames(_reduced(batch["video"], reduce), self.crop))

        return augment, prepare

    def whole(self, batch: Batch) -> jax.Array:
        """Whole clips [n, t, h, w, c], normalized as by `looks`."""
        return _normal(batch["video"])


def _reduced(videos, factor):
    """Videos whose pixels are means of factor x factor."""
    if factor == 1:
        return videos
    n, t, h, w, c = videos.shape
    means = cell_means(videos.reshape(n * t, h, w, c), (h // factor, w // factor))
    return means.reshape(n, t, *means.shape[1:])


def _normal(videos):
    """Videos of three channels, normalized."""
    return views.normalize(videos, *views.IMAGENET) if videos.shape[-1] == 3 else videos
