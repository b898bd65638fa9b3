//! The key of a webhook, in the file, in a file of its own or in a variable. It never makes one, and never repeats one in a message.

use std::path::{Path, PathBuf};

use zeroize::Zeroizing;

use super::environment::Environment;
use super::mistakes::Report;
use super::outside;
use super::raw::Section;
use crate::limits::SECRET_FILE_SIZE_MAX;
use crate::model::{SealingKey, Secret, Signing};

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

/// How the requests of a webhook are signed: its own secret says it, and otherwise `signing`.
pub(super) fn signing(section: &mut Section<'_>, secret: Option<&Secret>, report: &mut Report<'_>) -> Signing {
    const SIGNING: &str = "\"v1\" or \"v1a\"";
    let said = section.parsed("signing", SIGNING, report, |text| {
        let said = Signing::parse(text)?;
        secret.map_or(Ok(()), |secret| secret.agree_with(text)).map(|()| said)
    });
    secret.map(Secret::signing).or(said).unwrap_or_default()
}

fn from_file(text: &str, config_directory: &Path, environment: &Environment) -> Result<Secret, String> {
    let path = outside::place(text, config_directory, environment)?;
    let content = outside::content(&path, SECRET_FILE_SIZE_MAX, "secret")?;
    let in_file = |sentence: &str| format!("in {}: {sentence}", path.display());
    let text = std::str::from_utf8(&content).map_err(|_| in_file("this is not text; a secret begins with \"whsec_\" or \"whsk_\""))?;
    Secret::parse(text).map_err(|sentence| in_file(&sentence))
}

/// The keys that stored secrets are sealed with, one on each line: the first seals, all open.
pub(super) fn sealing_keys(text: &str, config_directory: &Path, environment: &Environment) -> Result<(PathBuf, Vec<SealingKey>), String> {
    let path = outside::place(text, config_directory, environment)?;
    let content = outside::content(&path, SECRET_FILE_SIZE_MAX, "secret")?;
    let content = std::str::from_utf8(&content).map_err(|_| format!("{} is not text", path.display()))?;
    let lines = content.lines().filter(|line| !line.trim().is_empty());
    let keys = lines.map(SealingKey::parse).collect::<Result<Vec<_>, _>>();
    let keys = keys.map_err(|sentence| format!("in {}: {sentence}", path.display()))?;
    if keys.is_empty() { Err(format!("{} is empty", path.display())) } else { Ok((path, keys)) }
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
