//! `rampart health`: the probe of a container or a script; exit code 0 when the server serves.

use std::collections::BTreeMap;
use std::io::Write;
use std::path::PathBuf;

use clap::Args;

use crate::app::address_file::admin_address;
use crate::app::flagd::{PREFIXES, management_port};
use crate::app::settings::environment::read_variables;

use super::ServerArgs;
use super::failure::Failure;
use super::http::{Admin, Ask};
use super::session::{DEFAULT_SERVER, block_on, environment};

/// The data folder where nobody says otherwise.
const DEFAULT_FOLDER: &str = "rampart-data";

/// Whether a running server serves.
#[derive(Debug, Args)]
pub struct Health {
    #[command(flatten)]
    server: ServerArgs,
}

impl Health {
    /// Carries out the command.
    ///
    /// # Errors
    /// The server cannot be reached or is not ready.
    pub fn run(self, out: &mut dyn Write) -> Result<(), Failure> {
        // Open to everybody, so no token is looked for.
        let environment = environment()?;
        let ask = |server: &str| {
            let admin = Admin::new(server, None)?;
            block_on(admin.ask(Ask::get("/readyz")))
        };
        let named = self.server.server.or_else(|| environment.get("RAMPART_SERVER").cloned());
        let answer = if let Some(server) = named {
            ask(&server)?
        } else {
            // What a running server says of itself is nearer the truth than the variables that it was given.
            let folder = self.server.data_dir.or_else(|| environment.get("RAMPART_DATA_DIR").map(PathBuf::from));
            let folder = folder.unwrap_or_else(|| PathBuf::from(DEFAULT_FOLDER));
            match admin_address(&folder).map(|address| ask(&address.to_string())) {
                Some(Err(failure)) if failure.is_unreachable() => ask(&told(&environment))?,
                Some(answer) => answer?,
                None => ask(&told(&environment))?,
            }
        };
        Ok(writeln!(out, "{}", answer.body)?)
    }
}

/// Where the variables say that the server listens; in a container they name the port.
fn told(environment: &BTreeMap<String, String>) -> String {
    // Whoever sets flagd's variable runs `start`, which follows it.
    let managing = read_variables(&PREFIXES).ok().and_then(|all| management_port(&all));
    let managing = managing.map(|port| format!("http://127.0.0.1:{port}"));
    let listening = || {
        let address = environment.get("RAMPART_ADMIN_LISTEN")?;
        Some(address.replace("0.0.0.0", "127.0.0.1").replace("[::]", "[::1]"))
    };
    managing.or_else(listening).unwrap_or_else(|| DEFAULT_SERVER.to_owned())
}
