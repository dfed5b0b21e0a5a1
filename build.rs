//! Compiles `proto/` into `OUT_DIR` with protox, so that nobody needs `protoc`. Not a place for logic.

use std::error::Error;
use std::path::PathBuf;

#[expect(clippy::disallowed_methods, reason = "cargo tells a build script its features by the environment")]
fn main() -> Result<(), Box<dyn Error>> {
    println!("cargo:rerun-if-changed=proto");
    // Without the client there is no wire, and tonic is not there to compile the result.
    if std::env::var_os("CARGO_FEATURE_CLIENT").is_none() {
        return Ok(());
    }
    let descriptors = protox::compile(["rampart/v1/rampart.proto"], ["proto"])?;
    tonic_prost_build::configure().build_transport(false).bytes(".").compile_fds(descriptors)?;
    if std::env::var_os("CARGO_FEATURE_SERVER").is_some() {
        flagd()?;
    }
    Ok(())
}

/// flagd's protocols are spoken through connectrpc, which has types of its own.
#[expect(clippy::disallowed_methods, reason = "cargo tells a build script its features by the environment")]
fn flagd() -> Result<(), Box<dyn Error>> {
    let files =
        ["flagd/evaluation/v1/evaluation.proto", "flagd/evaluation/v2/evaluation.proto", "flagd/sync/v1/sync.proto"];
    let mut compiler = protox::Compiler::new(["proto"])?;
    compiler.include_imports(true).open_files(files)?;
    let out = PathBuf::from(std::env::var_os("OUT_DIR").ok_or("cargo sets OUT_DIR")?);
    let set = out.join("flagd.descriptors");
    std::fs::write(&set, compiler.encode_file_descriptor_set())?;
    connectrpc_build::Config::new()
        .descriptor_set(set)
        .files(&files)
        .emit_rerun_directives(false)
        .include_file("_connectrpc.rs")
        .compile()?;
    Ok(())
}
