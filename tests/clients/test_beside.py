"""Commands that read, beside a program that holds the folder; and names that nobody has."""

import json
import os
import re
import shutil
import signal
import stat
import subprocess
import time

import pyarrow.parquet
import pytest
import requests
from conftest import TENON, serving
from small import Folder

FLIGHTS = """description = "Flights"
[source]
files = "data/flights/*.csv"
[contract]
key = ["id"]
[contract.columns]
id = { type = "int64" }
delay = { type = "int64", range = [0, 100] }
"""


@pytest.fixture
def acme(tmp_path):
    """A company with two versions of a dataset, one row set aside, and a tag."""
    company = Folder(tmp_path / "acme")
    (company.datasets / "flights.toml").write_text(FLIGHTS)
    company.run("apply")
    company.give("flights", "1", "id,delay\n1,5\n2,7\n3,900\n")
    company.run("ingest")
    company.give("flights", "2", "id,delay\n4,9\n")
    company.run("ingest")
    company.run("tag", "create", "q1")
    return company


def become(company, person):
    """From now on local callers are this person."""
    file = company.folder / "company.toml"
    lines = [f'local = "{person}"' if line.startswith("local") else line for line in file.read_text().splitlines()]
    file.write_text("\n".join(lines) + "\n")


def refusals(company):
    facts = [one["fact"] for one in company.json("get", "facts")]
    return [fact["body"] for fact in facts if fact["kind"] == "authorization.refused"]


READ = [
    ["query", "SELECT * FROM flights ORDER BY id"],
    ["query", "SELECT * FROM flights FOR VERSION AS OF 'q1' ORDER BY id"],
    ["profile", "flights"],
    ["diff", "flights", "--from", "q1"],
    ["get", "datasets"],
    ["describe", "flights"],
    ["tag", "list"],
    ["hold", "list"],
    ["branch", "list"],
    ["token", "list"],
    ["quarantine", "list", "flights"],
    ["quarantine", "show", "flights"],
    ["vacuum", "--dry-run"],
    ["contract", "suggest", "flights"],
    ["contract", "export", "flights"],
    ["features", "search"],
    ["decisions"],
    ["audit", "data"],
    ["audit", "verify"],
]


def said(acme):
    """What each command says, in both forms; a vacuum tells by when it counts, which is another moment each time."""
    told = [acme.run("--output", output, *command).stdout for command in READ for output in ("json", "table")]
    return [re.sub(r"stood as of \S+", "stood as of then", text) for text in told]


def test_commands_that_read_say_the_same_beside_a_server(acme, tmp_path):
    alone = said(acme)
    socket = acme.folder / ".tenon/commands.sock"
    assert not socket.exists()
    with serving(acme.folder):
        assert stat.S_IMODE(socket.stat().st_mode) == 0o600
        assert said(acme) == alone
        # A path is where the asker is, not where the server is.
        asked = subprocess.run(
            [TENON, "--dir", str(acme.folder), "export", "flights", "--to", "here.parquet"], cwd=tmp_path, capture_output=True
        )
        assert asked.returncode == 0, asked.stderr
        assert pyarrow.parquet.read_table(tmp_path / "here.parquet").num_rows == 3
        # What fails there fails here, with the same words and the same code.
        acme.run("query", "SELECT * FROM flights WHERE dely > 1", ok=3)
        # What writes needs the folder for itself.
        assert "in use by process" in acme.run("ingest", ok=3).stderr
    assert not socket.exists(), "it goes with the server"


def test_a_server_that_was_killed_keeps_nobody_from_reading(acme):
    with pytest.raises(AssertionError):
        with serving(acme.folder) as (_, process):
            process.kill()
            process.wait()
    assert (acme.folder / ".tenon/commands.sock").exists()
    assert len(acme.json("query", "SELECT * FROM flights")) == 3
    with serving(acme.folder):
        assert len(acme.json("query", "SELECT * FROM flights")) == 3


def test_a_folder_may_lie_deeper_than_a_sockets_path_may_be_long(acme, tmp_path):
    deep = tmp_path / "/".join(["a-folder-with-a-long-name"] * 8)
    deep.mkdir(parents=True)
    shutil.move(acme.folder, deep / "acme")
    acme.folder = deep / "acme"
    with serving(acme.folder):
        assert len(acme.json("query", "SELECT * FROM flights")) == 3


def test_beside_a_watcher_as_well(acme):
    process = subprocess.Popen([TENON, "--dir", str(acme.folder), "ingest", "--follow"], stderr=subprocess.PIPE, text=True)
    try:
        assert "following" in process.stderr.readline()
        acme.give("flights", "3", "id,delay\n5,9\n")
        until = time.monotonic() + 20
        while len(acme.json("query", "SELECT * FROM flights")) < 4:
            assert time.monotonic() < until
            time.sleep(0.2)
    finally:
        process.send_signal(signal.SIGTERM)
        assert process.wait(timeout=30) == 0


def test_policies_hold_beside_a_server_and_refusals_are_on_record(acme):
    service = acme.json("token", "create", "shop", "--person", os.environ.get("USER") or "me")["token"]
    before = len(refusals(acme))
    become(acme, "eve")
    with serving(acme.folder):
        told = acme.run("query", "SELECT * FROM flights", ok=1).stderr
        assert told.startswith("refused: person:eve may not") and "eve is in no pod" in told, told
        # Whoever shows a token is its bearer, also here; a bad one counts for nothing.
        assert len(json.loads(acme.run("--token", service, "--output", "json", "query", "SELECT * FROM flights").stdout)) == 3
        assert "unknown, revoked or past its end" in acme.run("--token", "tnn_x", "get", "datasets", ok=1).stderr
    become(acme, os.environ.get("USER") or "me")
    told = refusals(acme)
    assert len(told) == before + 1 and told[0]["principal"] == "person:eve", told


def test_a_name_that_nobody_has_is_told_to_those_who_may_know(acme):
    commands = [
        ["query", "SELECT * FROM flihgts"],
        ["profile", "flihgts"],
        ["diff", "flihgts", "--from", "0"],
        ["export", "flihgts", "--to", str(acme.folder / "x.parquet")],
        ["quarantine", "list", "flihgts"],
        ["tag", "create", "q2", "--dataset", "flihgts"],
        ["restore", "flihgts", "--to", "0", "--reason", "none"],
        ["replay", "flihgts"],
        ["compact", "flihgts"],
        ["ingest", "flihgts"],
        ["contract", "export", "flihgts"],
    ]
    for command in commands:
        told = acme.run(*command, ok=2).stderr
        assert "there is no dataset `flihgts`; did you mean `flights`?" in told, (command, told)
    assert "there is no model `late`" in acme.run("train", "late", ok=2).stderr
    assert refusals(acme) == [], "nobody was refused anything"
    with serving(acme.folder) as (address, _):
        url = f"http://{address}/api/v1"
        asked = requests.post(f"{url}/query", json={"sql": "SELECT * FROM flihgts"}, timeout=10)
        told = (asked.status_code, asked.json()["error"])
        assert told == (404, "there is no dataset `flihgts`; did you mean `flights`?")
        assert requests.get(f"{url}/datasets/flihgts/profile", timeout=10).status_code == 404
        assert requests.get(f"{url}/datasets/flihgts/diff?from=0", timeout=10).status_code == 404
        assert "did you mean `flights`?" in acme.run("profile", "flihgts", ok=2).stderr
    become(acme, "eve")
    for command in commands:
        for name in ("flihgts", "flights"):
            told = acme.run(*[part.replace("flihgts", name) for part in command], ok=1).stderr
            assert told.startswith("refused: person:eve may not") and "there is no" not in told, (command, told)
    with serving(acme.folder) as (address, _):
        for name in ("flihgts", "flights"):
            asked = requests.post(f"http://{address}/api/v1/query", json={"sql": f"SELECT * FROM {name}"}, timeout=10)
            assert asked.status_code == 403, asked.text


def test_decisions_and_features_beside_a_server(company):
    commands = [["decisions", "late_arrival", "--limit", "3"], ["history", "late_arrival"], ["get", "versions"]]
    commands.append(["describe", "late_arrival@1"])
    alone = [company.json(*command) for command in commands]
    with serving(company.folder):
        assert [company.json(*command) for command in commands] == alone
        decision = alone[0][0]["id"]
        assert company.run("why", decision).stdout.rstrip().endswith("proven: row → batch → fact → signed checkpoint")
        found = company.json("features", "search", "delay")
        assert found and any(feature["online"] for feature in found)
        assert company.run("export", "late_arrival@1", "--to", str(company.folder / "m.onnx")).returncode == 0


def test_tables_of_decisions_are_guarded_as_their_deployment(company):
    """`decisions_…` is read by those who may read the decisions, also by `query`, `profile` and `export`."""
    policy = 'forbid (principal, action == Tenon::Action::"decision.read", resource);\n'
    (company.folder / "policies/closed.cedar").write_text(f'@id("closed")\n@says("decisions are closed")\n{policy}')
    company.run("apply")
    table = "decisions_late_arrival"
    for command in (["query", f"SELECT * FROM {table}"], ["profile", table], ["export", table, "--to", "x.parquet"]):
        done = company.run(*command, check=False)
        assert done.returncode == 1 and "decisions are closed" in done.stderr, done.stderr
