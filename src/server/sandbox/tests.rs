//! Sandboxes without a network, and their routes without a door. They never wait for a time that is told in seconds.

use axum::Router;
use axum::body::Body;
use axum::http::{Request, StatusCode, header};
use http_body_util::BodyExt;
use serde_json::{Value, json};
use tower::ServiceExt;

use super::super::connection::HangUp;
use super::*;
use crate::model::{Secret, WebhookNumber, WebhookSpec};

const SECRET: &str = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";

struct Stand {
    directory: tempfile::TempDir,
    sandboxes: Sandboxes,
}

/// What was answered.
struct Answer {
    status: StatusCode,
    headers: HeaderMap,
    body: String,
    hung_up: bool,
}

impl Stand {
    fn new() -> Self {
        let directory = tempfile::tempdir().unwrap();
        let sandboxes = open(directory.path());
        Self { directory, sandboxes }
    }

    fn reopened(self) -> Self {
        let sandboxes = open(self.directory.path());
        Self { sandboxes, ..self }
    }

    fn made(&self, new: Value) -> SandboxSummary {
        self.sandboxes.create(serde_json::from_value(new).unwrap()).unwrap_or_else(|refusal| panic!("{refusal:?}"))
    }

    async fn ask(&self, request: Request<Body>) -> Answer {
        answered(routes::routes(self.sandboxes.clone()), request).await
    }

    async fn admin(&self, method: &str, path: &str, body: &str) -> (StatusCode, Value) {
        let request = Request::builder().method(method).uri(path).body(Body::from(body.to_owned())).unwrap();
        let answer = answered(admin::routes(self.sandboxes.clone()).into_router("", ""), request).await;
        (answer.status, serde_json::from_str(&answer.body).unwrap())
    }

    async fn post(&self, sandbox: &SandboxSummary, headers: &[(&str, &str)], body: impl Into<Body>) -> Answer {
        let mut request = Request::builder().method("POST").uri(sandbox.token.path());
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        self.ask(request.body(body.into()).unwrap()).await
    }

    async fn list(&self, sandbox: &SandboxSummary, query: &str) -> ReceivedPage {
        let answer = self.look(sandbox, query, "application/json").await;
        serde_json::from_str(&answer.body).unwrap()
    }

    async fn look(&self, sandbox: &SandboxSummary, query: &str, accept: &str) -> Answer {
        let uri = format!("{}{query}", sandbox.token.path());
        self.ask(Request::builder().uri(uri).header(header::ACCEPT, accept).body(Body::empty()).unwrap()).await
    }
}

fn open(directory: &Path) -> Sandboxes {
    Sandboxes::open(&directory.join("sandbox"), "0.0.0.0:8700".parse().unwrap(), false, &[]).unwrap()
}

async fn answered(router: Router, request: Request<Body>) -> Answer {
    let response = router.oneshot(request).await.unwrap();
    let (parts, body) = response.into_parts();
    let body = String::from_utf8(body.collect().await.unwrap().to_bytes().to_vec()).unwrap();
    let hung_up = parts.extensions.get::<HangUp>().is_some();
    Answer { status: parts.status, headers: parts.headers, body, hung_up }
}

fn pointing(id: &str, url: &str, secret: &str) -> Webhook {
    let spec = WebhookSpec { timeout_ms: 1000, max_in_flight: 1, ..WebhookSpec::plain(id, url) };
    Webhook { number: WebhookNumber(1), spec, secrets: vec![Secret::parse(secret).unwrap()] }
}

#[tokio::test]
async fn every_method_path_and_body_is_kept_over_a_restart_and_looks_are_not() {
    let stand = Stand::new();
    let sandbox = stand.made(json!({ "title": "try-out" }));
    assert_eq!(sandbox.url, format!("http://127.0.0.1:8700/sandbox/{}", sandbox.token));
    for (method, below) in
        [("POST", ""), ("PUT", "/"), ("DELETE", "/orders/7?x=1&y"), ("OPTIONS", ""), ("PROPFIND", ""), ("GET", "?challenge=5")]
    {
        let uri = format!("{}{below}", sandbox.token.path());
        let request = Request::builder().method(method).uri(uri).header("x-two", "1").header("x-two", "2").body(Body::from("{}")).unwrap();
        assert_eq!(stand.ask(request).await.status, 200, "{method} {below}");
    }
    assert_eq!(stand.look(&sandbox, "", "text/html").await.status, 200);
    let stand = stand.reopened();
    let page = stand.list(&sandbox, "").await;
    let seen = page.requests.iter().map(|one| format!("{} {} {}", one.number, one.method, one.target.replace(sandbox.token.as_str(), "T")));
    let expected = [
        "1 POST /sandbox/T",
        "2 PUT /sandbox/T/",
        "3 DELETE /sandbox/T/orders/7?x=1&y",
        "4 OPTIONS /sandbox/T",
        "5 PROPFIND /sandbox/T",
        "6 GET /sandbox/T?challenge=5",
    ];
    assert_eq!(seen.collect::<Vec<_>>(), expected);
    assert_eq!(page.requests[0].headers, [("x-two".into(), "1".into()), ("x-two".into(), "2".into())]);
    assert_eq!((page.requests[0].body.clone(), page.last), (KeptBody::Text("{}".into()), 6));
    assert_eq!(stand.list(&sandbox, "?after=4&limit=1").await.requests[0].number, 5);
    assert_eq!(stand.sandboxes.list()[0].title, "try-out");
}

#[tokio::test]
async fn the_501st_request_pushes_out_the_first() {
    let stand = Stand::new();
    let sandbox = stand.made(json!({}));
    for number in 1..=501 {
        stand.post(&sandbox, &[], number.to_string()).await;
    }
    let page = stand.list(&sandbox, "").await;
    assert_eq!((page.requests.len(), page.requests[0].number, page.last), (500, 2, 501));
    assert_eq!(page.requests[0].body, KeptBody::Text("2".into()));
    let summary = &stand.reopened().sandboxes.list()[0];
    assert_eq!((summary.received, summary.kept), (501, 500));
}

#[tokio::test]
async fn a_script_is_followed_by_attempt_and_without_one_by_webhook_id() {
    let stand = Stand::new();
    let sandbox = stand.made(json!({ "behaviour": { "fail_first": 2, "retry_after_s": 5 } }));
    let first = stand.post(&sandbox, &[("webhook-id", "a"), ("hookwheel-attempt", "1")], "").await;
    assert_eq!((first.status.as_u16(), first.headers[header::RETRY_AFTER].to_str().unwrap()), (503, "5"));
    assert_eq!(stand.post(&sandbox, &[("webhook-id", "a"), ("hookwheel-attempt", "3")], "").await.status, 200);
    let mut statuses = Vec::new();
    for id in ["b", "c", "b", "b", "c", "c"] {
        statuses.push(stand.post(&sandbox, &[("webhook-id", id)], "").await.status.as_u16());
    }
    assert_eq!(statuses, [503, 503, 503, 200, 503, 200]);
    let stand = stand.reopened();
    assert_eq!(stand.post(&sandbox, &[("webhook-id", "b")], "").await.status, 200, "the count is kept over a restart");
    let attempts = stand.list(&sandbox, "").await.requests.iter().map(|one| one.attempt).collect::<Vec<_>>();
    assert_eq!(attempts, [1, 3, 1, 1, 2, 3, 2, 3, 4]);
    let dropping = stand.made(json!({ "behaviour": { "drop": true, "fail_first": 1 } }));
    assert!(stand.post(&dropping, &[], "").await.hung_up);
    let second = stand.post(&dropping, &[], "").await;
    assert!(!second.hung_up && second.status == 200);
    assert_eq!(stand.list(&dropping, "").await.requests[0].answer.status, None);
    let empty = stand.post(&stand.made(json!({ "behaviour": { "status": 204 } })), &[], "").await;
    assert_eq!((empty.status.as_u16(), empty.body.as_str()), (204, ""));
}

#[tokio::test(start_paused = true)]
async fn a_delay_holds_the_answer_back_until_the_doors_close() {
    let stand = Stand::new();
    let sandbox = stand.made(json!({ "behaviour": { "delay_ms": 60_000 } }));
    let within = async |seconds| tokio::time::timeout(Duration::from_secs(seconds), stand.post(&sandbox, &[], "")).await;
    assert!(within(59).await.is_err());
    assert_eq!(within(61).await.unwrap().status, 200);
    stand.sandboxes.close();
    assert_eq!(within(59).await.unwrap().status, 200);
}

#[tokio::test]
async fn the_secret_is_that_of_the_webhook_that_points_here_or_the_sandboxs_own() {
    let stand = Stand::new();
    let (plain, own) = (stand.made(json!({})), stand.made(json!({ "secret": SECRET })));
    let signed = || {
        let (timestamp, key) = (wall_now().seconds().to_string(), Secret::parse(SECRET).unwrap());
        let key = aws_lc_rs::hmac::Key::new(aws_lc_rs::hmac::HMAC_SHA256, key.expose_bytes());
        let tag = aws_lc_rs::hmac::sign(&key, format!("evt_1.{timestamp}.{{}}").as_bytes());
        (timestamp, format!("v1,{}", data_encoding::BASE64.encode(tag.as_ref())))
    };
    let mut reasons = Vec::new();
    for (sandbox, webhook_secret) in [
        (&plain, None),
        (&plain, Some(SECRET)),
        (&plain, Some("whsec_plJ3nmyCDGBKInavdOK15jsl9vmTvYpF")),
        (&own, Some("whsec_plJ3nmyCDGBKInavdOK15jsl9vmTvYpF")),
    ] {
        let webhook = webhook_secret.map(|secret| pointing("crm", &format!("{}/below?x", sandbox.url), secret));
        stand.sandboxes.follow(webhook.iter());
        let (timestamp, signature) = signed();
        let headers = [("webhook-id", "evt_1"), ("webhook-timestamp", timestamp.as_str()), ("webhook-signature", signature.as_str())];
        stand.post(sandbox, &headers, "{}").await;
        reasons.push(stand.list(sandbox, "").await.requests.pop().unwrap().signature.reason);
    }
    use SignatureReason::{NoSecret, Valid, WrongSecret};
    assert_eq!(reasons, [NoSecret, Valid, WrongSecret, Valid]);
    let listed = stand.sandboxes.list().into_iter().find(|listed| listed.token == own.token).unwrap();
    assert_eq!(listed.webhooks, [WebhookId::parse("crm").unwrap()]);
    let shown = stand.look(&own, "", "text/html").await.body + &serde_json::to_string(&stand.sandboxes.list()).unwrap();
    assert!(!shown.contains("whsec_"), "secrets are not shown");
}

#[tokio::test]
async fn what_is_kept_of_a_request_is_bounded_and_its_signature_is_over_all_of_it() {
    let stand = Stand::new();
    let sandbox = stand.made(json!({ "secret": SECRET }));
    let long = "x".repeat(20_000);
    let headers = [("x-long", long.as_str()), ("webhook-id", "evt_1"), ("x-short", "kept")];
    assert_eq!(stand.post(&sandbox, &headers, "é".repeat(20_000)).await.status, 200);
    assert_eq!(stand.post(&sandbox, &[], vec![b'a'; limits::SANDBOX_BODY_READ_MAX + 1]).await.status, 413);
    let page = stand.list(&sandbox, "").await;
    let [first, second] = page.requests.as_slice() else { panic!("{}", page.requests.len()) };
    assert_eq!((first.body.length(), first.body_size), (limits::SANDBOX_BODY_KEPT_MAX, 40_000));
    let names = first.headers.iter().map(|(name, _)| name.as_str()).collect::<Vec<_>>();
    assert_eq!((names, first.headers_left_out), (vec!["webhook-id", "x-short"], 1));
    assert_eq!((second.signature.reason, second.answer.status), (SignatureReason::BodyTooLarge, Some(413)));
    let budget = stand.sandboxes.0.body_budget.try_acquire_many(u32::try_from(limits::SANDBOX_BODIES_MAX / 1024).unwrap());
    let busy = stand.post(&sandbox, &[], "x").await;
    assert!(busy.status == 503 && busy.headers.contains_key(header::RETRY_AFTER), "the memory is given back, and there is no more of it");
    drop(budget);
    let places = stand.sandboxes.0.in_flight.try_acquire_many(u32::try_from(limits::SANDBOX_IN_FLIGHT_MAX).unwrap()).unwrap();
    assert_eq!(stand.post(&sandbox, &[], "x").await.status, 503);
    drop(places);
    assert_eq!(stand.post(&sandbox, &[], "x").await.status, 200);
}

#[tokio::test]
async fn the_page_is_only_for_who_knows_the_url_and_says_what_is_new() {
    let stand = Stand::new();
    let sandbox = stand.made(json!({}));
    let page = stand.look(&sandbox, "", "text/html,*/*").await;
    let header_of = |name: &str| page.headers[name].to_str().unwrap().to_owned();
    assert_eq!(
        [header_of("cache-control"), header_of("referrer-policy"), header_of("x-content-type-options")],
        ["no-store", "no-referrer", "nosniff"]
    );
    assert!(header_of("content-security-policy").starts_with("default-src 'none'"));
    let tag = page.body.split_once("data-tag=\"").unwrap().1.split_once("\">").unwrap().0.replace("&quot;", "\"");
    let again = || Request::builder().uri(sandbox.token.path()).header(header::ACCEPT, "text/html").header(header::IF_NONE_MATCH, &tag);
    assert_eq!(stand.ask(again().body(Body::empty()).unwrap()).await.status, 304);
    stand.post(&sandbox, &[], r#"{"hello":"<b>world"}"#).await;
    let fresh = stand.ask(again().body(Body::empty()).unwrap()).await;
    assert!(fresh.status == 200 && fresh.body.contains("&quot;hello&quot;: &quot;&lt;b&gt;world&quot;"), "{}", fresh.body);
    let other = SandboxToken::from_random([1; 20]).path();
    for path in [other.as_str(), "/sandbox/x", &(other.clone() + "/below")] {
        let answer = stand.ask(Request::post(path).body(Body::empty()).unwrap()).await;
        assert_eq!(
            (answer.status.as_u16(), answer.headers[header::CONTENT_TYPE].to_str().unwrap()),
            (404, "application/problem+json"),
            "{path}"
        );
    }
    assert_eq!(stand.look(&sandbox, "?afetr=1", "application/json").await.status, 422);
}

#[tokio::test(start_paused = true)]
async fn a_look_keeps_its_place_until_it_was_sent() {
    let stand = Stand::new();
    let sandbox = stand.made(json!({}));
    let looks = stand.sandboxes.0.looks.clone();
    let request = || Request::builder().uri(sandbox.token.path()).header(header::ACCEPT, "application/json").body(Body::empty()).unwrap();
    let unread = routes::routes(stand.sandboxes.clone()).oneshot(request()).await.unwrap();
    assert_eq!(looks.available_permits(), limits::SANDBOX_LOOKS_MAX - 1);
    let others = looks.try_acquire_many(u32::try_from(limits::SANDBOX_LOOKS_MAX - 1).unwrap()).unwrap();
    assert_eq!(stand.ask(request()).await.status, 503);
    drop(unread);
    assert_eq!(stand.ask(request()).await.status, 200);
    drop(others);
    assert_eq!(looks.available_permits(), limits::SANDBOX_LOOKS_MAX);
}

#[tokio::test]
async fn the_admin_socket_makes_lists_follows_and_removes() {
    let stand = Stand::new();
    let (status, made) = stand.admin("POST", "/v1/sandboxes", r#"{"title":"a","behaviour":{"status":503}}"#).await;
    assert_eq!((status.as_u16(), &made["behaviour"]["status"]), (201, &json!(503)));
    let path = format!("/v1/sandboxes/{}", made["token"].as_str().unwrap());
    assert_eq!(stand.admin("GET", &path, "").await.1, made);
    assert_eq!(stand.admin("GET", "/v1/sandboxes", "").await.1, json!([made]));
    for (body, expected) in [
        ("{", "expected nothing or"),
        (r#"{"behaviour":{"status":7}}"#, "200 to 599"),
        (r#"{"behaviour":[]}"#, "expected a map"),
        (r#"{"secret":"x"}"#, "whsec_"),
        ("{\"title\":\"a\\nb\"}", "one line"),
    ] {
        let (status, problem) = stand.admin("POST", "/v1/sandboxes", body).await;
        assert!(status == 422 && problem["detail"].as_str().unwrap().contains(expected), "{body}: {problem}");
    }
    let token = SandboxToken::parse(made["token"].as_str().unwrap()).unwrap();
    let sandbox = stand.sandboxes.summary(&stand.sandboxes.find(&token).unwrap());
    let follow = format!("{path}/requests?after=0&wait_ms=30000");
    let (followed, _) = tokio::join!(stand.admin("GET", &follow, ""), stand.post(&sandbox, &[], "news"));
    assert_eq!((&followed.1["requests"][0]["body"], &followed.1["last"]), (&json!("news"), &json!(1)));
    let follow = follow.replace("after=0", "after=1");
    let (waiting, removed) = tokio::join!(stand.admin("GET", &follow, ""), stand.admin("DELETE", &path, ""));
    assert_eq!((waiting.0.as_u16(), removed.0.as_u16(), &removed.1["received"]), (404, 200, &json!(1)));
    assert_eq!(stand.admin("DELETE", &path, "").await.0, 404);
    assert_eq!(stand.post(&sandbox, &[], "").await.status, 404);
    assert!(stand.reopened().sandboxes.list().is_empty());
}

#[tokio::test]
async fn there_are_only_so_many_and_each_has_a_url_of_its_own() {
    let stand = Stand::new();
    let tokens = (0..limits::SANDBOXES_MAX).map(|_| stand.made(json!({})).token).collect::<std::collections::HashSet<_>>();
    assert_eq!(tokens.len(), limits::SANDBOXES_MAX);
    let (status, problem) = stand.admin("POST", "/v1/sandboxes", "").await;
    assert!(status == 409 && problem["detail"].as_str().unwrap().contains("sandbox remove"), "{problem}");
    let damaged = stand.directory.path().join(format!("sandbox/{}.log", tokens.iter().next().unwrap()));
    std::fs::write(&damaged, "garbage").unwrap();
    let stand = stand.reopened();
    assert_eq!(stand.sandboxes.list().len(), limits::SANDBOXES_MAX - 1, "a file that can't be read keeps nothing from starting");
    assert_eq!(std::fs::read_to_string(damaged).unwrap(), "garbage");
}

#[tokio::test]
async fn who_hangs_up_gives_no_place_at_the_disk_back_before_the_work_is_done() {
    let stand = Stand::new();
    let disk = Arc::clone(&stand.sandboxes.0.disk);
    let (release, released) = std::sync::mpsc::sync_channel(1);
    let (begins, begun) = tokio::sync::oneshot::channel();
    let sandboxes = stand.sandboxes.clone();
    let work = move || {
        begins.send(()).unwrap();
        released.recv().unwrap();
    };
    let task = tokio::spawn(async move { sandboxes.at_the_disk(work).await.is_ok() });
    begun.await.unwrap();
    task.abort();
    assert!(task.await.unwrap_err().is_cancelled());
    assert_eq!(disk.available_permits(), limits::SANDBOX_DISK_USERS_MAX - 1, "the work goes on");
    release.send(()).unwrap();
    drop(disk.acquire_many(u32::try_from(limits::SANDBOX_DISK_USERS_MAX).unwrap()).await.unwrap());
}
