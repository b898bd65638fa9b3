//! `top`: how the webhooks fare, live in a terminal, or frame by frame for whoever reads from a pipe. It changes nothing but what a key was pressed for.

mod compose;
mod live;
mod questions;
mod view;

use std::time::Duration;

use clap::Args;
use clap::builder::{PossibleValuesParser, TypedValueParser};
use url::form_urlencoded;

use self::compose::Shown;
use self::view::View;
use super::Output;
use super::client::Client;
use super::failure::Failure;
use super::text::json_line;
use crate::limits;
use crate::model::report::{Top, TopQuery, TopSort};
use crate::time::wall_now;

/// Columns of a frame that is not for a terminal.
const FRAME_COLUMNS: u16 = 120;
/// Lines of a frame beside its webhooks, at most.
const FRAME_LINES: u16 = 12;

/// What `top` takes.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  hookwheel top
  hookwheel top --sort p99                  the slowest first
  hookwheel top --iterations 1              one look, for a script or a mail
  hookwheel top --json --interval 10        a line of JSON every ten seconds

In a terminal, ? shows the keys: sort, pause, resume, open the deliveries of a webhook and the attempts of a delivery. Elsewhere frames of plain \
text follow one another. Success, p50 and p99 are those of the attempts of the last five minutes, to a sixteenth.")]
pub(super) struct TopArguments {
    /// The order
    #[arg(long, value_name = "ORDER", default_value = "trouble", value_parser = PossibleValuesParser::new(TopSort::ALL.map(TopSort::as_str)).map(sort))]
    sort: TopSort,
    /// The other way round
    #[arg(long)]
    reverse: bool,
    /// Seconds from one look to the next
    #[arg(long, value_name = "SECONDS", default_value = "2", value_parser = interval)]
    interval: Duration,
    /// End after so many looks
    #[arg(long, short = 'n', value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    iterations: Option<u64>,
    /// Webhooks to a frame, where it is not for a terminal
    #[arg(long, value_name = "N", default_value_t = limits::TOP_DEFAULT as u64, value_parser = clap::value_parser!(u64).range(1..=limits::TOP_MAX as u64))]
    limit: u64,
}

/// `top`
pub(super) fn top(arguments: &TopArguments, daemon: Client, output: &mut Output<'_>) -> Result<(), Failure> {
    match output.screen.height {
        Some(_) if !output.json && live::is_possible() => live::show(arguments, daemon, output.screen),
        _ => frames(arguments, &daemon, output),
    }
}

/// One frame, or one line of JSON, after the other. A daemon that goes away meanwhile is waited for.
fn frames(arguments: &TopArguments, daemon: &Client, output: &mut Output<'_>) -> Result<(), Failure> {
    let mut view = View::new(arguments.sort, arguments.reverse, output.screen.colour);
    let limit = u16::try_from(arguments.limit).unwrap_or(u16::MAX);
    let path = path(TopQuery { sort: arguments.sort, reverse: arguments.reverse, limit: Some(usize::from(limit)) });
    let (mut left, mut is_first, mut is_gone) = (arguments.iterations.unwrap_or(u64::MAX), true, false);
    loop {
        match daemon.get::<Top>(&path) {
            Ok(top) => {
                let text = if output.json {
                    format!("{}\n", json_line(&top)?)
                } else {
                    view.now = wall_now();
                    view.learn_top(top);
                    let between = if is_first { "" } else { "\n" };
                    let lines = compose::frame(&view, output.screen.width.unwrap_or(FRAME_COLUMNS), limit + FRAME_LINES);
                    let painted = lines.iter().map(|Shown { tone, text, .. }| output.screen.paint(*tone, text.trim_end()) + "\n");
                    format!("{between}{}", painted.collect::<String>())
                };
                output.print(&text)?;
                (is_first, is_gone, left) = (false, false, left - 1);
                if left == 0 {
                    return Ok(());
                }
            }
            Err(failure) if is_first => return Err(failure),
            Err(failure) => {
                if !is_gone {
                    output.remark(&format!("{}; waiting for it", first_line(&failure)));
                }
                is_gone = true;
            }
        }
        daemon.sleep_ms(u64::try_from(arguments.interval.as_millis()).unwrap_or(u64::MAX));
    }
}

fn path(query: TopQuery) -> String {
    let mut text = form_urlencoded::Serializer::new(String::new());
    text.append_pair("sort", query.sort.as_str()).append_pair("reverse", if query.reverse { "true" } else { "false" });
    text.extend_pairs(query.limit.map(|limit| ("limit", limit.to_string())));
    format!("/v1/top?{}", text.finish())
}

fn first_line(failure: &Failure) -> String {
    failure.to_string().lines().next().unwrap_or_default().to_owned()
}

#[expect(clippy::needless_pass_by_value, reason = "clap hands over what it parsed")]
fn sort(name: String) -> TopSort {
    TopSort::ALL.into_iter().find(|sort| sort.as_str() == name).unwrap_or_default()
}

fn interval(text: &str) -> Result<Duration, String> {
    let seconds = text.parse().ok().and_then(|seconds| Duration::try_from_secs_f64(seconds).ok());
    let sensible = Duration::from_millis(100)..=Duration::from_secs(3600);
    seconds.filter(|interval| sensible.contains(interval)).ok_or_else(|| format!("{text:?}: expected seconds, from 0.1 to 3600, such as 2"))
}

#[cfg(test)]
mod tests;
