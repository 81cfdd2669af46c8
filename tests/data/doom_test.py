import ctypes.util
import importlib
import importlib.metadata
import importlib.util
import sys
import types

import numpy as np
import pytest

from jssl.data import load
from jssl.data.doom import record

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
    assert files == ["corridor-0-60-8-9.9.npz"]
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
