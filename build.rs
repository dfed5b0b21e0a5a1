//! Compiles `proto/` into `OUT_DIR` with protox, so that nobody needs `protoc`. Not a place for logic.

use std::error::Error;

#[expect(clippy::disallowed_methods, reason = "cargo tells a build script its features by the environment")]
fn main() -> Result<(), Box<dyn Error>> {
    println!("cargo:rerun-if-changed=proto");
    // Without the client there is no wire, and tonic is not there to compile the result.
    if std::env::var_os("CARGO_FEATURE_CLIENT").is_none() {
        return Ok(());
    }
    let descriptors = protox::compile(["rampart/v1/rampart.proto"], ["proto"])?;
    tonic_prost_build::configure().build_transport(false).bytes(".").compile_fds(descriptors)?;
    Ok(())
}
