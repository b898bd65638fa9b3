//! Who may post, and what everybody may ask of the listener.

use aws_lc_rs::digest;

use super::house::{Doors, House};
use super::talking::{Answer, array, bare, event, post};
use crate::limits;
use crate::model::{Project, Token, TokenScope};

fn token(text: &str, scope: TokenScope) -> Token {
    let hash = digest::digest(&digest::SHA256, text.as_bytes());
    Token { name: "platform".into(), sha256: hash.as_ref().try_into().unwrap(), scope, place: None }
}

async fn post_as(doors: &Doors, header: &str, body: &str) -> Answer {
    doors.say(post(&format!("content-type: application/json\r\n{header}"), body)).await
}

#[tokio::test]
async fn a_configured_token_is_needed_and_covers_its_projects() {
    let shop = TokenScope::Projects(vec![Project::parse("shop.example.com").unwrap()]);
    let doors = Doors::open(&House::new().with_tokens(&[token("all", TokenScope::AllProjects), token("shop", shop)])).await;
    let elsewhere = event("b").replace("shop.example.com", "müller-bücher.example");
    post_as(&doors, "authorization: Bearer all", &elsewhere).await.json(202);
    post_as(&doors, "authorization: bearer shop\r\norigin: https://shop.example.com", &event("a")).await.json(202);
    let both = format!("[{},{elsewhere}]", event("a"));
    let problem = post_as(&doors, "authorization: Bearer shop", &both).await.problem(403);
    assert_eq!(problem["errors"][0]["index"], 1);
    assert_eq!(problem["errors"][0]["message"], "this token does not cover the project müller-bücher.example");
    for wrong in ["x: y", "authorization: Bearer", "authorization: Bearer wrong", "authorization: Basic all", "authorization: all"] {
        let answer = post_as(&doors, wrong, &event("a")).await;
        answer.problem(401);
        assert!(answer.header("www-authenticate").is_some_and(|value| value.starts_with("Bearer")), "{wrong}: {answer:?}");
    }
    assert_eq!(doors.house.published().len(), 2);
    doors.say_admin(post("content-type: application/json", &elsewhere)).await.json(202);
}

#[tokio::test]
async fn beyond_loopback_nobody_posts_without_a_token() {
    let doors = Doors::open_as(&House::new(), false, limits::CONNECTIONS_DEFAULT).await;
    doors.post(event("a")).await.problem(401);
    assert!(doors.house.published().is_empty());
}

#[tokio::test]
async fn without_a_token_a_web_page_may_not_post() {
    let doors = Doors::open(&House::new()).await;
    let body = event("a");
    let with_host = |start: &str, host: &str| {
        let length = body.len();
        format!("POST {start}/v1/events HTTP/1.1\r\n{host}content-type: application/json\r\ncontent-length: {length}\r\n\r\n{body}")
    };
    for local in ["localhost", "localhost:8700", "127.0.0.1", "[::1]:8700"] {
        doors.say(with_host("", &format!("host: {local}\r\n"))).await.json(202);
    }
    doors.say(with_host("http://localhost:8700", "host: localhost:8700\r\n")).await.json(202);
    let asked = doors.house.published().len();
    for request in [
        with_host("", "host: evil.example\r\n"),
        with_host("", "host: evil.example:8700\r\n"),
        with_host("", ""),
        with_host("", "host:\r\n"),
        with_host("", "host: localhost\r\nhost: evil.example\r\n"),
        with_host("", "host: evil.example\r\nhost: localhost\r\n"),
        with_host("http://evil.example", "host: localhost\r\n"),
    ] {
        doors.say(&request).await.problem(403);
    }
    for origin in ["http://evil.example", "http://localhost:8700", "null"] {
        assert!(post_as(&doors, &format!("origin: {origin}"), &body).await.detail(403).contains("Origin"), "{origin}");
    }
    doors.say(bare("OPTIONS", "/v1/events")).await.problem(405);
    assert_eq!(doors.house.published().len(), asked);
}

#[tokio::test]
async fn anybody_may_ask_whether_the_daemon_lives_and_is_ready() {
    let doors = Doors::open_as(&House::new(), false, limits::CONNECTIONS_DEFAULT).await;
    for (path, body) in [("/healthz", "alive\n"), ("/readyz", "ready\n")] {
        let answer = doors.say(bare("GET", path)).await;
        assert_eq!((answer.status, answer.body.as_str()), (200, body));
    }
    doors.house.becomes_unready("the journal is being read");
    let answer = doors.say(bare("GET", "/readyz")).await;
    assert_eq!((answer.detail(503).as_str(), answer.header("retry-after")), ("the journal is being read", Some("5")));
    assert_eq!(doors.say(bare("GET", "/healthz")).await.status, 200, "alive all the same");
}

#[tokio::test]
async fn what_is_not_there_is_404_and_what_is_not_done_405_both_as_problems() {
    let doors = Doors::open(&House::new()).await;
    for path in ["/", "/v1", "/v1/events/", "/v1/status", "/v1/webhooks", "/v1/%ff", "/../etc/passwd"] {
        assert!(doors.say(bare("GET", path)).await.detail(404).contains(path), "{path}");
    }
    for (method, path, allowed) in [("GET", "/v1/events", "POST"), ("DELETE", "/healthz", "GET,HEAD"), ("BREW", "/metrics", "GET,HEAD")] {
        let answer = doors.say(bare(method, path)).await;
        assert_eq!((answer.detail(405), answer.header("allow")), (format!("{path} does not take {method}"), Some(allowed)));
    }
    doors.say(post("content-type: application/json\r\nx: y", array(&["a"])).as_slice()).await.json(202);
}
