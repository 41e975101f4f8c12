"""A disk that takes no more: clear errors, nothing half-landed, and once there is room all of it lands once.

The limit on file sizes stands in for the full disk: it needs no privileges, and it can be set so that one file of a
commit is written and the next is not. Where the signal that comes with it is ignored, a write fails with EFBIG.
"""

import os
import resource
import signal
import subprocess
from contextlib import contextmanager

import polars
import pytest
import requests
from conftest import TENON, serving
from deltalake import DeltaTable

UNLIMITED = resource.RLIM_INFINITY
ENTITIES = {
    "flight_id": "UA1-EWR-20131001T1000", "tailnum": "N14228", "origin": "EWR", "carrier": "UA", "dest": "IAH",
}


def errors_instead_of_signals():
    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)


@contextmanager
def room(process, most: int):
    """The process can write files of so many bytes, and no longer ones."""
    resource.prlimit(process.pid, resource.RLIMIT_FSIZE, (most, UNLIMITED))
    yield
    resource.prlimit(process.pid, resource.RLIMIT_FSIZE, (UNLIMITED, UNLIMITED))


def rows_of(company, dataset="flights"):
    """What the table holds for somebody who is not Tenon."""
    return DeltaTable(company.table(dataset)).to_pyarrow_table().num_rows


def files_of(company, dataset="flights"):
    folder = company.folder / ".tenon" / "lake" / dataset
    return {path.relative_to(folder): path.stat().st_size for path in folder.rglob("*") if path.is_file()}


def flights(company, count, mark, dest="IAH"):
    """Flights that nobody has seen yet."""
    some = polars.read_parquet(company.folder / "data/flights/2013-q1.parquet").filter(
        polars.col("tailnum").is_not_null() & polars.col("landed_at").is_not_null()
    )
    many = polars.concat([some.with_columns(polars.col("flight_id") + f"-{mark}{at}") for at in range(count // len(some) + 1)])
    return many.head(count).with_columns(dest=polars.lit(dest))


def push(server, rows, key):
    return requests.post(
        f"http://{server}/ingest/flights", data=rows.write_ndjson(), headers={"Idempotency-Key": key}, timeout=60
    )


def test_files_that_do_not_fit_land_once_there_is_room(company):
    flights(company, 160_000, "cli").write_parquet(company.folder / "data/flights/more.parquet")
    rows, files = rows_of(company), files_of(company)

    def limited():
        errors_instead_of_signals()
        resource.setrlimit(resource.RLIMIT_FSIZE, (3_500_000, UNLIMITED))

    command = [TENON, "--dir", str(company.folder), "--output", "json", "ingest", "flights"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300, preexec_fn=limited)
    assert done.returncode == 3, done.stdout + done.stderr
    assert "there is no room to write" in done.stdout and ".parquet` of table `flights`" in done.stdout, done.stdout
    assert "File too large" in done.stdout, done.stdout
    assert (rows_of(company), files_of(company)) == (rows, files), "nothing is left of it"
    assert company.run("audit", "verify").returncode == 0

    told = company.json("ingest", "flights")
    assert [name for file in told for name in file["outcome"]].count("committed") == 1, told
    assert rows_of(company) == rows + 160_000
    assert "committed" not in [name for file in company.json("ingest", "flights") for name in file["outcome"]]
    assert rows_of(company) == rows + 160_000
    assert company.run("audit", "verify").returncode == 0


def test_a_disk_without_any_room_is_told_before_anything_happens(company):
    def limited():
        errors_instead_of_signals()
        resource.setrlimit(resource.RLIMIT_FSIZE, (0, UNLIMITED))

    command = [TENON, "--dir", str(company.folder), "ingest", "flights"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, preexec_fn=limited)
    assert done.returncode == 3 and "panicked" not in done.stderr, done.stderr
    assert "`ledger.db` cannot be written" in done.stderr, done.stderr
    assert company.run("audit", "verify").returncode == 0


@pytest.mark.parametrize("failing", ["data file", "log entry", "ledger"])
def test_a_push_that_does_not_fit_lands_once_there_is_room(company, failing):
    # Each rule that a row breaks is told in the log's entry, which so becomes longer than the row's data.
    contract = company.folder / "pods/arrivals/datasets/flights.toml"
    rules = (
        f'[[contract.checks]]\nname = "remark {at} {"x" * 100}"\nsql = "arr_delay < -1000"\nseverity = "warn"\n'
        for at in range(60)
    )
    contract.write_text(contract.read_text() + "\n" + "".join(rules))
    company.run("apply")
    before = rows_of(company)
    ledger = company.folder / ".tenon" / "ledger"
    with serving(company.folder, preexec_fn=errors_instead_of_signals) as (server, process):
        # A push that fits, to see how large its files are, and so that the ledger's log is longer than any of them.
        known = files_of(company)
        for at in range(3):
            assert push(server, flights(company, 1, f"fits{at}-"), f"fits{at}").status_code == 200
        new = {path: size for path, size in files_of(company).items() if path not in known}
        data = max(size for path, size in new.items() if path.suffix == ".parquet")
        entry = min(size for path, size in new.items() if path.suffix == ".json")
        journal = (ledger / "ledger.db-wal").stat().st_size
        assert data < entry - 200 < journal, (data, entry, journal)

        rows = flights(company, 1, "tight-")
        most, named = {
            "data file": (100, ".parquet` of table `flights`"),
            "log entry": (entry - 200, "_delta_log/"),
            "ledger": (journal, "ledger"),
        }[failing]
        with room(process, most):
            refused = push(server, rows, "tight")
            assert refused.status_code == 507, refused.text
            assert named in refused.json()["error"], refused.text
            again = push(server, rows, "tight")
            assert again.status_code == 507, again.text
        assert rows_of(company) - before - 3 in ((0, 1) if failing == "ledger" else (0,))

        landed = push(server, rows, "tight")
        assert landed.status_code == 200, landed.text
        assert push(server, rows, "tight").json()["outcome"] == "already"
        assert rows_of(company) == before + 4
        assert requests.get(f"http://{server}/api/v1/datasets", timeout=10).status_code == 200
    assert company.run("audit", "verify").returncode == 0
    assert company.json("query", "SELECT count(*) AS n, count(DISTINCT flight_id) AS ids FROM flights WHERE flight_id LIKE '%-tight-%'") == [{"n": 1, "ids": 1}]


def test_a_batch_that_the_ledger_did_not_take_is_sealed_at_the_next_start(company):
    before = rows_of(company)
    with serving(company.folder, preexec_fn=errors_instead_of_signals) as (server, process):
        for at in range(3):
            assert push(server, flights(company, 1, f"fits{at}-"), f"fits{at}").status_code == 200
        wal = (company.folder / ".tenon" / "ledger" / "ledger.db-wal").stat().st_size
        resource.prlimit(process.pid, resource.RLIMIT_FSIZE, (wal, UNLIMITED))
        refused = push(server, flights(company, 1, "tight-"), "tight")
        assert refused.status_code == 507 and "sealed" in refused.json()["error"], refused.text
        process.kill()
        process.wait()
        process.returncode = 0
    assert company.json("query", "SELECT count(*) AS n FROM flights WHERE flight_id LIKE '%-tight-%'") == [{"n": 1}]
    assert rows_of(company) == before + 4
    assert company.run("audit", "verify").returncode == 0


def test_a_decision_is_not_told_before_it_is_in_the_journal(company):
    def decide(server):
        return requests.post(f"http://{server}/decide/late_arrival", json={"entities": ENTITIES}, timeout=10)

    with serving(company.folder, preexec_fn=errors_instead_of_signals) as (server, process):
        told = [decide(server).json()["id"] for _ in range(3)]
        # The next record begins within the limit and ends beyond it: half of it must not stay.
        newest = max((company.folder / ".tenon" / "journal").glob("*.journal"), key=lambda path: path.name)
        with room(process, max(newest.stat().st_size, 100) + 50):
            refused = decide(server)
            assert refused.status_code == 507 and "decision journal" in refused.json()["error"], refused.text
        told += [decide(server).json()["id"] for _ in range(2)]
    assert os.listdir(company.folder / ".tenon" / "journal")
    for decision in told:
        assert company.json("why", decision)["id"] == decision, "it is on the record, with its proof"
    assert company.run("audit", "verify").returncode == 0
