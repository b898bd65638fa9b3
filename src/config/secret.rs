//! The key of a webhook, in the file, in a file of its own or in a variable. It never makes one, and never repeats one in a message.

use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};

use zeroize::Zeroizing;

use super::environment::Environment;
use super::mistakes::Report;
use super::notation;
use super::raw::Section;
use crate::limits::SECRET_FILE_SIZE_MAX;
use crate::model::Secret;

const KEYS: [&str; 3] = ["secret", "secret_file", "secret_env"];

/// The secret that a `[[webhook]]` names, at most one.
pub(super) fn secret(
    section: &mut Section<'_>,
    config_directory: &Path,
    environment: &Environment,
    report: &mut Report<'_>,
) -> Option<Secret> {
    let present = KEYS.into_iter().filter_map(|key| Some((key, section.value(key)?))).collect::<Vec<_>>();
    let mut secret = None;
    for (index, (key, value)) in present.iter().enumerate() {
        let offset = value.span().start;
        if index > 0 {
            report.wrong(offset, format!("{key}: there is {} already; a webhook has one secret", present[0].0));
            continue;
        }
        let Some(text) = value.get_ref().as_str() else {
            report.wrong(offset, format!("{key}: expected text in quotes"));
            continue;
        };
        let parsed = match *key {
            "secret" => Secret::parse(text),
            "secret_file" => from_file(text, config_directory, environment),
            _ => from_variable(text, environment),
        };
        secret = parsed.map_err(|sentence| report.wrong(offset, format!("{key}: {sentence}"))).ok();
    }
    secret
}

fn from_file(text: &str, config_directory: &Path, environment: &Environment) -> Result<Secret, String> {
    let path = place(text, config_directory, environment)?;
    let content = read(&path, SECRET_FILE_SIZE_MAX, "secret")?;
    Secret::parse(&content).map_err(|sentence| format!("in {}: {sentence}", path.display()))
}

/// Where a file with something confidential lies. A relative path begins beside the configuration file; a plain name that is not there is looked for among systemd's credentials.
pub(super) fn place(text: &str, config_directory: &Path, environment: &Environment) -> Result<PathBuf, String> {
    let beside = notation::path(text, config_directory)?;
    let credential = if text.contains('/') { None } else { environment.credential(Path::new(text)) };
    Ok(match credential {
        Some(credential) if !beside.exists() => credential,
        _ => beside,
    })
}

/// The text of such a file, which is called `what` and has at most so many bytes.
pub(super) fn read(path: &Path, size_max: u64, what: &str) -> Result<Zeroizing<String>, String> {
    let failed = |error: std::io::Error| format!("{} can't be read: {error}", path.display());
    // Opening a named pipe would wait for its writer.
    if !path.metadata().map_err(failed)?.is_file() {
        return Err(format!("{} is not a file", path.display()));
    }
    let mut content = Zeroizing::new(String::new());
    let file = File::open(path).map_err(failed)?;
    file.take(size_max + 1).read_to_string(&mut content).map_err(failed)?;
    if content.len() as u64 > size_max {
        return Err(format!("{} is larger than {size_max} bytes: that is no {what}", path.display()));
    }
    Ok(content)
}

fn from_variable(name: &str, environment: &Environment) -> Result<Secret, String> {
    let good = |b: u8| b.is_ascii_alphanumeric() || b == b'_';
    if name.is_empty() || !name.bytes().all(good) || name.as_bytes()[0].is_ascii_digit() {
        return Err("expected the name of an environment variable, such as \"CRM_SECRET\"".into());
    }
    let value = (environment.variable)(name).map(Zeroizing::new);
    let value = value.ok_or_else(|| format!("the environment variable {name} is not set"))?;
    Secret::parse(&value).map_err(|sentence| format!("in the environment variable {name}: {sentence}"))
}
