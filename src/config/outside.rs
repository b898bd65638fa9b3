//! Files beside the configuration that it names: where they lie, and what stands in them. It never repeats that in a message.

use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};

use zeroize::Zeroizing;

use super::environment::Environment;
use super::notation;

/// Where a file is that the configuration names. A relative path begins beside the configuration file; a plain name that is not there is looked for among
/// systemd's credentials.
pub(super) fn place(text: &str, config_directory: &Path, environment: &Environment) -> Result<PathBuf, String> {
    let beside = notation::path(text, config_directory)?;
    let credential = if text.contains('/') { None } else { environment.credential(Path::new(text)) };
    Ok(match credential {
        Some(credential) if !beside.exists() => credential,
        _ => beside,
    })
}

/// What stands in a file, which may be confidential. `what` says what a file of more than `size_max` bytes can't be.
pub(super) fn content(path: &Path, size_max: u64, what: &str) -> Result<Zeroizing<Vec<u8>>, String> {
    let failed = |error: std::io::Error| format!("{} can't be read: {error}", path.display());
    // Opening a named pipe would wait for its writer.
    let metadata = path.metadata().map_err(failed)?;
    if !metadata.is_file() {
        return Err(format!("{} is not a file", path.display()));
    }
    // All at once, so that no part of it stays behind where a buffer has grown out of its place.
    let size = usize::try_from(metadata.len().min(size_max)).unwrap_or_default();
    let mut content = Zeroizing::new(Vec::with_capacity(size + 1));
    File::open(path).map_err(failed)?.take(size_max + 1).read_to_end(&mut content).map_err(failed)?;
    if content.len() as u64 > size_max {
        return Err(format!("{} is larger than {size_max} bytes: that is no {what}", path.display()));
    }
    Ok(content)
}
