import ctypes.util
import importlib
import importlib.metadata
import importlib.util
import sys
import types

import numpy as np
import pytest

from jssl.data import load
from jssl.data.doom import DEPTH, FOCAL, record

PARTS = ("train", "val", "test")
AUDIBLE = importlib.util.find_spec("vizdoom") and ctypes.util.find_library("openal")


class Named:
    """Members that exist once they are named."""

    def __getattr__(self, name):
        return types.SimpleNamespace(name=name)


class World:
    """A corridor in place of VizDoom's game: a step forward is a unit of x.

    An imp stands in the left half of each frame; an episode ends after 12 frames. The
    rows above and below the middle square of a frame are those of a game's 4 to 3.
    """

    loud = 9

    def __init__(self):
        self.buttons = [
            types.SimpleNamespace(name=name)
            for name in ("MOVE_FORWARD", "TURN_LEFT", "SPEED", "TURN_LEFT_RIGHT_DELTA")
        ]

    def __getattr__(self, name):
        if name.startswith(("set_", "add_", "load_")):
            return lambda *arguments: None
        raise AttributeError(name)

    def get_available_buttons(self):
        return self.buttons

    def set_available_buttons(self, buttons):
        self.buttons = buttons

    def set_seed(self, seed):
        self.seed = seed

    def init(self):
        self.new_episode()

    close = init

    def new_episode(self):
        self.x = self.t = 0

    def is_episode_finished(self):
        return self.t == 12

    def make_action(self, pressed, tics):
        assert sum(pressed) == 1 and tics == 4
        self.x += pressed[0]
        self.t += 1

    def get_state(self):
        labels = np.zeros((120, 160), np.uint8)
        labels[:, :80] = 7
        frame = np.full((120, 160, 3), 10 * self.t, np.uint8)
        frame[:, :20] = frame[:, 140:] = 255  # outside the middle square
        return types.SimpleNamespace(
            screen_buffer=frame,
            depth_buffer=np.full((120, 160), self.t, np.uint8),
            labels_buffer=labels,
            labels=[types.SimpleNamespace(object_name="Imp", value=7)],
            game_variables=np.array([self.x, 0.0, 0.0, self.seed]),
            audio_buffer=np.full((2520, 2), [self.loud, 0], np.int16),
        )


@pytest.fixture
def corridor(tmp_path, monkeypatch):
    """A stub of VizDoom with one scenario; recordings go to a folder of the test."""
    stub = types.ModuleType("vizdoom")
    stub.scenarios_path = str(tmp_path / "scenarios")
    stub.DoomGame = World
    for name in ("ScreenResolution", "ScreenFormat", "Mode", "SamplingRate"):
        setattr(stub, name, Named())
    stub.GameVariable = Named()
    (tmp_path / "scenarios").mkdir()
    (tmp_path / "scenarios/corridor.cfg").write_text("")
    monkeypatch.setitem(sys.modules, "vizdoom", stub)
    monkeypatch.setattr(importlib.metadata, "version", lambda name: "9.9")
    monkeypatch.setenv("JSSL_CACHE", str(tmp_path / "cache"))
    return tmp_path


def test_a_walk_has_frames_depth_objects_pose_actions_and_sound(corridor):
    train = load("doom:corridor", 4, steps=100, size=8, labeled=True)
    assert train.license.startswith("MIT")
    assert train.fields["label"].names == ("move_forward", "turn_left")
    assert train.fields["objects"].names == ("none", "Imp")
    assert train.fields["sound"].rate == 22_050
    table = train.table
    shapes = {name: (x.shape[1:], x.dtype) for name, x in table.items()}
    assert shapes == {
        "image": ((8, 8, 3), np.uint8),
        "depth": ((8, 8), np.uint8),
        "objects": ((8, 8), np.uint8),
        "pose": ((4,), np.float32),
        "action": ((), np.int32),
        "label": ((), np.int32),
        "sound": ((2520,), np.int16),
        "episode": ((), np.int32),
        "level": ((), np.int32),
    }
    np.testing.assert_array_equal(table["image"][:, 0, 0, 0], 10 * table["depth"][:, 0, 0])
    assert table["image"].max() <= 110  # the middle of the frame alone
    np.testing.assert_array_equal(table["objects"][0], [[1] * 4 + [0] * 4] * 8)
    assert (table["sound"] == 4).all()  # the mean of 9 and 0, rounded to even
    same = np.diff(table["episode"]) == 0
    moved = np.diff(table["pose"][:, 0])[same]
    np.testing.assert_array_equal(moved, (table["action"] == 0)[:-1][same])
    both = load("doom:corridor", 4, steps=100, size=8, stereo=True, channels=1)
    assert both.table["sound"].shape[1:] == (2520, 2)
    assert both.table["image"].shape[1:] == (8, 8, 1)


def test_no_episode_is_in_two_splits(corridor):
    train = load("doom:corridor", 4, steps=100, size=8)
    episodes = [np.unique(train.split(part).column("episode")) for part in PARTS]
    assert [x.tolist() for x in episodes] == [[*range(8)], [8], [9]]  # of 10 frames each
    assert [train.split(part).size for part in PARTS] == [80, 10, 10]


def test_actions_stick(corridor):
    action = load("doom:corridor", 4, steps=3000, size=2).column("action")
    # Repeated with probability 0.8, and 0.2 / 2 by chance; the deviation is 0.006.
    assert abs((np.diff(action) == 0).mean() - 0.9) < 0.02


def test_a_walk_is_recorded_once(corridor, monkeypatch):
    calls = []
    module = importlib.import_module("jssl.data.doom")  # not the function
    monkeypatch.setattr(module, "record", lambda *x: calls.append(x) or record(*x))
    knobs = {"steps": 60, "size": 8}
    first = load("doom:corridor", 4, **knobs)
    assert load("doom:corridor", 4, **knobs).digest == first.digest
    assert len(calls) == 1
    files = [x.name for x in (corridor / "cache/doom").iterdir()]
    assert files == ["corridor-0-60-8-9.9-2.npz"]
    assert load("doom:corridor", 4, walk=1, **knobs).digest != first.digest
    load("doom:corridor", 4, level="E1M2", **knobs)
    assert len(calls) == 3


def test_a_failed_recording_leaves_no_file(corridor, monkeypatch):
    monkeypatch.setattr(World, "loud", 0)
    with pytest.raises(ValueError, match="has no sound: .*install .* libopenal1"):
        load("doom:corridor", 4, steps=60, size=8)
    assert not (corridor / "cache/doom").exists()


def test_what_is_wrong_is_an_error(corridor, monkeypatch):
    with pytest.raises(ValueError, match="unknown scenario 'attic'; known are corridor"):
        load("doom:attic", 4)
    for wrong in ({"size": 481}, {"steps": 29}):
        with pytest.raises(ValueError, match="at most 480 and steps at least 30"):
            load("doom:corridor", 4, **wrong)

    def missing(name):
        raise importlib.metadata.PackageNotFoundError(name)

    monkeypatch.setattr(importlib.metadata, "version", missing)
    with pytest.raises(ValueError, match="needs vizdoom: `pip install 'vizdoom'`"):
        load("doom:corridor", 4)


def test_clips_are_consecutive_frames_of_one_episode(corridor):
    knobs = {"steps": 100, "size": 8, "labeled": True}
    whole = load("doom:corridor", 4, **knobs).table
    clips = load("doom:corridor", 4, frames=3, every=2, stride=1, **knobs)
    table = clips.table
    shapes = {name: x.shape[1:] for name, x in table.items()}
    assert shapes == {
        "video": (3, 8, 8, 3),
        "depth": (3, 8, 8),
        "objects": (3, 8, 8),
        "pose": (3, 4),
        "action": (3,),
        "label": (),
        "sound": (5 * 2520,),  # of all frames between
        "episode": (),
        "level": (),
    }
    assert clips.fields["video"].fps == pytest.approx(35 / 8)
    starts = [
        i for i in range(76) if len(set(whole["episode"][i : i + 5])) == 1
    ]  # of 80 frames
    rows = np.array(starts)[:, None] + [0, 2, 4]
    np.testing.assert_array_equal(table["video"], whole["image"][rows])
    for name in ("depth", "objects", "pose", "action"):
        np.testing.assert_array_equal(table[name], whole[name][rows])
    np.testing.assert_array_equal(table["label"], whole["action"][starts])
    depth = next(clips.stream())["depth"]
    assert depth.dtype == np.uint8  # on its way to the device
    decoded = np.asarray(clips.fields["depth"].decode(depth))
    np.testing.assert_allclose(decoded, DEPTH.start + DEPTH.unit * depth)
    with pytest.raises(ValueError, match="no episode has 11 frames"):
        load("doom:corridor", 4, frames=11, **knobs)


def test_maps_are_joined_and_split_by_map_or_by_episode(corridor):
    knobs = {"steps": 60, "size": 8, "level": "A+B+C"}
    mixed = load("doom:corridor", 4, **knobs)
    assert mixed.fields["level"].names == ("A", "B", "C")
    for part in PARTS:
        table = mixed.split(part).table
        assert set(table["level"]) == {0, 1, 2}
    apart = load("doom:corridor", 4, split="map", **knobs)
    for i, part in enumerate(PARTS):
        table = apart.split(part).table
        assert set(table["level"]) == {i} and len(table["level"]) == 60


def test_flow_of_a_step_ahead_points_away_from_the_middle(corridor):
    """In the stub all depths of a frame are equal, and a step is one unit."""
    table = load("doom:corridor", 4, steps=100, size=8, frames=2, flow=True).table
    flow, depth = table["flow"], DEPTH.start + DEPTH.unit * table["depth"][:, 0, 0, 0]
    assert flow.shape == (len(depth), 1, 8, 8, 2)
    moved = np.diff(table["pose"][..., 0])[:, 0]
    away = np.arange(8) - 3.5
    wanted = (moved / (depth - moved))[:, None] * away
    np.testing.assert_allclose(flow[:, 0, 3, :, 0], wanted, atol=1e-4)
    np.testing.assert_allclose(flow[:, 0, :, 5, 1], wanted, atol=1e-4)


def test_clips_and_maps_are_checked(corridor):
    for wrong in ({"frames": -1}, {"frames": 2, "every": 0}, {"flow": True}):
        with pytest.raises(ValueError, match="frames must be 0 or more, 2 or more for"):
            load("doom:corridor", 4, **wrong)
    for wrong in ({"split": "room"}, {"split": "map", "level": "A+B"}):
        with pytest.raises(ValueError, match="or 'map' with at least three maps"):
            load("doom:corridor", 4, **wrong)


def walls(pose, lines, size):
    """Depth of the nearest wall in each column of a frame, from its lines [m, 4]."""
    angle = np.deg2rad(pose[3])
    ahead = np.array([np.cos(angle), np.sin(angle)])
    right = np.array([ahead[1], -ahead[0]])
    columns = (np.arange(size) - (size - 1) / 2) / (FOCAL[0] * size)
    rays = ahead + columns[:, None] * right
    start, end = lines[:, :2] - pose[:2], lines[:, 2:] - pose[:2]
    along = end - start
    with np.errstate(divide="ignore", invalid="ignore"):
        scale = rays[:, None, 1] * along[:, 0] - rays[:, None, 0] * along[:, 1]
        depth = (start[:, 1] * along[:, 0] - start[:, 0] * along[:, 1]) / scale
        place = (rays[:, None, 0] * start[:, 1] - rays[:, None, 1] * start[:, 0]) / scale
    hit = (depth > 0) & (place >= 0) & (place <= 1)
    return np.where(hit, depth, np.inf).min(1)


@pytest.mark.skipif(not AUDIBLE, reason="needs vizdoom and libopenal1")
@pytest.mark.parametrize("scenario", ["my_way_home", "health_gathering_supreme"])
def test_depth_is_linear_in_the_distance_of_walls(scenario, tmp_path, monkeypatch):
    import vizdoom

    monkeypatch.setenv("JSSL_CACHE", str(tmp_path))
    monkeypatch.chdir(tmp_path)  # VizDoom writes its settings there
    table = load(f"doom:{scenario}", 4, steps=200, size=120).table
    game = vizdoom.DoomGame()
    game.load_config(f"{vizdoom.scenarios_path}/{scenario}.cfg")
    game.set_window_visible(False)
    game.set_sectors_info_enabled(True)
    game.init()
    lines = [line for sector in game.get_state().sectors for line in sector.lines]
    game.close()
    lines = np.array([(x.x1, x.y1, x.x2, x.y2) for x in lines if x.is_blocking])
    true = np.concatenate([walls(pose, lines, 120) for pose in table["pose"]])
    level, objects = (table[key][:, 60].reshape(-1) for key in ("depth", "objects"))
    seen = (level > 1) & (level < 126) & np.isfinite(true) & (objects == 0)
    error = np.asarray(DEPTH.decode(level)) - true
    near = seen & (np.abs(error) < 12)  # the others are beside an edge, or far floors
    assert near.sum() > 0.85 * seen.sum()
    slope, start = np.polyfit(level[near], true[near], 1)
    assert abs(slope / DEPTH.unit - 1) < 0.005
    # Uniform true depths of a level have a deviation of 7.15 / sqrt(12) = 2.06.
    assert (true[near] - slope * level[near] - start).std() < 3
    assert abs(error[near].mean()) < 4


@pytest.mark.skipif(not AUDIBLE, reason="needs vizdoom and libopenal1")
def test_frames_warped_by_the_flow_are_those_before(tmp_path, monkeypatch):
    from scipy.ndimage import map_coordinates

    monkeypatch.setenv("JSSL_CACHE", str(tmp_path))
    source = load("doom:my_way_home", 4, steps=240, size=120, frames=2, flow=True)
    table, size = source.table, 120
    warped, copied = [], []
    for i, video in enumerate(table["video"]):
        video = video.mean(-1) / 255
        x, y = np.moveaxis(table["flow"][i, 0], -1, 0) + np.indices((size, size))[::-1]
        inside = (np.minimum(x, y) >= 0) & (np.maximum(x, y) <= size - 1)
        still = np.abs(np.diff(table["pose"][i], axis=0)).max() < 1
        if still or inside.mean() < 0.5:
            continue
        found = map_coordinates(video[1], [y, x], order=1)
        warped.append(np.abs(found - video[0])[inside].mean())
        copied.append(np.abs(video[1] - video[0])[inside].mean())
    assert len(warped) > 20 and np.mean(warped) < 0.45 * np.mean(copied)


@pytest.mark.skipif(not AUDIBLE, reason="needs vizdoom and libopenal1")
def test_two_real_recordings_are_equal_and_audible(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    walks = [record("health_gathering_supreme", 80, seed, 16) for seed in (3, 3, 4)]
    assert walks[0].keys() == walks[1].keys()
    for name, x in walks[0].items():
        np.testing.assert_array_equal(x, walks[1][name], err_msg=name)
    assert not np.array_equal(walks[0]["image"], walks[2]["image"])
    assert walks[0]["image"].std() > 10
    assert len(np.unique(walks[0]["depth"])) > 10
    assert len(np.unique(walks[0]["pose"], axis=0)) > 20
    assert np.abs(walks[0]["sound"].astype(int)).max() > 1000  # the floor hurts
    assert not list(tmp_path.iterdir())  # no files of VizDoom's are left behind
