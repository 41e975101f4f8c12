"""What the quickstart promises, checked on what it left behind."""


def test_the_loop_went_round(made):
    closing = made.closing
    assert len(closing["versions"]) >= 3, "the first version, its replacement and the drill's candidate"
    assert len(closing["champions"]) >= 2, "a retrained version took over"
    assert closing["drift"], "the seasonal change was caught"
    assert closing["rollbacks"] >= 1, "the drill's candidate was rolled back"
    assert closing["decisions"] > 150_000
    assert closing["http_decisions"] > 3_000
    assert closing["outcomes"] > 140_000
    assert closing["reproduced"]


def test_rows_in_are_accepted_or_quarantined(made):
    lines = {line["dataset"]: line for line in closing_datasets(made)}
    assert lines["flights"]["quarantined"] > 0, "records without a tail number"
    assert lines["flights"]["warned"] > 0, "tail numbers that the register does not know"
    assert lines["flights"]["accepted"] > lines["flights"]["quarantined"] * 20


def closing_datasets(made):
    totals = {}
    for line in made.closing["datasets"]:
        total = totals.setdefault(line["dataset"], {"dataset": line["dataset"], "accepted": 0, "quarantined": 0, "warned": 0})
        for key in ("accepted", "quarantined", "warned"):
            total[key] += line[key]
    return totals.values()


def test_a_second_run_refuses_and_changes_nothing(made):
    before = sorted((p, p.stat().st_mtime_ns) for p in made.folder.rglob("*") if p.is_file())
    done = made.run("quickstart", "--no-serve", check=False)
    assert done.returncode == 1
    assert "not empty" in done.stderr
    assert before == sorted((p, p.stat().st_mtime_ns) for p in made.folder.rglob("*") if p.is_file())


def test_the_record_holds_and_a_changed_byte_is_named(company):
    assert company.run("audit", "verify").returncode == 0
    import sqlite3

    connection = sqlite3.connect(company.folder / ".tenon" / "ledger" / "ledger.db")
    (raw,) = connection.execute("SELECT leaf FROM facts WHERE idx = 7").fetchone()
    raw = raw.encode() if isinstance(raw, str) else raw
    at = raw.index(b'"by"') + 6
    changed = raw[:at] + bytes([raw[at] ^ 1]) + raw[at + 1 :]
    connection.execute("UPDATE facts SET leaf = ? WHERE idx = 7", (changed,))
    connection.commit()
    connection.close()
    done = company.run("audit", "verify", check=False)
    assert done.returncode == 1
    assert " 7 " in done.stdout or "7 │" in done.stdout or "fact 7" in done.stdout, done.stdout


def test_an_exported_log_is_verified_without_the_company(company, tmp_path):
    export = tmp_path / "log"
    key = company.json("audit", "export", str(export))["key"]
    import subprocess
    from conftest import TENON

    done = subprocess.run(
        [TENON, "audit", "verify", "--export", str(export), "--key", key], capture_output=True, text=True, cwd=tmp_path
    )
    assert done.returncode == 0, done.stdout + done.stderr


def test_projections_are_rebuilt_equal(company):
    assert company.run("ledger", "rebuild").returncode == 0


def test_versions_are_made_again_byte_for_byte(company):
    again = company.json("reproduce", "late_arrival@1")
    assert again["recorded"] == again["reproduced"]


def test_why_shows_a_proven_receipt(company):
    done = company.run("why", company.closing["example_decision"])
    assert "proven: row" in done.stdout
    assert "known at" in done.stdout
