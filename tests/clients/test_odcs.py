"""Contracts as others write them: ODCS 3.1, held against the standard's own JSON Schema, and read by a parser that is not ours."""

import json
import subprocess
import tomllib
from pathlib import Path

import jsonschema
import pytest
import yaml
from conftest import TENON

HERE = Path(__file__).parent / "odcs"
SCHEMA = json.loads((HERE / "odcs-json-schema-v3.1.0.json").read_text())
DATASETS = ["departures", "flights", "planes", "schedule", "weather"]


def valid(contract):
    validator = jsonschema.Draft201909Validator(SCHEMA, format_checker=jsonschema.FormatChecker())
    faults = [f"{fault.json_path}: {fault.message}" for fault in validator.iter_errors(contract)]
    assert faults == []


@pytest.mark.parametrize("dataset", DATASETS)
def test_a_contract_goes_out_valid_and_comes_back_the_same(made, tmp_path, dataset):
    file = tmp_path / f"{dataset}.odcs.yaml"
    made.run("contract", "export", dataset, "--to", str(file))
    contract = yaml.safe_load(file.read_text())
    valid(contract)
    assert contract == made.json("contract", "export", dataset), "YAML and JSON say the same"
    assert contract["team"]["name"] == contract["domain"] == "arrivals"
    assert made.run("contract", "export", dataset).stdout.rstrip() == file.read_text().rstrip()

    back = made.json("contract", "import", str(file), "--dataset", dataset)
    declared = tomllib.loads((made.folder / f"pods/arrivals/datasets/{dataset}.toml").read_text())
    again = tomllib.loads(back["toml"])
    assert again["description"] == declared["description"]
    assert list(again["contract"]["columns"]) == list(declared["contract"]["columns"])
    for name, column in declared["contract"]["columns"].items():
        assert column.items() <= again["contract"]["columns"][name].items()
    assert again["contract"].get("checks", []) == [
        {"severity": "quarantine", **check} for check in declared["contract"].get("checks", [])
    ]
    assert back["weaker"] == back["lost"] == []


def test_what_only_tenon_knows_is_valid_odcs_too(company):
    path = company.folder / "pods/arrivals/datasets/weather.toml"
    path.write_text(
        path.read_text().replace("[source]", 'keep_raw = true\nlatency = "15m"\n[late]\nallowed = "2h"\n[dedup]\nwithin = "1d"\n[source]')
        + '[clean]\ndrop = "temp IS NULL AND humid IS NULL"\n[clean.columns.temp]\nunit = { from = "celsius" }\n'
        '[contract.volume]\nat_least = 1\nz = 6.0\n[contract.freshness]\nat_most = "10y"\nseverity = "refuse"\n'
        '[[contract.distribution]]\ncolumn = "temp"\nversion = 1\nat_most = 0.5\n'
    )
    company.run("apply", "--allow-breaking")
    contract = company.json("contract", "export", "weather")
    valid(contract)
    assert contract["version"] == "2", "the second declaration"
    text = company.run("contract", "export", "weather").stdout
    assert yaml.safe_load(text) == contract
    file = company.folder / "weather.odcs.yaml"
    file.write_text(text)
    (company.folder / "pods/arrivals/datasets/weather.toml").unlink()
    company.run("contract", "import", str(file), "--dataset", "weather", "--to", str(path))
    plan = company.run("plan").stdout
    assert company.json("contract", "export", "weather") == contract, plan
    company.run("apply", "--allow-breaking")
    assert {**company.json("contract", "export", "weather"), "version": "2"} == contract


def test_a_contract_of_others_is_held(company):
    file = HERE / "orders.odcs.yaml"
    valid(yaml.safe_load(file.read_text()))
    to = company.folder / "pods/arrivals/datasets/orders.toml"
    done = company.run("contract", "import", str(file), "--dataset", "orders", "--to", str(to))
    assert "orders.odcs.yaml:74:5: nothing here holds the promise of service `availability`" in done.stderr
    company.run("apply")
    again = company.run("contract", "import", str(file), "--dataset", "orders", "--to", str(to), check=False)
    assert again.returncode == 1 and "is there already" in again.stderr

    (company.folder / "data/orders").mkdir(parents=True)
    good = [
        "O1,1.5,1,open,c1,2024-01-01",
        "O2,2.5,99,paid,n/a,2024-01-01",
        "O3,0.1,,sent,,",
    ]
    bad = [
        "X4,1.5,1,open,c,2024-01-01",  # the pattern
        "O5555555,1.5,1,open,c,2024-01-01",  # too long
        "O6,0,1,open,c,2024-01-01",  # exclusiveMinimum
        "O7,1.5,100,open,c,2024-01-01",  # exclusiveMaximum
        "O8,1.5,1,lost,c,2024-01-01",  # no valid value
        "O9,0.1,1,paid,c,2024-01-01",  # the query
        "O10,1.5,1,,c,2024-01-01",  # required
        "O11,1.5,1,open,c,2019-12-31",  # before the minimum
        "O1,1.5,1,open,c,2024-01-01",  # a key that comes twice
    ]
    (company.folder / "data/orders/one.csv").write_text(
        "order_id,amount,pieces,status,customer,paid_on\n" + "\n".join(good + bad) + "\n"
    )
    company.run("ingest", "orders")
    rows = company.json("query", "SELECT order_id FROM orders ORDER BY order_id")
    assert [row["order_id"] for row in rows] == ["O1", "O2", "O3"]
    facts = [one["fact"] for one in company.json("get", "facts")]
    landed = next(fact for fact in facts if fact["kind"] == "dataset.committed" and fact["body"]["dataset"] == "orders")
    assert landed["body"]["quarantined"] == len(bad)
    assert [warning["rows"] for warning in landed["body"]["warnings"]] == [1], "n/a is told and lands"


HEAD = "apiVersion: v3.1.0\nkind: DataContract\nid: x\nversion: '1'\nstatus: active\n"


def refused(folder, text, *words, code=1, arguments=()):
    file = folder / "bad.yaml"
    file.write_bytes(text if isinstance(text, bytes) else text.encode())
    done = subprocess.run(
        [TENON, "--dir", str(folder), "contract", "import", str(file), "--dataset", "orders", *arguments],
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.returncode == code, done.stdout + done.stderr
    assert done.stdout == "" or code == 0
    for word in words:
        assert word in done.stderr, f"{word!r} is not in\n{done.stderr}"


def test_what_would_weaken_a_contract_is_refused_at_its_place_unless_it_is_wanted(tmp_path):
    text = HEAD + "schema:\n- name: orders\n  properties:\n  - {name: a, logicalType: string}\n  - {name: b, logicalType: object}\n"
    refused(tmp_path, text, "bad.yaml:10", "the column `b` is of type `object`", "--allow-weaker")
    refused(tmp_path, text, "bad.yaml:10", code=0, arguments=["--allow-weaker"])


def test_yaml_that_would_do_harm_is_refused(tmp_path):
    bomb = "a0: &a0 [x]\n" + "".join(f"a{n}: &a{n} [*a{n - 1}, *a{n - 1}, *a{n - 1}]\n" for n in range(1, 40))
    refused(tmp_path, bomb, "bad.yaml:1")
    refused(tmp_path, HEAD + "schema: &s []\nteam: *s\n", "bad.yaml:6")
    refused(tmp_path, HEAD + "id: y\n", "bad.yaml:6", "id")
    refused(tmp_path, HEAD + "schema: " + "[" * 5000, "bad.yaml:6")
    refused(tmp_path, HEAD + "x: " + "y" * (2 << 20), "larger than a contract may be")
    refused(tmp_path, HEAD.encode() + b"name: \xff\xfe\n", "bad.yaml:6:7", "UTF-8")
    refused(tmp_path, HEAD + "schema:\n\t- name: a\n", "bad.yaml:7")
    refused(tmp_path, "", "bad.yaml")
    refused(tmp_path, "kind: Pod\napiVersion: v1\n", "`Pod` is no data contract")
    done = subprocess.run(
        [TENON, "contract", "import", str(tmp_path / "none.yaml"), "--dataset", "a"], capture_output=True, text=True
    )
    assert done.returncode == 2 and "there is no file" in done.stderr
