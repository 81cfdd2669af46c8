"""Packages of data, installed or unpacked into the cache folder.

Loaders never use the network or a package manager: the error for a missing package
contains the commands to get it.
"""

import importlib.util
from dataclasses import dataclass
from pathlib import Path

from jssl.cache import cache_folder

ROOT = Path("/")  # below which Debian's packages are installed


@dataclass(frozen=True)
class Package:
    """A package of Debian, of npm, or of Python.

    Attributes:
      name: in its registry; of Python also that of its module.
      folder: of the data, from the root of the package.
      registry: "debian", "npm" or "pip".
      file: in the folder, of this package alone; for a folder that packages share.
    """

    name: str
    folder: str
    registry: str = "debian"
    file: str = ""

    @property
    def unpacked(self) -> Path:
        """Cache folder into which the package is unpacked."""
        return cache_folder() / "packages" / self.name

    def places(self) -> list[Path]:
        """Folders to search for the data, in order."""
        installed = {"debian": [ROOT], "npm": [], "pip": self._modules()}[self.registry]
        return [root / self.folder for root in (self.unpacked, *installed)]

    def _modules(self):
        """Folders of the module, which is not imported."""
        module = importlib.util.find_spec(self.name) if self.registry == "pip" else None
        return [Path(x) for x in (module and module.submodule_search_locations) or ()]

    def found(self) -> Path | None:
        """Folder of the data; None if it is missing."""
        there = (x for x in self.places() if x.is_dir() and (x / self.file).exists())
        return next(there, None)

    def commands(self) -> str:
        """Shell commands that unpack the package into the cache folder, without root.

        A package of Python is installed, without its dependencies.

        >>> print(Package("left-pad", "package", "npm").commands())
        mkdir -p .../packages/left-pad && cd .../packages/left-pad && npm pack left-pad
        && tar xzf left-pad-*.tgz
        """
        if self.registry == "pip":
            return f"pip install --no-deps {self.name}"
        archive = self.name.removeprefix("@").replace("/", "-")  # of npm's scopes
        fetch = {
            "debian": f"apt-get download {self.name} && dpkg-deb -x {self.name}_*.deb .",
            "npm": f"npm pack {self.name} && tar xzf {archive}-*.tgz",
        }
        return f"mkdir -p {self.unpacked} && cd {self.unpacked} && {fetch[self.registry]}"


def require(source: str, *packages: Package) -> list[Path]:
    """The folders of all packages.

    Raises:
      ValueError: a package is missing; the message contains the commands to get it.
    """
    folders = {package: package.found() for package in packages}
    missing = [package for package, folder in folders.items() if not folder]
    if missing:
        places = [place for package in missing for place in package.places()]
        raise ValueError(
            f"{source} needs {' and '.join(package.name for package in missing)}, found "
            f"in none of {', '.join(map(str, places))}: `"
            f"{' && '.join(package.commands() for package in missing)}`"
        )
    return [folder for folder in folders.values() if folder]
