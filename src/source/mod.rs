//! Facts **arriving**: flag files, one or several that together are one.

pub mod file;
pub mod merge;
pub mod several;
