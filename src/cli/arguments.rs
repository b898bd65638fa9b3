//! The one definition of every command, option and example; parser and help both come from it. It never carries anything out.

use std::path::PathBuf;

use clap::builder::{OsStringValueParser, TypedValueParser};
use clap::{Args, Parser, Subcommand};
use clap_complete::Shell;

use super::blacklist::Blacklist;
use super::controls::{Config, Token};
use super::deliveries::change::{Cancel, Retry};
use super::deliveries::filters::{Between, Whose, states};
use super::deliveries::watch::Watch;
use super::demo::Demo;
use super::events::list;
use super::operations::{Backup, Restore, Verify};
use super::sandbox::Sandbox;
use super::top::TopArguments;
use super::webhooks::arguments::Webhooks;
use crate::model::{DeliveryId, DeliveryState, EventId, EventTypeName, Project};

/// Webhook delivery daemon: events in, safe on disk, delivered on the schedule.
#[derive(Debug, Parser)]
#[command(
    name = "hookwheel",
    bin_name = "hookwheel",
    version,
    max_term_width = 100,
    subcommand_required = true,
    arg_required_else_help = true
)]
#[command(after_help = "\
Examples:
  hookwheel demo                     see it work, with nothing to set up
  hookwheel check                    is webhooks.toml right?
  hookwheel serve                    run the daemon
  hookwheel emit email.status.bounced --project shop.example.com --data '{\"email\":\"user@example.com\"}'
  hookwheel status                   how is it doing?
  hookwheel top                      and now, and now?

Exit codes: 0 done, 1 refused or failed, 2 usage, 69 daemon not reachable, 78 bad configuration.")]
pub(super) struct Arguments {
    #[command(flatten)]
    pub(super) common: Common,
    #[command(subcommand)]
    pub(super) command: Command,
}

/// What every command takes.
#[derive(Debug, Args)]
#[command(next_help_heading = "Options of every command")]
pub(super) struct Common {
    /// The configuration [default: webhooks.toml, then /etc/hookwheel/webhooks.toml]
    #[arg(long, global = true, value_name = "FILE")]
    pub(super) config: Option<PathBuf>,
    /// The daemon's admin socket [default: from the configuration]
    #[arg(long, global = true, value_name = "PATH", env = "HOOKWHEEL_SOCKET", value_parser = OsStringValueParser::new().map(PathBuf::from))]
    pub(super) socket: Option<PathBuf>,
    /// Print JSON for scripts instead of text for people
    #[arg(long, global = true)]
    pub(super) json: bool,
}

/// The commands.
#[derive(Debug, Subcommand)]
pub(super) enum Command {
    /// Run the daemon in the foreground
    ///
    /// SIGHUP reads the configuration again; SIGTERM lets the attempts under way end, a second one stops at once.
    #[command(after_help = "Example:\n  hookwheel serve --config /etc/hookwheel/webhooks.toml")]
    Serve {
        /// When the configuration is broken, start with the one that was in force last, and say so loudly
        #[arg(long)]
        last_good: bool,
        /// End when standard input ends, as if told by SIGTERM: for who starts a daemon and must not leave it behind
        #[arg(long, hide = true)]
        until_end_of_input: bool,
    },
    /// See hookwheel work: a daemon, test receivers and one event of every type, in a temporary directory
    Demo(Demo),
    /// Check the configuration and name every mistake with its line
    ///
    /// Nothing is started, and no daemon is needed.
    #[command(after_help = "Example:\n  hookwheel check --config webhooks.toml")]
    Check,
    /// Post one event, or a file of them
    Emit(Emit),
    /// List the event types that this daemon knows
    ///
    /// Those of the channel hookwheel are told by the daemon itself, in the project hookwheel: a webhook of that project gets them, and nobody else can post them.
    #[command(after_help = "Example:\n  hookwheel catalog --json")]
    Catalog,
    /// Show how the daemon is doing, on one screen
    ///
    /// What fails and why comes first, with what to type next; with --json all webhooks are told of.
    #[command(after_help = "Examples:\n  hookwheel status\n  hookwheel status --socket /run/hookwheel/admin.sock --json")]
    Status,
    /// Watch how the webhooks fare, live: sort, pause, resume, open a delivery
    Top(TopArguments),
    /// List, show, add, edit, remove, try, pause and resume webhooks
    #[command(subcommand, after_help = "Example:\n  hookwheel webhooks list")]
    Webhooks(Webhooks),
    /// List deliveries, show one with its attempts, and watch them
    #[command(subcommand, after_help = "Example:\n  hookwheel deliveries list --state pending")]
    Deliveries(Deliveries),
    /// List and show events, and say who would get one
    #[command(subcommand, after_help = "Example:\n  hookwheel events list --project shop.example.com")]
    Events(Events),
    /// List, check, add and remove addresses that must not be mailed, per project
    #[command(subcommand, after_help = "Example:\n  hookwheel blacklist check shop.example.com user@example.com")]
    Blacklist(Blacklist),
    /// Make test receivers, and see what they get
    #[command(subcommand, after_help = "Example:\n  hookwheel sandbox new --fail-first 2")]
    Sandbox(Sandbox),
    /// Stop sending to anybody; events are still accepted, and wait
    ///
    /// Attempts under way end. It stays so over restarts, until `hookwheel resume`.
    #[command(after_help = "Example:\n  hookwheel pause")]
    Pause,
    /// Send again
    #[command(after_help = "Example:\n  hookwheel resume")]
    Resume,
    /// Show what is configured
    #[command(subcommand, after_help = "Example:\n  hookwheel config show")]
    Config(Config),
    /// Make, list and revoke the tokens that let events in
    #[command(subcommand, after_help = "Example:\n  hookwheel token new platform --project shop.example.com")]
    Token(Token),
    /// Read the configuration again
    ///
    /// A configuration with mistakes changes nothing.
    #[command(after_help = "Examples:\n  hookwheel reload --dry-run     say what would change\n  hookwheel reload")]
    Reload {
        /// Say what would change, and how many deliveries each change touches, and change nothing
        #[arg(long)]
        dry_run: bool,
    },
    /// Make a backup, of a running daemon too; into the same directory again, only what is new is taken
    Backup(Backup),
    /// Make a data directory from a backup, where there is none
    Restore(Restore),
    /// Look for damage: in every fact of the journal, and in the view
    Verify(Verify),
    /// Print the completions of a shell
    #[command(
        after_help = "Examples:\n  hookwheel completions bash > /etc/bash_completion.d/hookwheel\n  hookwheel completions fish > ~/.config/fish/completions/hookwheel.fish"
    )]
    Completions {
        /// The shell
        #[arg(value_name = "SHELL")]
        shell: Shell,
    },
    /// Print the manual page, in roff
    #[command(after_help = "Examples:\n  hookwheel man | man -l -\n  hookwheel man --directory /usr/local/share/man/man1")]
    Man {
        /// Write a page for each command into this directory instead
        #[arg(long, value_name = "DIRECTORY")]
        directory: Option<PathBuf>,
    },
}

/// What `emit` takes.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  hookwheel emit email.status.bounced --project shop.example.com --data '{\"email\":\"user@example.com\"}'
  hookwheel emit sms.status.delivered --project shop.example.com --data @event-data.json --id sms-4711
  hookwheel emit --file events.ndjson
  producer | hookwheel emit --file -
  HOOKWHEEL_TOKEN=… hookwheel emit --file events.ndjson --url https://hooks.example.com
  hookwheel emit --file events.ndjson --url https://10.1.2.3:8700 --ca-file our-ca.pem

A file has one event a line: {\"type\":\"…\",\"project\":\"…\",\"data\":{…}}, and \"id\" for an event that must not be \
accepted twice. Lines go out in order, up to 1000 in a request; a request with a bad line is refused as a whole.")]
pub(super) struct Emit {
    /// The event's type, such as email.status.bounced
    #[arg(value_name = "TYPE", required_unless_present = "file", requires = "project", value_parser = EventTypeName::parse)]
    pub(super) event_type: Option<EventTypeName>,
    /// The event's project, a domain such as shop.example.com
    #[arg(long, short, value_name = "DOMAIN", value_parser = Project::parse)]
    pub(super) project: Option<Project>,
    /// The event's data, a JSON object: itself, @FILE to read it from, or - for standard input
    #[arg(long, short, value_name = "JSON", default_value = "{}")]
    pub(super) data: String,
    /// The event's id: sent twice within a day, it is accepted once [default: the daemon makes one]
    #[arg(long, value_name = "ID", value_parser = EventId::parse)]
    pub(super) id: Option<EventId>,
    /// When it happened, RFC 3339 [default: now, by the daemon's clock]
    #[arg(long, value_name = "TIME")]
    pub(super) timestamp: Option<String>,
    /// Post the events of this file instead, one JSON object a line; - for standard input
    #[arg(long, short, value_name = "FILE", conflicts_with_all = ["event_type", "project", "data", "id", "timestamp"])]
    pub(super) file: Option<PathBuf>,
    /// Begin at this line of the file
    #[arg(long, value_name = "N", default_value_t = 1, requires = "file", value_parser = clap::value_parser!(u64).range(1..))]
    pub(super) from_line: u64,
    /// Post to a daemon elsewhere, by its http:// or https:// address, instead of the admin socket
    #[arg(long, value_name = "URL", value_parser = parse_url)]
    pub(super) url: Option<url::Url>,
    /// Trust these certificates, too, when --url begins with https://: a file in PEM
    #[arg(long, value_name = "FILE", requires = "url")]
    pub(super) ca_file: Option<PathBuf>,
    /// The token for --url; better in the environment, where other users can't read it
    #[arg(long, value_name = "TOKEN", env = "HOOKWHEEL_TOKEN", hide_env_values = true)]
    pub(super) token: Option<String>,
}

/// What can be asked about deliveries.
#[derive(Debug, Subcommand)]
pub(super) enum Deliveries {
    /// List deliveries: pending ones by their next attempt, then finished ones, newest first
    ///
    /// Those that are due first come first, as they are what happens next; behind them what ended, the last one first. The time of a delivery, for --since and --until, is that of the last
    /// thing that happened to it: its end; while it is pending its last attempt, or that it was accepted.
    List(DeliveryList),
    /// Follow what happens to deliveries: each that ends, each attempt that fails
    ///
    /// Goes on until Ctrl-C, over a restart of the daemon too, and misses nothing meanwhile.
    Watch(Watch),
    /// Try deliveries again: pending ones now, those that ended with a fresh schedule
    Retry(Retry),
    /// End pending deliveries
    Cancel(Cancel),
    /// Show one delivery: every attempt, how long each phase took, and what follows
    #[command(after_help = "Example:\n  hookwheel deliveries show dlv_aaaaaaaaaaaasaaaaaaa")]
    Show {
        /// The delivery's id, as `hookwheel deliveries list` shows it
        #[arg(value_name = "ID")]
        id: DeliveryId,
    },
}

/// What a list of deliveries is narrowed to.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  hookwheel deliveries list --state pending --webhook crm
  hookwheel deliveries list --state dropped --since 2h
  hookwheel deliveries list --since 2026-11-23T00:00:00Z --until 2026-11-24T00:00:00Z
  hookwheel deliveries list --type 'email.*' --limit 1000 --json")]
pub(super) struct DeliveryList {
    #[command(flatten)]
    pub(super) whose: Whose,
    /// In this state
    #[arg(long, value_parser = states())]
    pub(super) state: Option<DeliveryState>,
    #[command(flatten)]
    pub(super) between: Between,
    /// At most so many
    #[arg(long, value_name = "N", default_value_t = 50, value_parser = clap::value_parser!(u64).range(1..))]
    pub(super) limit: u64,
    /// Go on behind the page that named this
    #[arg(long, value_name = "CURSOR")]
    pub(super) after: Option<String>,
}

/// What can be asked about events.
#[derive(Debug, Subcommand)]
pub(super) enum Events {
    /// List what was accepted, the newest first, and where its deliveries stand
    List(list::List),
    /// Show one event: its body and its deliveries; of several with one id the newest
    Show(list::Show),
    /// Say which webhooks would get an event, and why the others would not
    #[command(after_help = "Example:\n  hookwheel events explain email.status.bounced --project shop.example.com")]
    Explain {
        /// The event's type
        #[arg(value_name = "TYPE", value_parser = EventTypeName::parse)]
        event_type: EventTypeName,
        /// The event's project, a domain
        #[arg(long, short, value_name = "DOMAIN", value_parser = Project::parse)]
        project: Project,
    },
}

fn parse_url(text: &str) -> Result<url::Url, String> {
    let wrong = || format!("{text:?} is not the address of a daemon: expected such as https://hooks.example.com or http://127.0.0.1:8700");
    let url = text.parse::<url::Url>().map_err(|_| wrong())?;
    if !matches!(url.scheme(), "http" | "https") || url.host().is_none() || !url.username().is_empty() {
        return Err(wrong());
    }
    Ok(url)
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    fn visit(command: &clap::Command, path: &str, check: &mut impl FnMut(&clap::Command, &str)) {
        let path = format!("{path} {}", command.get_name());
        check(command, &path);
        command.get_subcommands().for_each(|subcommand| visit(subcommand, &path, check));
    }

    #[test]
    fn every_command_says_what_it_does_and_shows_an_example_of_itself() {
        Arguments::command().debug_assert();
        let mut commands = 0;
        visit(&Arguments::command(), "", &mut |command, path| {
            commands += 1;
            assert!(command.get_about().is_some(), "{path} has no description");
            let help = command.get_after_help().map(ToString::to_string).unwrap_or_default();
            assert!(help.contains("Example") && help.contains(path), "{path} has no example: {help}");
            for argument in command.get_arguments() {
                assert!(argument.get_help().is_some(), "{path} {} has no help", argument.get_id());
            }
        });
        assert_eq!(commands, 55);
    }

    #[test]
    fn every_example_in_the_help_parses() {
        visit(&Arguments::command(), "", &mut |command, path| {
            let help = command.get_after_help().map(ToString::to_string).unwrap_or_default();
            for line in help.lines().filter_map(|line| line.strip_prefix("  hookwheel ")) {
                // Up to the comment, or what the shell does with the output.
                let command = ["    ", " | ", " > ", " >> "].iter().fold(line, |line, end| line.split(end).next().unwrap_or_default());
                let words = command.split(' ').filter(|word| !word.is_empty()).map(|word| word.trim_matches('\''));
                let parsed = Arguments::try_parse_from(std::iter::once("hookwheel").chain(words));
                assert!(parsed.is_ok(), "{path}: {line}: {}", parsed.unwrap_err());
            }
        });
    }

    #[test]
    fn global_options_stand_before_or_behind_the_command() {
        for line in ["hookwheel --json --socket /s status", "hookwheel status --json --socket /s"] {
            let arguments = Arguments::try_parse_from(line.split(' ')).unwrap();
            assert!(arguments.common.json && arguments.common.socket == Some("/s".into()), "{line}");
        }
    }

    #[test]
    fn what_makes_no_sense_together_is_a_usage_error() {
        for line in [
            "hookwheel",
            "hookwheel frobnicate",
            "hookwheel emit",
            "hookwheel emit email.status.bounced",
            "hookwheel emit bounced --project shop.example.com",
            "hookwheel emit email.status.bounced --project localhost",
            "hookwheel emit email.status.bounced --file f --project shop.example.com",
            "hookwheel emit --file f --id x",
            "hookwheel emit --file f --from-line 0",
            "hookwheel emit --file f --url ftp://x",
            "hookwheel emit --file f --ca-file ca.pem",
            "hookwheel webhooks show CRM",
            "hookwheel webhooks add --id CRM",
            "hookwheel webhooks add --header tenant",
            "hookwheel webhooks add --retry 100s",
            "hookwheel webhooks rotate-secret crm --grace soon",
            "hookwheel webhooks test crm --type bounced",
            "hookwheel deliveries show evt_1",
            "hookwheel deliveries list --state lost",
            "hookwheel deliveries list --limit 0",
            "hookwheel deliveries list --since yesterday",
            "hookwheel deliveries watch --count 0",
            "hookwheel deliveries retry dlv_aaaaaaaaaaaasaaaaaaa --webhook crm",
            "hookwheel deliveries cancel --state dropped",
            "hookwheel events show order-17",
            "hookwheel events explain email.status.bounced",
            "hookwheel blacklist check shop.example.com",
            "hookwheel blacklist check shop.example.com user@",
            "hookwheel blacklist add localhost user@example.com",
            "hookwheel blacklist add shop.example.com",
            "hookwheel blacklist import shop.example.com",
            "hookwheel blacklist list shop.example.com --limit 0",
            "hookwheel sandbox new --status 1000000",
            "hookwheel sandbox new --delay soon",
            "hookwheel sandbox new --retry-after 100ms",
            "hookwheel sandbox watch --count 0",
            "hookwheel sandbox remove",
            "hookwheel backup",
            "hookwheel restore",
            "hookwheel verify --backup b --data-dir d",
            "hookwheel token new platform",
            "hookwheel token new platform --project localhost",
            "hookwheel token revoke",
            "hookwheel config",
        ] {
            let refused = Arguments::try_parse_from(line.split(' ')).unwrap_err();
            assert_eq!(refused.exit_code(), 2, "{line}: {refused}");
        }
    }
}
