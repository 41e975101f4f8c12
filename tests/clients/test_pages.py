"""The console's pages of datasets, decisions and deployments say what the command line says, and versions are made over HTTP."""

import re
import time

import pytest
import requests
from conftest import serving, serving_a_copy
from test_versions import Small


@pytest.fixture(scope="module")
def server(made, tmp_path_factory):
    """The address of a server that only reads: what it lists is what the company's folder holds."""
    with serving_a_copy(made, tmp_path_factory) as address:
        yield address


def words(html: str) -> str:
    """What a reader sees, with descriptions of charts."""
    text = re.sub(r"<[^>]*>", " ", html)
    for entity, sign in (("&lt;", "<"), ("&gt;", ">"), ("&quot;", '"'), ("&amp;", "&")):
        text = text.replace(entity, sign)
    return " ".join(text.split())


def page(server: str, path: str) -> str:
    answer = requests.get(f"http://{server}{path}", timeout=30)
    assert answer.status_code == 200, f"{path}: {answer.status_code} {answer.text[:400]}"
    assert "<script" not in answer.text
    return answer.text


def number(count: int) -> str:
    return f"{count:,}"


@pytest.mark.parametrize("dataset", ["departures", "flights", "planes", "schedule", "weather"])
def test_a_dataset_s_page_draws_its_profile(made, server, dataset):
    profile = made.json("profile", dataset)
    html = page(server, f"/console/datasets/{dataset}")
    text = words(html)
    assert f"{number(profile['rows'])} rows in version {profile['version']}." in text
    cards = html.split('<article class="column">')[1:]
    assert len(cards) == len(profile["columns"])
    for column, card in zip(profile["columns"], cards):
        card = card.split("</article>")[0]
        told = words(card)
        assert told.startswith(column["name"] + " "), told
        missing = number(column["nulls"]) if column["nulls"] else "none"
        assert f"missing {missing}" in told, told
        assert f"different about {number(column['distinct'])} " in told + " ", told
        if column["histogram"]:
            assert 'role="img"' in card and "<desc " in card
            assert card.count('<rect class="bar"') == len(column["histogram"])
            fullest = max(column["histogram"])
            assert f"with {number(fullest)} rows." in told, told
        elif column["top"] and column["top"][0][1] > 1:
            value, times = column["top"][0]
            assert f"{number(times)} " in told and value[:20] in told, told


def test_a_profile_is_there_at_once_the_second_time_and_as_of_a_version(made, server):
    html, seconds = None, []
    for _ in range(2):
        begun = time.monotonic()
        html = page(server, "/console/datasets/schedule?as_of=2013-05-01")
        seconds.append(time.monotonic() - begun)
    assert seconds[0] < 15 and seconds[1] < 2, seconds
    then = made.json("profile", "schedule", "--as-of", "2013-05-01")
    assert "as of 2013-05-01" in words(html) and f"{number(then['rows'])} rows in version {then['version']}." in words(html)
    assert then["rows"] < made.json("profile", "schedule")["rows"]
    wrong = words(page(server, "/console/datasets/schedule?as_of=no-such-tag"))
    assert "there is no tag no-such-tag" in wrong
    told = requests.get(f"http://{server}/api/v1/datasets/schedule/profile?as_of=2013-05-01", timeout=30).json()
    assert (told["rows"], told["looked_at"]) == (then["rows"], then["rows"])


def test_set_aside_rows_are_listed_with_their_reasons(made, server):
    counted = made.json("query", "SELECT count(*) AS n FROM flights__quarantine")[0]["n"]
    text = words(page(server, "/console/datasets/flights"))
    assert f"{number(counted)} open, 0 released, 0 discarded." in text
    newest = made.json("query", "SELECT _reason FROM flights__quarantine ORDER BY _quarantined_at DESC LIMIT 1")[0]["_reason"]
    assert newest in text
    listed = requests.get(f"http://{server}/api/v1/datasets/flights/quarantine?limit=3", timeout=30).json()
    assert listed["sums"]["open"] == counted and len(listed["rows"]) == 3


def test_decisions_are_listed_page_by_page(made, server):
    told = made.json("decisions", "late_arrival", "--limit", "60")
    html = page(server, "/console/decisions?deployment=late_arrival")
    receipts = re.findall(r'href="/console/decisions/([0-9a-f-]{36})"', html)
    assert receipts == [decision["id"] for decision in told[:50]]
    older = re.search(r'href="(/console/decisions\?deployment=late_arrival&amp;before=[0-9a-f-]+)"', html).group(1)
    second = page(server, older.replace("&amp;", "&"))
    receipts = re.findall(r'href="/console/decisions/([0-9a-f-]{36})"', second)
    assert receipts[:10] == [decision["id"] for decision in told[50:60]]
    one = told[0]
    assert one["entities"]["tailnum"] in words(html) and f'href="/console/models/{one["version"]}"' in html
    assert "✓ proven" in page(server, f"/console/decisions/{one['id']}")
    listed = requests.get(f"http://{server}/api/v1/decisions?limit=60", timeout=30).json()
    assert listed == told
    # The newest flights are still in the air; those of the day before have landed.
    day = made.json("decisions", "late_arrival", "--limit", "1500")
    assert {decision["outcome"] for decision in day} == {True, False, None}
    assert made.json("why", day[-1]["id"])["outcome"]["outcome"] == day[-1]["outcome"]


def test_a_deployment_s_page_tells_its_history(made, server):
    periods = made.json("history", "late_arrival")
    html = page(server, "/console/deployments/late_arrival")
    text = words(html)
    versions = {part["version"] for period in periods for part in period["traffic"]}
    assert len(versions) >= 3
    for version in versions:
        assert f'href="/console/models/{version}"' in html, version
    backs = [period for period in periods if period["reason"] == "rolled_back"]
    assert backs and html.count("↩ rolled back") == 2 * len(backs), "among themselves, and among all moves"
    incidents = [incident for incident in made.json("get", "incidents") if incident["deployment"] == "late_arrival"]
    assert incidents
    for incident in incidents:
        assert f'href="/console/facts?from={incident["fact"]}"' in html
    assert "rolled back when its Brier score" in text and "decisions an hour" in text
    newest = made.json("decisions", "late_arrival", "--limit", "1")[0]["id"]
    assert f'href="/console/decisions/{newest}"' in html
    home = page(server, "/")
    assert 'href="/console/deployments/late_arrival"' in home and 'href="/console/decisions' in home


@pytest.fixture
def small(tmp_path):
    return Small(tmp_path / "acme")


def test_versions_are_made_and_given_up_over_http(small):
    small.give("flights", "2", "id,delay,at\nc,3,2013-01-03T00:00:00Z\nx,999,2013-01-03T00:00:00Z\n")
    small.run("ingest", "flights")
    with serving(small.folder) as (address, _):
        api = f"http://{address}/api/v1"

        def post(path, status=200, **body):
            answer = requests.post(f"{api}/{path}", json=body, timeout=30)
            assert answer.status_code == status, f"{path}: {answer.status_code} {answer.text}"
            return answer.json()

        def delete(path, status=200):
            answer = requests.delete(f"{api}/{path}", timeout=30)
            assert answer.status_code == status, f"{path}: {answer.status_code} {answer.text}"
            return answer.json()

        made = post("tags", tag="q1", as_of="0", datasets=["flights"], reason="seen by the board")
        assert made["tag"]["tables"] == [{"dataset": "flights", "version": 0}]
        assert "q1" in post("tags", 409, tag="q1")["error"]
        restored = post("datasets/flights/restore", to="q1", reason="a broken export")["restored"]
        assert (restored["version"], restored["rows_removed"]) == (2, 1)
        post("datasets/flights/restore", to="1", reason="it was whole")
        post("branches", branch="audit", datasets=["flights", "planes"])
        assert {table["dataset"] for table in requests.get(f"{api}/branches/audit", timeout=30).json()["tables"]} == {"flights", "planes"}
        assert post("branches/audit/merge")["merged"]["branch"] == "audit"
        post("branches", branch="idea", datasets=["planes"])
        delete("branches/idea?reason=no")
        post("holds", hold="case-17", datasets=["flights"], reason="request of the court")
        plan = requests.get(f"{api}/vacuum?retain=0d&dataset=flights", timeout=30).json()
        assert plan["fact"] is None and any("case-17" in kept["why"] for kept in plan["tables"][0]["kept"])
        assert "case-17" in page(address, "/console/datasets/flights")
        delete("holds/case-17", 422)
        delete("holds/case-17?reason=closed")
        released = post("datasets/flights/quarantine/release", where="id = 'x'", set={"delay": "'99'"}, reason="a nine too many")
        assert released["released"]["rows"] == 1
        assert "1 released" in words(page(address, "/console/datasets/flights"))
        assert [done["files_after"] for done in post("datasets/flights/compact")][:1] == [1]
        delete("tags/q1?reason=old")
    assert small.json("tag", "list") == small.json("branch", "list") == small.json("hold", "list") == []
    assert small.ids() == ["a", "b", "c", "x"]
    small.run("audit", "verify")
    small.run("audit", "data")


OLD = """
@id("ben-writes-flights")
@says("ben may write to flights, as it was said before the parts of writing had names")
permit (principal == Tenon::Person::"ben", action == Tenon::Action::"dataset.write", resource == Tenon::Dataset::"flights");
"""


def test_rights_from_before_stay_and_parts_of_writing_are_refused_alone(small):
    other = small.folder / "pods" / "other"
    other.mkdir()
    (other / "pod.toml").write_text('mission = "m"\n[members.ben]\nrole = "engineer"\n')
    (small.folder / "policies" / "old.cedar").write_text(OLD)
    # Without the framework, which lets only the owning pod change anything.
    (small.folder / "policies" / "framework.cedar").unlink()
    small.run("apply")
    company = small.folder / "company.toml"
    me = company.read_text()

    def as_ben(*arguments, ok=0):
        """Ben at this machine; the applied company stays as it is."""
        company.write_text(re.sub(r'local = ".*"', 'local = "ben"', me))
        try:
            return small.run(*arguments, ok=ok)
        finally:
            company.write_text(me)

    as_ben("tag", "create", "q1", "--dataset", "flights")
    as_ben("hold", "create", "h1", "--dataset", "flights", "--reason", "r")
    as_ben("vacuum", "flights", "--dry-run")
    assert "write to" not in as_ben("vacuum", "planes", "--dry-run", ok=1).stderr
    leads = OLD + """
@id("leads-hold")
@says("only leads release holds")
forbid (principal is Tenon::Person, action == Tenon::Action::"dataset.hold", resource)
unless { principal.roles.contains("lead") };
"""
    (small.folder / "policies" / "old.cedar").write_text(leads)
    small.run("apply")
    refused = as_ben("hold", "release", "h1", "--reason", "r", ok=1).stderr
    assert "leads-hold" in refused and "only leads release holds" in refused
    as_ben("tag", "delete", "q1")
    small.run("hold", "release", "h1", "--reason", "r")
