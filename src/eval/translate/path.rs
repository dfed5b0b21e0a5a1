//! Attribute paths as `var` reads them.
//!
//! Rampart's paths descend into objects only. `var` splits its name at dots and then takes whatever its language calls
//! by that name: Python indexes lists and strings and knows their `length`, JavaScript knows every property that its
//! prototypes have. Names for which that could differ have no translation.

use serde_json::{Value, json};

use crate::flag::definition::AttributePath;

/// What plain objects have in JavaScript.
const OF_OBJECTS: [&str; 13] = [
    "__defineGetter__",
    "__defineSetter__",
    "__lookupGetter__",
    "__lookupSetter__",
    "__proto__",
    "constructor",
    "hasOwnProperty",
    "isPrototypeOf",
    "propertyIsEnumerable",
    "toJSON",
    "toLocaleString",
    "toString",
    "valueOf",
];

/// What strings, lists, numbers and functions have beside it. A method by itself counts as missing, but it has a name.
const METHODS: [&str; 92] = [
    "anchor",
    "apply",
    "arguments",
    "at",
    "big",
    "bind",
    "blink",
    "bold",
    "call",
    "caller",
    "charAt",
    "charCodeAt",
    "codePointAt",
    "concat",
    "copyWithin",
    "description",
    "endsWith",
    "entries",
    "every",
    "fill",
    "filter",
    "find",
    "findIndex",
    "findLast",
    "findLastIndex",
    "fixed",
    "flat",
    "flatMap",
    "fontcolor",
    "fontsize",
    "forEach",
    "includes",
    "indexOf",
    "isWellFormed",
    "italics",
    "join",
    "keys",
    "lastIndexOf",
    "link",
    "localeCompare",
    "map",
    "match",
    "matchAll",
    "name",
    "normalize",
    "padEnd",
    "padStart",
    "pop",
    "prototype",
    "push",
    "reduce",
    "reduceRight",
    "repeat",
    "replace",
    "replaceAll",
    "reverse",
    "search",
    "shift",
    "slice",
    "small",
    "some",
    "sort",
    "splice",
    "split",
    "startsWith",
    "strike",
    "sub",
    "substr",
    "substring",
    "sup",
    "toExponential",
    "toFixed",
    "toLocaleLowerCase",
    "toLocaleUpperCase",
    "toLowerCase",
    "toPrecision",
    "toReversed",
    "toSorted",
    "toSpliced",
    "toUpperCase",
    "toWellFormed",
    "trim",
    "trimEnd",
    "trimLeft",
    "trimRight",
    "trimStart",
    "unshift",
    "values",
    "with",
    "asIntN",
    "asUintN",
    "from",
];

/// Why a path has no translation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum PathFault {
    /// A name holds a dot, a slash or a backslash, which `var` reads as more than a name.
    Splits,
    /// flagd puts its own values under that name.
    Reserved,
    /// Strings, lists or JavaScript's objects have something by that name.
    Ambiguous,
}

/// The name that `var` takes for a path.
pub(super) fn dotted(path: &AttributePath) -> Result<String, PathFault> {
    let parts = path.parts();
    let last = parts.len().saturating_sub(1);
    for (at, part) in parts.iter().enumerate() {
        let below = at > 0;
        if part.contains(['.', '/', '\\']) {
            return Err(PathFault::Splits);
        }
        if at == 0 && part == "$flagd" {
            return Err(PathFault::Reserved);
        }
        let index = part.bytes().all(|byte| byte.is_ascii_digit());
        if OF_OBJECTS.contains(&part.as_str())
            || below && (index || part == "length")
            || below && at < last && METHODS.contains(&part.as_str())
        {
            return Err(PathFault::Ambiguous);
        }
    }
    Ok(path.dotted())
}

/// The attribute, null where it is missing.
pub(super) fn var(dotted: &str) -> Value {
    json!({"var": dotted})
}

/// What the attribute calls `length`.
pub(super) fn length(dotted: &str) -> Value {
    json!({"var": format!("{dotted}.length")})
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_that_mean_more_than_a_name_are_refused() {
        let dots = |text: &str| dotted(&AttributePath::parse(text).expect("a path"));
        let whole = |text: &str| dotted(&AttributePath::literal(text).expect("a name"));
        assert_eq!(dots("address.city"), Ok("address.city".to_owned()));
        assert_eq!(dots("sub"), Ok("sub".to_owned()));
        assert_eq!(dots("user.sub"), Ok("user.sub".to_owned()));
        assert_eq!(dots("user.company.name"), Ok("user.company.name".to_owned()));
        assert_eq!(dots("0"), Ok("0".to_owned()));
        for name in ["a.b", "../x", "a\\b", "/"] {
            assert_eq!(whole(name), Err(PathFault::Splits), "{name}");
        }
        assert_eq!(dots("$flagd.flagKey"), Err(PathFault::Reserved));
        for name in ["user.0", "user.length", "constructor", "a.__proto__", "a.trim.name"] {
            assert_eq!(dots(name), Err(PathFault::Ambiguous), "{name}");
        }
    }
}
