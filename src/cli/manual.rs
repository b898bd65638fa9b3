//! Manual pages and completions, made from the parser's own definition. It never describes a command a second time.

use std::fs;
use std::io;
use std::path::Path;

use clap_complete::Shell;
use clap_mangen::Man;
use clap_mangen::roff::{Roff, bold, roman};

use super::failure::Failure;
use super::{Output, definition};

/// What the main page says beyond the commands.
const FILES: [(&str, &str); 4] = [
    ("webhooks.toml", "the configuration, looked for in the current directory, then in /etc/hookwheel"),
    (
        "/var/lib/hookwheel",
        "the data, unless [server] data_dir or $STATE_DIRECTORY says otherwise; for other users than root $XDG_STATE_HOME/hookwheel",
    ),
    (
        "/run/hookwheel/admin.sock",
        "the socket of the commands, unless [server] admin_socket or $RUNTIME_DIRECTORY says otherwise; for other users than root $XDG_RUNTIME_DIR/hookwheel/admin.sock",
    ),
    ("data_dir/last-good.toml", "the configuration that was in force last, for serve --last-good"),
];
const ENVIRONMENT: [(&str, &str); 4] = [
    ("HOOKWHEEL_SOCKET", "the admin socket, for every command"),
    ("HOOKWHEEL_TOKEN", "the token of emit --url"),
    ("HOOKWHEEL_LOG", "what serve logs, such as debug or hookwheel::dispatch=debug; default info"),
    ("NO_COLOR", "set to anything: no colour"),
];

/// `completions`
pub(super) fn completions(shell: Shell, output: &mut Output<'_>) -> Result<(), Failure> {
    let mut script = Vec::new();
    clap_complete::generate(shell, &mut definition(), "hookwheel", &mut script);
    output.print(&String::from_utf8_lossy(&script))
}

/// `man`
pub(super) fn man(directory: Option<&Path>, output: &mut Output<'_>) -> Result<(), Failure> {
    let Some(directory) = directory else {
        let page = main_page().map_err(|error| Failure::Refused(format!("can't make the page: {error}")))?;
        return output.print(&String::from_utf8_lossy(&page));
    };
    let failed = |error| Failure::Refused(format!("can't write the pages into {}: {error}", directory.display()));
    fs::create_dir_all(directory).map_err(failed)?;
    clap_mangen::generate_to(definition(), directory).map_err(failed)?;
    fs::write(directory.join("hookwheel.1"), main_page().map_err(failed)?).map_err(failed)?;
    output.remark(&format!("wrote the pages into {}", directory.display()));
    Ok(())
}

fn main_page() -> io::Result<Vec<u8>> {
    let mut command = definition();
    // Names of subcommands' pages are made only here.
    command.build();
    let man = Man::new(command);
    let mut page = Vec::new();
    man.render(&mut page)?;
    let mut more = Roff::new();
    for (title, entries) in [("FILES", FILES), ("ENVIRONMENT", ENVIRONMENT)] {
        more.control("SH", [title]);
        for (name, text) in entries {
            more.control("TP", []);
            more.text([bold(name)]);
            more.text([roman(text)]);
        }
    }
    more.to_writer(&mut page)?;
    Ok(page)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_page_names_every_command_the_files_and_the_variables() {
        let page = String::from_utf8(main_page().unwrap()).unwrap();
        for command in definition().get_subcommands() {
            assert!(page.contains(&format!("hookwheel\\-{}(1)", command.get_name())), "{}", command.get_name());
        }
        assert!(page.contains(".SH FILES") && page.contains("HOOKWHEEL_SOCKET"));
    }

    #[test]
    fn every_command_gets_a_page_of_its_own() {
        let directory = tempfile::tempdir().unwrap();
        let (mut stdout, mut stderr) = (Vec::new(), Vec::new());
        let screen = super::super::screen::Screen { now: crate::time::UnixMillis(0), colour: false, width: None, height: None };
        let mut output = Output { stdout: &mut stdout, stderr: &mut stderr, screen, json: false };
        man(Some(directory.path()), &mut output).unwrap();
        for name in ["hookwheel.1", "hookwheel-emit.1", "hookwheel-deliveries-list.1"] {
            let page = fs::read_to_string(directory.path().join(name)).unwrap();
            assert!(page.contains(".SH NAME"), "{name}");
        }
    }
}
