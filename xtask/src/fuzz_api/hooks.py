"""What schemathesis has to know of the server beyond its contract: a world to ask about, and two checks of its own."""

import datetime
import itertools
import os
import threading
import time

import requests
import schemathesis
from hypothesis import strategies as st

URL = os.environ["FUZZ_API_URL"]
ADMIN = {"Authorization": f"Bearer {os.environ['FUZZ_API_ADMIN_KEY']}"}

DRIVERS = ("ana", "bob", "cyd", "dan")


def ask(method, path, body=None):
    return requests.request(method, URL + path, json=body, headers=ADMIN, timeout=10)


def submit(order, place):
    body = {
        "id": order,
        "pickup": {"lat": 52.52, "lng": 13.40, "id": place, "label": "Pizza"},
        "dropoff": {"lat": 52.50, "lng": 13.42},
        "display": "2 Margherita",
    }
    ask("POST", "/v1/orders", body)


def populate():
    """Drivers on shift and orders in every state: without them nearly every answer is a 404."""
    for driver in DRIVERS:
        ask("PUT", f"/v1/drivers/{driver}", {"capacity": 3, "skills": ["cold-box"]}).raise_for_status()
        ask("POST", f"/v1/drivers/{driver}/shift/start")
    for number in range(1, 41):
        submit(f"o-{number}", "p" if number % 2 else "q")
        if number % 4:
            ask("POST", f"/v1/orders/o-{number}/kitchen", {"status": "ready"})
        if number % 13 == 0:
            ask("POST", f"/v1/orders/o-{number}/assign", {"driver": "ana"})


def live():
    """Goes on while the server is tested: drivers are seen and work again, new orders take the place of those that end."""
    for turn in itertools.count():
        for driver in DRIVERS:
            ask("POST", f"/v1/drivers/{driver}/shift/start")
            if turn % 2:
                ask("POST", f"/v1/drivers/{driver}/shift/resume")
            if turn % 10 == 0:
                ask("POST", f"/v1/drivers/{driver}/position", {"lat": 52.52, "lng": 13.40})
        if turn % 5 == 0:
            number = turn // 5 + 41
            submit(f"o-{number}", "p" if number % 2 else "q")
            if number % 3:
                ask("POST", f"/v1/orders/o-{number}/kitchen", {"status": "ready"})
                ask("POST", f"/v1/orders/o-{number % 40 + 1}/assign", {"driver": "ana"})
        time.sleep(0.2)


def live_on():
    while True:
        try:
            live()
        except requests.RequestException:
            # The server is gone, or slow; the tests will say so.
            time.sleep(1)


populate()
threading.Thread(target=live_on, daemon=True).start()


def in_a_while(seconds):
    at = datetime.datetime.now(datetime.timezone.utc) + datetime.timedelta(seconds=seconds)
    return at.isoformat(timespec="milliseconds").replace("+00:00", "Z")


# Most commands take only times near the server's own; every other time is only ever refused.
ANY_TIME = st.datetimes(timezones=st.just(datetime.timezone.utc)).map(lambda at: at.isoformat())
schemathesis.openapi.format("date-time", st.one_of(st.integers(-200, 200_000).map(in_a_while), ANY_TIME))


@schemathesis.hook
def before_load_schema(context, raw_schema):
    """The tool makes headers that have to hold a quote from a format, but not from a pattern."""
    for methods in raw_schema["paths"].values():
        for operation in methods.values():
            for parameter in operation.get("parameters", []):
                if parameter["in"] == "header":
                    schema = parameter["schema"]
                    schema["format"] = "entity-tags"
                    schemathesis.openapi.format("entity-tags", st.from_regex(schema["pattern"], fullmatch=True))


def is_negative(case):
    return case.meta is not None and case.meta.generation.mode.is_negative


def is_positive(case):
    return case.meta is not None and case.meta.generation.mode.is_positive


@schemathesis.check
def what_the_contract_allows_is_no_invalid_value(ctx, response, case):
    """A 422 may depend on the time, the place or the configuration; `invalid_value` says that the contract rules it out."""
    if is_positive(case) and response.status_code == 422 and response.json()["code"] == "invalid_value":
        raise AssertionError("the contract allows what the server calls an invalid value")


@schemathesis.check
def an_invalid_item_is_named(ctx, response, case):
    """A batch is taken with items that do not do; each of them has to be named."""
    if case.operation.label != "POST /v1/positions" or response.status_code != 200 or not is_negative(case):
        return
    results = response.json()["results"]
    if not any(item["outcome"] == "invalid" and item["detail"] for item in results):
        raise AssertionError("every item of a batch was taken that the contract rules out")
