//! The commands: arguments → one command → exit code. They never touch the store or the network but through a daemon, and never
//! know how the configuration is read or a daemon is run: the front door lends them a [`House`] for that.

mod arguments;
mod asking;
pub mod batches;
mod blacklist;
mod client;
mod controls;
mod deliveries;
mod demo;
mod emit;
mod events;
mod failure;
mod local;
mod manual;
mod operations;
mod posting;
mod sandbox;
mod screen;
mod status;
mod text;
mod top;
mod webhooks;

use std::ffi::OsString;
use std::io::{self, IsTerminal, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::{CommandFactory, Parser};
use serde::Serialize;

use self::arguments::{Arguments, Command, Common, Deliveries, Events};
use self::client::{Address, Client};
use self::failure::Failure;
use self::screen::Screen;
use crate::model::report::{BackupReport, RestoreReport, Tell, VerifyReport};
use crate::time::wall_now;

/// What the commands need of the rooms that they may not visit. The front door answers with the real ones, tests with a stand-in.
pub trait House {
    /// Runs a daemon until it is told to end. `config` and `socket` are `None` where the user named none; `last_good` allows for the configuration
    /// that was in force last where the present one is broken.
    ///
    /// # Errors
    /// Mistakes in the configuration, or why the daemon did not start, or did not end well.
    fn serve(&self, config: Option<&Path>, socket: Option<&Path>, last_good: bool) -> Result<(), HouseError>;

    /// Reads the configuration and says what is in it.
    ///
    /// # Errors
    /// Its mistakes, all of them.
    fn check(&self, config: Option<&Path>) -> Result<Checked, HouseError>;

    /// The admin socket: as configured where the configuration can be read, otherwise the default place.
    fn socket(&self, config: Option<&Path>) -> PathBuf;

    /// Makes a backup in `directory` of a data directory that no daemon uses: the one that is named, else that of the configuration.
    ///
    /// # Errors
    /// Why none was made; one that was there before is as good as it was.
    fn backup(
        &self,
        directory: &Path,
        data_dir: Option<&Path>,
        config: Option<&Path>,
        tell: &mut Tell<'_>,
    ) -> Result<BackupReport, HouseError>;

    /// Makes a data directory, the one that is named, else that of the configuration, from the backup in `directory`.
    ///
    /// # Errors
    /// Why it was not made.
    fn restore(
        &self,
        directory: &Path,
        data_dir: Option<&Path>,
        config: Option<&Path>,
        tell: &mut Tell<'_>,
    ) -> Result<RestoreReport, HouseError>;

    /// Verifies a data directory that no daemon uses: the one that is named, else that of the configuration.
    ///
    /// # Errors
    /// Why it could not be looked at. Damage is in the report.
    fn verify(&self, data_dir: Option<&Path>, config: Option<&Path>, tell: &mut Tell<'_>) -> Result<VerifyReport, HouseError>;

    /// Verifies the backup in `directory`.
    ///
    /// # Errors
    /// Why it could not be looked at. Damage is in the report.
    fn verify_backup(&self, directory: &Path, tell: &mut Tell<'_>) -> Result<VerifyReport, HouseError>;
}

/// Why the house did not do it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum HouseError {
    /// The configuration has mistakes, one `path:line:column: message` each. Exit code 78.
    Configuration(Vec<String>),
    /// Anything else: what happened and what to do. Exit code 1.
    Failed(String),
}

/// What a good configuration holds.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Checked {
    /// The file.
    pub path: String,
    /// Webhooks in it.
    pub webhooks: usize,
    /// Projects that they belong to.
    pub projects: usize,
    /// Event types of the operator's own.
    pub event_types: usize,
    /// Tokens.
    pub tokens: usize,
    /// What is allowed, and still looks like a mistake, one `path:line:column: message` each.
    pub warnings: Vec<String>,
}

/// The whole program: reads its arguments, carries out one command, and says with the exit code how it went.
pub fn run(house: &dyn House) -> ExitCode {
    // Neither is locked: the daemon's log and the progress bar write to stderr from threads of their own.
    ExitCode::from(carry_out(std::env::args_os(), house, Screen::of_this_process(), &mut io::stdout(), &mut io::stderr()))
}

/// One command as [`run`] carries it out, with arguments and output that are not those of this process, for a screen of so many columns and without colours: its exit code. Public for fuzzing.
pub fn run_with(
    arguments: impl IntoIterator<Item = OsString>,
    house: &dyn House,
    width: Option<u16>,
    stdout: &mut dyn Write,
    stderr: &mut dyn Write,
) -> u8 {
    carry_out(arguments, house, Screen { now: wall_now(), colour: false, width, height: None }, stdout, stderr)
}

/// The parser's definition, from which the manual page and completions are made.
#[must_use]
pub fn definition() -> clap::Command {
    Arguments::command()
}

impl Screen {
    fn of_this_process() -> Self {
        let terminal = io::stdout().is_terminal();
        let set = |name| std::env::var_os(name).is_some_and(|value: OsString| !value.is_empty());
        // https://no-color.org: any value but the empty one.
        let colour = terminal && !set("NO_COLOR") && std::env::var_os("TERM").is_none_or(|term| term != "dumb");
        // A terminal that says it has no columns does not know.
        let width = comfy_table::Table::new().width().filter(|width| *width > 0);
        let height = ratatui_crossterm::crossterm::terminal::size().ok().map(|(_, lines)| lines).filter(|lines| terminal && *lines > 0);
        Self { now: wall_now(), colour, width, height }
    }
}

/// Where a command's words go.
struct Output<'a> {
    stdout: &'a mut dyn Write,
    stderr: &'a mut dyn Write,
    screen: Screen,
    json: bool,
}

impl Output<'_> {
    /// Prints `value`: as JSON when that was asked for, otherwise as `rendered` for people.
    fn show<T: Serialize>(&mut self, value: &T, render: impl FnOnce(&T, &Screen) -> String) -> Result<(), Failure> {
        if !self.json {
            return self.print(&render(value, &self.screen));
        }
        let json = text::pretty_json(value).map_err(|error| Failure::Refused(format!("can't write the answer as JSON: {error}")))?;
        self.print(&format!("{json}\n"))
    }

    fn print(&mut self, text: &str) -> Result<(), Failure> {
        self.stdout.write_all(text.as_bytes()).and_then(|()| self.stdout.flush()).map_err(|error| Failure::of_output(&error))
    }

    /// Says something beside the output. Nobody listening is no reason to stop.
    fn remark(&mut self, text: &str) {
        let _ = writeln!(self.stderr, "{}", text::plain_lines(text));
    }
}

fn carry_out(
    arguments: impl IntoIterator<Item = OsString>,
    house: &dyn House,
    screen: Screen,
    stdout: &mut dyn Write,
    stderr: &mut dyn Write,
) -> u8 {
    let mut arguments = match Arguments::try_parse_from(arguments) {
        Ok(arguments) => arguments,
        Err(message) => return explain_usage(&message, screen, stdout, stderr),
    };
    // An environment variable that is empty is one that is not set.
    arguments.common.socket = arguments.common.socket.filter(|path| !path.as_os_str().is_empty());
    let mut output = Output { stdout, stderr, screen, json: arguments.common.json };
    match dispatch(&arguments.command, &arguments.common, house, &mut output) {
        Ok(()) | Err(Failure::ReaderGone) => 0,
        Err(failure) => {
            match &failure {
                // Editors and people jump to what begins with a path and a line.
                Failure::Configuration(_) => output.remark(&failure.to_string()),
                _ => output.remark(&format!("hookwheel: {failure}")),
            }
            failure.exit_code()
        }
    }
}

/// Help and version go to stdout with exit code 0, usage errors to stderr with 2. A reader that went away is no failure.
fn explain_usage(message: &clap::Error, screen: Screen, stdout: &mut dyn Write, stderr: &mut dyn Write) -> u8 {
    let rendered = message.render();
    let text = if screen.colour { rendered.ansi().to_string() } else { rendered.to_string() };
    let print = |stream: &mut dyn Write| stream.write_all(text.as_bytes()).and_then(|()| stream.flush());
    let _ = if message.use_stderr() { print(stderr) } else { print(stdout) };
    u8::try_from(message.exit_code()).unwrap_or(2)
}

fn dispatch(command: &Command, common: &Common, house: &dyn House, output: &mut Output<'_>) -> Result<(), Failure> {
    let socket = || common.socket.clone().unwrap_or_else(|| house.socket(common.config.as_deref()));
    let daemon = || Client::new(Address::Socket(socket()));
    match command {
        Command::Serve { last_good, until_end_of_input } => local::serve(*until_end_of_input, *last_good, common, house),
        Command::Demo(demo) => demo::demo(demo, output),
        Command::Check => local::check(common, house, output),
        Command::Emit(emit) => {
            let address = match &emit.url {
                Some(url) => Address::Listener { url: url.clone(), token: emit.token.clone(), ca_file: emit.ca_file.clone() },
                None => Address::Socket(socket()),
            };
            emit::emit(emit, &Client::new(address)?, output)
        }
        Command::Catalog => events::catalog(&daemon()?, output),
        Command::Status => status::status(&daemon()?, output),
        Command::Top(arguments) => top::top(arguments, daemon()?, output),
        Command::Webhooks(command) => webhooks::webhooks(command, &daemon()?, output),
        Command::Deliveries(Deliveries::List(list)) => deliveries::list(list, &daemon()?, output),
        Command::Deliveries(Deliveries::Show { id }) => deliveries::show(*id, &daemon()?, output),
        Command::Deliveries(Deliveries::Retry(retry)) => deliveries::change::retry(retry, &daemon()?, output),
        Command::Deliveries(Deliveries::Cancel(cancel)) => deliveries::change::cancel(cancel, &daemon()?, output),
        Command::Deliveries(Deliveries::Watch(watch)) => deliveries::watch::watch(watch, &daemon()?, output),
        Command::Events(Events::List(list)) => events::list::list(list, &daemon()?, output),
        Command::Events(Events::Show(show)) => events::list::show(show, &daemon()?, output),
        Command::Events(Events::Explain { event_type, project }) => events::explain(event_type, project, &daemon()?, output),
        Command::Sandbox(command) => sandbox::sandbox(command, &daemon()?, output),
        Command::Blacklist(command) => blacklist::blacklist(command, &daemon()?, output),
        Command::Backup(backup) => operations::backup(backup, socket(), common, house, output),
        Command::Restore(restore) => operations::restore(restore, common, house, output),
        Command::Verify(verify) => operations::verify(verify, socket(), common, house, output),
        Command::Pause => controls::set_paused(true, &daemon()?, output),
        Command::Resume => controls::set_paused(false, &daemon()?, output),
        Command::Config(config) => controls::config(config, &daemon()?, output),
        Command::Token(command) => controls::token(command, daemon, output),
        Command::Reload { dry_run } => status::reload(*dry_run, &daemon()?, output),
        Command::Completions { shell } => manual::completions(*shell, output),
        Command::Man { directory } => manual::man(directory.as_deref(), output),
    }
}

#[cfg(test)]
mod tests;
