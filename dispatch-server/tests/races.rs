//! Several at once, each over a connection of its own: one of them comes first, and everybody is told the truth.

#![allow(clippy::unwrap_used, reason = "helpers of tests are tests")]

mod common;

use common::{Answer, Server, keys, order};
use reqwest::Method;
use serde_json::{Value, json};
use tokio::task::JoinSet;

/// Sends requests at once; their answers in no sequence, each with its number.
async fn at_once(
    server: &Server,
    requests: Vec<(&'static str, Method, String, Option<Value>)>,
) -> Vec<(usize, Answer)> {
    let mut tasks = JoinSet::new();
    for (number, (key, method, path, body)) in requests.into_iter().enumerate() {
        let api = server.api.clone();
        tasks.spawn(async move { (number, api.send_as(key, method, &path, body).await) });
    }
    tasks.join_all().await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn an_offer_ends_in_one_way() {
    let server = Server::with(&keys()).await;
    server.driver("admin", "ana").await;
    let mut seen = std::collections::BTreeSet::new();
    for round in 0..80 {
        let id = format!("o-{round}");
        server.pass(20);
        server.report("driver", "ana").await;
        server.order("merchant", &id).await;
        let offer = server.offer("driver", "ana").await;
        let offers = format!("/v1/offers/{offer}");
        let post = |key, path: String, body| (key, Method::POST, path, body);
        let mut requests = vec![
            post("driver", format!("{offers}/accept"), None),
            post("driver", format!("{offers}/decline"), None),
            post("dispatcher", format!("{offers}/accept"), None),
        ];
        let cancelled = round % 2 == 0;
        if cancelled {
            requests.push(post("merchant", format!("/v1/orders/{id}/cancel"), Some(json!({"reason": "closed"}))));
        }
        // Each round begins with another.
        let first = round / 4 % requests.len();
        requests.rotate_left(first);
        let names: Vec<_> =
            requests.iter().map(|(_, _, path, _)| path.rsplit('/').next().unwrap().to_owned()).collect();
        let expires = round % 4 > 1;
        let clock = server.clock.clone();
        let passing = tokio::spawn(async move {
            if expires {
                clock.advance(dispatch_core::Millis::from_secs(30));
            }
        });
        let mut won = None;
        for (number, answer) in at_once(&server, requests).await {
            match (names[number].as_str(), answer.status) {
                // A merchant may call an order off as long as nobody has picked it up.
                ("cancel", _) => drop(answer.ok()),
                (name, 200) => assert_eq!(won.replace(name.to_owned()), None, "one answer counts"),
                (_, _) => drop(answer.problem(409, "offer_closed")),
            }
        }
        passing.await.unwrap();
        let offer = server.send_as("driver", Method::GET, &offers, None).await.ok();
        let state = offer.at("/state").as_str().unwrap();
        let order = server.send_as("merchant", Method::GET, &format!("/v1/orders/{id}"), None).await.ok();
        let ana = server.send_as("driver", Method::GET, "/v1/drivers/ana", None).await.ok();
        match won.as_deref() {
            Some("accept") => assert_eq!(state, "accepted"),
            Some(_) => assert_eq!(state, "declined"),
            None => assert!(state == "withdrawn" && cancelled || state == "expired" && expires, "{state}"),
        }
        let has = won.as_deref() == Some("accept") && !cancelled;
        assert_eq!(ana.at("/orders"), &if has { json!([id]) } else { json!([]) });
        assert_eq!(order.at("/status") == "cancelled", cancelled, "{:#}", order.body);
        assert_eq!(order.at("/driver"), &if has { json!("ana") } else { Value::Null });
        seen.insert(state.to_owned());
        if !cancelled {
            let path = format!("/v1/orders/{id}/cancel");
            server.send_as("dispatcher", Method::POST, &path, Some(json!({"reason": "next"}))).await.ok();
        }
    }
    assert!(seen.len() > 1, "{seen:?}");
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_version_is_changed_once() {
    let server = Server::start().await;
    let drivers: Vec<_> = (0..12).map(|number| format!("d-{number}")).collect();
    for driver in &drivers {
        server.driver("", driver).await;
    }
    server.post("/v1/orders", order("o")).await.ok();
    server.post("/v1/orders/o/kitchen", json!({"status": "confirmed"})).await.ok();
    // The window after it may change it, too.
    let tag = server.get("/v1/orders/o").await.ok().etag();
    let mut tasks = JoinSet::new();
    for driver in drivers {
        let (api, tag) = (server.api.clone(), tag.clone());
        tasks.spawn(async move {
            let headers = [("if-match", tag.as_str()), ("content-type", "application/json")];
            let body = json!({"driver": driver}).to_string().into_bytes();
            api.raw(Method::POST, "/v1/orders/o/assign", &headers, body).await
        });
    }
    let (done, late): (Vec<_>, Vec<_>) = tasks.join_all().await.into_iter().partition(|answer| answer.status == 200);
    assert_eq!((done.len(), late.len()), (1, 11));
    for answer in late {
        answer.problem(412, "changed");
    }
    assert_eq!(server.get("/v1/orders/o").await.ok().at("/driver"), done[0].at("/driver"));
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn an_order_is_taken_in_once() {
    let server = Server::start().await;
    for round in 0..10 {
        let submit = |number: u32| {
            let mut order = order(&format!("o-{round}"));
            order["units"] = json!(1 + number % 2);
            ("", Method::POST, "/v1/orders".to_owned(), Some(order))
        };
        let answers = at_once(&server, (0..12).map(submit).collect()).await;
        let taken = server.get(&format!("/v1/orders/o-{round}")).await.ok();
        let mut created = 0;
        for (number, answer) in answers {
            created += usize::from(answer.status == 201);
            if json!(1 + number % 2) == *taken.at("/units") {
                answer.ok();
            } else {
                answer.problem(409, "order_differs");
            }
        }
        assert_eq!(created, 1);
    }
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn positions_searches_and_moves_do_not_get_in_each_others_way() {
    let markets = "[[markets]]\nid = \"a\"\npolygon = [[13.0, 52.0], [14.0, 52.0], [14.0, 53.0], [13.0, 53.0]]\n\
                   [[markets]]\nid = \"b\"";
    let server = Server::with(markets).await;
    for number in 0..8 {
        server.put(&format!("/v1/drivers/d-{number}"), json!({"market": "a"})).await.ok();
    }
    let mut tasks = JoinSet::new();
    for number in 0..8 {
        let (api, clock) = (server.api.clone(), server.clock.clone());
        tasks.spawn(async move {
            let driver = format!("/v1/drivers/d-{number}");
            for turn in 0..40 {
                clock.advance(dispatch_core::Millis::from_secs(1));
                api.send_as("", Method::POST, &format!("{driver}/shift/start"), None).await.ok();
                let fix = json!({"lat": 52.5 + f64::from(turn) * 1e-4, "lng": 13.4});
                // With time that jumps, commands seem to wait long, and positions give way to them.
                assert!([200, 422, 429, 503].contains(&api.post(&format!("{driver}/position"), fix).await.status));
                let near = api.get("/v1/nearest-drivers?lat=52.5&lng=13.4&market=a").await.ok();
                assert!(near.at("/drivers").as_array().unwrap().len() <= 8);
                api.get("/v1/drivers?limit=3").await.ok();
                api.send_as("", Method::POST, &format!("{driver}/shift/end"), None).await.ok();
                let market = if turn % 2 == 0 { "b" } else { "a" };
                assert_eq!(api.put(&driver, json!({"market": market})).await.ok().at("/market"), market);
            }
        });
    }
    tasks.join_all().await;
    let drivers = server.get("/v1/drivers").await.ok();
    assert_eq!(drivers.at("/drivers").as_array().unwrap().len(), 8);
    let stats = server.get("/v1/stats").await.ok();
    assert_eq!(
        (stats.at("/markets/0/drivers/registered"), stats.at("/markets/1/drivers/registered")),
        (&json!(8), &json!(0))
    );
    server.stop().await;
}
