//! What `If-None-Match` says about an entity tag (RFC 9110 section 13.1.2).

/// True where a value of the header names the tag: `*`, or one of a list, strong or weak.
pub fn names(value: &str, tag: &str) -> bool {
    value.trim() == "*" || value.split(',').map(str::trim).any(|held| held.strip_prefix("W/").unwrap_or(held) == tag)
}
