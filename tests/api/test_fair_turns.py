"""Turns to guess a password are one count, whichever process is asked."""

import time
from itertools import cycle

import httpx

from annals.app.account.sign_in_throttle import OF_ADDRESS
from tests.another_api import another_api
from tests.client import Client
from tests.instance import AnnalsInstance

EMAIL = "guessed@example.test"
TRIES = 4 * OF_ADDRESS.burst


def test_second_process_adds_no_turns_to_guess_a_password(annals_instance: AnnalsInstance) -> None:
    key = Client(annals_instance.endpoint, annals_instance.headers)
    key.call("POST", "/users", json={"userId": "guessed", "email": EMAIL, "password": "right horse"})
    began, told = time.monotonic(), list[tuple[str, int]]()
    with another_api(annals_instance) as other, httpx.Client(timeout=60) as http:
        places = cycle([annals_instance.endpoint, other])
        for number in range(TRIES):
            headers = {"x-appwrite-project": annals_instance.project, "x-forwarded-for": f"203.0.113.{number}"}
            place, sent = next(places), {"email": EMAIL, "password": f"wrong horse {number}"}
            answer = http.post(f"{place}/account/sessions/email", json=sent, headers=headers)
            told.append((place, answer.status_code))
    turns = OF_ADDRESS.burst + 1 + (time.monotonic() - began) / OF_ADDRESS.pause

    assert {status for _, status in told} == {401, 429}
    assert {place for place, status in told if status == 429} == {annals_instance.endpoint, other}
    assert [status for _, status in told].count(401) <= turns
