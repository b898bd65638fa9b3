//! The Black Lists' API: what each request asks of the house, and which mistakes are told before anybody is asked.

use serde_json::json;

use super::house::{Doors, House};
use super::talking::bare;
use crate::limits::BLACKLIST_IMPORT_MAX;
use crate::server::hallway::Refusal;

fn me() -> String {
    format!("uid {}", rustix::process::getuid().as_raw())
}

fn with_body(method: &str, path: &str, body: &str) -> String {
    format!("{method} {path} HTTP/1.1\r\nhost: x\r\ncontent-length: {}\r\n\r\n{body}", body.len())
}

#[tokio::test]
async fn addresses_are_looked_up_listed_and_removed_in_whatever_spelling() {
    let doors = Doors::open(&House::new()).await;
    let path = "/v1/blacklist/SHOP.example.com/a%2Fb@M%C3%BCller.example";
    let found = doors.say_admin(bare("GET", path)).await.json(200);
    let address = "a/b@xn--mller-kva.example";
    assert_eq!(found, json!({"address": address, "since": "1970-01-01T00:00:00.000Z", "reason": "bounced", "event": "e1"}));
    assert_eq!(doors.say_admin(bare("PUT", path)).await.json(201)["address"], address);
    doors.say_admin(with_body("PUT", path, r#"{"note":"asked by phone"}"#)).await.json(201);
    assert_eq!(doors.say_admin(bare("DELETE", path)).await.status, 204);
    let look_up = format!("blacklisted shop.example.com {address}");
    let listed = |note: &str| {
        let by = me();
        format!(r#"blacklist {{"address":"{address}","by":"{by}","note":{note},"reason":"operator"}} in shop.example.com"#)
    };
    let removed = format!("remove {address} of shop.example.com by {}", me());
    let expected = [look_up.clone(), listed("null"), look_up.clone(), listed("\"asked by phone\""), look_up, removed];
    assert_eq!(doors.house.asked(), expected);
    let refusal = Refusal::NotFound { detail: "it is not on the Black List".into() };
    doors.house.refuses(refusal);
    for method in ["GET", "DELETE"] {
        assert_eq!(doors.say_admin(bare(method, path)).await.detail(404), "it is not on the Black List");
    }
}

#[tokio::test]
async fn lists_are_paged_and_imports_take_lines() {
    let doors = Doors::open(&House::new()).await;
    let page = doors.say_admin(bare("GET", "/v1/blacklist/shop.example.com?limit=2&after=A%40example.com")).await.json(200);
    assert_eq!((&page["entries"][1]["address"], &page["next"]), (&json!("b@example.com"), &json!("b@example.com")));
    assert_eq!(doors.house.asked(), [r#"blacklist shop.example.com {"limit":2,"after":"A@example.com"}"#]);
    let lines = "# ours\r\n\r\na@example.com\r\n{\"address\":\"b@example.com\",\"reason\":\"bounced\"}\n";
    let imported = doors.say_admin(with_body("POST", "/v1/blacklist/shop.example.com", lines)).await.json(200);
    assert_eq!(imported, json!({"listed": 2, "known": 0}));
}

#[tokio::test]
async fn every_bad_line_is_named_and_then_nothing_is_imported() {
    let doors = Doors::open(&House::new()).await;
    let lines = "a@example.com\nuser\n# fine\nb@example.com,bounced\n{}\n";
    let problem = doors.say_admin(with_body("POST", "/v1/blacklist/shop.example.com", lines)).await.problem(422);
    assert_eq!(problem["detail"], "3 of 4 entries are wrong, so nothing was imported");
    let lines = problem["errors"].as_array().unwrap().iter().map(|error| error["line"].as_u64().unwrap()).collect::<Vec<_>>();
    assert_eq!(lines, [2, 4, 5]);
    let many = "a@example.com\n".repeat(BLACKLIST_IMPORT_MAX + 1);
    assert!(doors.say_admin(with_body("POST", "/v1/blacklist/shop.example.com", &many)).await.detail(413).contains("fewer"));
    assert!(doors.house.asked().is_empty(), "{:?}", doors.house.asked());
}

#[tokio::test]
async fn a_spelling_mistake_is_never_answered_not_listed() {
    let doors = Doors::open(&House::new()).await;
    for (method, path, words) in [
        ("GET", "/v1/blacklist/shop.example.com/user@", "no domain behind the @"),
        ("GET", "/v1/blacklist/shop.example.com/user", "there is no @"),
        ("GET", "/v1/blacklist/shop.example.com/%ff@example.com", "UTF-8"),
        ("GET", "/v1/blacklist/localhost/user@example.com", "is not a project"),
        ("PUT", "/v1/blacklist/localhost/user@example.com", "is not a project"),
        ("DELETE", "/v1/blacklist/shop.example.com/user@@", "before the @"),
        ("GET", "/v1/blacklist/localhost", "is not a project"),
        ("GET", "/v1/blacklist/shop.example.com?after=user", "there is no @"),
        ("GET", "/v1/blacklist/shop.example.com?page=2", "page"),
    ] {
        let detail = doors.say_admin(bare(method, path)).await.detail(422);
        assert!(detail.contains(words), "{path}: {detail}");
    }
    for body in ["x", "[]", r#"{"notes":"x"}"#, r#"{"note":""}"#] {
        doors.say_admin(with_body("PUT", "/v1/blacklist/shop.example.com/user@example.com", body)).await.problem(422);
    }
    assert!(doors.house.asked().is_empty(), "{:?}", doors.house.asked());
    assert_eq!(doors.say(bare("GET", "/v1/blacklist/shop.example.com/user@example.com")).await.status, 404, "the listener tells nobody");
}
