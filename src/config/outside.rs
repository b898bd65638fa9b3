//! Files beside the configuration that it names: where they lie, and what stands in them. It never repeats that in a message.

use std::fs::File;
use std::io::{self, Read};
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
    let failed = |error: io::Error| format!("{} can't be read: {error}", path.display());
    // Opening a named pipe would wait for its writer.
    if !path.metadata().map_err(failed)?.is_file() {
        return Err(format!("{} is not a file", path.display()));
    }
    let content = up_to(size_max, File::open(path).map_err(failed)?).map_err(failed)?;
    if content.len() as u64 > size_max {
        return Err(format!("{} is larger than {size_max} bytes: that is no {what}", path.display()));
    }
    Ok(content)
}

/// What can be read of `file`, up to one byte beyond `size_max`: of whoever has that one it is too large. It is read at once into room for all of it, so that no part of it stays
/// behind where a buffer has grown out of its place.
pub(super) fn up_to(size_max: u64, file: File) -> io::Result<Zeroizing<Vec<u8>>> {
    let size = file.metadata().map_or(0, |metadata| metadata.len()).min(size_max);
    let mut content = Zeroizing::new(Vec::with_capacity(usize::try_from(size).unwrap_or_default() + 1));
    file.take(size_max + 1).read_to_end(&mut content)?;
    Ok(content)
}
