//! **Who** may do what: principals, scopes, tokens, and the one policy table. Pure: random bytes and `now` are arguments.

pub mod policy;
pub mod scope;
pub mod token;
