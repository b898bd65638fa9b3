//! What `/metrics` costs whoever is behind it: one question a second, whoever asks and however often. These tests never look at a figure twice.

use std::sync::Arc;

use axum::Router;
use axum::body::Body;
use axum::http::{Request, Response, StatusCode};
use tokio::task::{JoinHandle, yield_now};
use tower::ServiceExt;

use super::house::{Doors, House};
use super::talking::bare;
use crate::limits;
use crate::server::events::budget::BodyBudget;
use crate::server::hallway::Refusal;
use crate::server::listener_router;
use crate::server::metrics::Metrics;
use crate::time::Stopwatch;

/// Somebody who asks.
fn ask(router: &Router) -> JoinHandle<Response<Body>> {
    let answer = router.clone().oneshot(Request::get("/metrics").body(Body::empty()).unwrap());
    tokio::spawn(async move { answer.await.unwrap() })
}

#[tokio::test]
async fn metrics_are_text_for_prometheus() {
    let doors = Doors::open(&House::new()).await;
    let openmetrics = "accept: application/openmetrics-text;version=1.0.0,text/plain;version=0.0.4;q=0.5\r\n";
    let asked = [("", "text/plain; version=0.0.4", false), (openmetrics, "application/openmetrics-text; version=1.0.0", true)];
    for (accept, content_type, has_end) in asked {
        let answer = doors.say(format!("GET /metrics HTTP/1.1\r\nhost: localhost\r\n{accept}\r\n")).await;
        assert_eq!(answer.status, 200);
        assert!(answer.header("content-type").is_some_and(|kind| kind.starts_with(content_type)), "{answer:?}");
        assert!(answer.body.contains("\nhookwheel_pending_deliveries 7\n"), "{}", answer.body);
        assert_eq!(answer.body.ends_with("# EOF\n"), has_end);
    }
}

#[tokio::test]
async fn that_there_are_no_metrics_is_not_kept() {
    let house = House::new();
    house.refuses(Refusal::Unavailable { detail: "the daemon is ending".into() });
    let doors = Doors::open(&house).await;
    for asked in 1..3 {
        assert_eq!(doors.say(bare("GET", "/metrics")).await.detail(503), "the daemon is ending");
        assert_eq!(house.asked().len(), asked);
    }
}

#[tokio::test]
async fn however_many_ask_for_the_metrics_and_go_away_the_house_is_asked_once_a_second() {
    let house = House::new();
    let router = listener_router(house.clone(), Arc::new(Metrics::new()), BodyBudget::default(), true);
    let since = Stopwatch::start();
    house.hesitates();
    let first = ask(&router);
    while house.asked().is_empty() {
        yield_now().await;
    }
    let (waiting, impatient): (Vec<_>, Vec<_>) = (0..100).map(|_| (ask(&router), ask(&router))).unzip();
    yield_now().await;
    for gone in impatient.into_iter().chain([first]) {
        gone.abort();
        assert!(gone.await.is_err(), "it waited");
    }
    assert_eq!(house.asked(), ["figures"]);
    house.answers_again();
    for patient in waiting {
        assert_eq!(patient.await.unwrap().status(), StatusCode::OK);
    }
    assert_eq!(ask(&router).await.unwrap().status(), StatusCode::OK);
    let (asked, kept) = (house.asked().len() as u64, since.elapsed_ms() / limits::METRICS_KEPT_MS);
    assert!(asked <= 1 + kept, "{asked} times in {} ms", since.elapsed_ms());
}
