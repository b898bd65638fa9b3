//! `top` and `status` of the real binary: frames, JSON, and a pseudo terminal whose picture is read as a person would see it. They never look inside the process.

use std::ffi::OsStr;
use std::fs::File;
use std::io::{Read, Write};
use std::num::NonZeroU16;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::process::ExitStatusExt;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::{Arc, Mutex};

use rustix::process::{Pid, Signal, kill_process};
use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};
use rustix::termios::{Termios, Winsize, tcgetattr, tcsetwinsize};
use serde_json::{Value, json};

use crate::daemon::{House, event, until, webhook};
use crate::receivers::{Receiver, fails_first, ok};

/// `top` in a terminal of its own.
struct Terminal {
    child: Child,
    keyboard: File,
    line: File,
    before: Termios,
    seen: Arc<Mutex<(vt100::Parser, Vec<u8>)>>,
}

const fn lines_and_columns(lines: u16, columns: u16) -> (NonZeroU16, NonZeroU16) {
    (NonZeroU16::new(lines).unwrap(), NonZeroU16::new(columns).unwrap())
}

impl Terminal {
    fn open(house: &House, arguments: &[&str], variables: &[(&str, &str)]) -> Self {
        let master = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY).unwrap();
        grantpt(&master).unwrap();
        unlockpt(&master).unwrap();
        let name = ptsname(&master, Vec::new()).unwrap();
        let line = File::options().read(true).write(true).open(OsStr::from_bytes(name.to_bytes())).unwrap();
        let keyboard = File::from(master);
        set_size(&keyboard, 24, 80);
        let before = tcgetattr(&line).unwrap();
        let mut command = Command::new(env!("CARGO_BIN_EXE_hookwheel"));
        command
            .arg("top")
            .args(arguments)
            .env("HOOKWHEEL_SOCKET", house.path("admin.sock"))
            .env("TERM", "xterm-256color")
            .env_remove("NO_COLOR");
        command.envs(variables.iter().copied()).stdin(line.try_clone().unwrap()).stdout(line.try_clone().unwrap()).stderr(Stdio::null());
        let child = command.spawn().unwrap();
        let (lines, columns) = lines_and_columns(24, 80);
        let seen = Arc::new(Mutex::new((vt100::Parser::new(lines, columns, 0), Vec::new())));
        let (mut display, shown) = (keyboard.try_clone().unwrap(), Arc::clone(&seen));
        std::thread::spawn(move || {
            let mut bytes = [0; 4096];
            while let Ok(count @ 1..) = display.read(&mut bytes) {
                let mut shown = shown.lock().unwrap();
                shown.0.process(&bytes[..count]);
                shown.1.extend_from_slice(&bytes[..count]);
            }
        });
        Self { child, keyboard, line, before, seen }
    }

    fn picture(&self) -> String {
        self.seen.lock().unwrap().0.screen().contents()
    }

    fn raw(&self) -> Vec<u8> {
        self.seen.lock().unwrap().1.clone()
    }

    /// Waits until the picture has all of these words.
    fn shows(&self, words: &[&str]) -> String {
        let what = format!("the terminal shows {words:?}");
        let seen = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
            until(&what, || Some(self.picture()).filter(|picture| words.iter().all(|word| picture.contains(word))))
        }));
        seen.unwrap_or_else(|_| panic!("{what}, but there is\n{}", self.picture()))
    }

    fn press(&mut self, keys: &str) {
        self.keyboard.write_all(keys.as_bytes()).unwrap();
    }

    fn resize(&self, lines: u16, columns: u16) {
        let (high, wide) = lines_and_columns(lines, columns);
        self.seen.lock().unwrap().0.screen_mut().set_size(high, wide);
        set_size(&self.keyboard, lines, columns);
    }

    fn signal(&self, signal: Signal) {
        kill_process(Pid::from_raw(i32::try_from(self.child.id()).unwrap()).unwrap(), signal).unwrap();
    }

    /// Waits for the end; the terminal must be as it was.
    fn ended(mut self) -> ExitStatus {
        let status = until("top ends", || self.child.try_wait().unwrap());
        let after = tcgetattr(&self.line).unwrap();
        let modes = |termios: &Termios| (termios.local_modes, termios.input_modes, termios.output_modes, termios.control_modes);
        assert_eq!(modes(&after), modes(&self.before), "the terminal echoes and waits for lines as before");
        until("the screen from before is back, and the cursor", || {
            let seen = self.seen.lock().unwrap();
            (!seen.0.screen().alternate_screen() && !seen.0.screen().hide_cursor()).then_some(())
        });
        status
    }
}

impl Drop for Terminal {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn set_size(terminal: &File, lines: u16, columns: u16) {
    tcsetwinsize(terminal, Winsize { ws_row: lines, ws_col: columns, ws_xpixel: 0, ws_ypixel: 0 }).unwrap();
}

/// `slow` answers 500 once and 200 then, `dead` refuses and is tried again in an hour, `held` is paused.
fn three(receiver: &Receiver) -> House {
    let later = "retry = [ {attempts = 3, every = \"1h\"} ]";
    House::new(
        &[
            webhook("slow", &receiver.url("/"), "retry = [ {attempts = 3, every = \"10ms\"} ]"),
            webhook("dead", "http://127.0.0.1:1/", later),
            webhook("held", &receiver.url("/"), "paused = true"),
        ]
        .concat(),
    )
}

fn in_top<'a>(top: &'a Value, id: &str) -> &'a Value {
    top["webhooks"].as_array().unwrap().iter().find(|webhook| webhook["id"] == id).unwrap()
}

#[test]
fn a_line_of_json_says_how_each_webhook_fared_and_when_it_is_tried_next() {
    let receiver = Receiver::new(fails_first);
    let house = three(&receiver);
    let daemon = house.start();
    (0..4).for_each(|number| assert_eq!(daemon.post("application/json", event(&number.to_string()).as_bytes()).0, 202));
    let look = |arguments: &[&str]| {
        let text = house.says(&[&["top", "--json", "--interval", "0.1"][..], arguments].concat());
        text.lines().map(|line| serde_json::from_str::<Value>(line).unwrap()).collect::<Vec<_>>()
    };
    let is_through = |top: &Value| in_top(top, "slow")["pending"] == 0 && in_top(top, "dead")["recent"]["attempts"] == 4;
    let top = until("every first attempt is through", || look(&["-n", "1"]).pop().filter(is_through));
    let (slow, dead, held) = (in_top(&top, "slow"), in_top(&top, "dead"), in_top(&top, "held"));
    assert_eq!((&slow["recent"]["attempts"], &slow["recent"]["failed"]), (&json!(8), &json!(4)), "{top}");
    assert!(
        slow["recent"]["p50_us"].as_u64() <= slow["recent"]["p99_us"].as_u64() && slow["recent"]["p50_us"].as_u64() > Some(0),
        "{slow}"
    );
    assert_eq!((&dead["pending"], &dead["recent"]["failed"], &held["pending"]), (&json!(4), &json!(4), &json!(4)));
    assert!(dead["next_attempt"].is_string() && dead["trouble_since"].is_string() && held["next_attempt"].is_null(), "{top}");
    assert_eq!((&top["webhooks_total"], &top["webhooks_failing"], &top["webhooks_paused"]), (&json!(3), &json!(1), &json!(1)));
    assert_eq!((&top["pending_failing"], &top["pending_paused"], &top["counters"]["accepted"]), (&json!(4), &json!(4), &json!(4)));
    let first = |arguments: &[&str]| {
        let tops = look(&[&["--iterations", "1", "--limit", "1"], arguments].concat());
        assert_eq!(tops[0]["webhooks"].as_array().unwrap().len(), 1);
        tops[0]["webhooks"][0]["id"].as_str().unwrap().to_owned()
    };
    assert_eq!(first(&["--sort", "id"]), "dead");
    assert_eq!(first(&["--sort", "id", "--reverse"]), "slow");
    assert_eq!(first(&["--sort", "success"]), "dead");
    assert_eq!(first(&["--sort", "success", "--reverse"]), "slow", "what has no attempts comes last, either way");
    assert_eq!(first(&["--sort", "next"]), "dead");
    assert_eq!(look(&["-n", "3"]).len(), 3);
}

#[test]
fn a_frame_is_text_for_a_pipe_and_a_daemon_that_is_not_there_is_said_so() {
    let receiver = Receiver::new(ok);
    let house = three(&receiver);
    assert_eq!(house.run(&["top", "-n", "1"]).status.code(), Some(69));
    let daemon = house.start();
    daemon.post("application/json", event("a").as_bytes());
    until("the dead one has failed", || Some(house.says(&["top", "-n", "1"])).filter(|text| text.contains("failing")));
    let text = house.says(&["top", "--iterations", "2", "--interval", "0.1", "--sort", "pending"]);
    assert!(!text.contains('\u{1b}') && text.matches("hookwheel top ").count() == 2, "{text}");
    for words in ["by pending", "3 webhooks, 1 failing with 1 pending, 1 paused with 1 pending", "PENDING*", "in 59 min", "100%", "0.0%"] {
        assert!(text.contains(words), "{words}: {text}");
    }
    assert_eq!(house.run(&["top", "--sort", "name"]).status.code(), Some(2));
}

#[test]
fn a_terminal_is_drawn_on_obeys_its_keys_and_is_as_it_was_afterwards() {
    let receiver = Receiver::new(ok);
    let house = three(&receiver);
    let daemon = house.start();
    daemon.post("application/json", event("a").as_bytes());
    let mut terminal = Terminal::open(&house, &["--interval", "0.2"], &[]);
    // The dead one comes first as soon as it has failed: as much waits for the paused one, which was defined later.
    let picture = terminal.shows(&["> dead", "failing", "3 webhooks, 1 failing with 1 pending", "dead: failing", "refused", "q quit"]);
    assert_eq!(picture.lines().count(), 24, "{picture}");
    terminal.press("i");
    terminal.shows(&["by id", "WEBHOOK*"]);
    terminal.press("R");
    terminal.shows(&["by id, the other way round", "> slow"]);
    terminal.press("p");
    terminal.shows(&["pause slow? nothing is sent to it"]);
    terminal.press("y");
    terminal.shows(&["slow is paused: its deliveries go on queueing", "2 paused"]);
    assert_eq!(house.json(&["webhooks", "show", "slow"])["pauses"][0]["reason"], "operator");
    terminal.press("ry");
    terminal.shows(&["slow is resumed", "1 paused"]);
    assert!(house.json(&["webhooks", "show", "slow"])["pauses"].as_array().unwrap().is_empty());
    terminal.press("\r");
    terminal.shows(&["deliveries of slow", "delivered", "the receiver answered 200"]);
    terminal.press("\r");
    terminal.shows(&["dlv_", "attempt 1,", "first byte", "then        delivered"]);
    terminal.press("\u{1b}");
    terminal.shows(&["deliveries of slow"]);
    terminal.press("\u{1b}");
    terminal.shows(&["> slow"]);
    terminal.press("?");
    terminal.shows(&["any key goes back", "pause or resume the selected webhook"]);
    terminal.press(" ");
    terminal.resize(10, 40);
    let small = terminal.shows(&["> slow", "q quit  ? keys  Enter open  p pause"]);
    assert!(small.lines().count() <= 10 && small.lines().all(|line| line.chars().count() <= 40), "{small}");
    assert!(terminal.raw().windows(5).any(|bytes| bytes == b"38;5;"), "in colour");
    terminal.press("q");
    assert_eq!(terminal.ended().code(), Some(0));
}

#[test]
fn a_daemon_that_goes_away_is_waited_for() {
    let receiver = Receiver::new(ok);
    let house = three(&receiver);
    let daemon = house.start();
    let mut terminal = Terminal::open(&house, &["--interval", "0.2", "--sort", "id"], &[("NO_COLOR", "1")]);
    terminal.shows(&["> dead", "3 webhooks"]);
    daemon.kill();
    terminal.shows(&["! not reachable for", "> dead"]);
    terminal.press("p");
    terminal.shows(&["the daemon is not reachable, so dead was not paused"]);
    let _daemon = house.start();
    until("it is there again", || (!terminal.picture().contains("not reachable")).then_some(()));
    terminal.press("p");
    terminal.shows(&["pause dead?"]);
    assert!(!terminal.raw().windows(5).any(|bytes| bytes == b"38;5;"), "without colour");
    terminal.press("\u{3}");
    assert_eq!(terminal.ended().code(), Some(0), "Ctrl-C");
}

#[test]
fn signals_and_the_number_of_looks_end_it_and_leave_the_terminal_as_it_was() {
    let receiver = Receiver::new(ok);
    let house = three(&receiver);
    let _daemon = house.start();
    for signal in [Signal::TERM, Signal::INT, Signal::HUP] {
        let terminal = Terminal::open(&house, &[], &[]);
        terminal.shows(&["3 webhooks"]);
        terminal.signal(signal);
        assert_eq!(terminal.ended().signal(), Some(signal.as_raw()), "whoever started it learns how it ended");
    }
    assert_eq!(Terminal::open(&house, &["-n", "2", "--interval", "0.1"], &[]).ended().code(), Some(0));
}

#[test]
fn status_says_what_fails_since_when_what_it_takes_and_who_reloaded() {
    let receiver = Receiver::new(ok);
    let house = three(&receiver);
    let daemon = house.start();
    assert!(house.says(&["status"]).contains("not reloaded since the start"));
    daemon.post("application/json", event("a").as_bytes());
    until("the dead one has failed", || (house.json(&["status"])["webhooks_failing"] == 1).then_some(()));
    house.says(&["reload"]);
    let text = house.says(&["status"]);
    for words in [
        "accepted       1 event since the start, 3 deliveries",
        "failing        1 of 3 webhooks (1 pending); 1 paused (1 pending)",
        "failing for",
        "    127.0.0.1:1 refused the connection",
        " free",
        "memory ",
        "paused in its definition",
        "`hookwheel deliveries list --webhook dead` says what waits and why",
    ] {
        assert!(text.contains(words), "{words}: {text}");
    }
    let status = house.json(&["status"]);
    let reload = &status["configuration"]["last_reload"];
    assert!(
        reload["by"].as_str().is_some_and(|by| text.contains(&format!("reloaded by {by}"))) && reload["changes"] == 0,
        "{reload} {text}"
    );
    assert!(status["resident_bytes"].as_u64().unwrap() > 1 << 20, "{status}");
    assert_eq!(status["webhooks"].as_array().unwrap().len(), 3);
    house.configure("[[webhook]]\nid = 5\n");
    assert_eq!(house.run(&["reload"]).status.code(), Some(78));
    let text = house.says(&["status"]);
    assert!(text.contains("failed") && text.contains("! ") && text.contains("webhooks.toml:7:"), "{text}");
    assert!(house.json(&["status"])["configuration"]["last_reload"]["changes"].is_null());
}
