r"""Renderer of rooms with moving objects, and the exact annotation of every pixel.

A pinhole camera looks into a room: a wall, perhaps a floor and a ceiling, and up to `MOST`
objects, which are balls, or discs, squares and triangles parallel to the wall. Objects and
camera have constant velocities, but a camera that would leave the room in a long clip is
reflected. With (X, Y, Z) in the camera's frame, right, down and forward, and a focal length
of f pixels,

$$ x = f X / Z + c_x, \qquad y = f Y / Z + c_y, $$

and every ray ends at its nearest surface. Depth, instance, class, normal, optical flow and
occlusion follow from the geometry of that point. Such labels cost nothing: Ren and Lee,
"Cross-Domain Self-supervised Multi-task Feature Learning using Synthetic Imagery", CVPR
2018 (https://arxiv.org/abs/1711.09082), take them from rendered interiors.

Most balls and triangles move, most discs and squares do not, so that appearance predicts
motion. Floor and ceiling are present at random, so that the row of a pixel says little of
its depth. All is a pure function of a key.
"""

from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int, PRNGKeyArray, UInt32

from jssl.ops.edges import edge_map

KINDS = ("disc", "ball", "square", "triangle")
DISC, BALL, SQUARE, TRIANGLE = range(4)
MOBILITY = (0.05, 0.95, 0.05, 0.95)
"""Probability that an object of each kind moves."""
MOST = 4  # objects
TOGETHER = 32  # clips rendered at a time, which bounds memory
NEAREST = 2.5  # depth of an object, in units of length, as all that follow
RADIUS = (0.6, 1.0)
SPEED = (0.1, 0.25)  # per frame, of objects that move
WALL, LEVEL = (6.0, 10.0), (1.2, 2.0)  # depth of the wall; height of camera and ceiling
ABSENT = 1e4  # height of a floor or ceiling that is not there
LEAST = 0.2  # distance of the camera from wall, floor and ceiling
AGREE = 1e-3  # relative difference of depths, and of places in a frame, that are equal


class Scene(NamedTuple):
    """One room, its objects and all motions; lengths in units, times in frames.

    Surfaces are numbered: the objects, wall, floor, ceiling.

    Attributes:
      wall: depth of the wall in the first frame.
      floor: height of the camera above the floor.
      ceiling: height of the ceiling above the camera.
      center: of each object in the first frame.
      radius: of each object.
      kind: of each object, an index into `KINDS`.
      present: False for objects that do not exist.
      velocity: of each object.
      translation: of the camera in a frame, in its own coordinates, in a room without
        limits.
      rotation: of the camera in a frame, a rotation vector in radians.
      color: of each surface.
      seed: of each surface's texture.
      light: direction towards the light.
    """

    wall: Float[Array, ""]
    floor: Float[Array, ""]
    ceiling: Float[Array, ""]
    center: Float[Array, "k 3"]
    radius: Float[Array, " k"]
    kind: Int[Array, " k"]
    present: Array  # bool [k]
    velocity: Float[Array, "k 3"]
    translation: Float[Array, " 3"]
    rotation: Float[Array, " 3"]
    color: Float[Array, "s 3"]
    seed: UInt32[Array, " s"]
    light: Float[Array, " 3"]


class Style(NamedTuple):
    """Appearance of a domain.

    Attributes:
      contrast: of textures.
      rough: share of fine noise in textures.
      slant: direction of stripes and checks, in radians.
      ambient: share of light from everywhere.
      haze: length after which haze hides all but 1/e of a color.
      tint: color of the light.
      blur: share of the neighbors in a pixel, 0 to 1.
      noise: standard deviation of the sensor's noise.
    """

    contrast: float
    rough: float
    slant: float
    ambient: float
    haze: float
    tint: tuple[float, float, float]
    blur: float
    noise: float


STYLES = {
    "synthetic": Style(0.7, 0.0, 0.0, 0.5, 25.0, (1.0, 1.0, 1.0), 0.0, 0.0),
    "real": Style(0.9, 0.5, 0.8, 0.35, 18.0, (1.0, 0.9, 0.75), 0.5, 0.03),
}
"""Appearance by domain: clean rendering, and a stand-in for photographs."""


def sample_scene(
    key: PRNGKeyArray, *, camera: float = 0.15, turn: float = 0.0, moving: float = 1.0
) -> Scene:
    """Draws a scene.

    Args:
      key: of all draws.
      camera: largest translation of the camera in a frame, in units; the least is half.
      turn: largest rotation of the camera in a frame, in radians; the least is half.
      moving: factor of the probabilities `MOBILITY`.

    >>> scene = sample_scene(jax.random.key(0))
    >>> scene.center.shape, bool(scene.present[0])
    ((4, 3), True)
    """
    sizes = dict(wall=1, levels=2, there=2, count=1, place=3 * MOST, radius=MOST)
    sizes |= dict(kind=MOST, moves=MOST, heading=MOST, speed=MOST, rates=2)
    sizes |= dict(color=3 * (MOST + 3), light=2)
    ends = np.cumsum(list(sizes.values()))
    one, two, three = jax.random.split(key, 3)
    parts = jnp.split(jax.random.uniform(one, (ends[-1],)), ends[:-1])
    u = dict(zip(sizes, parts, strict=True))
    within = lambda x, ends: ends[0] + x * (ends[1] - ends[0])
    wall = within(u["wall"][0], WALL)
    floor, ceiling = jnp.where(u["there"] < 0.5, within(u["levels"], LEVEL), ABSENT)
    radius, kind = within(u["radius"], RADIUS), (4 * u["kind"]).astype(jnp.int32)
    place = u["place"].reshape(3, MOST)
    z = within(place[2], (NEAREST, wall - 1))
    x, y = (place[:2] - 0.5) * 0.8 * z  # for a focal length of one image side
    y = jnp.clip(y, radius - ceiling, floor - radius)
    moves = u["moves"] < moving * jnp.array(MOBILITY)[kind]
    angle = 2 * jnp.pi * u["heading"]
    speed = jnp.where(moves, within(u["speed"], SPEED), 0.0)
    heading = jnp.stack([jnp.cos(angle), jnp.sin(angle), jnp.zeros(MOST)], 1)
    direction = jax.random.normal(two, (2, 3))
    direction /= jnp.linalg.norm(direction, axis=1, keepdims=True)
    rate = jnp.array([camera, turn]) * (0.5 + 0.5 * u["rates"])
    azimuth, height = 2 * jnp.pi * u["light"][0], 0.3 + 0.6 * u["light"][1]
    level = jnp.sqrt(1 - height**2)
    away = -jnp.abs(jnp.sin(azimuth))  # from the side of the camera
    return Scene(
        wall=wall,
        floor=floor,
        ceiling=ceiling,
        center=jnp.stack([x, y, z], 1),
        radius=radius,
        kind=kind,
        present=jnp.arange(MOST) <= MOST * u["count"],
        velocity=speed[:, None] * heading,
        translation=rate[0] * direction[0],
        rotation=rate[1] * direction[1],
        color=0.25 + 0.65 * u["color"].reshape(-1, 3),
        seed=jax.random.bits(three, (MOST + 3,)),
        light=jnp.stack([level * jnp.cos(azimuth), -height, level * away]),
    )


def render(
    key: PRNGKeyArray,
    scene: Scene,
    *,
    frames: int = 2,
    size: int = 32,
    style: Style = STYLES["synthetic"],
) -> dict[str, Array]:
    """Renders the frames of a scene, with a focal length of `size` pixels.

    Args:
      key: of the sensor's noise.
      scene: as `sample_scene` draws it.
      frames: number of frames, t.
      size: side of a frame in pixels, s.
      style: appearance.

    Returns:
      video: float32 [t, s, s, 3], in [0, 1].
      depth: float32 [t, s, s], along the optical axis, in units.
      objects: uint8 [t, s, s], number of the object, from 1; 0: background.
      semantic: uint8 [t, s, s], 1 + kind of the object; 0: background.
      moving: uint8 [t, s, s], 1 on objects that move.
      normal: float32 [t, s, s, 3], unit vectors in the camera's frame, towards it.
      edge: uint8 [t, s, s], 1 where a neighbor has another object.
      flow: float32 [t - 1, s, s, 2], displacement (x, y) in pixels of the point that is
        seen, to the next frame.
      occluded: uint8 [t - 1, s, s], 1 where that point is not seen in the next frame.
      camera: float32 [t - 1, 6], translation in units and rotation vector in radians to the
        next frame, in the coordinates of the camera.
      label: int32, kind of the object that covers most of the first frame.
    """
    at = jnp.arange(size) - (size - 1) / 2
    rays = (
        jnp.stack([*jnp.meshgrid(at, at), jnp.full((size, size), float(size))], -1) / size
    )
    turns, places, moves = _poses(scene, frames)
    t = jnp.arange(frames)
    columns = jax.vmap(partial(_frame, scene, rays, style))(t, turns, places)
    surface, point = columns.pop("surface"), columns.pop("point")
    columns["video"] = _sensed(key, columns["video"], style)
    columns["edge"] = edge_map(columns["objects"]).astype(jnp.uint8)
    if frames > 1:
        then = t[1:], turns[1:], places[1:], surface[:-1], point[:-1]
        flow, hidden = jax.vmap(partial(_moved, scene))(*then)
        columns |= {"flow": flow, "occluded": hidden.astype(jnp.uint8)}
        rotation = jnp.broadcast_to(scene.rotation, moves.shape)
        columns["camera"] = jnp.concatenate([moves, rotation], 1)
    covers = (columns["semantic"][0, ..., None] == 1 + jnp.arange(len(KINDS))).sum((0, 1))
    return columns | {"label": covers.argmax().astype(jnp.int32)}


def rendered(
    key: PRNGKeyArray,
    count: int,
    *,
    frames: int = 2,
    size: int = 32,
    style: Style = STYLES["synthetic"],
    camera: float = 0.15,
    turn: float = 0.0,
    moving: float = 1.0,
) -> dict[str, np.ndarray]:
    """Columns of `render` for `count` scenes, [count, ...], on the host; video as bytes.

    >>> found = rendered(jax.random.key(0), 2, size=8)
    >>> found["video"].shape, found["flow"].shape
    ((2, 2, 8, 8, 3), (2, 1, 8, 8, 2))
    """
    keys = jax.random.split(key, -(-count // TOGETHER) * TOGETHER)
    rates = dict(camera=camera, turn=turn, moving=moving)
    motion = {name: jnp.float32(rate) for name, rate in rates.items()}
    parts = [
        jax.device_get(_block(part, motion, frames, size, style))
        for part in jnp.split(keys, len(keys) // TOGETHER)
    ]
    return {k: np.concatenate([part[k] for part in parts])[:count] for k in parts[0]}


@partial(jax.jit, static_argnums=(2, 3, 4))
def _block(keys, motion, frames, size, style):
    """The clips of some keys; all blocks have one size, so that they are compiled once."""

    def one(key):
        of_scene, of_noise = jax.random.split(key)
        scene = sample_scene(of_scene, **motion)
        found = render(of_noise, scene, frames=frames, size=size, style=style)
        return found | {"video": jnp.rint(255 * found["video"]).astype(jnp.uint8)}

    return jax.vmap(one)(keys)


def _poses(scene, frames):
    """Rotations [t, 3, 3] from the camera to the world, and places [t, 3], of frames.

    The third is the translation to each next frame, in the camera's coordinates [t - 1, 3].
    A coordinate of the world that would come nearer than `LEAST` to the wall, the floor or
    the ceiling changes the sign of its motion, from there on.
    """
    turned, poses = _rotation(scene.rotation), [(jnp.eye(3), jnp.zeros(3))]
    low = jnp.array([-jnp.inf, LEAST - scene.ceiling, -jnp.inf])
    high = jnp.array([jnp.inf, scene.floor - LEAST, scene.wall - LEAST])
    sign, moves = jnp.ones(3), []
    for _ in range(frames - 1):
        turn, place = poses[-1]
        ahead = turn @ scene.translation
        there = place + sign * ahead
        leaves = (there < low) & (sign * ahead < 0) | (there > high) & (sign * ahead > 0)
        sign = jnp.where(leaves, -sign, sign)
        poses.append((turn @ turned, place + sign * ahead))
        straight = (sign > 0).all()  # then without errors of rounding
        moves.append(jnp.where(straight, scene.translation, turn.T @ (sign * ahead)))
    turns, places = (jnp.stack(x) for x in zip(*poses, strict=True))
    return turns, places, jnp.array(moves)


def _rotation(vector):
    """The matrix of a rotation vector, by the formula of Rodrigues."""
    angle = jnp.linalg.norm(vector)
    x, y, z = vector / jnp.maximum(angle, 1e-12)
    cross = jnp.array([[0.0, -1, 0], [0, 0, 0], [0, 0, 0]]) * z
    cross += jnp.array([[0.0, 0, 0], [0, 0, -1], [0, 0, 0]]) * x
    cross += jnp.array([[0.0, 0, 1], [0, 0, 0], [0, 0, 0]]) * y
    cross -= cross.T
    return jnp.eye(3) + jnp.sin(angle) * cross + (1 - jnp.cos(angle)) * cross @ cross


def _cast(scene, t, place, rays):
    """Depth [..., surfaces] of each surface along rays [..., 3] in the world; inf: missed.

    Rays have a length of 1 along the optical axis.
    """
    dx, dy, dz = (rays[..., i, None] for i in range(3))
    center = scene.center + t * scene.velocity - place  # [k, 3]
    cx, cy, cz = center.T
    inf = jnp.inf
    square = dx**2 + dy**2 + dz**2
    b = dx * cx + dy * cy + dz * cz
    q = b**2 - square * (jnp.square(center).sum(1) - scene.radius**2)
    ball = jnp.where(q > 0, (b - jnp.sqrt(jnp.maximum(q, 0))) / square, inf)
    flat = cz / dz
    x, y = ((flat * d - c) / scene.radius for d, c in ((dx, cx), (dy, cy)))
    inside = jnp.select(
        [scene.kind == DISC, scene.kind == SQUARE],
        [x**2 + y**2 < 1, jnp.maximum(jnp.abs(x), jnp.abs(y)) < 0.85],
        (y < 0.5) & (jnp.sqrt(3) * jnp.abs(x) < y + 1),
    )
    objects = jnp.where(scene.kind == BALL, ball, jnp.where(inside, flat, inf))
    objects = jnp.where(scene.present, objects, inf)
    room = [
        (scene.wall - place[2]) / dz,
        jnp.where(dy > 0, (scene.floor - place[1]) / dy, inf),
        jnp.where(dy < 0, (-scene.ceiling - place[1]) / dy, inf),
    ]
    depths = jnp.concatenate([objects, *room], -1)
    return jnp.where(depths > 0, depths, inf)


def _frame(scene, rays, style, t, turn, place):
    """Columns of one frame; the surface of each pixel, and its point in the world."""
    world = rays @ turn.T
    depths = _cast(scene, t, place, world)
    surface, depth = depths.argmin(-1), depths.min(-1)
    point = place + depth[..., None] * world
    count = len(scene.kind)
    is_object, thing = surface < count, jnp.minimum(surface, count - 1)
    centers = scene.center + t * scene.velocity
    local = jnp.where(is_object[..., None], point - centers[thing], point)
    outward = local / jnp.linalg.norm(local, axis=-1, keepdims=True)
    room = jnp.array([[0.0, 0, -1], [0, -1, 0], [0, 1, 0]])[jnp.maximum(surface - count, 0)]
    round_ = is_object & (scene.kind[thing] == BALL)
    front = jnp.where(is_object[..., None], jnp.array([0.0, 0, -1]), room)
    normal = jnp.where(round_[..., None], outward, front)
    cells = jnp.where(is_object, 1.5 / scene.radius[thing], 0.7)  # per unit of length
    facing = jnp.abs((normal * world).sum(-1)) / jnp.linalg.norm(world, axis=-1)
    per_pixel = cells * depth / rays.shape[0] / jnp.maximum(facing, 0.05)
    fine = jnp.clip(1.5 - 2 * per_pixel, 0, 1)  # what pixels can show
    kind = jnp.where(is_object, scene.kind[thing], BALL)
    pattern = _texture(local * cells[..., None], kind, scene.seed[surface], style)
    shade = style.ambient + (1 - style.ambient) * jnp.maximum(normal @ scene.light, 0)
    bright = shade * (1 + style.contrast * fine * (pattern - 0.5))
    color = scene.color[surface] * bright[..., None] * jnp.array(style.tint)
    clear = jnp.exp(-depth / style.haze)[..., None]
    moves = jnp.any(scene.velocity != 0, 1)
    return {
        "video": jnp.clip(clear * color + 0.7 * (1 - clear), 0, 1),
        "depth": depth,
        "objects": jnp.where(is_object, thing + 1, 0).astype(jnp.uint8),
        "semantic": jnp.where(is_object, scene.kind[thing] + 1, 0).astype(jnp.uint8),
        "moving": (is_object & moves[thing]).astype(jnp.uint8),
        "normal": normal @ turn,
        "surface": surface,
        "point": point,
    }


def _moved(scene, t, turn, place, surface, point):
    """Flow of points seen in frame t - 1 to frame t, with its pose, and occlusion."""
    still, size = jnp.zeros((3, 3)), len(surface)
    velocity = jnp.concatenate([scene.velocity, still])[surface]
    seen = (point + velocity - place) @ turn  # in the next camera's frame
    middle = (size - 1) / 2
    to = size * seen[..., :2] / seen[..., 2:] + middle
    at = jnp.arange(size, dtype=to.dtype)
    flow = to - jnp.stack(jnp.meshgrid(at, at), -1)
    slack = AGREE * size  # of rounding
    outside = ((to < -slack) | (to > size - 1 + slack)).any(-1)
    rays = jnp.concatenate([(to - middle) / size, jnp.ones_like(to[..., :1])], -1)
    nearest = _cast(scene, t, place, rays @ turn.T).min(-1)
    return flow, outside | (nearest < seen[..., 2] * (1 - AGREE))


def _texture(x, kind, seed, style):
    """Patterns in [0, 1] of points x [..., 3]: noise, or stripes or checks by kind."""
    cos, sin = np.cos(style.slant), np.sin(style.slant)
    across, down = cos * x[..., 0] + sin * x[..., 1], cos * x[..., 1] - sin * x[..., 0]
    a, b = (0.5 + 0.5 * jnp.sin(jnp.pi * z) for z in (across, down))
    noise = _noise(x, seed)
    if style.rough:
        noise += style.rough * (_noise(2.3 * x + 7.0, seed) - noise)
    regular = jnp.select(
        [kind == DISC, kind == SQUARE, kind == TRIANGLE],
        [a, b, a * b + (1 - a) * (1 - b)],
        noise,
    )
    return 0.5 * noise + 0.5 * regular


def _noise(x, seed):
    """Value noise: random numbers on a lattice, interpolated smoothly; [..., 3] -> [...]"""
    low = jnp.floor(x)
    share = x - low
    share = share * share * (3 - 2 * share)
    corner = low.astype(jnp.int32).astype(jnp.uint32)
    total = jnp.zeros(x.shape[:-1])
    for step in np.ndindex(2, 2, 2):
        weight = jnp.where(np.array(step) == 1, share, 1 - share).prod(-1)
        total += weight * _hash(corner + np.array(step, np.uint32), seed)
    return total


def _hash(corner, seed):
    """Numbers in [0, 1) of integers [..., 3], without a pattern."""
    primes = np.array([0x8DA6B343, 0xD8163841, 0xCB1AB31F], np.uint32)
    x, y, z = (corner[..., i] * primes[i] for i in range(3))
    h = x ^ y ^ z ^ seed
    h = (h ^ (h >> 16)) * np.uint32(0x7FEB352D)
    h = (h ^ (h >> 15)) * np.uint32(0x846CA68B)
    return ((h ^ (h >> 16)) >> 8).astype(jnp.float32) / 2**24


def _sensed(key, video, style):
    """Frames as a sensor has them: blurred, with noise."""
    if style.blur:
        padded = jnp.pad(video, ((0, 0), (1, 1), (1, 1), (0, 0)), mode="edge")
        s = video.shape[1]
        weights = (0.25, 0.5, 0.25)
        soft = sum(
            weights[i] * weights[j] * padded[:, i : i + s, j : j + s]
            for i, j in np.ndindex(3, 3)
        )
        video = (1 - style.blur) * video + style.blur * soft
    if style.noise:
        video = video + style.noise * jax.random.normal(key, video.shape)
    return jnp.clip(video, 0, 1)
