//! The methods of both versions, found by their paths.

/// Which version of the protocol a call speaks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Version {
    /// A value is always there.
    V1,
    /// A value may be left out: use the code default.
    V2,
}

/// The type that a caller asks a flag for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Wanted {
    /// `true` or `false`.
    Boolean,
    /// A text.
    String,
    /// Any number.
    Float,
    /// A whole number.
    Int,
    /// An object.
    Object,
}

/// What is called.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Call {
    /// One flag.
    Resolve(Wanted),
    /// Every flag; v1 alone.
    ResolveAll,
    /// What changes.
    EventStream,
}

/// One method of one version.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Method {
    /// The version.
    pub version: Version,
    /// What is called.
    pub call: Call,
    /// The path as the policy table has it.
    pub route: &'static str,
}

const fn method(version: Version, call: Call, route: &'static str) -> Method {
    Method { version, call, route }
}

/// Every method; the most asked first.
const METHODS: [Method; 13] = [
    method(Version::V2, Call::Resolve(Wanted::Boolean), "/flagd.evaluation.v2.Service/ResolveBoolean"),
    method(Version::V2, Call::Resolve(Wanted::String), "/flagd.evaluation.v2.Service/ResolveString"),
    method(Version::V2, Call::Resolve(Wanted::Float), "/flagd.evaluation.v2.Service/ResolveFloat"),
    method(Version::V2, Call::Resolve(Wanted::Int), "/flagd.evaluation.v2.Service/ResolveInt"),
    method(Version::V2, Call::Resolve(Wanted::Object), "/flagd.evaluation.v2.Service/ResolveObject"),
    method(Version::V2, Call::EventStream, "/flagd.evaluation.v2.Service/EventStream"),
    method(Version::V1, Call::Resolve(Wanted::Boolean), "/flagd.evaluation.v1.Service/ResolveBoolean"),
    method(Version::V1, Call::Resolve(Wanted::String), "/flagd.evaluation.v1.Service/ResolveString"),
    method(Version::V1, Call::Resolve(Wanted::Float), "/flagd.evaluation.v1.Service/ResolveFloat"),
    method(Version::V1, Call::Resolve(Wanted::Int), "/flagd.evaluation.v1.Service/ResolveInt"),
    method(Version::V1, Call::Resolve(Wanted::Object), "/flagd.evaluation.v1.Service/ResolveObject"),
    method(Version::V1, Call::ResolveAll, "/flagd.evaluation.v1.Service/ResolveAll"),
    method(Version::V1, Call::EventStream, "/flagd.evaluation.v1.Service/EventStream"),
];

impl Method {
    /// The method at a path, with or without its first slash.
    pub fn at(path: &str) -> Option<Self> {
        let path = path.strip_prefix('/').unwrap_or(path);
        METHODS.into_iter().find(|method| method.route.strip_prefix('/') == Some(path))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::access::policy::{Plane, ROUTES};

    #[test]
    fn the_policy_table_has_the_same_methods() {
        let mut routes: Vec<_> = ROUTES
            .iter()
            .filter(|route| route.plane == Plane::Data && route.path.starts_with("/flagd.evaluation."))
            .map(|route| route.path)
            .collect();
        let mut methods: Vec<_> = METHODS.iter().map(|method| method.route).collect();
        routes.sort_unstable();
        methods.sort_unstable();
        assert_eq!(routes, methods);
    }

    #[test]
    fn v2_cannot_be_asked_for_everything() {
        assert_eq!(Method::at("flagd.evaluation.v2.Service/ResolveAll"), None);
        assert_eq!(Method::at("/flagd.evaluation.v1.Service/ResolveAll").unwrap().call, Call::ResolveAll);
        assert_eq!(Method::at("flagd.evaluation.v1.Service/"), None);
    }
}
