"""Merge, vacuum, replay, restore, compaction and release, killed from outside at random: all of it or nothing.

Each operation runs once to its end, on a copy of a company that is ready for it, to learn what it changes and how long it
takes. Then it is killed again and again, each time on a fresh copy: each third time after a random share of that duration,
otherwise when it has made a random number of its changes to the lake's folder. Sometimes the command that comes next, and
settles what the kill left, is killed as well. Who reads the tables is `deltalake`, which knows nothing of the ledger.
"""

import os
import random
import shutil
import signal
import sqlite3
import subprocess
import time
from collections import Counter
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa
import pytest
from conftest import TENON
from deltalake import DeltaTable
from test_versions import FLIGHTS, Small

KILLS = int(os.environ.get("TENON_KILLS", "8"))
#: Every fourth value is beyond what the contract allows.
DELAYS = [10, 20, 30, 999]
CREWS = """description = "crews"
[source]
files = "data/crews/*.csv"
[contract]
max_quarantined = "60%"
key = ["crew"]
[contract.columns.crew]
type = "string"
pattern = "C.*"
"""


class Large(Small):
    """Three datasets with many small files, one of which keeps its rows as they came."""

    #: Batches of each dataset, and rows of each batch.
    batches, rows = 6, 400

    def __init__(self, folder: Path):
        super().__init__(folder, flights=f"keep_raw = true\n{FLIGHTS}")
        (self.datasets / "crews.toml").write_text(CREWS)
        self.give_batches("m")
        self.run("apply")
        self.run("ingest")

    def give_batches(self, mark):
        """Files for all datasets, with keys that begin with `mark`."""
        for batch in range(self.batches):
            numbers = [f"{mark}{batch}-{row}" for row in range(self.rows)]
            flights = [f"{number},{DELAYS[row % 4]},2013-01-01T00:00:00Z\n" for row, number in enumerate(numbers)]
            self.give("flights", f"{mark}{batch}", "id,delay,at\n" + "".join(flights))
            self.give("planes", f"{mark}{batch}", "tailnum\n" + "".join(f"N{number}\n" for number in numbers))
            crews = [f"{'C' if row % 4 else 'X'}{number}\n" for row, number in enumerate(numbers)]
            self.give("crews", f"{mark}{batch}", "crew\n" + "".join(crews))


TABLES = ["flights", "flights__quarantine", "flights__raw", "planes", "crews", "crews__quarantine"]


@dataclass
class Operation:
    """A command that is killed."""

    arguments: list[str]
    #: The kind of fact that it leaves, and how many of them.
    fact: str
    facts: int = 1
    #: How a second run ends, once the first has done its work, what it says, and how many facts it may leave.
    again: tuple[int, str] = (0, "")
    more: tuple[int, ...] = (0,)


@dataclass
class State:
    """What anybody can see of a company's newest versions."""

    #: How many facts of the operation there are.
    facts: int
    #: Rows of each table as deltalake reads them, in order.
    rows: dict[str, pa.Table]
    #: Names of data files of each table.
    files: dict[str, frozenset]


@dataclass
class Ready:
    """A company that is ready for an operation, and what one whole run made of it."""

    operation: Operation
    folder: Path
    before: State
    after: State
    #: Every version of every table that was there before: its rows.
    versions: dict[tuple[str, int], pa.Table]
    #: How many files one run makes or removes in the lake's folder, and how long it takes.
    changes: int
    seconds: float


def listing(folder: Path) -> frozenset:
    """Data files and log entries of the lake, which never change once they are there."""
    found, stack = [], [str(folder / ".tenon" / "lake")]
    while stack:
        try:
            with os.scandir(stack.pop()) as entries:
                for entry in entries:
                    if entry.is_dir():
                        stack.append(entry.path)
                    elif entry.name.endswith((".parquet", ".json")):
                        found.append(entry.path)
        except FileNotFoundError:
            pass
    return frozenset(found)


def facts_of(folder: Path, kind: str) -> int:
    """How many facts of a kind the ledger holds, read from a copy of its file: that opens and settles nothing."""
    copy = folder.parent / "ledger-copy"
    shutil.rmtree(copy, ignore_errors=True)
    copy.mkdir()
    for file in (folder / ".tenon/ledger").glob("ledger.db*"):
        if not file.name.endswith("-shm"):
            shutil.copy(file, copy)
    with closing(sqlite3.connect(copy / "ledger.db")) as connection:
        return connection.execute("SELECT count(*) FROM facts WHERE kind = ?", (kind,)).fetchone()[0]


def contents(table: str, version=None) -> pa.Table:
    """The rows of a table as deltalake reads them, in order; not when they were set aside or decided about."""
    rows = DeltaTable(table, version=version).to_pyarrow_table()
    rows = rows.drop([name for name in ("_quarantined_at", "_resolved_at") if name in rows.column_names])
    return rows.sort_by([(name, "ascending") for name in rows.column_names])


def state_of(company, operation) -> State:
    rows = {name: contents(company.table(name)) for name in TABLES}
    files = {name: frozenset(DeltaTable(company.table(name)).file_uris()) for name in TABLES}
    files = {name: frozenset(Path(file).name for file in held) for name, held in files.items()}
    return State(facts_of(company.folder, operation.fact), rows, files)


def versions_of(company):
    for name in TABLES:
        for version in range(DeltaTable(company.table(name)).version() + 1):
            yield name, version


def copied(folder: Path, to: Path) -> Large:
    """A copy of a company that is there already."""
    shutil.rmtree(to.parent, ignore_errors=True)
    shutil.copytree(folder, to)
    company = object.__new__(Large)
    company.folder = to
    return company


@pytest.fixture(scope="module")
def large(tmp_path_factory):
    return Large(tmp_path_factory.mktemp("large") / "acme")


@pytest.fixture
def ready(large, tmp_path):
    def prepare(operation: Operation, steps=lambda company: None) -> Ready:
        company = copied(large.folder, tmp_path / "ready" / "acme")
        steps(company)
        before = state_of(company, operation)
        versions = {place: contents(company.table(place[0]), place[1]) for place in versions_of(company)}
        whole = copied(company.folder, tmp_path / "whole" / "acme")
        first, begun = listing(whole.folder), time.monotonic()
        whole.run(*operation.arguments)
        seconds = time.monotonic() - begun
        after = state_of(whole, operation)
        assert after.facts - before.facts == operation.facts
        return Ready(operation, company.folder, before, after, versions, len(first ^ listing(whole.folder)), seconds)

    return prepare


def start(company, arguments):
    command = [TENON, "--dir", str(company.folder), *arguments]
    return subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)


def kill(process):
    process.kill()
    said = process.stderr.read()
    process.wait()
    assert "panicked" not in said, said


def killed_somewhere(ready: Ready, company, dice, by_time) -> str:
    """Runs the operation and kills it; whether that hit it before its first change, during its work, or after."""
    first = listing(company.folder)
    process = start(company, ready.operation.arguments)
    if by_time:
        time.sleep(dice.uniform(0, ready.seconds))
    else:
        wanted = dice.randint(1, ready.changes)
        # It stands still while somebody counts, so that it cannot run away from the count.
        while process.poll() is None and (made := len(first ^ listing(company.folder))) < wanted:
            process.send_signal(signal.SIGCONT)
            time.sleep(0 if made else 0.0002)
            process.send_signal(signal.SIGSTOP)
    kill(process)
    if process.returncode == 0:
        return "after"
    made = len(first ^ listing(company.folder))
    sealed = facts_of(company.folder, ready.operation.fact) - ready.before.facts
    if made == sealed == 0:
        return "before"
    return "during" if made < ready.changes or sealed < ready.operation.facts else "after"


#: What somebody does next. Audits only read; the others open the company to write, and settle what was left.
NEXT = [["query", "SELECT count(*) FROM flights"], ["audit", "data"], ["audit", "verify"], ["ingest"], ["branch", "list"]]


def check_kills(ready: Ready, tmp_path, check=lambda company: None):
    """Kills the operation `KILLS` times, and looks at what each leaves."""
    operation, hits = ready.operation, Counter()
    dice = random.Random(f"{operation.fact} 20261124")
    for number in range(KILLS):
        company = copied(ready.folder, tmp_path / "killed" / "acme")
        hit = killed_somewhere(ready, company, dice, by_time=number % 3 == 0)
        hits[hit] += 1
        sealed = facts_of(company.folder, operation.fact) - ready.before.facts
        if dice.random() < 1 / 3:
            settling = start(company, dice.choice(NEXT))
            time.sleep(dice.uniform(0, 0.08))
            kill(settling)
        company.run(*dice.choice(NEXT))
        company.run("audit", "data")
        company.run("audit", "verify")
        whole(company, ready, hit, sealed)
        completed(company, ready)
        company.run("audit", "data")
        readable(company, ready)
        check(company)
    print(operation.arguments, dict(hits), f"{ready.changes} changes in {ready.seconds:.2f} s")
    assert hits["during"] > KILLS // 5, f"the kills missed the work: {hits}"


def whole(company, ready: Ready, hit, sealed):
    """Everything of the operation is there, or nothing of it: for Tenon's readers, and for others once that is settled."""
    company.run("branch", "list")
    now, operation = state_of(company, ready.operation), ready.operation
    done = now.facts - ready.before.facts
    assert sealed <= done <= operation.facts, "a fact that was durable is gone"
    assert done == {"before": 0, "after": operation.facts}.get(hit, done)
    for name in TABLES:
        if operation.facts == 1:
            expected = (ready.after if done else ready.before).rows[name]
            assert now.rows[name].equals(expected), f"{name} is half of a {operation.fact}: {hit}, {done} facts"
        else:
            # Each table has a fact of its own.
            assert now.rows[name].equals(ready.before.rows[name]) and ready.after.rows[name].equals(ready.before.rows[name])
            assert now.files[name] in (ready.before.files[name], ready.after.files[name]), (name, hit)
    counts = ", ".join(f"(SELECT count(*) FROM {name}) AS {name}" for name in TABLES)
    assert company.json("query", f"SELECT {counts}") == [{name: now.rows[name].num_rows for name in TABLES}], hit


def completed(company, ready: Ready):
    """Running the command again completes it, however much of it was done."""
    operation = ready.operation
    left = operation.facts - facts_of(company.folder, operation.fact) + ready.before.facts
    code, words = operation.again if left == 0 else (0, "")
    again = company.run(*operation.arguments, ok=code)
    assert words in again.stdout + again.stderr
    now = state_of(company, operation)
    assert [name for name in TABLES if not now.rows[name].equals(ready.after.rows[name])] == []
    assert now.facts - ready.before.facts - operation.facts in (operation.more if left == 0 else (0,))


def readable(company, ready: Ready):
    """deltalake reads every version that no vacuum on record took: rows are there once, and what was before is as it was."""
    gone = vacuumed(company)
    for name, version in versions_of(company):
        if (name, version) in gone:
            continue
        rows = contents(company.table(name), version)
        assert rows.group_by(rows.column_names).aggregate([]).num_rows == rows.num_rows, (name, version)
        if (name, version) in ready.versions:
            assert rows.equals(ready.versions[name, version]), f"version {version} of {name} is not what it was"


def vacuumed(company) -> set:
    """The versions that the vacuums on record say cannot be read any more."""
    facts = [stored["fact"] for stored in company.json("get", "facts")]
    tables = [table for fact in facts if fact["kind"] == "lake.vacuumed" for table in fact["body"]["tables"]]
    stretches = [(table["table"], stretch) for table in tables for stretch in table["unreadable"]]
    return {(table, version) for table, (first, last) in stretches for version in range(first, last + 1)}


def test_a_merge_is_in_all_tables_or_in_none(ready, tmp_path):
    def steps(company):
        company.run("branch", "create", "audit", "--datasets", "flights,planes,crews")
        company.give_batches("b")
        company.run("ingest", "--branch", "audit")
        # The branch has them: they must not come to the datasets by an ingest in between.
        for file in company.folder.glob("data/*/b*.csv"):
            file.unlink()

    merge = Operation(["branch", "merge", "audit"], "branch.merged", again=(3, "there is no branch `audit`"))
    prepared = ready(merge, steps)
    changed = [name for name in TABLES if not prepared.after.rows[name].equals(prepared.before.rows[name])]
    assert changed == TABLES, "rows as they came are merged with the rest"
    check_kills(prepared, tmp_path)


def test_a_vacuum_removes_nothing_that_is_named(ready, tmp_path):
    def steps(company):
        company.run("tag", "create", "pinned", "--dataset", "flights", "--as-of", "3")
        company.give_batches("v")
        company.run("ingest")
        company.run("compact")

    def nothing_left(company):
        gone = vacuumed(company)
        assert gone and ("flights", 3) not in gone
        name, version = min(gone)
        said = company.run("query", f"SELECT * FROM {name}", "--as-of", str(version), ok=3).stderr
        assert f"version {version} of `{name}` cannot be read any more: the vacuum of" in said
        tables = company.json("vacuum", "--retain", "0s", "--dry-run")["tables"]
        assert [table["table"] for table in tables if table["removed"]] == []

    vacuum = Operation(["vacuum", "--retain", "0s"], "lake.vacuumed", more=(0, 1))
    check_kills(ready(vacuum, steps), tmp_path, nothing_left)


def test_a_replay_is_whole_or_has_not_been(ready, tmp_path):
    def steps(company):
        declared = next((company.folder / "pods").iterdir()) / "datasets/flights.toml"
        declared.write_text(declared.read_text().replace("range = [-60, 600]", "range = [15, 1000]"))
        company.run("apply", "--allow-breaking")

    prepared = ready(Operation(["replay", "flights"], "dataset.replayed", more=(1,)), steps)
    assert not prepared.after.rows["flights"].equals(prepared.before.rows["flights"])
    check_kills(prepared, tmp_path)


def test_a_restore_is_whole_or_has_not_been(ready, tmp_path):
    restore = ["restore", "flights", "--to", "3", "--reason", "a drill"]
    check_kills(ready(Operation(restore, "dataset.restored", again=(0, "holds those rows already"))), tmp_path)


def test_a_compaction_keeps_the_rows(ready, tmp_path):
    check_kills(ready(Operation(["compact"], "dataset.compacted", facts=5, again=(0, "there are no small files"))), tmp_path)


def test_a_release_lands_each_row_once(ready, tmp_path):
    release = ["quarantine", "release", "flights", "--set", "delay=1", "--reason", "a drill"]
    prepared = ready(Operation(release, "quarantine.released"))
    more = prepared.after.rows["flights"].num_rows - prepared.before.rows["flights"].num_rows
    assert more == Large.batches * Large.rows // 4
    check_kills(prepared, tmp_path)
