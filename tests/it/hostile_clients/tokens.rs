//! Tokens: two at once while one replaces the other, none after it was revoked, each for its projects alone. These tests never learn a token but by making it.

use std::io::{Read, Write};
use std::net::TcpStream;

use hookwheel::model::Token;

use super::{dial, head, post, say, status};
use crate::daemon::{Daemon, House, event};

/// One publication on a connection that stays open: the status.
fn publishes_on(stream: &mut TcpStream, token: &str, id: &str) -> u16 {
    let body = event(id);
    let request = head(&format!("authorization: Bearer {token}\r\ncontent-length: {}\r\n", body.len())) + &body;
    stream.write_all(request.as_bytes()).unwrap();
    let (mut heard, mut buffer) = (Vec::new(), [0; 4096]);
    loop {
        let count = stream.read(&mut buffer).unwrap();
        assert!(count > 0, "the connection was closed");
        heard.extend_from_slice(&buffer[..count]);
        let text = String::from_utf8_lossy(&heard).into_owned();
        let Some((head, body)) = text.split_once("\r\n\r\n") else { continue };
        let length = head.lines().find_map(|line| line.strip_prefix("content-length: ")).unwrap();
        if body.len() == length.parse::<usize>().unwrap() {
            return status(&text);
        }
    }
}

fn publishes(daemon: &Daemon<'_>, authorization: &str) -> String {
    say(daemon.address, post(authorization, &event("once")).as_bytes())
}

fn issued(house: &House, name: &str, project: &str) -> String {
    house.json(&["token", "new", name, "--project", project])["token"].as_str().unwrap().to_owned()
}

#[test]
fn a_token_is_replaced_without_a_gap_and_worth_nothing_once_revoked() {
    let house = super::house();
    let daemon = house.start();
    let mut kept = dial(daemon.address);
    let old = issued(&house, "platform", "shop.example.com");
    assert_eq!(publishes_on(&mut kept, &old, "a"), 202);
    let taken = house.run(&["token", "new", "platform", "--project", "shop.example.com"]);
    assert_eq!(taken.status.code(), Some(1), "a name means one token: {taken:?}");
    let new = issued(&house, "platform-2", "shop.example.com");
    for (token, id) in [(&old, "b"), (&new, "c"), (&old, "d")] {
        assert_eq!(publishes_on(&mut kept, token, id), 202);
    }
    house.says(&["token", "revoke", "platform"]);
    assert_eq!(publishes_on(&mut kept, &old, "e"), 401, "on a connection on which it was good a moment ago");
    assert_eq!(publishes_on(&mut kept, &new, "f"), 202);
    assert!(daemon.stop().success());
    let daemon = house.start();
    let mut kept = dial(daemon.address);
    assert_eq!((publishes_on(&mut kept, &old, "g"), publishes_on(&mut kept, &new, "h")), (401, 202), "over a restart, too");
}

#[test]
fn tokens_of_the_file_are_good_from_one_reload_to_another() {
    let hash = |token: &str| Token::hash(token).iter().map(|byte| format!("{byte:02x}")).collect::<String>();
    let token = |name: &str| format!("[[token]]\nname = \"{name}\"\nsha256 = \"{}\"\nprojects = [\"shop.example.com\"]\n", hash(name));
    let house = House::new(&token("first"));
    let daemon = house.start();
    let mut kept = dial(daemon.address);
    assert_eq!((publishes_on(&mut kept, "first", "a"), publishes_on(&mut kept, "second", "b")), (202, 401));
    house.configure(&(token("first") + &token("second")));
    house.says(&["reload"]);
    assert_eq!((publishes_on(&mut kept, "first", "c"), publishes_on(&mut kept, "second", "d")), (202, 202));
    house.configure(&token("second"));
    house.says(&["reload"]);
    assert_eq!((publishes_on(&mut kept, "first", "e"), publishes_on(&mut kept, "second", "f")), (401, 202));
    let log = house.log();
    assert!(!log.contains(&hash("first")) && !log.contains("Bearer"), "{log}");
}

#[test]
fn a_token_is_for_its_projects_and_nothing_but_a_token_will_do() {
    let house = super::house();
    let daemon = house.start();
    let shop = issued(&house, "shop", "shop.example.com");
    let other = issued(&house, "other", "news.example.org");
    assert_eq!(status(&publishes(&daemon, &format!("authorization: Bearer {shop}\r\n"))), 202);
    let refused = publishes(&daemon, &format!("authorization: Bearer {other}\r\n"));
    assert!(status(&refused) == 403 && refused.contains("does not cover the project shop.example.com"), "{refused}");
    // One event of a batch that it does not cover, and none is accepted.
    let batch = format!("[{},{}]", event("x"), event("y").replace("shop.example.com", "news.example.org"));
    let refused = say(daemon.address, post(&format!("authorization: Bearer {shop}\r\n"), &batch).as_bytes());
    assert!(status(&refused) == 403 && refused.contains("so none was"), "{refused}");
    let unknown = publishes(&daemon, "authorization: Bearer hwt_nobody\r\n");
    for wrong in ["hwt_".to_owned(), shop[..shop.len() - 1].to_owned(), format!("{shop}0"), shop.to_uppercase(), "x".repeat(40_000)] {
        let answer = publishes(&daemon, &format!("authorization: Bearer {wrong}\r\n"));
        let without_date = |answer: &str| answer.lines().filter(|line| !line.starts_with("date: ")).collect::<String>();
        assert_eq!(without_date(&answer), without_date(&unknown), "how near it was is not told");
    }
    for wrong in [
        String::new(),
        format!("authorization: Basic {shop}\r\n"),
        format!("authorization: {shop}\r\n"),
        format!("authorization: Bearer {shop}\r\nauthorization: Bearer {other}\r\n"),
        format!("authorization: Bearer {other}\r\nauthorization: Bearer {shop}\r\n"),
        format!("x-authorization: Bearer {shop}\r\n"),
    ] {
        assert_eq!(status(&publishes(&daemon, &wrong)), 401, "{wrong}");
    }
    let in_the_url = post("", &event("url")).replacen("/v1/events", &format!("/v1/events?token={shop}&access_token={shop}"), 1);
    assert_eq!(status(&say(daemon.address, in_the_url.as_bytes())), 401);
}
