"""What schemathesis has to know of the server beyond its contract: a world to ask about, and two checks of its own."""

import datetime
import os
import threading
import time

import requests
import schemathesis
from hypothesis import strategies as st

URL = os.environ["FUZZ_API_URL"]
ADMIN = {"Authorization": f"Bearer {os.environ['FUZZ_API_ADMIN_KEY']}"}

DRIVERS = ("ana", "bob", "cyd")
ORDERS = range(1, 13)
# Offers that were open a moment ago.
OPEN = []
CONFIG = "/v1/markets/default/config"
# The rules that the world began with, and the versions that could be put back a moment ago.
RULES = {}
FORMER = []
TERMS = ("delay_min", "late_min", "to_pickup_min", "rating")


def ask(method, path, body=None):
    return requests.request(method, URL + path, json=body, headers=ADMIN, timeout=10)


def put_rules_back():
    """Requests set rules under which nothing lives: room for one order, or a window every ten minutes."""
    config = ask("GET", CONFIG).json()
    RULES.update(RULES or config["rules"])
    FORMER[:] = ask("PUT", CONFIG, RULES).json()["former_versions"]


def live():
    """Drivers work, are seen and have orders; orders are in every state, and come back when they have left memory."""
    put_rules_back()
    for driver in DRIVERS:
        if ask("GET", f"/v1/drivers/{driver}").status_code == 404:
            ask("PUT", f"/v1/drivers/{driver}", {"capacity": 3, "skills": ["cold-box"]}).raise_for_status()
        ask("POST", f"/v1/drivers/{driver}/shift/start")
        ask("POST", f"/v1/drivers/{driver}/shift/resume")
        ask("POST", f"/v1/drivers/{driver}/position", {"lat": 52.52, "lng": 13.40})
    for number in ORDERS:
        order = {
            "id": f"o-{number}",
            "pickup": {"lat": 52.52, "lng": 13.40, "id": "p" if number % 2 else "q", "label": "Pizza"},
            "dropoff": {"lat": 52.50, "lng": 13.42},
            "display": "2 Margherita",
        }
        ask("POST", "/v1/orders", order)
        if number % 4 < 2:
            ask("POST", f"/v1/orders/o-{number}/kitchen", {"status": "ready"})
        if number % 6 == 1:
            ask("POST", f"/v1/orders/o-{number}/assign", {"driver": "ana"})
    offers = [ask("GET", f"/v1/drivers/{driver}/offer").json().get("offer") for driver in DRIVERS]
    OPEN[:] = [offer["id"] for offer in offers if offer]


def live_on():
    while True:
        time.sleep(1)
        try:
            live()
        except requests.RequestException:
            # The server is gone, or slow; the tests will say so.
            pass


# Without a world nearly every answer is a 404.
live()
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
                    tags = st.from_regex(schema["pattern"], fullmatch=True)
                    schemathesis.openapi.format("entity-tags", st.one_of(st.just("*"), tags))


def fit(rules):
    """Rules bound each other in ways that no schema says, and chance alone hardly ever keeps to all of them."""

    def ascend(*places):
        values = sorted(rules[group][name] for group, name in places)
        for (group, name), value in zip(places, values):
            rules[group][name] = value

    ascend(("search", "radius_m"), ("search", "max_radius_m"))
    ascend(("schedule", "margin_seconds"), ("schedule", "horizon_seconds"))
    ascend(("schedule", "commit_ahead_seconds"), ("search", "busy_until_seconds"))
    ascend(("rounds", "pause_seconds"), ("rounds", "no_candidate_after_seconds"))
    ascend(("positions", "searchable_for_seconds"), ("positions", "silent_after_seconds"))
    ascend(*(("lifetimes", f"{end}_after_seconds") for end in ("overdue", "fail", "never_finished")))
    lifetimes = rules["lifetimes"]
    lifetimes["plan_ahead_seconds"] = max(lifetimes["plan_ahead_seconds"], rules["preparation_seconds"])
    if rules.get("reposition"):
        reposition = rules["reposition"]
        reposition["every_seconds"] = max(reposition["every_seconds"], rules["window_seconds"])
    near = rules["bundles"]["mode"] in ("nearby", "interleaved")
    rules["bundles"]["within_m"] = (rules["bundles"].get("within_m") or 0) if near else None
    offers = rules["offers"]
    offers["size"] = (offers.get("size") or 2) if offers["mode"] == "wave" else None
    offers["expires_after_seconds"] = None if offers["mode"] == "direct" else offers.get("expires_after_seconds") or 5
    if offers["mode"] != "direct":
        rules["swap"] = None
    rules["score"] = [{**weight, "term": term} for weight, term in zip(rules["score"], TERMS)]
    rules["limits"]["drivers"] = min(rules["limits"]["drivers"], 1_000_000)


@schemathesis.hook
def before_call(context, case, kwargs):
    """What exists for a moment only, and what has to fit together, is in no dictionary."""
    if not is_positive(case):
        return
    if case.operation.path.startswith("/v1/offers/") and OPEN:
        case.path_parameters["id"] = OPEN.pop()
    if case.operation.label == f"PUT {CONFIG.replace('default', '{id}')}" and case.body["divert"]:
        fit(case.body)
    if case.operation.path.endswith("/rollback") and FORMER:
        case.body["version"] = FORMER.pop()


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
