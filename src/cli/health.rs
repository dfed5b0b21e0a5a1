//! `rampart health`: the probe of a container or a script; exit code 0 when the server serves.

use std::io::Write;

use clap::Args;

use crate::app::flagd::{PREFIXES, management_port};
use crate::app::settings::environment::read_variables;

use super::ServerArgs;
use super::failure::Failure;
use super::http::{Admin, Ask};
use super::session::{block_on, environment};

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
        // Open to everybody, so no token is looked for; in a container the listen address names the port.
        let environment = environment()?;
        let listening = environment
            .get("RAMPART_ADMIN_LISTEN")
            .map(|address| address.replace("0.0.0.0", "127.0.0.1").replace("[::]", "[::1]"));
        // Whoever sets flagd's variable runs `start`, which follows it.
        let managing = read_variables(&PREFIXES).ok().and_then(|all| management_port(&all));
        let managing = managing.map(|port| format!("http://127.0.0.1:{port}"));
        let server = self.server.server.or_else(|| environment.get("RAMPART_SERVER").cloned());
        let server = server.or(managing).or(listening);
        let admin = Admin::new(server.as_deref().unwrap_or("http://127.0.0.1:8014"), None)?;
        let answer = block_on(admin.ask(Ask::get("/readyz")))?;
        Ok(writeln!(out, "{}", answer.body)?)
    }
}
