//! The process: parse the command line, run the command, report how it went.

use std::process::ExitCode;

use rampart::cli::Rampart;

fn main() -> ExitCode {
    match Rampart::typed().run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => failure.report(),
    }
}
