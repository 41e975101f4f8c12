"""Queries on Ballista: a scheduler and two executors as processes of their own give what one process gives."""

import json
import random
import re
import signal
import subprocess
import time
from contextlib import ExitStack, contextmanager
from datetime import datetime, timedelta, timezone
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import requests
from conftest import TENON, serving
from ports import free_port
from small import Folder

DATASET = """description = "{name}"
event_time = "{time}"
[source]
files = "data/{name}/*.parquet"
[contract]
key = ["row"]
[contract.columns.row]
type = "int64"
[contract.columns.account]
type = "string"
nullable = true
[contract.columns.region]
type = "int64"
[contract.columns.{time}]
type = "timestamp"
"""
FEATURE = """[contract.columns.known_at]
type = "timestamp"
[contract.columns.amount]
type = "float64"
nullable = true
"""
START = datetime(2024, 1, 1, tzinfo=timezone.utc)
DECISIONS, EVENTS, ACCOUNTS, SECONDS = 120_000, 250_000, 4_000, 3_000_000


def rows(name: str, count: int, seed: int) -> pa.Table:
    chance = random.Random(seed)
    seconds = chance.sample(range(SECONDS), count)
    accounts = [None if chance.random() < 0.01 else f"a{chance.randrange(ACCOUNTS)}" for _ in range(count)]
    if name != "decisions":
        accounts = [account or "a0" for account in accounts]
    moments = [START + timedelta(seconds=second) for second in seconds]
    columns = {"row": range(count), "account": accounts, "region": [chance.randrange(3) for _ in range(count)]}
    columns["decided_at" if name == "decisions" else "event_time"] = moments
    if name != "decisions":
        columns["known_at"] = [moment + timedelta(seconds=chance.choice([0, 0, 60, 4000])) for moment in moments]
        columns["amount"] = [None if chance.random() < 0.1 else chance.randrange(8000) / 8 for _ in range(count)]
    return pa.table({column: pa.array(values) for column, values in columns.items()})


class Cluster:
    """A scheduler and its executors, each a process whose log is kept."""

    def __init__(self, folder: Path, stack: ExitStack):
        self.folder, self.stack = folder, stack
        self.scheduler, self.address = self.start("scheduler", "scheduler", "--listen", "127.0.0.1:0")
        self.executors = []

    def start(self, name: str, *arguments: str):
        log = (self.folder / f"{name}.log").open("w")
        process = subprocess.Popen(
            [TENON, *arguments],
            stdout=subprocess.PIPE,
            stderr=log,
            text=True,
            env={"TENON_LOG": "info,ballista_executor=debug", "TMPDIR": str(self.folder), "NO_COLOR": "1"},
        )
        self.stack.callback(process.wait)
        self.stack.callback(process.kill)
        line = process.stdout.readline()
        found = re.search(r"at (127\.0\.0\.1:\d+)", line)
        assert found, f"{name} said {line!r}; {self.log(name)}"
        return process, found.group(1)

    def add(self, *arguments: str):
        name = f"executor-{len(self.executors)}"
        process, _ = self.start(
            name, "executor", "--scheduler", self.address, "--listen", "127.0.0.1:0", "--cores", "2", *arguments
        )
        self.executors.append(process)
        until = time.monotonic() + 20
        while f"ready: {len(self.executors)} executors" not in self.ready():
            assert time.monotonic() < until and process.poll() is None, self.log(name)
            time.sleep(0.05)

    def ready(self) -> str:
        return requests.get(f"http://{self.address}/readyz", timeout=5).text

    def log(self, name: str) -> str:
        return (self.folder / f"{name}.log").read_text()

    def joins(self, executor: int) -> int:
        """How many tasks with a join in them an executor has done."""
        return self.log(f"executor-{executor}").count("AsOfExec: spread")


@contextmanager
def cluster(folder: Path, executors: int = 2):
    folder.mkdir()
    with ExitStack() as stack:
        made = Cluster(folder, stack)
        for _ in range(executors):
            made.add()
        yield made


class Company(Folder):
    def __init__(self, folder: Path):
        super().__init__(folder)
        self.plain = (folder / "company.toml").read_text()
        for seed, (name, count) in enumerate([("decisions", DECISIONS), ("balances", EVENTS), ("scores", EVENTS)]):
            time = "decided_at" if name == "decisions" else "event_time"
            text = DATASET.format(name=name, time=time) + ("" if name == "decisions" else FEATURE)
            (self.datasets / f"{name}.toml").write_text(text)
            table = rows(name, count, seed)
            (folder / "data" / name).mkdir(parents=True)
            # Several files, so that a table has several in one version.
            for part in range(3):
                piece = table.slice(part * count // 3, (part + 1) * count // 3 - part * count // 3)
                pq.write_table(piece, folder / "data" / name / f"{part}.parquet")
        self.run("apply")
        self.run("ingest")

    def engine(self, address: str | None):
        key = f'engine = "ballista://{address}"\n' if address else ""
        (self.folder / "company.toml").write_text(key + self.plain)

    def ask(self, sql: str, *arguments: str):
        return self.json("query", sql, "--limit", "200000", *arguments)


@pytest.fixture(scope="module")
def company(tmp_path_factory) -> Company:
    return Company(tmp_path_factory.mktemp("scale") / "acme")


@pytest.fixture(scope="module")
def two(tmp_path_factory):
    with cluster(tmp_path_factory.mktemp("cluster") / "run") as made:
        yield made


JOINED = """SELECT d."row" AS id, b."row", b.amount, s."row" AS score_row, s.amount AS score FROM decisions d
    ASOF JOIN balances b
      MATCH_CONDITION (d.decided_at >= b.event_time AND d.decided_at - b.event_time <= INTERVAL '20 hours')
      ON d.account = b.account
    ASOF LEFT JOIN scores s
      MATCH_CONDITION (d.decided_at > s.event_time AND d.decided_at >= s.known_at)
      ON d.account = s.account AND d.region = s.region"""


def test_the_join_gives_the_same_rows_on_two_executors(company: Company, two: Cluster):
    sql = f"{JOINED} ORDER BY id"
    company.engine(None)
    began = time.monotonic()
    here = company.ask(sql)
    middle = time.monotonic()
    company.engine(two.address)
    there = company.ask(sql)
    print(f"here {middle - began:.2f} s, on two executors {time.monotonic() - middle:.2f} s")
    assert there == here and len(here) == DECISIONS
    for row in ("row", "score_row"):
        assert 0 < sum(row in answer for answer in here) < DECISIONS
    assert two.joins(0) > 0 and two.joins(1) > 0, "one of the executors did nothing"


@pytest.mark.parametrize(
    "sql",
    [
        # Observations as they came, without being asked for, and the first of them.
        JOINED.replace("decisions d", "(SELECT * FROM decisions ORDER BY decided_at LIMIT 1000000) d"),
        JOINED.replace("decisions d", "(SELECT * FROM decisions ORDER BY decided_at DESC LIMIT 100000) d"),
        JOINED.replace("decisions d", "(SELECT * FROM decisions ORDER BY decided_at DESC LIMIT 100000) d") + " LIMIT 50",
        JOINED.replace("ASOF JOIN balances", "ASOF INNER JOIN balances") + " WHERE d.region = 1 ORDER BY id",
        # No key that both tables share.
        """SELECT d."row" AS id, b."row", s."row" AS score_row FROM decisions d
           ASOF JOIN balances b MATCH_CONDITION (d.decided_at >= b.event_time) ON d.account = b.account
           ASOF JOIN scores s MATCH_CONDITION (d.decided_at >= s.event_time) ON d.region = s.region ORDER BY id""",
        # What is not ours: groups, joins, windows, functions on arrays, texts, a subquery, a union, and no rows.
        "SELECT account, count(*) AS n, sum(amount) AS total, max(known_at) AS last FROM balances GROUP BY account ORDER BY account",
        """SELECT d.account, count(*) AS n, sum(s.amount) AS total FROM decisions d JOIN scores s
           ON d.account = s.account AND d.region = s.region GROUP BY d.account ORDER BY d.account""",
        """SELECT "row", sum(amount) OVER (PARTITION BY account ORDER BY event_time) AS so_far FROM balances
           ORDER BY "row" LIMIT 1000""",
        """SELECT upper(account) AS who, array_sort(array_agg(DISTINCT region)) AS regions FROM scores
           GROUP BY account ORDER BY who LIMIT 100""",
        # The first rows of a subquery, of which a stage in between could make more.
        """SELECT count(*) AS n, count(DISTINCT d.place) AS places FROM
           (SELECT account, row_number() OVER () AS place FROM (SELECT * FROM decisions ORDER BY decided_at LIMIT 1000)) d
           JOIN balances b ON d.account = b.account""",
        "SELECT count(*) AS n FROM decisions WHERE account NOT IN (SELECT account FROM scores WHERE region = 2)",
        "SELECT avg(amount) AS mean FROM balances WHERE amount > (SELECT avg(amount) FROM scores)",
        'SELECT account FROM balances UNION SELECT account FROM scores ORDER BY account',
        "SELECT * FROM decisions WHERE region = 7",
        "SELECT * FROM balances__quarantine",
        "SELECT 1 + 1 AS two",
        "SELECT count(*) AS n FROM decisions FOR VERSION AS OF 1 d JOIN balances b ON d.\"row\" = b.\"row\"",
    ],
)
def test_every_kind_of_query_gives_the_same(company: Company, two: Cluster, sql: str):
    company.engine(None)
    here = company.ask(sql)
    company.engine(two.address)
    assert company.ask(sql) == here


def test_what_is_wrong_with_a_query_is_told_as_at_home(company: Company, two: Cluster):
    for sql in ("SELECT amout FROM balances", "SELEC 1"):
        company.engine(None)
        here = company.run("query", sql, ok=3).stderr
        company.engine(two.address)
        assert company.run("query", sql, ok=3).stderr == here
    # A value fails where it is, and is told once.
    told = company.run("query", "SELECT CAST(account AS BIGINT) AS n FROM balances", ok=3).stderr
    assert told.count("Cannot cast string") == 1 and f"ballista://{two.address}" in told, told


def test_a_query_over_http_runs_there_too(company: Company, two: Cluster):
    company.engine(two.address)
    before = two.joins(0) + two.joins(1)
    with serving(company.folder) as (address, _):
        asked = {"sql": f"SELECT count(*) AS n, sum(score) AS total FROM ({JOINED})"}
        answer = requests.post(f"http://{address}/api/v1/query", json=asked, timeout=60).json()
    assert two.joins(0) + two.joins(1) > before
    company.engine(None)
    assert answer["rows"] == company.ask(asked["sql"])


STEPS = ", ".join(f"(INTERVAL '{step} minutes')" for step in range(4))
#: Half a million observations, so that somebody can die meanwhile.
LONG = f"""SELECT o.account, count(*) AS n, count(b."row") AS held, sum(b.amount) AS amounts, sum(s.amount) AS scores
    FROM (SELECT d.account, d.region, d.decided_at + v.step AS at
          FROM decisions d CROSS JOIN (VALUES {STEPS}) AS v(step)) o
    ASOF JOIN balances b MATCH_CONDITION (o.at >= b.event_time) ON o.account = b.account
    ASOF JOIN scores s MATCH_CONDITION (o.at >= s.event_time) ON o.account = s.account AND o.region = s.region
    GROUP BY o.account ORDER BY o.account"""


def test_an_executor_killed_half_way_changes_nothing(company: Company, tmp_path: Path):
    company.engine(None)
    here = company.ask(LONG)
    with cluster(tmp_path / "run") as run:
        company.engine(run.address)
        asking = subprocess.Popen(
            [TENON, "--dir", str(company.folder), "--output", "json", "query", LONG, "--limit", "200000"],
            stdout=(tmp_path / "answer").open("w"),
            stderr=subprocess.PIPE,
            text=True,
        )
        # It has done its part of an earlier stage, whose result others still need, and is at work on the next.
        until = time.monotonic() + 60
        while "Physical plan with metrics" not in run.log("executor-1"):
            assert time.monotonic() < until and asking.poll() is None
            time.sleep(0.01)
        run.executors[1].send_signal(signal.SIGKILL)
        assert asking.poll() is None, "the query was over before the executor died"
        assert asking.wait(timeout=110) == 0, asking.stderr.read()
        company.engine(None)
        there = (tmp_path / "answer").read_text()
        assert json.loads(there) == here
        assert run.joins(0) > 0


def test_who_is_not_there_is_told_within_seconds(company: Company, tmp_path: Path):
    company.engine(f"127.0.0.1:{free_port()}")
    began = time.monotonic()
    told = company.run("query", "SELECT count(*) FROM decisions", ok=3).stderr
    assert "does not answer" in told and "tenon scheduler" in told and time.monotonic() - began < 15
    # What reads no table needs nobody.
    assert company.ask("SELECT 1 AS one") == [{"one": 1}]
    with cluster(tmp_path / "run", executors=0) as run:
        company.engine(run.address)
        told = company.run("query", "SELECT count(*) FROM decisions", ok=3).stderr
        assert "has no executor" in told and f"tenon executor --scheduler {run.address}" in told
        run.scheduler.terminate()
        assert run.scheduler.wait(timeout=10) == 0
    company.engine(None)


def test_an_executor_without_a_scheduler_ends():
    lonely = subprocess.run(
        [TENON, "executor", "--scheduler", f"127.0.0.1:{free_port()}"], capture_output=True, text=True, timeout=60
    )
    assert lonely.returncode == 3 and "no scheduler answers" in lonely.stderr, lonely.stderr


def test_nobody_listens_to_other_machines_by_mistake():
    for verb in ("scheduler", "executor"):
        done = subprocess.run([TENON, verb, "--listen", "0.0.0.0:0"], capture_output=True, text=True, timeout=20)
        assert done.returncode == 3 and "--trust-network" in done.stderr, done.stderr
    done = subprocess.run(
        [TENON, "executor", "--listen", "0.0.0.0:0", "--trust-network"], capture_output=True, text=True, timeout=20
    )
    assert done.returncode == 3 and "--advertise" in done.stderr, done.stderr
    taken = free_port()
    with ExitStack() as stack:
        first = subprocess.Popen([TENON, "scheduler", "--listen", f"127.0.0.1:{taken}"], stdout=subprocess.PIPE, text=True)
        stack.callback(first.wait)
        stack.callback(first.kill)
        assert str(taken) in first.stdout.readline()
        done = subprocess.run(
            [TENON, "scheduler", "--listen", f"127.0.0.1:{taken}"], capture_output=True, text=True, timeout=20
        )
        assert done.returncode == 3 and str(taken) in done.stderr, done.stderr


def test_an_address_that_is_none(company: Company):
    (company.folder / "company.toml").write_text('engine = "http://here"\n' + company.plain)
    told = company.run("query", "SELECT 1", ok=1).stderr
    assert "`http://here` is no engine" in told and "company.toml:1:10" in told
    company.engine(None)
