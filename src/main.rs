//! The front door: arguments, one command, exit code. It never does anything itself.

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use hookwheel::cli::{self, Checked, House, HouseError};

/// The house as this program knows it.
struct Hookwheel;

impl House for Hookwheel {
    fn serve(&self, _config: Option<&Path>, _socket: Option<&Path>) -> Result<(), HouseError> {
        Err(HouseError::Failed("this build has no daemon".into()))
    }

    fn check(&self, _config: Option<&Path>) -> Result<Checked, HouseError> {
        Err(HouseError::Failed("this build reads no configuration".into()))
    }

    fn socket(&self, _config: Option<&Path>) -> PathBuf {
        PathBuf::from("/run/hookwheel/admin.sock")
    }
}

fn main() -> ExitCode {
    cli::run(&Hookwheel)
}
