"""Cleaning, kept rows, replay, the quarantine, profiles, proposals, and a contract that is tried on history."""

from pathlib import Path

import pytest
from deltalake import DeltaTable
from small import Folder

DATASET = """\
description = "Flights as an old system writes them"
event_time = "landed_at"
[source]
files = "data/flights/*.csv"
[contract]
max_quarantined = "100%"
key = ["id"]
[contract.columns.id]
type = "string"
unique = true
[contract.columns.landed_at]
type = "timestamp"
[contract.columns.delay]
type = "int64"
unit = "minutes"
range = [0, 10]
[contract.columns.late]
type = "boolean"
[clean]
drop = "status = 'test'"
[clean.columns.id]
from = "Flight"
trim = true
[clean.columns.landed_at]
parse = { formats = ["%d/%m/%Y %H:%M"], zone = "America/New_York" }
[clean.columns.delay]
from = "DelaySeconds"
parse = { decimal = ",", thousands = "." }
unit = { from = "seconds" }
default = "0"
[clean.columns.late]
sql = "delay > 5"
"""

VIEW = """\
description = "How late flights were"
entity = ["id"]
event_time = "landed_at"
ttl = "12h"
dataset = "flights"
source = "SELECT id, landed_at, delay FROM flights"
[features]
last_delay = { aggregate = "last", column = "delay" }
"""

CSV = """\
Flight,landed_at,DelaySeconds,status
 a1 ,02/01/2013 05:00,"60,0",real
a2,02/01/2013 06:00,"1.200,0",real
a3,2013-01-02,60,real
a4,02/01/2013 07:00,,real
x9,02/01/2013 08:00,60,test
"""


class Small(Folder):
    """A company that reads flights as an old system writes them."""

    def __init__(self, folder: Path):
        super().__init__(folder)
        self.declare(DATASET)
        (folder / "data/flights").mkdir(parents=True)
        (folder / "data/flights/1.csv").write_text(CSV)
        self.run("apply")

    def told(self, *arguments, ok=0) -> str:
        done = self.run(*arguments, ok=ok)
        return done.stdout + done.stderr

    def count(self, table: str, version: str = "latest") -> int:
        return self.json("query", f"SELECT count(*) AS n FROM {table}", "--as-of", version)[0]["n"]

    def declare(self, text: str):
        (self.datasets / "flights.toml").write_text(text)


@pytest.fixture
def small(tmp_path: Path) -> Small:
    return Small(tmp_path / "acme")


def ingested(company: Small) -> dict:
    return company.json("ingest", "flights")[0]["outcome"]["committed"]


def test_rows_are_cleaned_as_declared_and_kept_as_they_came(small: Small):
    fact = ingested(small)
    assert (fact["rows_in"], fact["accepted"], fact["quarantined"], fact["dropped"]) == (5, 2, 2, 1)
    rows = small.json("query", "SELECT id, landed_at, delay, late FROM flights ORDER BY id")
    assert [(row["id"], row["delay"], row["late"]) for row in rows] == [("a1", 1, False), ("a4", 0, False)]
    assert rows[0]["landed_at"].startswith("2013-01-02T10:00:00")
    kept = DeltaTable(str(small.folder / ".tenon/lake/flights__raw")).to_pyarrow_table().to_pylist()
    assert [row["Flight"] for row in kept] == [" a1 ", "a2", "a3", "a4", "x9"]
    assert kept[1]["DelaySeconds"] == "1.200,0"
    listed = small.json("quarantine", "list", "flights")
    assert {row["rule"]: row["rows"] for row in listed} == {
        "delay: outside [0, 10]": 1,
        "landed_at: not written as %d/%m/%Y %H:%M": 1,
    }
    shown = small.json("quarantine", "show", "flights", "--limit", "1")
    assert len(shown) == 1 and "_reason" in shown[0]
    # A value that is there already does not come again, from whatever file.
    (small.folder / "data/flights/2.csv").write_text("Flight,landed_at,DelaySeconds,status\na1,03/01/2013 05:00,0,real\n")
    outcome = small.json("ingest", "flights")[1]["outcome"]["committed"]
    assert (outcome["accepted"], outcome["reasons"][0]["rule"]) == (0, "id: not unique")


def test_a_corrected_rule_is_tried_on_history_then_replayed(small: Small):
    ingested(small)
    small.declare(DATASET.replace("range = [0, 10]", "range = [1, 30]"))
    plan = small.json("plan")
    trial = plan["datasets"][0]["trial"]
    assert (trial["rows"], trial["failing"], trial["reasons"][0]["rule"]) == (2, 1, "delay: outside [1, 30]")
    assert (trial["waiting"], trial["fitting"], trial["batches"], trial["refused"]) == (2, 1, 1, 0)
    assert "quarantine: 1 of the 2 open rows would land" in small.told("plan")
    small.run("apply")
    before = small.json("query", "SELECT count(*) AS n FROM flights")[0]["n"]
    fact = small.json("replay", "flights")
    assert (fact["rows_in"], fact["accepted"], fact["now_accepted"], fact["no_longer_accepted"]) == (5, 2, 1, 1)
    assert [row["id"] for row in small.json("query", "SELECT id FROM flights ORDER BY id")] == ["a1", "a2"]
    assert small.count("flights", "0") == before, "the old version stays readable"
    ids = DeltaTable(str(small.folder / ".tenon/lake/flights")).to_pyarrow_table().column("id").to_pylist()
    assert sorted(ids) == ["a1", "a2"]
    small.run("audit", "verify")


def test_rows_are_repaired_and_released_once(small: Small):
    ingested(small)
    told = small.json("quarantine", "release", "flights", "--reason", "as they are", ok=1)
    assert told["released"] is None and told["chosen"] == 2
    repair = ("--where", "_rules LIKE 'landed_at:%'", "--set", "landed_at='02/01/2013 09:00'", "--reason", "typed wrongly")
    told = small.json("quarantine", "release", "flights", *repair)
    assert (told["released"]["rows"], told["released"]["repaired"]) == (1, ["landed_at"])
    assert small.count("flights") == 3
    assert small.json("quarantine", "release", "flights", *repair)["chosen"] == 0
    assert small.count("flights") == 3
    assert small.json("quarantine", "discard", "flights", "--reason", "a drill")["discarded"]["rows"] == 1
    assert small.json("quarantine", "list", "flights") == []
    assert small.count("flights__quarantine") == 2, "what was decided about stays on the record"
    kinds = [fact["fact"]["kind"] for fact in small.json("get", "facts")]
    assert "quarantine.released" in kinds and "quarantine.discarded" in kinds
    small.run("quarantine", "release", "flights", "--where", "nothing = 1", "--reason", "r")
    small.run("quarantine", "release", "flights", "--set", "delay", "--reason", "r", ok=2)


def test_a_change_that_breaks_readers_needs_to_be_meant(small: Small):
    small.datasets.with_name("features").mkdir(exist_ok=True)
    (small.datasets.with_name("features") / "lateness.toml").write_text(VIEW)
    small.run("apply")
    ingested(small)
    small.declare(DATASET.replace("[contract.columns.late]\ntype = \"boolean\"", "").replace("[clean.columns.late]\nsql = \"delay > 5\"", ""))
    plan = small.json("plan")
    found = plan["datasets"][0]
    assert {"sentence": "column `late` is gone", "breaking": True} in found["differences"]
    assert found["readers"] == ["feature_view lateness of pod first"]
    told = small.told("apply", ok=1)
    assert "column `late` is gone" in told and "--allow-breaking" in told
    small.run("apply", "--allow-breaking")
    assert "contract.break_allowed" in [fact["fact"]["kind"] for fact in small.json("get", "facts")]


def test_a_change_that_no_row_could_follow_is_refused(small: Small):
    ingested(small)
    # The column has text from now on, and the table numbers.
    small.declare(DATASET.replace('type = "int64"\nunit = "minutes"\nrange = [0, 10]', 'type = "string"').replace('unit = { from = "seconds" }\n', "").replace("delay > 5", "delay > '5'").replace('parse = { decimal = ",", thousands = "." }\n', ""))
    assert "impossible: the contract of `flights` cannot be followed: its table stands in the way: `delay`" in small.told("plan")
    told = small.told("apply", ok=1)
    assert "`delay`" in told and "nothing has changed" in told
    small.declare(DATASET.replace('max_quarantined = "100%"', 'max_quarantined = "30%"'))
    assert "batches: 1 of 1 would be refused whole\n    data/flights/1.csv: 2 of 5 rows (40.0%)" in small.told("plan")


def test_profiles_and_proposals(small: Small):
    ingested(small)
    profile = small.json("profile", "flights")
    assert profile["rows"] == 2
    delay = next(column for column in profile["columns"] if column["name"] == "delay")
    assert (delay["nulls"], delay["least"], delay["greatest"], sum(delay["histogram"])) == (0, "0", "1", 2)
    assert "█" in small.told("profile", "flights")
    lines = "\n".join(f"{n},{'ab'[n % 2]},{n / 2},2013-01-{n % 28 + 1:02}," for n in range(100))
    file = small.folder / "new.csv"
    file.write_text(f"n,kind,half,day,gap\n{lines}\n")
    proposal = small.told("contract", "suggest", "--file", str(file))
    assert 'one_of = [\n    "a",\n    "b",\n]' in proposal or 'one_of = ["a", "b"]' in proposal
    (small.folder / "data/new").mkdir()
    (small.folder / "data/new/new.csv").write_text(file.read_text())
    declared = proposal.replace(f"{small.folder}/*.csv", "data/new/*.csv")
    (small.datasets / "proposed.toml").write_text(declared)
    small.run("apply")
    fact = small.json("ingest", "proposed")[0]["outcome"]["committed"]
    assert (fact["accepted"], fact["quarantined"]) == (100, 0), "the data keeps what is proposed from it"
    again = small.told("contract", "suggest", "proposed")
    assert "range = [\n    0.0,\n    99.0,\n]" in again or "range = [0.0, 99.0]" in again


def test_cleaning_that_cannot_be_done_is_told_by_plan(small: Small):
    small.declare(DATASET.replace('from = "seconds"', 'from = "secnds"'))
    told = small.told("plan", ok=1)
    assert "flights.toml" in told and "did you mean `seconds`?" in told
    small.declare(DATASET.replace('default = "0"', 'default = "none"'))
    assert "`none`, is not an int64" in small.told("plan", ok=1)
    small.declare(DATASET.replace("status = 'test'", "status ="))
    assert "not valid SQL" in small.told("plan", ok=1)
