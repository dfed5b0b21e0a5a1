//! The file that says where a running server's admin plane listens, for commands on the same machine.
//!
//! The address may come from an option, a configuration file or the system, and `rampart health` sees none of them. It
//! is a help and no more: a folder that cannot be written keeps no server from starting, and of two servers in one
//! folder the last one is found.

use std::io::ErrorKind;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::{Path, PathBuf};

use crate::journal::folder::replace_private;

const ADMIN_ADDRESS_FILE: &str = "admin.address";

/// The address as it stands in folders; taken out again when dropped.
#[derive(Debug)]
pub struct AddressFiles {
    text: String,
    files: Vec<PathBuf>,
}

impl AddressFiles {
    /// Leaves the address in these folders, as far as they exist.
    pub fn leave<'f>(address: SocketAddr, folders: impl IntoIterator<Item = &'f Path>) -> Self {
        let mut left = Self { text: format!("{address}\n"), files: Vec::new() };
        for folder in folders {
            let file = folder.join(ADMIN_ADDRESS_FILE);
            match replace_private(&file, left.text.as_bytes()) {
                Ok(()) => left.files.push(file),
                Err(error) if error.kind() == ErrorKind::NotFound => {}
                Err(error) => tracing::warn!(file = %file.display(), %error,
                    "the admin address could not be left for `rampart health`, which goes by its variables then"),
            }
        }
        left
    }
}

impl Drop for AddressFiles {
    fn drop(&mut self) {
        for file in &self.files {
            // Another server may have put its own there since.
            if std::fs::read_to_string(file).is_ok_and(|text| text == self.text) {
                std::fs::remove_file(file).ok();
            }
        }
    }
}

/// Where the server of a data folder can be asked on this machine, if it says so.
pub fn admin_address(folder: &Path) -> Option<SocketAddr> {
    let text = std::fs::read_to_string(folder.join(ADMIN_ADDRESS_FILE)).ok()?;
    let mut address: SocketAddr = text.trim().parse().ok()?;
    match address.ip() {
        IpAddr::V4(ip) if ip.is_unspecified() => address.set_ip(Ipv4Addr::LOCALHOST.into()),
        IpAddr::V6(ip) if ip.is_unspecified() => address.set_ip(Ipv6Addr::LOCALHOST.into()),
        _ => {}
    }
    Some(address)
}
