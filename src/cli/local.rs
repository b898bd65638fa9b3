//! The commands that need no daemon: running one, and checking a configuration. They never read the file themselves.

use std::io;

use serde_json::json;

use super::arguments::Common;
use super::failure::Failure;
use super::screen::Screen;
use super::text::counted;
use super::{Checked, House, HouseError, Output};

/// `serve`
pub(super) fn serve(until_end_of_input: bool, last_good: bool, common: &Common, house: &dyn House) -> Result<(), Failure> {
    if until_end_of_input {
        let watch = || {
            // Whether it ended or broke: nobody is there any more.
            let _ = io::copy(&mut io::stdin().lock(), &mut io::sink());
            let _ = rustix::process::kill_process(rustix::process::getpid(), rustix::process::Signal::TERM);
        };
        let thread = std::thread::Builder::new().name("hookwheel-input".into());
        thread.spawn(watch).map_err(|error| Failure::Refused(format!("can't start: the system refused a thread: {error}")))?;
    }
    house.serve(common.config.as_deref(), common.socket.as_deref(), last_good).map_err(Failure::from)
}

/// `check`
pub(super) fn check(common: &Common, house: &dyn House, output: &mut Output<'_>) -> Result<(), Failure> {
    match house.check(common.config.as_deref()) {
        Ok(checked) => {
            if !output.json {
                checked.warnings.iter().for_each(|warning| output.remark(&format!("warning: {warning}")));
            }
            output.show(&checked, render_checked)
        }
        Err(HouseError::Configuration(errors)) => {
            if output.json {
                output.show(&json!({ "errors": errors }), |_, _| String::new())?;
            }
            let count = counted(errors.len() as u64, "mistake", "mistakes");
            Err(Failure::Configuration([errors, vec![format!("{count}; nothing was started or changed")]].concat()))
        }
        Err(error) => Err(error.into()),
    }
}

impl From<HouseError> for Failure {
    fn from(error: HouseError) -> Self {
        match error {
            HouseError::Configuration(mistakes) => Self::Configuration(mistakes),
            HouseError::Failed(text) => Self::Refused(text),
        }
    }
}

fn render_checked(checked: &Checked, screen: &Screen) -> String {
    let webhooks = counted(checked.webhooks as u64, "webhook", "webhooks");
    let projects = counted(checked.projects as u64, "project", "projects");
    let mut text = format!("{} is good: {webhooks} of {projects}", checked.path);
    if checked.event_types > 0 {
        text.push_str(&format!(", {} of your own", counted(checked.event_types as u64, "event type", "event types")));
    }
    if checked.tokens > 0 {
        text.push_str(&format!(", {}", counted(checked.tokens as u64, "token", "tokens")));
    }
    screen.paint(super::screen::Tone::Plain, &text) + "\n"
}
