//! What is shipped beside the binary: the unit, the manual, what the package holds. These tests never install anything.

use std::fs;
use std::io::Write;
use std::path::Path;
use std::process::Command;

const BINARY: &str = env!("CARGO_BIN_EXE_hookwheel");
const ROOT: &str = env!("CARGO_MANIFEST_DIR");
/// `systemd-analyze security` counts from 0 to 10.
const EXPOSURE_MAX: f64 = 1.5;

fn unit() -> String {
    fs::read_to_string(Path::new(ROOT).join("packaging/hookwheel.service")).unwrap()
}

/// Says past the test harness that something was not looked at here.
fn not_checked(what: &str) {
    let _ = writeln!(std::io::stderr(), "NOT CHECKED: {what}");
}

#[test]
fn the_unit_exposes_little_of_the_machine() {
    let path = Path::new(ROOT).join("packaging/hookwheel.service");
    let Ok(output) = Command::new("systemd-analyze").args(["security", "--offline=true", "--no-pager"]).arg(path).output() else {
        return not_checked("systemd-analyze is missing, so nobody rated the unit");
    };
    let text = String::from_utf8(output.stdout).unwrap();
    let (_, rest) = text.split_once("Overall exposure level for hookwheel.service: ").unwrap_or_else(|| panic!("{text}"));
    let exposure = rest.split(' ').next().unwrap().parse::<f64>().unwrap();
    assert!(exposure <= EXPOSURE_MAX, "{text}");
}

#[test]
fn every_command_of_the_unit_is_one() {
    let unit = unit();
    let commands = unit.lines().filter(|line| line.starts_with("Exec")).map(|line| line.split_once('=').unwrap().1).collect::<Vec<_>>();
    assert_eq!(commands.len(), 2);
    for command in commands {
        let arguments = command.strip_prefix("/usr/bin/hookwheel ").unwrap().split(' ');
        let output = Command::new(BINARY).args(arguments).arg("--help").output().unwrap();
        assert!(output.status.success(), "{command}: {output:?}");
    }
    // What the exit codes mean stands in the README.
    assert!(unit.contains("RestartPreventExitStatus=2 78") && unit.contains("Type=notify\n"));
}

#[test]
fn the_optional_socket_unit_listens_where_the_daemon_and_its_commands_look() {
    let socket = fs::read_to_string(Path::new(ROOT).join("packaging/socket/hookwheel.socket")).unwrap();
    let streams = socket.lines().filter_map(|line| line.strip_prefix("ListenStream=")).collect::<Vec<_>>();
    let shipped = fs::read_to_string(Path::new(ROOT).join("webhooks.toml")).unwrap();
    let listen = shipped.lines().find(|line| line.starts_with("listen ")).unwrap();
    assert!(listen.contains(&format!("= \"{}\"", streams[0])), "{listen}");
    assert_eq!(streams[1..], ["/run/hookwheel/admin.sock"]);
    assert!(unit().contains("RuntimeDirectory=hookwheel\n") && unit().contains("RuntimeDirectoryPreserve=yes\n"));
    if let Ok(output) = Command::new("systemd-analyze")
        .args(["verify", "--man=no", "packaging/hookwheel.service", "packaging/socket/hookwheel.socket"])
        .current_dir(ROOT)
        .output()
    {
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(!said.contains("hookwheel.socket:"), "{said}");
    } else {
        not_checked("systemd-analyze is missing, so nobody read the socket unit");
    }
}

#[test]
fn every_file_of_the_package_is_there_or_is_made_by_the_script_that_builds_it() {
    let manifest = fs::read_to_string(Path::new(ROOT).join("Cargo.toml")).unwrap().parse::<toml::Table>().unwrap();
    let deb = &manifest["package"]["metadata"]["deb"];
    let assets = deb["assets"].as_array().unwrap();
    assert!(assets.len() > 5);
    for asset in assets {
        let source = asset[0].as_str().unwrap();
        assert!(source.starts_with("target/") || Path::new(ROOT).join(source).is_file(), "{source}");
    }
    assert!(Path::new(ROOT).join(deb["maintainer-scripts"].as_str().unwrap()).join("postinst").is_file());
}

#[test]
fn the_manual_and_the_completions_are_taken_by_those_who_read_them() {
    let directory = tempfile::tempdir().unwrap();
    let output = Command::new(BINARY).args(["man", "--directory"]).arg(directory.path()).output().unwrap();
    assert!(output.status.success(), "{output:?}");
    for entry in fs::read_dir(directory.path()).unwrap() {
        let path = entry.unwrap().path();
        match Command::new("man").args(["--warnings", "--local-file"]).arg(&path).env("MANPAGER", "cat").env("LC_ALL", "C.UTF-8").output() {
            Ok(output) => assert!(output.status.success() && output.stderr.is_empty() && !output.stdout.is_empty(), "{path:?}: {output:?}"),
            Err(_) => return not_checked("man is missing, so nobody read the manual"),
        }
    }
    let script = Command::new(BINARY).args(["completions", "bash"]).output().unwrap();
    assert!(script.status.success());
    let path = directory.path().join("completions");
    fs::write(&path, script.stdout).unwrap();
    match Command::new("bash").arg("-n").arg(&path).output() {
        Ok(checked) => assert!(checked.status.success(), "{checked:?}"),
        Err(_) => not_checked("bash is missing, so nobody read its completions"),
    }
}
