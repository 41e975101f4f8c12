"""Bad input gets a clear error and loses nothing."""

import subprocess

from conftest import TENON


def run(folder, *arguments):
    return subprocess.run([TENON, "--dir", str(folder), *arguments], capture_output=True, text=True, timeout=120)


def edit(company, path, old, new):
    file = company.folder / path
    text = file.read_text()
    assert old in text
    file.write_text(text.replace(old, new, 1))


def refused(company, *words):
    done = company.run("plan", check=False)
    assert done.returncode == 1, done.stdout + done.stderr
    for word in words:
        assert word in done.stderr, f"{word!r} is not in\n{done.stderr}"
    return done


def test_malformed_toml_is_shown_at_its_place(company):
    edit(company, "pods/arrivals/datasets/flights.toml", 'max_quarantined = "10%"', "max_quarantined = ")
    refused(company, "pods/arrivals/datasets/flights.toml:10")


def test_an_unknown_field_gets_a_suggestion(company):
    edit(company, "pods/arrivals/datasets/flights.toml", "residency", "residnecy")
    refused(company, "residnecy", "did you mean `residency`?")


def test_a_reference_to_nothing(company):
    edit(company, "pods/arrivals/models/late_arrival.toml", '"origin_weather"', '"origin_wether"')
    refused(company, "origin_wether", "did you mean `origin_weather`?")


def test_a_view_whose_event_time_its_source_does_not_return(company):
    edit(company, "pods/arrivals/features/aircraft_delay.toml", 'event_time = "landed_at"', 'event_time = "landing_at"')
    refused(company, "event time", "landed_at")


def test_definitions_in_a_circle(company):
    for name, other in (("a", "b"), ("b", "a")):
        (company.folder / f"pods/arrivals/datasets/{name}.toml").write_text(
            f'description = "d"\n[source]\nsql = "SELECT * FROM {other}"\n'
        )
    refused(company, "circle")


def test_a_policy_that_is_no_policy(company):
    edit(company, "policies/framework.cedar", "forbid (principal is Tenon::Person,", "forbid (principle is Tenon::Person,")
    refused(company, "framework.cedar")


def count(company, dataset="flights"):
    return company.json("query", f"SELECT count(*) AS n FROM {dataset}")[0]["n"]


def test_a_parquet_file_cut_in_half_lands_nothing(company):
    whole = (company.folder / "data/flights/2013-q1.parquet").read_bytes()
    before = count(company)
    (company.folder / "data/flights/cut.parquet").write_bytes(whole[: len(whole) // 2])
    done = company.run("ingest", "flights", check=False)
    assert done.returncode == 1 and "cut.parquet" in done.stdout
    assert count(company) == before


def test_a_csv_with_a_wrong_column_lands_nothing(company):
    (company.folder / "data/planes").mkdir(exist_ok=True)
    edit(company, "pods/arrivals/datasets/planes.toml", "*.parquet", "*.csv")
    company.run("apply")
    before = count(company, "planes")
    (company.folder / "data/planes/bad.csv").write_text("tailnumber,year\nN1,2001\n")
    done = company.run("ingest", "planes", check=False)
    assert done.returncode == 1 and "tailnum" in done.stdout, done.stdout
    assert count(company, "planes") == before


def test_a_batch_with_too_many_bad_rows_is_refused_whole(company):
    edit(company, "pods/arrivals/datasets/planes.toml", "*.parquet", "*.csv")
    company.run("apply")
    before = count(company, "planes")
    rows = "\n".join(f"N9{i:03},{3000 if i % 2 else 2001},M,X,2,100" for i in range(100))
    (company.folder / "data/planes/bad.csv").write_text(f"tailnum,year,manufacturer,model,engines,seats\n{rows}\n")
    done = company.run("ingest", "planes", check=False)
    assert done.returncode == 1 and "refused" in done.stdout and "year" in done.stdout, done.stdout
    assert count(company, "planes") == before


def test_a_file_is_taken_once(company):
    done = company.run("ingest", "flights")
    assert "taken before" in done.stdout


def test_names_that_do_not_exist(company):
    for arguments in (("train", "nothing"), ("describe", "nothing"), ("history", "nothing"), ("reproduce", "nothing@1"), ("export", "nothing@1", "--to", "/dev/null"), ("decide", "nothing", "a=b")):
        done = company.run(*arguments, check=False)
        assert done.returncode in (1, 2, 3), arguments
        assert "nothing" in done.stderr, (arguments, done.stderr)
        assert "panicked" not in done.stderr


def test_two_processes_on_one_company_folder(company):
    first = subprocess.Popen(
        [TENON, "--dir", str(company.folder), "serve", "--listen", "127.0.0.1:0"], stdout=subprocess.PIPE, text=True
    )
    try:
        assert "http://" in first.stdout.readline()
        done = company.run("train", "late_arrival", check=False)
        assert done.returncode == 3 and str(first.pid) in done.stderr, done.stderr
        assert company.run("audit", "verify").returncode == 0, "reading goes on beside the writer"
    finally:
        first.terminate()
        first.wait(timeout=30)


def test_no_company_and_wrong_usage(tmp_path):
    done = run(tmp_path, "plan")
    assert done.returncode == 2 and "tenon init" in done.stderr
    assert run(tmp_path, "nonsense").returncode == 2


def test_serving_beyond_loopback_needs_tokens(company):
    done = company.run("serve", "--listen", "0.0.0.0:0", check=False)
    assert done.returncode == 1 and "require_token" in done.stderr
