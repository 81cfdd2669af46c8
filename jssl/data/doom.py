"""Recorded walks through the worlds of VizDoom: frames, depth, objects, pose and sound.

Kempka, Wydmuch, Runc, Toczek and Jaskowski, "ViZDoom: A Doom-based AI Research Platform
for Visual Reinforcement Learning", CIG 2016, https://arxiv.org/abs/1605.02097
"""

import contextlib
import importlib.metadata
import tempfile
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from jssl.cache import cache_folder, written
from jssl.data.decoding import check_shape, fit_all
from jssl.data.fields import (
    Dataset,
    Field,
    Image,
    Labels,
    Measurements,
    Scaled,
    Sound,
    Video,
)
from jssl.ops.poses import camera_flow, relative_pose

TICS = 4  # of 1/35 second, between frames
RATE = 22_050  # audio samples per second
STICKY = 0.8  # probability that an action is repeated
EPISODE = 300  # frames at most, and at most a tenth of all
DEPTH = Scaled(unit=7.15, start=8.0)
"""Depth in map units along the axis of view, of the levels 0 to 255 of the buffer.

Measured by the geometry of walls and floors in five maps (tests/data/doom_test.py): levels
are linear in depth with a deviation of 0.3 to 0.35 of a unit, and the unit is 7.15 in
each map to 0.3 %. Level 0 is at 5.7 units for walls (8.9 in frames of more than 120 pixels)
and at 14.7 for floors: the error is up to 10 units, and the level 127 stands for all walls
farther than 900 units.
"""
FOCAL = (2 / 3, 4 / 5)
"""Focal lengths along x and y, in sides of the cropped frame."""
LICENSE = "MIT (ViZDoom's own code); not stated for Freedoom's pictures and sounds"
_LAYOUT = 2  # of the recorded files
_POSE = ("POSITION_X", "POSITION_Y", "CAMERA_POSITION_Z", "ANGLE")
_KEPT = ("MOVE_", "TURN_", "ATTACK", "USE")  # prefixes of the buttons in use
_SOUND = "libopenal1 libsndfile1 libmpg123-0"


def doom(
    scenario: str = "my_way_home",
    /,
    *,
    size: int = 64,
    channels: int = 3,
    steps: int = 3000,
    walk: int = 0,
    stereo: bool = False,
    level: str = "",
    frames: int = 0,
    every: int = 1,
    stride: int = 4,
    split: str = "episode",
    flow: bool = False,
) -> Dataset:
    """Walks by random actions, as frames at 8.75 per second in temporal order, or as clips.

    A walk is recorded once, in a few seconds, into the cache folder; the recording is a
    function of scenario, level, walk, steps, size and VizDoom's version. Val and test are
    the last episodes of every map, about a tenth of the frames each: other walks in the
    same world; or the last two maps.

    | column | |
    |---|---|
    | image | uint8 [n, size, size, channels], center crop of a 4:3 frame |
    | depth | uint8 [n, size, size], decoded to map units (`DEPTH`) |
    | objects | uint8 [n, size, size], class of the object at each pixel; 0: none |
    | pose | float32 [n, 4], x, y, z of the eye in map units and the angle in degrees |
    | action | int32 [n], the button pressed from this frame to the next |
    | label | equal to action |
    | sound | int16 [n, 2520], of the four tics before the frame; stereo: [n, 2520, 2] |
    | episode | int32 [n]; frames i and i + 1 are consecutive if the episode is the same |
    | level | int32 [n], number of the map |

    Clips have `video` [n, frames, ...] in place of `image`, and depth, objects, pose and
    action of each of their frames; label is the action from the first frame to the next,
    sound that of all frames from first to last, [n, samples]. A clip is of one episode.

    Scenarios without enemies or items are almost silent: the sound of "my_way_home" is
    noise of the last bit, that of "health_gathering_supreme" is not. The field of view is
    90 degrees before and 73.7 after the crop; focal lengths are in `FOCAL`. Each action
    is one button; it is repeated with probability 0.8, or else drawn uniformly. Head-up
    display and weapon are hidden.

    Args:
      scenario: of VizDoom: "my_way_home", "health_gathering_supreme", "freedoom2".
      size: side of frames, in pixels, at most 480.
      channels: 1 (gray) or 3 (color).
      steps: number of frames of each map.
      walk: seed of world and actions.
      stereo: True keeps both audio channels.
      level: map of the scenario, such as "MAP07" of "freedoom2", or several:
        "MAP01+MAP02+MAP07"; "": the default.
      frames: of a clip; 0: single frames.
      every: distance between frames of a clip, in frames of the walk.
      stride: distance between starts of clips, in frames of the walk.
      split: "episode", or "map": val and test are the last two of at least three maps.
      flow: True for a column flow, float32 [n, frames - 1, size, size, 2], of clips: the
        motion (x, y) in pixels from each frame to the next of what does not move by itself
        (`static_flow`).

    Raises:
      ValueError: an unknown scenario; sizes out of range; no sound because of a missing
        library.
      ModuleNotFoundError: VizDoom is not installed.
    """
    check_shape(size, channels)
    if size > 480 or steps < 30:
        raise ValueError(
            f"doom: size must be at most 480 and steps at least 30, got {size}, {steps}"
        )
    if frames < 0 or min(every, stride) < 1 or (flow and frames < 2):
        raise ValueError(
            f"doom: frames must be 0 or more, 2 or more for flow, and every and stride "
            f"positive, got {frames}, {every} and {stride}"
        )
    levels = tuple(level.split("+"))
    if split not in ("episode", "map") or (split == "map" and len(levels) < 3):
        raise ValueError(
            f"doom: split must be 'episode', or 'map' with at least three maps, such as "
            f"level=MAP01+MAP02+MAP07, got {split!r} and {level!r}"
        )
    version = importlib.metadata.version("vizdoom")
    walks = [_recorded(scenario, x, walk, steps, size, version) for x in levels]
    buttons = tuple(walks[0]["button_names"].tolist())
    names = [held["object_names"].tolist() for held in walks]
    objects = tuple(dict.fromkeys(sum(names, [])))
    parts: dict = {"train": [], "val": [], "test": []}
    for i, held in enumerate(walks):
        known = np.array([objects.index(name) for name in names[i]], np.uint8)
        columns = {key: x for key, x in held.items() if not key.endswith("_names")}
        columns["image"] = fit_all(columns["image"], None, channels)
        columns["objects"] = known[columns["objects"]]
        columns["level"] = np.full(steps, i, np.int32)
        if not stereo:
            columns["sound"] = columns["sound"].mean(-1).round().astype(np.int16)
        share = _parts(columns["episode"])
        if split == "map":
            only = ("train", "val", "test")[max(0, i + 3 - len(levels))]
            share = {only: slice(None)}
        for part, rows in share.items():
            piece = {key: array[rows] for key, array in columns.items()}
            parts[part].append(_clips(piece, frames, every, stride, flow))
    splits = {
        part: {key: np.concatenate([x[key] for x in found]) for key in found[0]}
        for part, found in parts.items()
    }
    for table in splits.values():
        action = table["action"]
        table["label"] = action[:, 0] if frames else action
    fields = {
        "image": Image(),
        "video": Video(35 / TICS / every),
        "depth": DEPTH,
        "objects": Labels(objects),
        "pose": Measurements(),
        "action": Field(),
        "sound": Sound(RATE),
        "episode": Field(),
        "level": Labels(levels),
        "flow": Measurements(),
        "label": Labels(buttons),
    }
    held = {key: fields[key] for key in splits["train"]}
    return Dataset(splits, len(buttons), held, license=LICENSE)


def _recorded(scenario, level, walk, steps, size, version):
    """The columns of one walk, from the cache or recorded."""
    parts = (scenario, level, f"{walk}-{steps}-{size}-{version}-{_LAYOUT}")
    file = cache_folder() / "doom" / f"{'-'.join(filter(None, parts))}.npz"
    if not file.exists():
        _save(file, record(scenario, steps, walk, size, level))
    with np.load(file, allow_pickle=False) as found:
        return dict(found)


def _parts(episode):
    """Slices of rows for each split.

    Val and test begin at the episode starts nearest to 80 % and 90 % of the frames.
    """
    n = len(episode)
    starts = np.flatnonzero(np.diff(episode, prepend=-1))
    nearest = lambda share, among: among[np.abs(among - share * n).argmin()]
    val = nearest(0.8, starts[1:-1])
    test = nearest(0.9, starts[starts > val])
    return {"train": slice(0, val), "val": slice(val, test), "test": slice(test, n)}


def _clips(columns, frames, every, stride, flow):
    """Columns of clips, from those of consecutive frames."""
    if not frames:
        return columns
    span = (frames - 1) * every + 1
    episode = columns["episode"]
    starts = np.arange(0, len(episode) - span + 1, stride)
    starts = starts[episode[starts] == episode[starts + span - 1]]
    if not len(starts):
        raise ValueError(
            f"doom: no episode has {span} frames: give fewer frames, a smaller distance "
            "`every`, or more steps"
        )
    rows = starts[:, None] + every * np.arange(frames)
    clip = {key: columns[key][rows] for key in ("depth", "objects", "pose", "action")}
    sound = columns["sound"][starts[:, None] + np.arange(span)]  # [n, span, 2520, ...]
    clip["sound"] = sound.reshape(len(starts), -1, *sound.shape[3:])
    if flow:
        found = jax.jit(jax.vmap(jax.vmap(static_flow)))
        depth = np.asarray(DEPTH.decode(clip["depth"]))
        clip["flow"] = np.concatenate(
            [
                found(depth[i : i + 64, :-1], clip["pose"][i : i + 64, :-1], after)
                for i in range(0, len(depth), 64)
                for after in [clip["pose"][i : i + 64, 1:]]
            ]
        )
    once = {key: columns[key][starts] for key in ("episode", "level")}
    return {"video": columns["image"][rows]} | clip | once


def static_flow(
    depth: Float[Array, "h w"], pose: Float[Array, "4"], after: Float[Array, "4"]
) -> Float[Array, "h w 2"]:
    """Motion (x, y) in pixels of a static world from one frame of `doom` to another.

    Args:
      depth: of the first frame, in map units.
      pose, after: x, y, z and angle in degrees of both frames.

    >>> pose = jnp.array([0.0, 0.0, 41.0, 90.0])
    >>> turned = static_flow(jnp.full((3, 3), 50.0), pose, pose.at[3].set(95.0))
    >>> print(turned[1, 1].round(2))  # to the left, so that the world moves to the right
    [0.17 0.  ]
    """
    size = len(depth)
    translation, rotation = jnp.split(camera_motion(pose, after), 2)
    return camera_flow(depth, rotation, translation, (FOCAL[0] * size, FOCAL[1] * size))


def camera_motion(pose: Float[Array, "4"], after: Float[Array, "4"]) -> Float[Array, "6"]:
    """Motion from one frame of `doom` to another, along the first one's axes.

    Translation (right, down, forward) in map units, and rotation vector in radians, of
    which the second number is a turn to the right: as the column "camera" of `scenes`.

    >>> pose = jnp.array([0.0, 0.0, 41.0, 90.0])  # it looks along y
    >>> print(camera_motion(pose, jnp.array([0.0, 7.0, 41.0, 90.0])).round(2) + 0.0)
    [0. 0. 7. 0. 0. 0.]
    """
    rotation, translation = relative_pose(*_camera(pose), *_camera(after))
    return jnp.concatenate([translation, rotation])


def _camera(pose):
    """Axes (right, down, forward) as columns [3, 3], and center [3]."""
    angle = jnp.deg2rad(pose[3])
    sin, cos, zero = jnp.sin(angle), jnp.cos(angle), jnp.zeros_like(angle)
    axes = jnp.stack([sin, zero, cos, -cos, zero, sin, zero, zero - 1, zero])
    return axes.reshape(3, 3), pose[:3]


def record(
    scenario: str, steps: int, seed: int, size: int, level: str = ""
) -> dict[str, np.ndarray]:
    """Records the columns of `doom`, and the names of buttons and objects.

    Raises:
      ValueError: an unknown scenario, or a recording without sound.
    """
    import vizdoom

    config = Path(vizdoom.scenarios_path) / f"{scenario}.cfg"
    if not config.exists():
        known = ", ".join(sorted(x.stem for x in config.parent.glob("*.cfg")))
        raise ValueError(f"doom: unknown scenario {scenario!r}; known are {known}")
    # VizDoom writes settings and screenshots into the working directory.
    with tempfile.TemporaryDirectory() as folder, contextlib.chdir(folder):
        game = _game(vizdoom, config, seed, size, level)
        try:
            game.init()
            found = _walk(game, steps, seed, size)
        finally:
            game.close()
    if not found["sound"].any():
        raise ValueError(
            f"doom:{scenario} has no sound: VizDoom does not find OpenAL; `apt-get install "
            f"--no-install-recommends {_SOUND}`"
        )
    return found


def _game(vizdoom, config, seed, size, level):
    """A configured game, not yet started."""
    game = vizdoom.DoomGame()
    game.load_config(str(config))
    if level:
        game.set_doom_map(level)
    resolutions = {120: "RES_160X120", 240: "RES_320X240", 480: "RES_640X480"}
    resolution = next(name for h, name in resolutions.items() if size <= h)
    game.set_screen_resolution(getattr(vizdoom.ScreenResolution, resolution))
    game.set_screen_format(vizdoom.ScreenFormat.RGB24)
    game.set_mode(vizdoom.Mode.PLAYER)
    game.set_window_visible(False)
    game.set_depth_buffer_enabled(True)
    game.set_labels_buffer_enabled(True)
    game.set_audio_buffer_enabled(True)
    game.set_audio_sampling_rate(vizdoom.SamplingRate.SR_22050)
    game.set_audio_buffer_size(TICS)
    game.add_game_args("+snd_efx 0")  # without effects, which fail on some machines
    game.set_render_hud(False)
    game.set_render_weapon(False)
    pose = [getattr(vizdoom.GameVariable, name) for name in _POSE]
    game.set_available_game_variables(pose)
    names = {button.name: button for button in game.get_available_buttons()}
    kept = [
        button
        for name, button in names.items()
        if name.startswith(_KEPT) and not name.endswith("_DELTA")
    ]
    game.set_available_buttons(kept)
    game.set_seed(seed)
    return game


def _walk(game, steps, seed, size):
    buttons = [button.name.lower() for button in game.get_available_buttons()]
    # Raw bits are stable across versions of NumPy (NEP 19).
    bits = np.random.PCG64(seed).random_raw((steps, 2))
    sticks, drawn = bits[:, 0] / 2.0**64 < STICKY, bits[:, 1] % np.uint64(len(buttons))
    rows = {key: [] for key in ("image", "depth", "objects", "pose", "sound", "episode")}
    names, actions = {}, []
    episode = first = 0
    longest = min(EPISODE, steps // 10)
    for step in range(steps):
        if game.is_episode_finished() or step - first == longest:
            game.new_episode()
            episode, first = episode + 1, step
        state = game.get_state()
        action = actions[-1] if step and sticks[step] else int(drawn[step])
        classes = np.zeros(256, np.uint8)  # of the values in the buffer
        for label in state.labels:
            classes[label.value] = names.setdefault(label.object_name, len(names) + 1)
        rows["image"].append(_square(state.screen_buffer, size, smooth=True))
        rows["depth"].append(_square(state.depth_buffer, size))
        rows["objects"].append(_square(classes[state.labels_buffer], size))
        rows["pose"].append(np.float32(state.game_variables))
        rows["sound"].append(state.audio_buffer.copy())
        rows["episode"].append(np.int32(episode))
        actions.append(action)
        game.make_action([i == action for i in range(len(buttons))], TICS)
    return {key: np.stack(held) for key, held in rows.items()} | {
        "action": np.array(actions, np.int32),
        "button_names": np.array(buttons),
        "object_names": np.array(["none", *names]),
    }


def _square(picture, size, smooth=False):
    """Center square of an image [h, w, ...], h <= w, resized to [size, size, ...]."""
    from PIL import Image

    h, w = picture.shape[:2]
    middle = Image.fromarray(picture[:, (w - h) // 2 : (w - h) // 2 + h].copy())
    way = Image.Resampling.BOX if smooth else Image.Resampling.NEAREST
    return np.asarray(middle.resize((size, size), way))


def _save(file, arrays):
    """Writes an npz file atomically."""
    file.parent.mkdir(parents=True, exist_ok=True)
    with written(file) as part, part.open("wb") as opened:
        np.savez(opened, **arrays)
