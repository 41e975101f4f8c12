"""One company made by the quickstart, and one server on it, for all tests of this folder."""

import json
import os
import re
import shutil
import subprocess
import tempfile
from contextlib import contextmanager
from pathlib import Path

import pytest

TENON = os.environ.get("TENON", "tenon")


class Company:
    def __init__(self, folder: Path, closing: dict):
        self.folder = folder
        self.closing = closing

    def run(self, *arguments: str, check: bool = True) -> subprocess.CompletedProcess:
        done = subprocess.run(
            [TENON, "--dir", str(self.folder), *arguments], capture_output=True, text=True, timeout=300
        )
        if check and done.returncode != 0:
            raise AssertionError(f"{arguments} ended with {done.returncode}:\n{done.stderr}")
        return done

    def json(self, *arguments: str):
        return json.loads(self.run("--output", "json", *arguments).stdout)

    def table(self, dataset: str) -> str:
        return str(self.folder / ".tenon" / "lake" / dataset)


@contextmanager
def serving(folder: Path, **how):
    """A server on the folder: its address and its process."""
    process = subprocess.Popen(
        [TENON, "--dir", str(folder), "serve", "--listen", "127.0.0.1:0"], stdout=subprocess.PIPE, text=True, **how
    )
    try:
        line = process.stdout.readline()
        found = re.search(r"http://(\S+)", line)
        assert found, f"the server said {line!r}"
        yield found.group(1), process
        process.terminate()
        assert process.wait(timeout=30) == 0
    finally:
        process.kill()
        process.wait()


@pytest.fixture(scope="session")
def made() -> Company:
    """The company as the quickstart left it. Tests must not change it: see `company`."""
    folder = Path(tempfile.mkdtemp(prefix="tenon-clients-")) / "acme"
    done = subprocess.run(
        [TENON, "--dir", str(folder), "--output", "json", "quickstart", "--no-serve"],
        capture_output=True,
        text=True,
        timeout=1200,
    )
    print(done.stderr)
    assert done.returncode == 0, done.stderr
    yield Company(folder, json.loads(done.stdout))
    shutil.rmtree(folder.parent)


@pytest.fixture
def company(made: Company, tmp_path: Path) -> Company:
    """A copy that a test may change."""
    folder = tmp_path / "acme"
    shutil.copytree(made.folder, folder)
    return Company(folder, made.closing)


@contextmanager
def serving_a_copy(made: Company, tmp_path_factory):
    """The address of a server on a copy of the company."""
    folder = tmp_path_factory.mktemp("served") / "acme"
    shutil.copytree(made.folder, folder)
    with serving(folder) as (address, _):
        yield address


@pytest.fixture(scope="session")
def server(made: Company, tmp_path_factory):
    """The address of a server that tests share: each may decide there, and see what others decided."""
    with serving_a_copy(made, tmp_path_factory) as address:
        yield address
