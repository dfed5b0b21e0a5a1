//! Canonical JSON of whole values: one text per value, so that equal payloads have equal bytes on every node.
//!
//! No white space; members of objects in the order of their names' UTF-8 bytes; strings escape `"`, `\` and what lies
//! below U+0020 (`\b \t \n \f \r`, else `\u00xx`) and nothing else; integers as digits, other numbers in the shortest
//! form that reads back as the same IEEE double. Nothing verifies by printing again: digests cover bytes as stored.

use serde::Serialize;

use crate::flag::print::to_canonical_bytes;

/// The canonical text of a value.
///
/// # Errors
/// Where the value has no JSON form: a map whose keys are not texts.
pub fn to_text(value: &impl Serialize) -> Result<String, serde_json::Error> {
    let bytes = to_canonical_bytes(&serde_json::to_value(value)?);
    Ok(String::from_utf8(bytes).expect("JSON is UTF-8"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn members_are_sorted_by_bytes_at_every_depth() {
        let value = json!({"b": [{"z": 1, "a": 2.5}], "é": "\u{1}\"", "a": null, "Z": true});
        assert_eq!(to_text(&value).unwrap(), r#"{"Z":true,"a":null,"b":[{"a":2.5,"z":1}],"é":"\u0001\""}"#);
    }
}
