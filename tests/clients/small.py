"""A company of a test's own: a folder, and the program on it."""

import json
import subprocess
from pathlib import Path

from conftest import TENON


class Folder:
    def __init__(self, folder: Path):
        self.folder = folder
        self.run("init", str(folder), "--name", "acme")
        #: Where the first pod declares its datasets.
        self.datasets = next((folder / "pods").iterdir()) / "datasets"
        self.datasets.mkdir(exist_ok=True)

    def run(self, *arguments, ok=0):
        done = subprocess.run([TENON, "--dir", str(self.folder), *arguments], capture_output=True, text=True, timeout=120)
        assert done.returncode == ok, f"{arguments}: {done.returncode}\n{done.stdout}\n{done.stderr}"
        return done

    def json(self, *arguments, ok=0):
        return json.loads(self.run("--output", "json", *arguments, ok=ok).stdout)

    def give(self, dataset, name, text):
        file = self.folder / "data" / dataset / f"{name}.csv"
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text)

    def table(self, name):
        return str(self.folder / ".tenon" / "lake" / name)
