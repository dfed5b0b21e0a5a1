//! The last-known-good file: what a client serves when it starts and no server answers.
//!
//! Two generations, the newest and the one before; each is whole or is not used. Nothing in it expires. One file belongs
//! to one process.

pub mod file;
pub mod format;
pub mod keeper;
