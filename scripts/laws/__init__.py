"""The laws of the tree, as checks. `scripts/tidy` runs them; `scripts/laws/test_laws.py` shows that each can fail."""

import dataclasses
import pathlib
import subprocess


@dataclasses.dataclass(frozen=True)
class Finding:
    """A place where a law is broken, and how."""

    path: str
    line: int
    why: str

    def __str__(self):
        return f"{self.path}:{self.line}: {self.why}"


class Tree:
    """The files that git tracks, or would track, and their text."""

    def __init__(self, texts):
        self._texts = dict(sorted(texts.items()))

    @classmethod
    def of_repository(cls, top):
        """Reads the work tree: tracked files, and new ones that are not ignored."""
        listing = subprocess.run(["git", "-C", top, "ls-files", "-z", "-co", "--exclude-standard"],
                                 check=True, capture_output=True).stdout.decode()
        texts = {}
        for name in filter(None, listing.split("\0")):
            path = pathlib.Path(top, name)
            if path.is_file() and not path.is_symlink():
                texts[name] = path.read_bytes().decode("utf-8", errors="replace")
        return cls(texts)

    def paths(self):
        """Every path, sorted."""
        return list(self._texts)

    def text(self, path):
        """The text of one file."""
        return self._texts[path]

    def named(self, name):
        """Paths whose last part is `name`."""
        return [path for path in self._texts if path.rsplit("/", 1)[-1] == name]

    def under(self, folder):
        """Paths below a folder, given with its closing slash."""
        return [path for path in self._texts if path.startswith(folder)]

    def ending(self, suffix):
        """Paths that end so."""
        return [path for path in self._texts if path.endswith(suffix)]
