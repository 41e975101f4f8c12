"""First tokens by invitation, and what a flood of refusals leaves on the record."""

import json
import os
import subprocess
from concurrent.futures import ThreadPoolExecutor

import pytest
import requests
from conftest import TENON, serving


@pytest.fixture
def bare(tmp_path):
    """A company of two people; `identity` says who local callers are."""
    folder = tmp_path / "shop"

    def identity(text):
        (folder / "company.toml").write_text(f'name = "shop"\n[identity]\n{text}\n')

    (folder / "pods/shop").mkdir(parents=True)
    (folder / "pods/shop/pod.toml").write_text(
        'mission = "sells"\n[members.ana]\nrole = "lead"\n[members.ben]\nrole = "engineer"\n'
    )
    identity('local = "ana"')
    run(folder, "apply")
    return folder, identity


def run(folder, *arguments, code=0):
    done = subprocess.run(
        [TENON, "--dir", str(folder), "--output", "json", *arguments], capture_output=True, text=True, timeout=60
    )
    assert done.returncode == code, done.stdout + done.stderr
    return json.loads(done.stdout) if code == 0 else done.stderr


def facts(folder):
    return [one["fact"] for one in run(folder, "get", "facts")]


def test_who_has_no_token_gets_a_first_one_by_invitation(bare):
    folder, identity = bare
    told = run(folder, "token", "invite", "eve", "--pod", "shop", code=1)
    assert "eve is no member of pod `shop`" in told
    invited = run(folder, "token", "invite", "ben", "--pod", "shop", "--name", "ben-laptop", "--expires", "1h")
    taken_back = run(folder, "token", "invite", "ben", "--pod", "shop", "--name", "ben-phone")
    listed = run(folder, "token", "list")
    assert [one["name"] for one in listed["invitations"]] == ["ben-laptop", "ben-phone"]
    assert invited["code"] not in json.dumps(listed)
    run(folder, "token", "revoke", "ben-phone")
    own = run(folder, "token", "create", "ana-server", "--person", "ana")["token"]

    identity("require_token = true")
    with serving(folder, env={**os.environ, "TENON_TOKEN": own}) as (address, _):
        url = f"http://{address}"
        assert requests.get(f"{url}/api/v1/datasets", timeout=10).status_code == 401
        wrong = requests.post(f"{url}/tokens/redeem", json={"code": taken_back["code"]}, timeout=10)
        assert wrong.status_code == 403 and "made worthless" in wrong.json()["error"]

        # Many show the code at once: one gets a token.
        def redeem(_):
            return requests.post(f"{url}/tokens/redeem", json={"code": invited["code"]}, timeout=10)

        with ThreadPoolExecutor(4) as pool:
            answers = list(pool.map(redeem, range(4)))
        given = [answer for answer in answers if answer.status_code == 200]
        assert len(given) == 1, [answer.text for answer in answers]
        assert given[0].headers["cache-control"] == "no-store"
        token = given[0].json()["token"]
        assert given[0].json()["acts_as"] == "person:ben"
        bearer = {"authorization": f"Bearer {token}"}
        assert requests.get(f"{url}/api/v1/datasets", headers=bearer, timeout=10).status_code == 200
        # Not everybody may invite.
        asked = {"person": "ana", "pod": "shop"}
        assert requests.post(f"{url}/tokens/invite", json=asked, headers=bearer, timeout=10).status_code == 403

        # Whoever goes on guessing waits.
        statuses = [requests.post(f"{url}/tokens/redeem", json={"code": "tni_x"}, timeout=10) for _ in range(8)]
        assert statuses[-1].status_code == 429
        assert 0 < int(statuses[-1].headers["retry-after"]) <= 60

    identity('local = "ana"')
    kinds = [fact["kind"] for fact in facts(folder)]
    assert kinds.count("invitation.created") == 2
    assert kinds.count("invitation.redeemed") == kinds.count("invitation.revoked") == 1
    assert kinds.count("token.created") == 2
    log = json.dumps(facts(folder))
    assert invited["code"][4:] not in log and token[4:] not in log
    assert [one["name"] for one in run(folder, "token", "list")["tokens"]] == ["ana-server", "ben-laptop"]
    run(folder, "audit", "verify")


def test_a_lead_invites_while_the_company_is_served(bare):
    folder, _ = bare
    with serving(folder) as (address, _):
        url = f"http://{address}"
        invited = requests.post(f"{url}/tokens/invite", json={"person": "ben", "pod": "shop"}, timeout=10).json()
        given = requests.post(f"{url}/tokens/redeem", json={"code": invited["code"]}, timeout=10).json()
        bearer = {"authorization": f"Bearer {given['token']}"}
        assert requests.get(f"{url}/api/v1/facts", headers=bearer, timeout=10).status_code == 200
        again = requests.post(f"{url}/tokens/redeem", json={"code": invited["code"]}, timeout=10)
        assert again.status_code == 403 and "used already" in again.json()["error"]


def test_a_flood_of_refusals_is_one_fact_and_a_count(bare):
    folder, identity = bare
    identity('local = "eve"')
    with serving(folder) as (address, _):
        with requests.Session() as session:
            statuses = {session.get(f"http://{address}/api/v1/datasets", timeout=10).status_code for _ in range(500)}
        assert statuses == {403}
    identity('local = "ana"')
    found = facts(folder)
    refused = [fact for fact in found if fact["kind"] == "authorization.refused"]
    counted = [fact["body"] for fact in found if fact["kind"] == "refusals.counted"]
    assert len(refused) == 1
    again = sum(one["times"] for count in counted for one in count["again"])
    assert again + len(refused) == 500, "none is forgotten"
    assert len(counted) <= 2
    run(folder, "audit", "verify")
