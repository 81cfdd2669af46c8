"""Packages of the wheel: the library, and the experiments as data of `jssl/experiments`."""

from setuptools import find_packages, setup

setup(
    packages=[*find_packages(include=["jssl", "jssl.*"]), "jssl.experiments"],
    package_dir={"jssl.experiments": "experiments"},
)
