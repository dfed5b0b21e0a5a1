//! What a flag **is**: keys, definition, parser, diagnostics, limits; revisions and timestamps.
//!
//! Pure: text and values in, values and diagnostics out. It does not know how a flag is answered (`eval`), who may
//! change it (`access`) or where it is kept (`journal`).

pub mod definition;
pub mod diagnostic;
#[cfg(test)]
pub(crate) mod generate;
pub mod import;
pub mod json;
pub mod key;
pub mod kill;
pub mod limits;
pub mod parse;
pub mod percent;
pub mod print;
pub mod schema;
pub mod time;
pub mod tree;
pub mod words;
pub mod yaml;
