//! How a command says that it did not succeed: words for people and an exit code that scripts can trust.

use std::fmt;
use std::process::ExitCode;

const UNREACHABLE: u8 = 3;
const DENIED: u8 = 4;

/// Why a command did not succeed.
#[derive(Debug)]
pub struct Failure {
    code: u8,
    words: String,
}

impl Failure {
    /// Exit code 1: the command ran, and the answer is no (diagnostics, a refused change, a broken chain).
    pub fn refused(words: impl Into<String>) -> Self {
        Self { code: 1, words: words.into() }
    }

    /// Exit code 2: the command line or the settings are wrong.
    pub fn usage(words: impl Into<String>) -> Self {
        Self { code: 2, words: words.into() }
    }

    /// Exit code 3: the server cannot be reached.
    pub fn unreachable(words: impl Into<String>) -> Self {
        Self { code: UNREACHABLE, words: words.into() }
    }

    /// True where the server cannot be reached.
    pub fn is_unreachable(&self) -> bool {
        self.code == UNREACHABLE
    }

    /// Exit code 4: the token is missing, unknown or may not do that.
    pub fn denied(words: impl Into<String>) -> Self {
        Self { code: DENIED, words: words.into() }
    }

    /// True where the token is missing, unknown or may not do that.
    pub fn is_denied(&self) -> bool {
        self.code == DENIED
    }

    /// Exit code 5: it is done, and not everybody who was waited for confirmed it in time.
    pub fn unconfirmed(words: impl Into<String>) -> Self {
        Self { code: 5, words: words.into() }
    }

    /// Exit code 130: interrupted twice.
    pub fn interrupted() -> Self {
        Self { code: 130, words: "interrupted again; ended without draining".to_owned() }
    }

    /// Exit code 1 without words: what there is to say was printed already.
    pub fn silent() -> Self {
        Self::refused("")
    }

    /// The exit code.
    pub fn code(&self) -> u8 {
        self.code
    }

    /// Says it on standard error and gives the exit code.
    #[expect(clippy::print_stderr, reason = "this is where a command speaks to people")]
    pub fn report(&self) -> ExitCode {
        if !self.words.is_empty() {
            eprintln!("error: {}", self.words);
        }
        ExitCode::from(self.code)
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.words)
    }
}

impl std::error::Error for Failure {}

impl From<std::io::Error> for Failure {
    fn from(error: std::io::Error) -> Self {
        // A closed pipe (`rampart audit tail | head`) is the reader's way to say "enough".
        if error.kind() == std::io::ErrorKind::BrokenPipe {
            Self { code: 0, words: String::new() }
        } else {
            Self::refused(error.to_string())
        }
    }
}

impl From<anyhow::Error> for Failure {
    fn from(error: anyhow::Error) -> Self {
        Self::refused(format!("{error:#}"))
    }
}
