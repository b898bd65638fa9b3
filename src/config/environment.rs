//! What the process brings along that a configuration depends on, and the places that follow from it. It never changes the environment.

use std::ffi::OsString;
use std::path::{Path, PathBuf};

/// The admin socket of a daemon that runs as a service of the system.
const SYSTEM_SOCKET: &str = "/run/hookwheel/admin.sock";

/// The surroundings in which a configuration is read: a plain value, so that tests need not touch the process.
#[derive(Clone, Debug)]
pub struct Environment {
    /// Whether the effective user is root.
    pub is_root: bool,
    /// `STATE_DIRECTORY`, set by systemd (systemd.exec(5)); may be several paths joined by colons.
    pub state_directory: Option<OsString>,
    /// `RUNTIME_DIRECTORY`, likewise.
    pub runtime_directory: Option<OsString>,
    /// `CREDENTIALS_DIRECTORY`: where systemd puts credentials (`LoadCredential=`).
    pub credentials_directory: Option<OsString>,
    /// `XDG_STATE_HOME` (XDG Base Directory Specification).
    pub xdg_state_home: Option<OsString>,
    /// `XDG_RUNTIME_DIR`, likewise.
    pub xdg_runtime_dir: Option<OsString>,
    /// `HOME`.
    pub home: Option<OsString>,
    /// Looks a variable up by name, for `secret_env`.
    pub variable: fn(&str) -> Option<String>,
}

impl Default for Environment {
    /// An ordinary user for whom nothing is set.
    fn default() -> Self {
        Self {
            is_root: false,
            state_directory: None,
            runtime_directory: None,
            credentials_directory: None,
            xdg_state_home: None,
            xdg_runtime_dir: None,
            home: None,
            variable: |_| None,
        }
    }
}

impl Environment {
    /// The environment of this process.
    #[must_use]
    pub fn of_process() -> Self {
        Self {
            is_root: rustix::process::geteuid().is_root(),
            state_directory: std::env::var_os("STATE_DIRECTORY"),
            runtime_directory: std::env::var_os("RUNTIME_DIRECTORY"),
            credentials_directory: std::env::var_os("CREDENTIALS_DIRECTORY"),
            xdg_state_home: std::env::var_os("XDG_STATE_HOME"),
            xdg_runtime_dir: std::env::var_os("XDG_RUNTIME_DIR"),
            home: std::env::var_os("HOME"),
            variable: |name| std::env::var(name).ok(),
        }
    }

    pub(super) fn credential(&self, name: &Path) -> Option<PathBuf> {
        Some(first_path(self.credentials_directory.as_ref())?.join(name))
    }
}

/// Where data lies unless `[server] data_dir` says otherwise: systemd's directory; as root `/var/lib/hookwheel`; else
/// `$XDG_STATE_HOME/hookwheel`, else `$HOME/.local/state/hookwheel`; for somebody without a home as for root.
#[must_use]
pub fn default_data_dir(environment: &Environment) -> PathBuf {
    if let Some(path) = first_path(environment.state_directory.as_ref()) {
        return path;
    }
    if environment.is_root {
        return PathBuf::from("/var/lib/hookwheel");
    }
    first_path(environment.xdg_state_home.as_ref())
        .or_else(|| Some(first_path(environment.home.as_ref())?.join(".local/state")))
        .map_or_else(|| PathBuf::from("/var/lib/hookwheel"), |state| state.join("hookwheel"))
}

/// Where the admin socket is unless `[server] admin_socket` says otherwise: systemd's directory; as root `/run/hookwheel`;
/// else `$XDG_RUNTIME_DIR/hookwheel`, else beside the data. The daemon and the commands find it the same way.
#[must_use]
pub fn default_socket(environment: &Environment) -> PathBuf {
    let directory = first_path(environment.runtime_directory.as_ref())
        .or_else(|| environment.is_root.then(|| PathBuf::from("/run/hookwheel")))
        .or_else(|| Some(first_path(environment.xdg_runtime_dir.as_ref())?.join("hookwheel")))
        .unwrap_or_else(|| default_data_dir(environment));
    directory.join("admin.sock")
}

/// Where a command looks for the daemon of this machine when nobody said where: the [`default_socket`], and where there is none, that of the
/// system's daemon, so that whoever belongs to its group need not name it.
#[must_use]
pub fn socket_of_a_daemon(environment: &Environment) -> PathBuf {
    let own = default_socket(environment);
    let system = Path::new(SYSTEM_SOCKET);
    if !own.exists() && system.exists() { system.to_owned() } else { own }
}

/// The first path of a variable; relative ones are ignored, as the XDG specification asks and systemd never sets them.
fn first_path(variable: Option<&OsString>) -> Option<PathBuf> {
    std::env::split_paths(variable?).next().filter(|path| path.is_absolute())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn places(environment: &Environment) -> (String, String) {
        (default_data_dir(environment).display().to_string(), default_socket(environment).display().to_string())
    }

    #[test]
    fn root_and_users_have_their_usual_places() {
        let root = Environment { is_root: true, home: Some("/root".into()), ..Environment::default() };
        assert_eq!(places(&root), ("/var/lib/hookwheel".into(), "/run/hookwheel/admin.sock".into()));

        let mut user = Environment {
            home: Some("/home/u".into()),
            xdg_state_home: Some("/state".into()),
            xdg_runtime_dir: Some("/run/user/7".into()),
            ..Environment::default()
        };
        assert_eq!(places(&user), ("/state/hookwheel".into(), "/run/user/7/hookwheel/admin.sock".into()));

        user.xdg_state_home = Some("relative/is/ignored".into());
        user.xdg_runtime_dir = Some(OsString::new());
        assert_eq!(places(&user), ("/home/u/.local/state/hookwheel".into(), "/home/u/.local/state/hookwheel/admin.sock".into()));

        user.home = None;
        assert_eq!(places(&user), ("/var/lib/hookwheel".into(), "/var/lib/hookwheel/admin.sock".into()));
    }

    #[test]
    fn the_directories_of_systemd_go_first() {
        let service = Environment {
            is_root: true,
            state_directory: Some("/var/lib/private/hookwheel:/var/lib/other".into()),
            runtime_directory: Some("/run/hookwheel-2:/run/other".into()),
            ..Environment::default()
        };
        assert_eq!(places(&service), ("/var/lib/private/hookwheel".into(), "/run/hookwheel-2/admin.sock".into()));
    }
}
