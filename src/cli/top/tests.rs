//! Keys and pictures, without a terminal that anybody sees and without a daemon.

use clap::Parser;
use ratatui_core::backend::TestBackend;
use ratatui_core::style::Color;
use ratatui_core::terminal::Terminal;
use ratatui_crossterm::crossterm::event::{KeyCode, KeyEvent, KeyModifiers};
use serde_json::{Value, json};

use super::super::arguments::{Arguments, Command};
use super::super::screen::PIPE;
use super::questions::{News, Question};
use super::view::{Pane, Then};
use super::*;
use crate::model::WebhookId;
use crate::model::report::{DeliveryDetail, DeliveryPage};

fn webhook(id: &str, changes: &Value) -> Value {
    let mut webhook = json!({
        "id": id, "title": "CRM", "project": "shop.example.com", "url": "https://crm.example.com/", "events": ["*"],
        "origin": "file", "place": null, "pauses": [], "pending": 0, "in_flight": 0, "window": 10, "delivered": 120,
        "failed_attempts": 4, "dropped": 0, "trouble": null, "trouble_since": null, "next_attempt": null,
        "recent": { "attempts": 0, "failed": 0, "p50_us": null, "p99_us": null }
    });
    webhook.as_object_mut().unwrap().extend(changes.as_object().unwrap().clone());
    webhook
}

/// Three webhooks, one of which fails and one of which is paused, and so many quiet ones.
fn some(quiet: usize) -> Top {
    let now = PIPE.now;
    let ago = |seconds: u64| crate::time::UnixMillis(now.0 - seconds * 1000);
    let failing = json!({
        "pending": 1204, "in_flight": 1, "window": 1, "trouble": "the receiver answered 500 Internal Server Error\u{1b}[2J, where success is 200",
        "trouble_since": ago(10_800), "next_attempt": now.plus_ms(96_000), "next_attempt_is_about": true,
        "recent": { "attempts": 300, "failed": 290, "p50_us": 1234, "p99_us": 217_000 },
    });
    let paused = json!({ "pending": 7, "pauses": [{ "reason": "operator", "since": ago(7200), "by": "alice (uid 1000)" }] });
    let busy = json!({ "pending": 3, "in_flight": 3, "recent": { "attempts": 900, "failed": 0, "p50_us": 810, "p99_us": 9100 } });
    let mut webhooks = vec![webhook("crm", &failing), webhook("billing-2", &paused), webhook("newsletter-of-the-shop", &busy)];
    webhooks.extend((0..quiet).map(|number| webhook(&format!("quiet-{number}"), &json!({}))));
    serde_json::from_value(json!({
        "at": now, "draining": false, "paused": null, "disk_trouble": null, "pending": 1214, "in_flight": 4, "oldest_due_age_ms": 4000,
        "counters": { "accepted": 5000, "duplicates": 0, "deliveries": 5000, "attempts": 5300, "delivered": 4000, "dropped": 12, "cancelled": 0 },
        "webhooks_total": 3 + quiet, "webhooks_failing": 1, "webhooks_paused": 1, "pending_failing": 1204, "pending_paused": 7,
        "recent_ms": 300_000, "sort": "trouble", "reverse": false, "webhooks": webhooks,
    }))
    .unwrap()
}

fn view(top: Top) -> View {
    let mut view = View::new(TopSort::Trouble, false, false);
    view.now = PIPE.now;
    view.learn_top(top);
    view
}

fn id(text: &str) -> WebhookId {
    WebhookId::parse(text).unwrap()
}

fn press(view: &mut View, keys: &str) -> Then {
    let codes = keys.chars().map(|letter| match letter {
        '\n' => KeyCode::Enter,
        '\u{1b}' => KeyCode::Esc,
        '↓' => KeyCode::Down,
        letter => KeyCode::Char(letter),
    });
    codes.map(|code| view.press(KeyEvent::new(code, KeyModifiers::NONE))).last().unwrap()
}

/// What a terminal of that size shows.
fn picture(view: &View, width: u16, height: u16) -> String {
    let mut terminal = Terminal::new(TestBackend::new(width, height)).unwrap();
    terminal.draw(|frame| live::paint(view, frame.area(), frame.buffer_mut())).unwrap();
    let buffer = terminal.backend().buffer();
    let lines = (0..height).map(|y| (0..width).map(|x| buffer[(x, y)].symbol()).collect::<String>());
    lines.map(|line| line.trim_end().to_owned()).collect::<Vec<_>>().join("\n")
}

#[test]
fn a_screen_of_80_by_24_shows_who_fares_worst_why_and_what_keys_do() {
    insta::assert_snapshot!(picture(&view(some(40)), 80, 24), @"
    hookwheel top  10:00:00Z  by trouble
    1214 pending, 4 in flight, oldest due for 4 s; accepted 5000, delivered 4000 so
    43 webhooks, 1 failing with 1204 pending, 1 paused with 7 pending
      WEBHOOK            PENDING  FLIGHT    OK      P50      P99   NEXT TRY  STATE*
    > crm                   1204     1/1  3.3%  1.23 ms   217 ms   ~in 96 s  failing
      billing-2                7    0/10     -        -        -          -  paused
      newsletter-of-th…        3    3/10  100%   810 µs  9.10 ms          -  ok
      quiet-0                  0    0/10     -        -        -          -  ok
      quiet-1                  0    0/10     -        -        -          -  ok
      quiet-2                  0    0/10     -        -        -          -  ok
      quiet-3                  0    0/10     -        -        -          -  ok
      quiet-4                  0    0/10     -        -        -          -  ok
      quiet-5                  0    0/10     -        -        -          -  ok
      quiet-6                  0    0/10     -        -        -          -  ok
      quiet-7                  0    0/10     -        -        -          -  ok
      quiet-8                  0    0/10     -        -        -          -  ok
      quiet-9                  0    0/10     -        -        -          -  ok
      quiet-10                 0    0/10     -        -        -          -  ok
      quiet-11                 0    0/10     -        -        -          -  ok
      quiet-12                 0    0/10     -        -        -          -  ok
      quiet-13                 0    0/10     -        -        -          -  ok
      1 to 17 of 43
    crm: failing for 3 h: the receiver answered 500 Internal Server Error␛[2J, where
    q quit  ? keys  Enter deliveries  p pause  r resume  s sort  R turn round
    ");
}

#[test]
fn a_screen_of_40_by_10_leaves_out_what_matters_least() {
    insta::assert_snapshot!(picture(&view(some(40)), 40, 10), @"
    hookwheel top  10:00:00Z  by trouble
    1214 pending, 4 in flight, oldest due fo
    43 webhooks, 1 failing with 1204 pending
      WEBHOOK               PENDING  STATE*
    > crm                      1204  failing
      billing-2                   7  paused
      newsletter-of-the-s…        3  ok
      1 to 3 of 43
    crm: failing for 3 h: the receiver answe
    q quit  ? keys  Enter open  p pause
    ");
}

#[test]
fn no_screen_is_too_small_or_too_large() {
    let mut view = view(some(497));
    for keys in ["", "?", "\u{1b}p", "y\n", "q"] {
        if !keys.is_empty() {
            press(&mut view, keys);
        }
        for (width, height) in [(1, 1), (5, 2), (20, 3), (40, 10), (80, 24), (300, 100)] {
            view.size = (width, height);
            assert_eq!(compose::screen(&view, width, height).len(), usize::from(height), "{keys} {width}×{height}");
            picture(&view, width, height);
        }
    }
}

#[test]
fn the_selection_goes_along_when_the_order_changes_and_stays_on_the_screen() {
    let mut view = view(some(40));
    press(&mut view, "↓");
    assert!(picture(&view, 80, 24).contains("> billing-2"));
    let mut turned = some(40);
    turned.webhooks.reverse();
    view.learn_top(turned);
    assert!(picture(&view, 80, 24).contains("> billing-2"), "it is followed");
    press(&mut view, "G");
    assert!(picture(&view, 40, 10).contains("> crm"), "the last one is scrolled to");
    press(&mut view, "g");
    view.learn_top(some(40));
    assert!(picture(&view, 80, 24).contains("> crm"), "whoever goes to the first sees whatever comes first");
}

#[test]
fn sorting_asks_at_once_and_marks_the_column() {
    let mut view = view(some(0));
    let Then::Ask(Question::Top(query)) = press(&mut view, "9") else { panic!("asked") };
    assert_eq!((query.sort, query.reverse), (TopSort::P99, false));
    let Then::Ask(Question::Top(query)) = press(&mut view, "R") else { panic!("asked") };
    assert!(query.reverse && picture(&view, 80, 24).contains("by p99, the other way round"));
    assert!(picture(&view, 80, 24).contains("P99*"));
    press(&mut view, "s");
    assert_eq!((view.sort, view.reverse), (TopSort::Next, false));
    press(&mut view, "S");
    assert_eq!(view.sort, TopSort::P99);
    let every = ["t", "n", "f", "o", "5", "9", "x", "i"].map(|key| {
        press(&mut view, key);
        view.sort
    });
    assert_eq!(every, TopSort::ALL);
}

#[test]
fn pausing_asks_first_and_tells_what_came_of_it() {
    let mut view = view(some(0));
    assert_eq!(press(&mut view, "p"), Then::Draw);
    assert!(picture(&view, 80, 24).contains("pause crm? nothing is sent to it until it is resumed"));
    assert_eq!(press(&mut view, "n"), Then::Draw);
    assert!(picture(&view, 80, 24).contains("nothing was done"));
    assert_eq!(press(&mut view, "py"), Then::Ask(Question::SetPaused(id("crm"), true)));
    let paused = serde_json::from_value(webhook("crm", &json!({}))).unwrap();
    view.learn(News::Paused(id("crm"), true, Ok(Box::new(paused))));
    assert!(picture(&view, 80, 24).contains("crm is paused: its deliveries go on queueing"));
    assert_eq!(press(&mut view, "↓ry"), Then::Ask(Question::SetPaused(id("billing-2"), false)));
    view.learn(News::Paused(id("billing-2"), false, Err("it is gone from the file; put it back there and reload".into())));
    assert!(picture(&view, 80, 24).contains("put it back there"));
}

#[test]
fn a_daemon_that_is_away_is_said_so_keys_that_change_something_are_refused_and_it_comes_back() {
    let mut view = view(some(0));
    view.learn(News::Away("no daemon can be reached at /run/x: gone".into()));
    view.now = view.now.plus_ms(12_000);
    view.learn(News::Away("no daemon can be reached at /run/x: still gone".into()));
    let shown = picture(&view, 80, 24);
    assert!(shown.contains("! not reachable for 12 s, and asked again and again: no daemon can be"), "{shown}");
    assert!(shown.contains("> crm"), "what was known stays: {shown}");
    assert_eq!(press(&mut view, "p"), Then::Draw);
    assert!(picture(&view, 80, 24).contains("the daemon is not reachable, so crm was not paused"));
    assert!(matches!(view.pane, Pane::Webhooks));
    let mut later = some(0);
    later.at = later.at.plus_ms(2000);
    later.counters.accepted += 25;
    view.learn_top(later);
    let shown = picture(&view, 80, 24);
    assert!(!shown.contains("not reachable") && shown.contains("accepted 12/s, delivered 0.0/s"), "{shown}");
    let mut restarted = some(0);
    (restarted.at, restarted.counters.accepted) = (restarted.at.plus_ms(9000), 0);
    view.learn_top(restarted);
    assert!(picture(&view, 80, 24).contains("accepted 0, delivered 4000 so far"), "a new process begins to count anew");
}

#[test]
fn a_delivery_is_opened_scrolled_and_left() {
    const ID: &str = "dlv_aaaaaaaaaaaasaaaaaaa";
    let delivery = json!({
        "id": ID, "event": "evt_01", "type": "email.status.bounced", "project": "shop.example.com", "webhook": "crm", "state": "pending",
        "attempts": 1, "accepted": "2026-11-23T09:58:00Z", "due": "2026-11-23T10:01:36Z", "in_flight": false, "finished": null,
        "last_outcome": "500 Internal Server Error"
    });
    let mut view = view(some(0));
    assert_eq!(press(&mut view, "\n"), Then::Ask(Question::Deliveries(id("crm"))));
    assert!(picture(&view, 80, 24).contains("asking the daemon"));
    assert_eq!(view.questions().len(), 2, "it is asked for again as long as it is looked at");
    let page = serde_json::from_value::<DeliveryPage>(json!({ "deliveries": [delivery], "next": null })).unwrap();
    view.learn(News::Deliveries(id("billing-2"), Err("somebody else's".into())));
    view.learn(News::Deliveries(id("crm"), Ok(page)));
    insta::assert_snapshot!(picture(&view, 80, 5), @"
    deliveries of crm: what is pending, then what ended
      DELIVERY                  STATE      ATT  WHEN            LAST OUTCOME
    > dlv_aaaaaaaaaaaasaaaaaaa  pending      1  due in 96 s     500 Internal Server
    500 Internal Server Error
    q quit  Esc back  Up/Down select  Enter its attempts
    ");
    assert_eq!(press(&mut view, "\n"), Then::Ask(Question::Delivery(ID.parse().unwrap())));
    let mut detail = delivery;
    detail["url"] = json!("https://crm.example.com/");
    detail["timeline"] = json!([{
        "round": 1, "number": 1, "due": "2026-11-23T09:58:04Z", "finished": "2026-11-23T09:58:04.300Z", "outcome": "status", "status": 500,
        "sentence": "the receiver answered 500 Internal Server Error", "remote": "203.0.113.9:443",
        "phases": { "dns_us": null, "connect_us": 20_000, "tls_us": null, "first_byte_us": 130_000, "total_us": 217_000 },
        "response": "down\u{1b}[2J", "next": "attempt 2, 100 s later"
    }]);
    detail["body"] = json!("{}");
    let detail = serde_json::from_value::<DeliveryDetail>(detail).unwrap();
    view.learn(News::Delivery(ID.parse().unwrap(), Ok(Box::new(detail))));
    let shown = picture(&view, 80, 24);
    assert!(shown.contains("the receiver answered 500") && shown.contains("first byte") && shown.contains("down␛[2J"), "{shown}");
    view.size = (80, 10);
    press(&mut view, "G");
    let end = picture(&view, 80, 10);
    assert!(end.contains("body, 2 bytes") && !end.contains("email.status.bounced"), "{end}");
    press(&mut view, "k");
    assert_ne!(picture(&view, 80, 10), end, "from the end it goes back at once");
    assert_eq!(press(&mut view, "\u{1b}"), Then::Ask(Question::Deliveries(id("crm"))));
    assert_eq!(press(&mut view, "\u{1b}"), Then::Draw);
    assert!(matches!(view.pane, Pane::Webhooks));
}

#[test]
fn q_and_ctrl_c_end_it_from_everywhere_but_a_question() {
    for keys in ["q", "\nq"] {
        assert_eq!(press(&mut view(some(0)), keys), Then::Quit, "{keys:?}");
    }
    assert_eq!(press(&mut view(some(0)), "pq"), Then::Draw, "any key but y is a no");
    let mut view = view(some(0));
    press(&mut view, "p");
    assert_eq!(view.press(KeyEvent::new(KeyCode::Char('c'), KeyModifiers::CONTROL)), Then::Quit);
}

#[test]
fn colours_say_nothing_that_words_do_not_and_can_be_left_out() {
    let colours = |colour: bool| {
        let mut view = view(some(0));
        view.colour = colour;
        let mut terminal = Terminal::new(TestBackend::new(80, 24)).unwrap();
        terminal.draw(|frame| live::paint(&view, frame.area(), frame.buffer_mut())).unwrap();
        terminal.backend().buffer().content.iter().any(|cell| cell.fg != Color::Reset)
    };
    assert!(colours(true) && !colours(false));
}

#[test]
fn a_frame_for_a_pipe_has_neither_selection_nor_keys() {
    let lines = compose::frame(&view(some(0)), FRAME_COLUMNS, 20 + FRAME_LINES);
    insta::assert_snapshot!(lines.iter().map(|line| line.text.trim_end()).collect::<Vec<_>>().join("\n"), @"
    hookwheel top  10:00:00Z  by trouble
    1214 pending, 4 in flight, oldest due for 4 s; accepted 5000, delivered 4000 so far
    3 webhooks, 1 failing with 1204 pending, 1 paused with 7 pending
      WEBHOOK                 PENDING  FLIGHT    OK      P50      P99   NEXT TRY  STATE*
      crm                        1204     1/1  3.3%  1.23 ms   217 ms   ~in 96 s  failing
      billing-2                     7    0/10     -        -        -          -  paused
      newsletter-of-the-shop        3    3/10  100%   810 µs  9.10 ms          -  ok
    ");
}

#[test]
fn orders_and_intervals_are_parsed() {
    let parse = |line: &str| Arguments::try_parse_from(line.split(' ')).map(|arguments| arguments.command);
    let Ok(Command::Top(arguments)) = parse("hookwheel top --sort in-flight --reverse --interval 0.5 -n 3") else {
        panic!("another command")
    };
    assert_eq!(
        path(TopQuery { sort: arguments.sort, reverse: arguments.reverse, limit: Some(5) }),
        "/v1/top?sort=in-flight&reverse=true&limit=5"
    );
    assert_eq!((arguments.interval, arguments.iterations), (Duration::from_millis(500), Some(3)));
    for wrong in ["--sort name", "--interval 0", "--interval -1", "--interval x", "--iterations 0", "--limit 501"] {
        assert!(parse(&format!("hookwheel top {wrong}")).is_err(), "{wrong}");
    }
}
