//! Posting pieces of a file: waiting for a busy daemon, showing how far it got. It never posts a piece twice unless the daemon asked for it.

use std::fs::File;
use std::io::{self, Read};
use std::path::Path;
use std::time::Duration;

use hyper::{Method, StatusCode};
use indicatif::{ProgressBar, ProgressFinish, ProgressStyle};

use super::Output;
use super::client::{Answer, Body, Client, NoAnswer};
use super::failure::Failure;
use super::text::{counted, span};
use crate::limits::EMIT_WAIT_MAX_S;

/// Who is posted to; a stand-in in tests.
pub(super) trait Post {
    /// Posts a body.
    fn post(&mut self, body: Body) -> Result<Answer, NoAnswer>;
    /// The failure of a post without an answer.
    fn failure(&self, no_answer: NoAnswer) -> Failure;
    /// Waits, and says why when there is something to say.
    fn wait(&mut self, seconds: u64, why: Option<&str>);
    /// Told after each piece how much of the file was read, and how much came of it.
    fn progress(&mut self, read_bytes: u64, done: u64);
}

/// A daemon to post to, with the bar that shows how far it got.
pub(super) struct Daemon<'a, 'b> {
    /// The daemon.
    pub(super) client: &'a Client,
    /// Where to post.
    pub(super) path: &'a str,
    /// What one of what the bar counts is called, and several.
    pub(super) nouns: [&'static str; 2],
    /// Hidden where nobody looks.
    pub(super) bar: ProgressBar,
    /// Where remarks go.
    pub(super) output: &'a mut Output<'b>,
}

/// What a file is read from.
pub(super) struct Source {
    /// What it is called.
    pub(super) name: String,
    /// Its bytes.
    pub(super) reader: Box<dyn Read>,
    /// How many, where that is known.
    pub(super) size: Option<u64>,
}

impl Post for Daemon<'_, '_> {
    fn post(&mut self, body: Body) -> Result<Answer, NoAnswer> {
        self.client.call(Method::POST, self.path, Some(body))
    }

    fn failure(&self, no_answer: NoAnswer) -> Failure {
        self.client.failure(no_answer)
    }

    fn wait(&mut self, seconds: u64, why: Option<&str>) {
        if let Some(why) = why {
            self.bar.suspend(|| self.output.remark(why));
        }
        self.client.sleep(seconds);
    }

    fn progress(&mut self, read_bytes: u64, done: u64) {
        let [one, many] = self.nouns;
        self.bar.set_position(read_bytes);
        self.bar.set_message(counted(done, one, many));
    }
}

impl Source {
    /// A file; `-` is standard input.
    ///
    /// # Errors
    /// When it can't be read.
    pub(super) fn open(path: &Path) -> Result<Self, Failure> {
        if path == Path::new("-") {
            return Ok(Self { name: "standard input".into(), reader: Box::new(io::stdin().lock()), size: None });
        }
        let name = path.display().to_string();
        let cannot = |error: io::Error| Failure::Refused(format!("can't read {name}: {error}"));
        let file = File::open(path).map_err(cannot)?;
        let metadata = file.metadata().map_err(cannot)?;
        if metadata.is_dir() {
            return Err(Failure::Refused(format!("can't read {name}: it is a directory")));
        }
        let size = metadata.is_file().then_some(metadata.len());
        Ok(Self { name, reader: Box::new(file), size })
    }
}

/// Posts, and posts again as long as the daemon says when to. `when_unclear` says what to do when nobody knows whether it arrived.
///
/// # Errors
/// When there is no answer, or the daemon stays busy for too long.
pub(super) fn patiently(post: &mut impl Post, body: &Body, when_unclear: &str) -> Result<Answer, Failure> {
    let mut waited_s = 0;
    loop {
        // Cloning a body is cloning a reference to its bytes.
        let answer = post.post(body.clone()).map_err(|no_answer| {
            let is_unclear = matches!(no_answer, NoAnswer::Unclear(_));
            let failure = post.failure(no_answer);
            if is_unclear { failure.and(when_unclear) } else { failure }
        })?;
        let busy = matches!(answer.status, StatusCode::TOO_MANY_REQUESTS | StatusCode::SERVICE_UNAVAILABLE);
        let Some(asked_s) = answer.retry_after_s.filter(|_| busy) else { return Ok(answer) };
        let wait_s = asked_s.max(1);
        if wait_s > EMIT_WAIT_MAX_S.saturating_sub(waited_s) {
            let waited = span(waited_s * 1000);
            return Err(Failure::Refused(format!(
                "{}\nthe daemon is still busy after {waited}, and asks for {wait_s} s more",
                answer.complaint()
            )));
        }
        let why = format!("{}; waiting, up to {} in all", answer.complaint(), span(EMIT_WAIT_MAX_S * 1000));
        post.wait(wait_s, Some(why.as_str()).filter(|_| waited_s == 0));
        waited_s += wait_s;
    }
}

/// A bar for bytes, that moves also while nothing comes.
pub(super) fn progress_bar(size: Option<u64>) -> ProgressBar {
    let template = match size {
        Some(_) => "{bar:40} {binary_bytes}/{binary_total_bytes}  {msg}  {eta} left",
        None => "{spinner} {binary_bytes}  {msg}  {elapsed}",
    };
    let bar = bar(size, template);
    bar.enable_steady_tick(Duration::from_millis(200));
    bar
}

/// A bar on stderr when that is a terminal; nothing otherwise. It is gone when it is dropped.
pub(super) fn bar(length: Option<u64>, template: &str) -> ProgressBar {
    let bar = length.map_or_else(ProgressBar::new_spinner, ProgressBar::new).with_finish(ProgressFinish::AndClear);
    if let Ok(style) = ProgressStyle::with_template(template) {
        bar.set_style(style);
    }
    bar
}
