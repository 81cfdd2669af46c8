"""Recorded walks through the worlds of VizDoom: frames, depth, objects, pose and sound.

Kempka, Wydmuch, Runc, Toczek and Jaskowski, "ViZDoom: A Doom-based AI Research Platform
for Visual Reinforcement Learning", CIG 2016, https://arxiv.org/abs/1605.02097
"""

import contextlib
import importlib.metadata
import tempfile
from pathlib import Path

import numpy as np

from jssl.cache import cache_folder, written
from jssl.data.decoding import check_shape, fit_all
from jssl.data.fields import Dataset, Field, Image, Labels, Sound

TICS = 4  # of 1/35 second, between frames
RATE = 22_050  # audio samples per second
STICKY = 0.8  # probability that an action is repeated
EPISODE = 300  # frames at most, and at most a tenth of all
LICENSE = "MIT (ViZDoom's own code); not stated for Freedoom's pictures and sounds"
_POSE = ("POSITION_X", "POSITION_Y", "POSITION_Z", "ANGLE")
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
) -> Dataset:
    """Frames of a walk by random actions, at 8.75 frames per second, in temporal order.

    The walk is recorded once, in a few seconds, into the cache folder; the recording is a
    function of scenario, level, walk, steps, size and VizDoom's version. Val and test are
    the last episodes, about a tenth of the frames each: other walks in the same world.

    | column | |
    |---|---|
    | image | uint8 [n, size, size, channels], center crop of a 4:3 frame |
    | depth | uint8 [n, size, size], larger is farther |
    | objects | uint8 [n, size, size], class of the object at each pixel; 0: none |
    | pose | float32 [n, 4], x, y, z in map units and the angle in degrees |
    | action | int32 [n], the button pressed from this frame to the next |
    | label | equal to action |
    | sound | int16 [n, 2520], of the four tics before the frame; stereo: [n, 2520, 2] |
    | episode | int32 [n]; frames i and i + 1 are consecutive if the episode is the same |

    Scenarios without enemies or items are almost silent: the sound of "my_way_home" is
    noise of the last bit, that of "health_gathering_supreme" is not. The field of view is
    90 degrees before and 73.7 after the crop. Each action is one button; it is repeated
    with probability 0.8, or else drawn uniformly. Head-up display and weapon are hidden.

    Args:
      scenario: of VizDoom: "my_way_home", "health_gathering_supreme", "freedoom2".
      size: side of frames, in pixels, at most 480.
      channels: 1 (gray) or 3 (color).
      steps: number of frames.
      walk: seed of world and actions.
      stereo: True keeps both audio channels.
      level: map of the scenario, such as "MAP07" of "freedoom2"; "": the default.

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
    version = importlib.metadata.version("vizdoom")
    name = "-".join(filter(None, (scenario, level, f"{walk}-{steps}-{size}-{version}")))
    file = cache_folder() / "doom" / f"{name}.npz"
    if not file.exists():
        _save(file, record(scenario, steps, walk, size, level))
    with np.load(file, allow_pickle=False) as found:
        held = dict(found)
    buttons, objects = (
        tuple(held.pop(key).tolist()) for key in ("button_names", "object_names")
    )
    held["image"] = fit_all(held["image"], None, channels)
    held["label"] = held["action"]
    if not stereo:
        held["sound"] = held["sound"].mean(-1).round().astype(np.int16)
    splits = {
        part: {key: array[rows] for key, array in held.items()}
        for part, rows in _parts(held["episode"]).items()
    }
    fields = {
        "image": Image(),
        "depth": Field(),
        "objects": Labels(objects),
        "pose": Field(),
        "action": Field(),
        "sound": Sound(RATE),
        "episode": Field(),
        "label": Labels(buttons),
    }
    return Dataset(splits, len(buttons), fields, license=LICENSE)


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
