"""Data that is not as it should be: a clear error or a reason in the quarantine, the good rows land, nothing is lost."""

import json
import os
import subprocess

import pyarrow as pa
import pyarrow.feather
import pyarrow.parquet
import pytest
import requests
from conftest import TENON, Company, serving
from deltalake import DeltaTable
from test_kafka import balanced

DATASET = """description = "Events"
[source]
files = "data/events/*"
[contract]
key = ["id"]
max_quarantined = "100%"
[contract.columns]
id = { type = "int64" }
at = { type = "timestamp", nullable = true }
day = { type = "date", nullable = true }
note = { type = "string", nullable = true }
"""
PUSHED = DATASET.replace('files = "data/events/*"', "push = true")


@pytest.fixture
def events(tmp_path) -> Company:
    folder = tmp_path / "acme"
    subprocess.run([TENON, "init", str(folder), "--name", "acme"], check=True, capture_output=True)
    (folder / "pods/first/datasets").mkdir(parents=True)
    (folder / "pods/first/datasets/events.toml").write_text(DATASET)
    (folder / "pods/first/datasets/pushed.toml").write_text(PUSHED)
    (folder / "data/events").mkdir(parents=True)
    company = Company(folder, {})
    company.run("apply")
    return company


def put(company, name, body):
    (company.folder / "data/events" / name).write_bytes(body if isinstance(body, bytes) else body.encode())


def taken(company):
    """What became of each file, by its name: what the program said of it."""
    told = json.loads(company.run("--output", "json", "ingest", "events", check=False).stdout)
    return {file["file"].removeprefix("data/events/"): file["outcome"] for file in told}


def refused(outcome) -> str:
    assert "refused" in outcome, outcome
    return outcome["refused"]["sentence"]


def held(company, name="events"):
    return DeltaTable(company.table(name)).to_pyarrow_table().sort_by("id").to_pylist()


def reasons(company, name="events"):
    kept = DeltaTable(company.table(f"{name}__quarantine")).to_pyarrow_table().to_pylist()
    return sorted((int(json.loads(row["_row"])["id"]), row["_reason"]) for row in kept)


def push(address, body, kind="application/x-ndjson", dataset="pushed"):
    return requests.post(f"http://{address}/ingest/{dataset}", data=body, headers={"Content-Type": kind}, timeout=60)


def stream(table) -> bytes:
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, table.schema) as writer:
        writer.write_table(table)
    return sink.getvalue().to_pybytes()


def test_moments_out_of_range_and_in_two_zones(events):
    """Each way in understands a moment in the same way: offsets are followed, what is no moment is set aside."""
    moments = {
        1: ("2026-03-01T12:00:00Z", "2026-03-01T12:00:00"),
        2: ("2026-03-01T14:00:00+02:00", "2026-03-01T12:00:00"),
        3: ("2026-03-01T06:30:00.250-05:30", "2026-03-01T12:00:00.250000"),
        4: ("2026-03-01 12:00:00", "2026-03-01T12:00:00"),
        5: ("0001-01-01T00:00:00Z", "0001-01-01T00:00:00"),
        6: ("9999-12-31T23:59:59Z", "9999-12-31T23:59:59"),
        10: ("2026-02-30T00:00:00Z", None),
        11: ("2026-03-01T25:00:00Z", None),
        12: ("2026-13-01T00:00:00Z", None),
        13: ("300000-01-01T00:00:00Z", None),
        14: ("+999999999-01-01T00:00:00Z", None),
        15: ("2026-03-01T12:00:00+99:00", None),
        16: ("2026-03-01T12:00:00 Nowhere/Land", None),
        17: ("yesterday", None),
    }
    good = {number: moment for number, (_, moment) in moments.items() if moment}
    put(events, "a.csv", "id,at,day,note\n" + "".join(f'{n},"{at}",2026-03-01,\n' for n, (at, _) in moments.items()))
    rows = [json.dumps({"id": n + 100, "at": at, "day": "2026-03-01"}) for n, (at, _) in moments.items()]
    put(events, "b.ndjson", "\n".join(rows))
    outcomes = taken(events)
    for name, first in (("a.csv", 0), ("b.ndjson", 100)):
        fact = outcomes[name]["committed"]
        assert (fact["rows_in"], fact["accepted"], fact["quarantined"]) == (14, 6, 8), fact
        landed = {row["id"] - first: row["at"] for row in held(events) if first < row["id"] < first + 100}
        assert {n: at.replace(tzinfo=None).isoformat() for n, at in landed.items()} == good
    for number, reason in reasons(events):
        assert reason.startswith("at: ") and moments[number % 100][0] in reason, (number, reason)
    balanced(events)


def test_days_and_numbers_out_of_range(events):
    days = {1: "2026-02-28", 2: "2026-02-29", 3: "2026-00-10", 4: "12026-01-01T", 5: "28/02/2026"}
    put(events, "a.csv", "id,at,day,note\n" + "".join(f"{n},,{day},\n" for n, day in days.items()))
    put(events, "b.csv", "id,at,day,note\n9223372036854775807,,,\n9223372036854775808,,,\n1e3,,,\n,,,\n")
    outcomes = taken(events)
    assert (outcomes["a.csv"]["committed"]["accepted"], outcomes["a.csv"]["committed"]["quarantined"]) == (1, 4)
    # A whole number may be written as a real; one that no int64 holds is no int64.
    assert (outcomes["b.csv"]["committed"]["accepted"], outcomes["b.csv"]["committed"]["quarantined"]) == (2, 2)
    assert [row["id"] for row in held(events)] == [1, 1000, 9223372036854775807]
    balanced(events)


def test_a_name_that_two_columns_have(events):
    two = pa.Table.from_arrays([pa.array([1]), pa.array([2]), pa.array(["x"])], names=["id", "id", "note"])
    pyarrow.parquet.write_table(two, events.folder / "data/events/a.parquet")
    pyarrow.feather.write_feather(two, events.folder / "data/events/b.arrow", compression="uncompressed")
    put(events, "c.csv", "id,at,day,note,id\n1,,,x,2\n")
    put(events, "d.ndjson", '{"id":7,"note":"good"}\n{"id":1,"note":"x","id":2}\n')
    put(events, "e.csv", "id,at,day,note\n5,,,\n")
    outcomes = taken(events)
    for name in ("a.parquet", "b.arrow", "c.csv"):
        assert refused(outcomes[name]) == "column `id` is there twice, and which of them is meant cannot be told"
    assert "line 2" in refused(outcomes["d.ndjson"]) and "field `id` is there twice" in refused(outcomes["d.ndjson"])
    assert "committed" in outcomes["e.csv"] and [row["id"] for row in held(events)] == [5]
    with serving(events.folder, stderr=subprocess.DEVNULL) as (address, _):
        told = push(address, stream(two), "application/vnd.apache.arrow.stream")
        assert told.status_code == 422 and "column `id` is there twice" in told.json()["error"], told.text
        told = push(address, '{"id":1,"id":2}')
        assert told.status_code == 400 and "field `id` is there twice" in told.json()["error"], told.text
    balanced(events)


def test_bytes_that_are_no_text(events):
    put(events, "a.csv", b"id,at,day,note\n1,,,good\n2,,,\xff\xfe\n")
    put(events, "b.ndjson", b'{"id":3,"note":"good"}\n{"id":4,"note":"\xff"}\n')
    put(events, "c.csv", "id,at,day,note\n5,,,\u00e4\u4e16\U0001f600\n")
    outcomes = taken(events)
    assert "UTF-8" in refused(outcomes["a.csv"]) and "line 3" in refused(outcomes["a.csv"]), outcomes["a.csv"]
    assert refused(outcomes["b.ndjson"]) == "line 2 is not UTF-8"
    assert held(events)[0]["note"] == "\u00e4\u4e16\U0001f600"
    with serving(events.folder, stderr=subprocess.DEVNULL) as (address, _):
        told = push(address, b'{"id":4,"note":"\xff"}\n')
        assert told.status_code == 400 and "UTF-8" in told.json()["error"], told.text
    balanced(events)


def test_a_gigantic_row_is_refused_and_held_by_nobody(events):
    """The program may take 700 MB in all; a file of 1 GB that is one row must not make it take more."""
    large = events.folder / "data/events/a.csv"
    with large.open("wb") as file:
        file.write(b'id,at,day,note\n1,,,"')
        for _ in range(1024):
            file.write(b"x" * (1 << 20))
    with (events.folder / "data/events/b.ndjson").open("wb") as file:
        file.write(b'{"id":1}\n{"id":2,"note":"')
        for _ in range(1024):
            file.write(b"x" * (1 << 20))
    # Long rows that are not gigantic: all of them land.
    many = pa.table({"id": range(10, 30), "note": [str(number) * 500_000 for number in range(10, 30)]})
    many = many.append_column("at", pa.nulls(20, pa.timestamp("us", "UTC"))).append_column("day", pa.nulls(20, pa.date32()))
    pyarrow.parquet.write_table(many, events.folder / "data/events/c.parquet")
    command = [TENON, "--dir", str(events.folder), "--output", "json", "ingest", "events"]
    with (events.folder / "told").open("w") as told:
        process = subprocess.Popen(command, stdout=told, stderr=subprocess.DEVNULL)
        _, process.returncode, used = os.wait4(process.pid, 0)
    told = json.loads((events.folder / "told").read_text())
    outcomes = {file["file"].removeprefix("data/events/"): file["outcome"] for file in told}
    assert "line 2" in refused(outcomes["a.csv"]) and "more than 64 MiB" in refused(outcomes["a.csv"])
    assert refused(outcomes["b.ndjson"]) == "line 2 has more than 64 MiB"
    assert [len(row["note"]) for row in held(events)] == [1_000_000] * 20
    assert used.ru_maxrss < 700_000, f"{used.ru_maxrss} KB"
    with serving(events.folder, stderr=subprocess.DEVNULL) as (address, _):
        told = push(address, b'{"id":4,"note":"' + b"x" * (65 << 20))
        assert told.status_code == 413, told.text
    balanced(events)


def test_what_is_nested_too_deep(events):
    deep = '{"id":1,"note":' + "[" * 5000 + "]" * 5000 + "}"
    put(events, "a.ndjson", '{"id":7}\n' + deep + "\n")
    put(events, "b.ndjson", '{"id":8,"note":{"a":[1,{"b":2}]}}\n')
    outcomes = taken(events)
    assert "line 2" in refused(outcomes["a.ndjson"]) and "recursion limit" in refused(outcomes["a.ndjson"])
    assert [(row["id"], row["note"]) for row in held(events)] == [(8, '{"a":[1,{"b":2}]}')]
    with serving(events.folder, stderr=subprocess.DEVNULL) as (address, _):
        told = push(address, deep)
        assert told.status_code == 400 and "recursion limit" in told.json()["error"], told.text
    balanced(events)


def test_poison_in_any_place_of_a_file(events):
    """Bad rows at the start, in the middle and at the end are set aside; the others land."""
    rows = [{"id": number, "note": "x"} for number in range(1000)]
    bad = {0: {"id": "zero"}, 1: {"id": None}, 500: {"id": 1.5}, 998: {"id": 7, "day": "soon"}, 999: {"note": "none"}}
    put(events, "a.ndjson", "\n".join(json.dumps(bad.get(at, row)) for at, row in enumerate(rows)))
    fact = taken(events)["a.ndjson"]["committed"]
    assert (fact["rows_in"], fact["accepted"], fact["quarantined"]) == (1000, 995, 5), fact
    assert {row["id"] for row in held(events)} == set(range(1000)) - bad.keys()
    balanced(events)


def test_a_contract_that_refers_to_a_column_that_is_gone(events):
    datasets = events.folder / "pods/first/datasets"
    put(events, "a.csv", "id,at,day,note\n1,,,x\n")
    taken(events)

    def refused_plan(text, *words, name="orders"):
        (datasets / f"{name}.toml").write_text(text)
        done = events.run("plan", check=False)
        assert done.returncode == 1, done.stdout + done.stderr
        for word in words:
            assert word in done.stderr, done.stderr

    orders = DATASET.replace("data/events", "data/orders").replace("key = [\"id\"]", "")
    # A reference to another dataset's column, in its declaration.
    reference = orders.replace("note = {", 'event = { type = "int64", references = "events.number" }\nnote = {')
    refused_plan(reference, "orders.toml:", "dataset `events` has no column `number`")
    # A rule over a column that the contract does not have, and a key, an event time.
    rule = orders + '[[contract.checks]]\nname = "paid"\nsql = "amount > 0"\n'
    refused_plan(rule, "orders", "amount")
    refused_plan(orders.replace("[contract]", '[contract]\nkey = ["number"]'), "orders.toml:", "no column `number`")
    refused_plan('event_time = "happened"\n' + orders, "orders.toml:", "no column `happened`")
    (datasets / "orders.toml").unlink()
    # The column goes while another dataset still refers to it.
    (datasets / "orders.toml").write_text(orders.replace("note = {", 'event = { type = "string", references = "events.note" }\nnote = {'))
    events.run("apply")
    gone = DATASET.replace('note = { type = "string", nullable = true }\n', "")
    refused_plan(gone, "dataset `events` has no column `note`", name="events")
    (datasets / "events.toml").write_text(DATASET)
    # The column goes from the source: the file is refused by the column's name, and lands once it is there again.
    put(events, "b.csv", "id,at,day,nota\n2,,,y\n")
    sentence = refused(taken(events)["b.csv"])
    assert "column `note` is missing" in sentence and "`nota`" in sentence, sentence
    put(events, "b.csv", "id,at,day,note\n2,,,y\n")
    assert "committed" in taken(events)["b.csv"]
    assert [row["id"] for row in held(events)] == [1, 2]
    balanced(events)
