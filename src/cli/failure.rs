//! Why a command did not do what it was asked, and the exit code that says so. It never prints.

use std::io;

/// Nothing that the commands print can't be written as JSON; should it ever be so, it is told.
impl From<serde_json::Error> for Failure {
    fn from(error: serde_json::Error) -> Self {
        Self::Refused(format!("can't write this as JSON: {error}"))
    }
}

/// Each way in which a command ends without having done its work.
#[derive(Debug, thiserror::Error)]
pub(super) enum Failure {
    /// Refused, or failed on the way.
    #[error("{0}")]
    Refused(String),
    /// The arguments make no sense.
    #[error("{0}")]
    Usage(String),
    /// No daemon answers.
    #[error("{0}")]
    Unreachable(String),
    /// The configuration has mistakes, one `path:line:column: message` each.
    #[error("{}", .0.join("\n"))]
    Configuration(Vec<String>),
    /// Whoever read the output has enough of it.
    #[error("nobody reads the output any more")]
    ReaderGone,
}

impl Failure {
    /// The exit code: 1 refused, 2 usage, 69 (`EX_UNAVAILABLE`) no daemon, 78 (`EX_CONFIG`) configuration, as in sysexits.h.
    /// A reader that has enough, such as `head`, is no failure.
    pub(super) const fn exit_code(&self) -> u8 {
        match self {
            Self::ReaderGone => 0,
            Self::Refused(_) => 1,
            Self::Usage(_) => 2,
            Self::Unreachable(_) => 69,
            Self::Configuration(_) => 78,
        }
    }

    /// The same failure with another sentence behind its own.
    pub(super) fn and(self, sentence: &str) -> Self {
        let joined = |text: String| format!("{text}\n{sentence}");
        match self {
            Self::Refused(text) => Self::Refused(joined(text)),
            Self::Usage(text) => Self::Usage(joined(text)),
            Self::Unreachable(text) => Self::Unreachable(joined(text)),
            other => other,
        }
    }

    /// An error of writing to standard output.
    pub(super) fn of_output(error: &io::Error) -> Self {
        if error.kind() == io::ErrorKind::BrokenPipe { Self::ReaderGone } else { Self::Refused(format!("can't write the output: {error}")) }
    }
}
