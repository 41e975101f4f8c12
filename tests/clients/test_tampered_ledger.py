"""Somebody changes the ledger's file while it is served: it is found and named, and nothing false is handed out or signed."""

import json
import sqlite3

import requests
from conftest import serving

FLIGHT = """{"flight_id":"T%d","carrier":"UA","tailnum":"N14228","origin":"EWR","dest":"IAH",\
"closed_at":"2013-09-30T22:00:00Z","departed_at":"2013-09-30T18:00:00Z","landed_at":"2013-09-30T21:30:00Z",\
"dep_delay":0,"arr_delay":3,"air_time":200,"plane":null}"""


def push(server, number):
    return requests.post(f"http://{server}/ingest/flights", data=FLIGHT % number, timeout=30)


def test_a_changed_byte_of_a_served_fact_is_found_and_named_and_not_handed_out(company, tmp_path):
    file = company.folder / ".tenon" / "ledger" / "ledger.db"
    kept = tmp_path / "kept"
    with serving(company.folder) as (server, _):
        kept.write_text(requests.get(f"http://{server}/log/checkpoint", timeout=10).text)
        stored = file.read_bytes()
        database = sqlite3.connect(f"file:{file}?mode=ro", uri=True)
        facts = database.execute("SELECT idx, leaf FROM facts WHERE idx BETWEEN 5 AND 60 AND length(leaf) < 900").fetchall()
        database.close()
        index, leaf = next((index, bytes(leaf)) for index, leaf in facts if stored.count(bytes(leaf)) == 1)
        place = stored.index(leaf) + leaf.index(b'"at":"2013') + 9
        with open(file, "r+b") as raw:
            raw.seek(place)
            raw.write(b"4")

        found = company.run("--output", "json", "audit", "verify", check=False)
        assert found.returncode == 1, found.stdout + found.stderr
        (named,) = [finding for finding in json.loads(found.stdout)["findings"] if finding["index"] is not None]
        assert named["index"] == index and "was changed" in named["problem"], found.stdout

        # A new commit, so that no page of the file is remembered.
        assert push(server, 1).status_code == 200
        for path in (f"/api/v1/facts/{index}", f"/api/v1/facts?from={index}&limit=1", "/log/tile/entries/000", "/log/tile/0/000"):
            reply = requests.get(f"http://{server}{path}", timeout=10)
            assert reply.status_code == 500, (path, reply.text)
            assert f"fact {index} is not" in reply.json()["error"], (path, reply.text)
        page = requests.get(f"http://{server}/console/facts?from={index + 2}", timeout=10)
        assert page.status_code == 500 and f"fact {index} is not" in page.text
        neighbour = requests.get(f"http://{server}/api/v1/facts/{index + 1}", timeout=10)
        assert neighbour.status_code == 200 and neighbour.json()["inclusion"]["path"], "others are handed out"
    with open(file, "r+b") as raw:
        raw.seek(place)
        raw.write(leaf[leaf.index(b'"at":"2013') + 9 :][:1])
    # What was signed meanwhile goes on from what was signed before, with the fact as it was.
    done = company.run("audit", "verify", "--against", str(kept))
    assert done.returncode == 0, done.stdout


def test_nothing_more_is_signed_once_another_program_has_written_to_the_ledger(company, tmp_path):
    file = company.folder / ".tenon" / "ledger" / "ledger.db"
    with serving(company.folder) as (server, _):
        assert push(server, 1).status_code == 200
        checkpoint = requests.get(f"http://{server}/log/checkpoint", timeout=10).text
        database = sqlite3.connect(file)
        (leaf,) = database.execute("SELECT leaf FROM facts WHERE idx = 9").fetchone()
        changed = leaf.replace(b'"at":"2013', b'"at":"2014', 1)
        assert changed != leaf
        with database:
            database.execute("UPDATE facts SET leaf = ? WHERE idx = 9", (changed,))
        refused = push(server, 2)
        assert refused.status_code == 500, refused.text
        assert "another program has changed its database" in refused.json()["error"], refused.text
        assert "fact 9 " in refused.json()["error"] and "audit verify" in refused.json()["error"], refused.text
        assert requests.get(f"http://{server}/log/checkpoint", timeout=10).text == checkpoint, "it was signed on"
        with database:
            database.execute("UPDATE facts SET leaf = ? WHERE idx = 9", (leaf,))
        database.close()
        assert push(server, 2).json()["outcome"] in ("committed", "already")
        assert requests.get(f"http://{server}/log/checkpoint", timeout=10).text != checkpoint
    assert company.run("audit", "verify").returncode == 0
    assert company.json("query", "SELECT count(*) AS n FROM flights WHERE flight_id = 'T2'") == [{"n": 1}]
