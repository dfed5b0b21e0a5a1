//! What is wrong with a setting, and where it came from.

use std::fmt;

/// Who set a value.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Source {
    /// Nobody.
    Default,
    /// The settings file.
    File {
        /// Its name.
        name: String,
        /// The line, from 1.
        line: usize,
    },
    /// An environment variable.
    Variable(String),
    /// An option of the command line.
    Option(String),
}

impl fmt::Display for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Default => f.write_str("default"),
            Self::File { name, line } => write!(f, "{name}:{line}"),
            Self::Variable(name) | Self::Option(name) => f.write_str(name),
        }
    }
}

/// One thing that is wrong: where, what, and what to do.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{place}: {problem}; {fix}")]
pub struct SettingFault {
    /// The option, the variable, or file and line.
    pub place: String,
    /// What is wrong; never a secret.
    pub problem: String,
    /// What to do.
    pub fix: String,
}

impl SettingFault {
    /// Names it.
    pub fn new(place: String, problem: String, fix: String) -> Self {
        Self { place, problem, fix }
    }
}
