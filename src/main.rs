//! The front door: arguments, one command, exit code. It never does anything itself.

use std::collections::BTreeSet;
use std::io::IsTerminal;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use hookwheel::cli::{self, Checked, House, HouseError};
use hookwheel::config::{self, Config, Environment, Mistakes};
use hookwheel::daemon::{self, DaemonError, offline};
use hookwheel::model::Catalog;
use hookwheel::model::report::{BackupReport, RestoreReport, Tell, VerifyReport};
use hookwheel::time::wall_now;
use tracing_subscriber::EnvFilter;

/// glibc's own leaves a heap so scattered by sled, which allocates on one thread and frees on another, that a tenth of all processor time went into looking for room in it, and the
/// healthy got a tenth less beside a million pending deliveries with ids.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// The house as this program knows it.
struct Hookwheel;

impl House for Hookwheel {
    fn serve(&self, config: Option<&Path>, socket: Option<&Path>, last_good: bool) -> Result<(), HouseError> {
        let path = config::find(config).map_err(HouseError::Failed)?;
        log_to_stderr();
        daemon::run(&path, socket, last_good).map_err(|error| match error {
            DaemonError::Configuration(mistakes) => configuration(&mistakes),
            DaemonError::Failed(why) => HouseError::Failed(why),
        })
    }

    fn check(&self, config: Option<&Path>) -> Result<Checked, HouseError> {
        let path = config::find(config).map_err(HouseError::Failed)?;
        let config = Config::load(&path, &Environment::of_process()).map_err(|mistakes| configuration(&mistakes))?;
        Ok(Checked {
            path: path.display().to_string(),
            webhooks: config.webhooks.len(),
            projects: config.webhooks.iter().map(|webhook| &webhook.project).collect::<BTreeSet<_>>().len(),
            event_types: config.catalog.types().len() - Catalog::built_in().types().len(),
            tokens: config.tokens.len(),
            warnings: config.warnings(wall_now()),
        })
    }

    fn socket(&self, config: Option<&Path>) -> PathBuf {
        let environment = Environment::of_process();
        let configured = config::find(config).ok().and_then(|path| Config::load(&path, &environment).ok());
        let configured = configured.map(|config| config.server.admin_socket);
        // The default place is where a daemon of this user's would be; there may be one of the system's only.
        configured
            .filter(|socket| *socket != config::default_socket(&environment))
            .unwrap_or_else(|| config::socket_of_a_daemon(&environment))
    }

    fn backup(
        &self,
        directory: &Path,
        data_dir: Option<&Path>,
        config: Option<&Path>,
        tell: &mut Tell<'_>,
    ) -> Result<BackupReport, HouseError> {
        offline::backup(&offline::data_dir(data_dir, config), directory, tell).map_err(HouseError::Failed)
    }

    fn restore(
        &self,
        directory: &Path,
        data_dir: Option<&Path>,
        config: Option<&Path>,
        tell: &mut Tell<'_>,
    ) -> Result<RestoreReport, HouseError> {
        offline::restore(directory, &offline::data_dir(data_dir, config), tell).map_err(HouseError::Failed)
    }

    fn verify(&self, data_dir: Option<&Path>, config: Option<&Path>, tell: &mut Tell<'_>) -> Result<VerifyReport, HouseError> {
        offline::verify(&offline::data_dir(data_dir, config), tell).map_err(HouseError::Failed)
    }

    fn verify_backup(&self, directory: &Path, tell: &mut Tell<'_>) -> Result<VerifyReport, HouseError> {
        offline::verify_backup(directory, tell).map_err(HouseError::Failed)
    }
}

fn configuration(mistakes: &Mistakes) -> HouseError {
    HouseError::Configuration(mistakes.to_string().lines().map(str::to_owned).collect())
}

/// `HOOKWHEEL_LOG` says what is logged, such as `debug` or `hookwheel::dispatch=debug`; under systemd the journal adds the time.
fn log_to_stderr() {
    let filter = EnvFilter::try_from_env("HOOKWHEEL_LOG").unwrap_or_else(|_| EnvFilter::new("info"));
    let log = tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr).with_target(false);
    if std::env::var_os("JOURNAL_STREAM").is_some() {
        log.without_time().with_ansi(false).init();
    } else {
        log.with_ansi(std::io::stderr().is_terminal()).init();
    }
}

fn main() -> ExitCode {
    cli::run(&Hookwheel)
}
