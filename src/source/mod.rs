//! Facts **arriving**: flag files.

pub mod file;
