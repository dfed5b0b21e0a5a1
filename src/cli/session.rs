//! What every command that talks to a server needs first: which server, which token, and a small runtime.

use std::collections::BTreeMap;
use std::future::Future;
use std::path::Path;

use crate::app::address_file::admin_address;
use crate::app::settings::environment::read_environment;

use super::ServerArgs;
use super::failure::Failure;
use super::http::Admin;

/// The admin plane's address where nobody says otherwise.
pub const DEFAULT_SERVER: &str = "http://127.0.0.1:8014";
/// The file in the data folder that holds the first admin token.
pub const ADMIN_TOKEN_FILE: &str = "admin.token";

/// The `RAMPART_*` variables.
///
/// # Errors
/// One of them is not UTF-8.
pub fn environment() -> Result<BTreeMap<String, String>, Failure> {
    read_environment().map_err(|faults| {
        let faults: Vec<String> = faults.iter().map(ToString::to_string).collect();
        Failure::usage(faults.join("; "))
    })
}

/// A client for the server that the options, or `RAMPART_SERVER`, name; else for the one of the data folder.
///
/// # Errors
/// The address is no URL, or the data folder has no token.
pub fn admin(args: &ServerArgs) -> Result<Admin, Failure> {
    let environment = environment()?;
    let server = args.server.clone().or_else(|| environment.get("RAMPART_SERVER").cloned());
    let server = server.or_else(|| Some(admin_address(args.data_dir.as_deref()?)?.to_string()));
    Admin::new(server.as_deref().unwrap_or(DEFAULT_SERVER), token(args.data_dir.as_deref())?)
}

/// The token to present: the data folder's where one is named, else `RAMPART_TOKEN`, else none.
///
/// # Errors
/// The data folder has no token that can be read.
pub fn token(data_dir: Option<&Path>) -> Result<Option<String>, Failure> {
    let Some(dir) = data_dir else {
        return Ok(environment()?.get("RAMPART_TOKEN").filter(|token| !token.is_empty()).cloned());
    };
    let path = dir.join(ADMIN_TOKEN_FILE);
    let text = std::fs::read_to_string(&path).map_err(|error| {
        Failure::usage(format!("cannot read {}: {error}; the first start of a server writes it", path.display()))
    })?;
    Ok(Some(text.trim().to_owned()))
}

/// Runs one command's requests to their end.
///
/// # Errors
/// Those of the command; or no runtime could be started.
pub fn block_on<T>(work: impl Future<Output = Result<T, Failure>>) -> Result<T, Failure> {
    tokio::runtime::Builder::new_current_thread().enable_all().build()?.block_on(work)
}
