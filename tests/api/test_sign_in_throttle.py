"""The sign-in throttle counts the attempts of all API processes together."""

import time
from itertools import cycle

import httpx

from annals.app.account.sign_in_throttle import OF_ADDRESS
from tests.client import Client
from tests.instance import AnnalsInstance, another_api

EMAIL = "guessed@example.test"
ATTEMPTS = 4 * OF_ADDRESS.burst


def test_sign_in_throttle_counts_attempts_over_all_processes(annals_instance: AnnalsInstance) -> None:
    key = Client(annals_instance.endpoint, annals_instance.headers)
    key.call("POST", "/users", json={"userId": "guessed", "email": EMAIL, "password": "right horse"})
    began, answers = time.monotonic(), list[tuple[str, int]]()
    with another_api(annals_instance) as other, httpx.Client(timeout=60) as http:
        endpoints = cycle([annals_instance.endpoint, other])
        for number in range(ATTEMPTS):
            headers = {"x-appwrite-project": annals_instance.project, "x-forwarded-for": f"203.0.113.{number}"}
            endpoint, sent = next(endpoints), {"email": EMAIL, "password": f"wrong horse {number}"}
            answer = http.post(f"{endpoint}/account/sessions/email", json=sent, headers=headers)
            answers.append((endpoint, answer.status_code))
    allowed = OF_ADDRESS.burst + 1 + (time.monotonic() - began) / OF_ADDRESS.pause

    assert {status for _, status in answers} == {401, 429}
    assert {endpoint for endpoint, status in answers if status == 429} == {annals_instance.endpoint, other}
    assert [status for _, status in answers].count(401) <= allowed
