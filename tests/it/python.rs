//! Python environments below `target/tmp`, made by the first test that needs one and kept there. A machine without Python fails the test.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::sync::Mutex;

/// Environments are made one after the other.
static MAKING: Mutex<()> = Mutex::new(());

/// The environment of that name, with what the file at `requirements` (below the repository) names; made when there is none, or one of other versions.
pub(crate) fn environment(name: &str, requirements: &str) -> PathBuf {
    let _one_at_a_time = MAKING.lock().unwrap();
    let place = Path::new(env!("CARGO_TARGET_TMPDIR")).join(name);
    let stamp = place.join("requirements.txt");
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join(requirements);
    let wanted = fs::read_to_string(&file).unwrap();
    if fs::read_to_string(&stamp).is_ok_and(|installed| installed == wanted) {
        return place;
    }
    if !make(&place) {
        install(&["python3", "python3-venv"]);
        assert!(make(&place), "this test needs Python 3.10 or newer with venv: `apt-get install python3 python3-venv`");
    }
    let pip =
        Command::new(place.join("bin/python")).args(["-m", "pip", "install", "--quiet", "--requirement"]).arg(&file).output().unwrap();
    assert!(pip.status.success(), "{requirements} can't be installed; pip needs PyPI or a mirror of it:\n{}", said(&pip));
    fs::write(&stamp, wanted).unwrap();
    place
}

fn make(place: &Path) -> bool {
    Command::new("python3").args(["-m", "venv", "--clear"]).arg(place).output().is_ok_and(|output| output.status.success())
}

/// Has the system install packages, where it can.
pub(crate) fn install(packages: &[&str]) {
    let _ = Command::new("apt-get").args(["install", "--yes", "--quiet"]).args(packages).env("DEBIAN_FRONTEND", "noninteractive").output();
}

/// Everything that a program said.
pub(crate) fn said(output: &Output) -> String {
    format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr))
}
