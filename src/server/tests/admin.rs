//! The commands' API: each route asks the house what it should, and answers what the house said.

use serde_json::{Value, json};

use super::house::{Doors, House};
use super::talking::bare;

const DELIVERY: &str = "dlv_aaaaaaaaaaaacaaaaaaa";

/// Who this test is at the other end of a Unix socket.
fn me() -> String {
    let number = format!("uid {}", rustix::process::getuid().as_raw());
    let passwd = std::fs::read_to_string("/etc/passwd").unwrap_or_default();
    let of = |line: &str| {
        let fields = line.split(':').collect::<Vec<_>>();
        (format!("uid {}", fields[2]) == number).then(|| fields[0].to_owned())
    };
    passwd.lines().find_map(of).map_or_else(|| number.clone(), |name| format!("{name} ({number})"))
}

fn with_body(method: &str, path: &str, body: &str) -> String {
    format!("{method} {path} HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\ncontent-length: {}\r\n\r\n{body}", body.len())
}

fn explain(body: &str) -> String {
    format!("POST /v1/explain HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\ncontent-length: {}\r\n\r\n{body}", body.len())
}

#[tokio::test]
async fn every_route_asks_what_it_should() {
    let doors = Doors::open(&House::new()).await;
    let (delivery, paused) = (format!("/v1/deliveries/{DELIVERY}"), format!("pause crm by {}", me()));
    let (dry, wet) = (format!("reload dry_run=true by {}", me()), format!("reload dry_run=false by {}", me()));
    let routes = [
        ("GET", "/v1/status", "status", "pending", json!(7)),
        ("GET", "/v1/webhooks/crm", "webhook crm", "title", json!("CRM sync")),
        ("POST", "/v1/webhooks/crm/pause", &paused, "id", json!("crm")),
        ("POST", "/v1/webhooks/shop-2/resume", &format!("resume shop-2 by {}", me()), "id", json!("shop-2")),
        ("GET", &delivery, &format!("delivery {DELIVERY}"), "id", json!(DELIVERY)),
        (
            "GET",
            "/v1/deliveries/watch?after=1-2-3&wait_ms=5",
            r#"watch {"webhook":null,"project":null,"type":null,"state":null,"after":"1-2-3","wait_ms":5}"#,
            "next",
            json!("1-2-3"),
        ),
        ("GET", "/v1/events?limit=3&after=9", r#"events {"project":null,"type":null,"limit":3,"after":9}"#, "next", json!(7)),
        ("GET", "/v1/events/SHOP.example.com/order-17", "event shop.example.com order-17", "id", json!("order-17")),
        ("POST", "/v1/reload", &wet, "dry_run", json!(false)),
        ("POST", "/v1/reload?dry_run=false", &wet, "dry_run", json!(false)),
        ("POST", "/v1/reload?dry_run=true", &dry, "dry_run", json!(true)),
    ];
    for (count, (method, path, asked, field, value)) in routes.into_iter().enumerate() {
        assert_eq!(doors.say_admin(bare(method, path)).await.json(200)[field], value, "{path}");
        assert_eq!(doors.house.asked()[count..], [asked.to_owned()], "{path}");
    }
    let page = doors.say_admin(bare("GET", "/v1/webhooks?limit=2&after=a")).await.json(200);
    assert_eq!((&page["webhooks"][0]["id"], &page["webhooks"][1]["id"]), (&json!("crm"), &json!("shop-2")));
    assert_eq!(doors.house.asked().pop().unwrap(), r#"webhooks {"limit":2,"after":"a"}"#);
}

#[tokio::test]
async fn deliveries_are_filtered_and_paged() {
    let doors = Doors::open(&House::new()).await;
    let page = doors.say_admin(bare("GET", "/v1/deliveries")).await.json(200);
    assert_eq!((&page["deliveries"][0]["id"], &page["next"]), (&json!(DELIVERY), &json!("p2")));
    let query = "webhook=crm&project=m%C3%BCller-b%C3%BCcher.example&type=email.*&state=dropped&since=2h&until=2026-11-23T10:00:00Z&limit=20&after=p%202";
    doors.say_admin(bare("GET", &format!("/v1/deliveries?{query}"))).await.json(200);
    let asked = doors.house.asked().pop().unwrap();
    let filter: Value = serde_json::from_str(asked.strip_prefix("deliveries ").unwrap()).unwrap();
    let project = "xn--mller-bcher-thbg.example";
    let expected = json!({"webhook": "crm", "project": project, "type": "email.*", "state": "dropped", "since": "7200s", "until": "2026-11-23T10:00:00.000Z", "limit": 20, "after": "p 2"});
    assert_eq!(filter, expected);
}

#[tokio::test]
async fn queries_that_are_not_understood_are_422_and_the_house_is_not_asked() {
    let doors = Doors::open(&House::new()).await;
    for (query, word) in [
        ("colour=red", "colour"),
        ("state=lost", "lost"),
        ("limit=-1", "limit"),
        ("limit=many", "limit"),
        ("webhook=NO", "NO"),
        ("project=nowhere", "nowhere"),
        ("type=email", "email"),
        ("since=yesterday", "expected an age such as 90s"),
        ("state=dropped&state=pending", "state"),
    ] {
        let detail = doors.say_admin(bare("GET", &format!("/v1/deliveries?{query}"))).await.detail(422);
        assert!(detail.starts_with("the query is not understood") && detail.contains(word), "{query}: {detail}");
    }
    for query in ["dry_run=1", "dry_run", "dryrun=true", "dry_run=true&force=true"] {
        doors.say_admin(bare("POST", &format!("/v1/reload?{query}"))).await.problem(422);
    }
    assert!(doors.house.asked().is_empty(), "{:?}", doors.house.asked());
}

#[tokio::test]
async fn ids_that_no_thing_can_have_are_404_and_say_what_an_id_looks_like() {
    let doors = Doors::open(&House::new()).await;
    for (method, path, words) in [
        ("GET", "/v1/webhooks/CRM", "is not a webhook id"),
        ("GET", "/v1/webhooks/a%20b", "is not a webhook id"),
        ("GET", "/v1/webhooks/%ff", "UTF-8"),
        ("POST", "/v1/webhooks/a_b/pause", "is not a webhook id"),
        ("POST", "/v1/webhooks/%ff/resume", "UTF-8"),
        ("GET", "/v1/deliveries/evt_1", "is not a delivery id"),
        ("GET", "/v1/deliveries/dlv_aaaa", "is not a delivery id"),
        ("GET", "/v1/deliveries/%ff", "UTF-8"),
        ("GET", "/v1/events/nowhere/a", "is not a project"),
        ("GET", "/v1/events/shop.example.com/a.b", "is not an id"),
        ("GET", "/v1/events/shop.example.com/%ff", "UTF-8"),
    ] {
        let detail = doors.say_admin(bare(method, path)).await.detail(404);
        assert!(detail.contains(words), "{path}: {detail}");
    }
    for path in ["/", "/metrics", "/v1/webhooks/", "/v1/webhooks/crm/dance", "/v1/nothing"] {
        doors.say_admin(bare("GET", path)).await.problem(404);
    }
    for (method, path, allowed) in
        [("GET", "/v1/reload", "POST"), ("POST", "/v1/status", "GET,HEAD"), ("GET", "/v1/webhooks/crm/pause", "POST")]
    {
        let answer = doors.say_admin(bare(method, path)).await;
        answer.problem(405);
        assert_eq!(answer.header("allow"), Some(allowed), "{path}");
    }
    assert!(doors.house.asked().is_empty(), "{:?}", doors.house.asked());
}

#[tokio::test]
async fn backup_and_verify_are_begun_and_asked_after() {
    let doors = Doors::open(&House::new()).await;
    let begin = |body: &str| {
        let head = format!("POST /v1/backup HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\ncontent-length: {}", body.len());
        format!("{head}\r\n\r\n{body}")
    };
    let begun = doors.say_admin(begin(r#"{"directory":"/var/backups/hookwheel"}"#)).await.json(202);
    assert_eq!((&begun["number"], &begun["running"]), (&json!(1), &json!(true)));
    assert_eq!(doors.say_admin(bare("GET", "/v1/backup")).await.json(200)["number"], 7);
    assert_eq!(doors.say_admin(bare("POST", "/v1/verify")).await.json(202)["number"], 2);
    assert_eq!(doors.say_admin(bare("GET", "/v1/verify")).await.json(200)["number"], 8);
    assert_eq!(doors.house.asked(), [format!("back up to /var/backups/hookwheel by {}", me()), format!("verify by {}", me())]);
    for (body, words) in [("", "expected"), (r#"{"directory":"here"}"#, "absolute"), (r#"{"directory":"/x","force":true}"#, "force")] {
        assert!(doors.say_admin(begin(body)).await.detail(422).contains(words), "{body}");
    }
    assert_eq!(doors.house.asked().len(), 2);
}

#[tokio::test]
async fn the_catalogue_has_every_type() {
    let doors = Doors::open(&House::new()).await;
    let catalog = doors.say_admin(bare("GET", "/v1/catalog")).await.json(200);
    assert_eq!(catalog.as_array().unwrap().len(), 43 + 5, "those of the platform, and the daemon's own");
    assert!(["type", "channel", "group", "label", "description"].iter().all(|field| catalog[0][field].is_string()), "{}", catalog[0]);
}

#[tokio::test]
async fn explain_parses_its_question() {
    let doors = Doors::open(&House::new()).await;
    let answer = doors.say_admin(explain(r#"{"type":"sms.status.delivered","project":"SHOP.example.com"}"#)).await.json(200);
    assert_eq!(answer, json!({"type": "sms.status.delivered", "project": "shop.example.com", "webhooks": []}));
    assert_eq!(doors.house.asked(), ["explain sms.status.delivered shop.example.com"]);
    for (body, words) in [
        ("", "expected {\"type\":…,\"project\":…}"),
        ("[]", "expected {\"type\":…,\"project\":…}"),
        (r#"{"type":"sms.status.delivered"}"#, "missing field `project`"),
        (r#"{"type":"sms.status.delivered","project":"shop.example.com","data":{}}"#, "unknown field `data`"),
        (r#"{"type":"sms.status.deliverd","project":"shop.example.com"}"#, "did you mean \"sms.status.delivered\""),
        (r#"{"type":"sms.status.delivered","project":"nowhere"}"#, "\"nowhere\" is not a project"),
    ] {
        let detail = doors.say_admin(explain(body)).await.detail(422);
        assert!(detail.contains(words), "{body}: {detail}");
    }
    let not_text = [explain("12").trim_end_matches("12").as_bytes(), b"\xff\xff"].concat();
    assert!(doors.say_admin(not_text).await.detail(400).contains("UTF-8"));
    assert_eq!(doors.house.asked().len(), 1);
}

/// serde takes an array with the values of the fields in their order for an object; nobody who sends one means that.
#[tokio::test]
async fn an_array_is_no_object_wherever_it_stands() {
    let doors = Doors::open(&House::new()).await;
    for (path, body) in [
        ("/v1/explain", r#"["sms.status.delivered","shop.example.com"]"#),
        ("/v1/webhooks/crm/rotate-secret", "[5]"),
        ("/v1/deliveries/retry", r#"[{},true]"#),
        ("/v1/deliveries/cancel", r#"{"filter":[]}"#),
        ("/v1/tokens", r#"["shop",["*"]]"#),
    ] {
        doors.say_admin(with_body("POST", path, body)).await.problem(422);
    }
    assert!(doors.house.asked().is_empty(), "{:?}", doors.house.asked());
}

#[tokio::test]
async fn webhooks_are_added_changed_and_tried_with_what_the_body_says() {
    let doors = Doors::open(&House::new()).await;
    let me = me();
    let body = r#"{"id":"crm","title":"CRM"}"#;
    for (method, path, body, status, asked) in [
        ("POST", "/v1/webhooks", body, 201, format!("add {body} by {me}")),
        ("PATCH", "/v1/webhooks/crm", r#"{"rate":null}"#, 200, format!("edit crm {{\"rate\":null}} by {me}")),
        ("PUT", "/v1/webhooks/crm", r#"{"title":"x"}"#, 200, format!("replace crm {{\"title\":\"x\"}} by {me}")),
        ("PUT", "/v1/webhooks/unknown", r#"{"title":"x"}"#, 201, format!("add {{\"id\":\"unknown\",\"title\":\"x\"}} by {me}")),
        ("DELETE", "/v1/webhooks/crm", "", 200, format!("remove crm by {me}")),
        ("POST", "/v1/webhooks/crm/rotate-secret", "", 200, format!("rotate crm None by {me}")),
        ("POST", "/v1/webhooks/crm/rotate-secret", r#"{"grace_ms":5}"#, 200, format!("rotate crm Some(5) by {me}")),
        ("POST", "/v1/webhooks/crm/test", "", 200, r#"test crm {"type":null,"data":null}"#.into()),
        (
            "POST",
            "/v1/webhooks/crm/test",
            r#"{"type":"sms.status.delivered"}"#,
            200,
            r#"test crm {"type":"sms.status.delivered","data":null}"#.into(),
        ),
        ("POST", "/v1/pause", "", 200, format!("sending paused true by {me}")),
        ("POST", "/v1/resume", "", 200, format!("sending paused false by {me}")),
        ("GET", "/v1/config", "", 200, "config".into()),
        ("GET", "/v1/tokens", "", 200, "tokens".into()),
        ("POST", "/v1/tokens", r#"{"name":"shop","projects":["*"]}"#, 201, format!("token shop * by {me}")),
        ("DELETE", "/v1/tokens/my%20shop", "", 200, format!("revoke my shop even_last=false by {me}")),
        ("DELETE", "/v1/tokens/shop?even_last=true", "", 200, format!("revoke shop even_last=true by {me}")),
        ("GET", "/v1/webhooks/crm/definition?with_secret=true", "", 200, "definition crm true".into()),
    ] {
        doors.say_admin(with_body(method, path, body)).await.json(status);
        assert_eq!(doors.house.asked().pop().unwrap(), asked, "{method} {path}");
    }
    let count = doors.house.asked().len();
    for (method, path, body, words) in [
        ("POST", "/v1/webhooks", "[]", "expected a JSON object"),
        ("PATCH", "/v1/webhooks/crm", "", "expected a JSON object"),
        ("POST", "/v1/webhooks/crm/test", r#"{"tipe":"x"}"#, "unknown field `tipe`"),
        ("POST", "/v1/webhooks/crm/rotate-secret", r#"{"grace_ms":-1}"#, "expected nothing or"),
        ("POST", "/v1/tokens", r#"{"name":"shop"}"#, "missing field `projects`"),
        ("GET", "/v1/webhooks?limit=many", "", "limit"),
        ("DELETE", "/v1/tokens/shop?even_last=perhaps", "", "even_last"),
    ] {
        let detail = doors.say_admin(with_body(method, path, body)).await.detail(422);
        assert!(detail.contains(words), "{method} {path}: {detail}");
    }
    assert_eq!(doors.house.asked().len(), count);
}
