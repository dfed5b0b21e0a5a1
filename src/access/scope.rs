//! What a token may do: seven words, what each includes, and a small set of them.
//!
//! A scope says *what*, never *where*: the environments stand beside it in the token. Which route needs which scope is
//! in `policy`.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// One thing that a token may do.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Scope {
    /// Ask for answers; never sees rules.
    Evaluate,
    /// Subscribe, and read definitions and the audit trail.
    Read,
    /// Send telemetry.
    Report,
    /// Drive rollouts.
    Operate,
    /// Change definitions and segments.
    Write,
    /// Kill and restore, and nothing else: what automated rollback carries.
    Kill,
    /// Everything, tokens and environments included.
    Admin,
}

impl Scope {
    /// Every scope, from the weakest to the strongest.
    pub const ALL: [Self; 7] =
        [Self::Evaluate, Self::Read, Self::Report, Self::Operate, Self::Write, Self::Kill, Self::Admin];

    /// The word that stands in tokens, requests and on the command line.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Evaluate => "evaluate",
            Self::Read => "read",
            Self::Report => "report",
            Self::Operate => "operate",
            Self::Write => "write",
            Self::Kill => "kill",
            Self::Admin => "admin",
        }
    }

    /// The one table of what each scope includes beside itself. Who writes sees what is written and what it answers;
    /// who drives a rollout sees the flag. `kill` includes nothing and is included by `admin` alone, so that taking a
    /// flag back and writing it stay two different rights.
    pub const fn includes(self) -> &'static [Self] {
        match self {
            Self::Evaluate | Self::Read | Self::Report | Self::Kill => &[],
            Self::Operate => &[Self::Read],
            Self::Write => &[Self::Read, Self::Evaluate],
            Self::Admin => &Self::ALL,
        }
    }

    const fn bit(self) -> u8 {
        1 << self as u8
    }
}

impl fmt::Display for Scope {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// A word that is no scope.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub struct UnknownScope {
    /// The word, cut to a length that is safe to show.
    pub given: String,
    /// The scope that looks most like it, where one does.
    pub nearest: Option<Scope>,
}

impl fmt::Display for UnknownScope {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "unknown scope {:?}; ", self.given)?;
        if let Some(nearest) = self.nearest {
            return write!(f, "did you mean `{nearest}`?");
        }
        f.write_str("one of")?;
        for (at, scope) in Scope::ALL.iter().enumerate() {
            write!(f, "{} {scope}", if at == 0 { "" } else { "," })?;
        }
        Ok(())
    }
}

impl FromStr for Scope {
    type Err = UnknownScope;

    fn from_str(text: &str) -> Result<Self, UnknownScope> {
        if let Some(scope) = Self::ALL.into_iter().find(|scope| scope.as_str() == text) {
            return Ok(scope);
        }
        // Words longer than any scope resemble none, and are not worth the quadratic comparison.
        let given: String = text.chars().take(32).collect();
        let likeness = |scope: &Self| strsim::jaro_winkler(scope.as_str(), &given.to_lowercase());
        let nearest = Self::ALL
            .into_iter()
            .max_by(|a, b| likeness(a).total_cmp(&likeness(b)))
            .filter(|scope| likeness(scope) >= 0.8);
        Err(UnknownScope { given, nearest })
    }
}

/// A set of scopes, exactly as given; what they include is worked out by [`Scopes::allow`].
#[derive(Clone, Copy, PartialEq, Eq, Hash, Default, Serialize, Deserialize)]
#[serde(try_from = "Vec<String>", into = "Vec<&'static str>")]
pub struct Scopes(u8);

impl Scopes {
    /// No scope at all.
    pub const NONE: Self = Self(0);

    /// The set of one scope.
    pub const fn only(scope: Scope) -> Self {
        Self(scope.bit())
    }

    /// The same set with one more scope.
    #[must_use]
    pub const fn with(self, scope: Scope) -> Self {
        Self(self.0 | scope.bit())
    }

    /// True where the scope was given by name.
    pub const fn contain(self, scope: Scope) -> bool {
        self.0 & scope.bit() != 0
    }

    /// True where the scope was given by name or is included in one that was.
    pub fn allow(self, scope: Scope) -> bool {
        self.contain(scope) || self.iter().any(|held| held.includes().contains(&scope))
    }

    /// True where no scope was given.
    pub const fn is_empty(self) -> bool {
        self.0 == 0
    }

    /// The scopes given by name, from the weakest to the strongest.
    pub fn iter(self) -> impl Iterator<Item = Scope> {
        Scope::ALL.into_iter().filter(move |scope| self.contain(*scope))
    }
}

impl FromIterator<Scope> for Scopes {
    fn from_iter<I: IntoIterator<Item = Scope>>(scopes: I) -> Self {
        scopes.into_iter().fold(Self::NONE, Self::with)
    }
}

impl TryFrom<Vec<String>> for Scopes {
    type Error = UnknownScope;

    fn try_from(words: Vec<String>) -> Result<Self, UnknownScope> {
        words.iter().map(|word| word.parse()).collect()
    }
}

impl From<Scopes> for Vec<&'static str> {
    fn from(scopes: Scopes) -> Self {
        scopes.iter().map(Scope::as_str).collect()
    }
}

impl fmt::Display for Scopes {
    /// `read, kill`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (at, scope) in self.iter().enumerate() {
            write!(f, "{}{scope}", if at == 0 { "" } else { ", " })?;
        }
        Ok(())
    }
}

impl fmt::Debug for Scopes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.iter()).finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_scope_allows_what_the_table_says_and_no_more() {
        // Rows: the scope held. Columns: evaluate read report operate write kill admin.
        for (held, allowed) in [
            (Scope::Evaluate, "x......"),
            (Scope::Read, ".x....."),
            (Scope::Report, "..x...."),
            (Scope::Operate, ".x.x..."),
            (Scope::Write, "xx..x.."),
            (Scope::Kill, ".....x."),
            (Scope::Admin, "xxxxxxx"),
        ] {
            let row: String =
                Scope::ALL.map(|scope| if Scopes::only(held).allow(scope) { 'x' } else { '.' }).iter().collect();
            assert_eq!(row, allowed, "{held}");
        }
        assert!(Scope::ALL.iter().all(|scope| !Scopes::NONE.allow(*scope)));
    }

    #[test]
    fn inclusion_has_no_second_step() {
        for scope in Scope::ALL {
            for included in scope.includes() {
                assert!(included.includes().iter().all(|deeper| scope.includes().contains(deeper)), "{scope}");
            }
        }
    }

    #[test]
    fn a_mistyped_scope_is_answered_with_the_nearest() {
        assert_eq!("write".parse(), Ok(Scope::Write));
        let fault = "evalute".parse::<Scope>().unwrap_err();
        assert_eq!(fault.nearest, Some(Scope::Evaluate));
        assert_eq!(fault.to_string(), "unknown scope \"evalute\"; did you mean `evaluate`?");
        let fault = "x".repeat(1_000_000).parse::<Scope>().unwrap_err();
        assert_eq!(fault.nearest, None);
        assert!(fault.to_string().ends_with("one of evaluate, read, report, operate, write, kill, admin"));
    }

    #[test]
    fn a_set_is_written_as_its_words() {
        let scopes: Scopes = [Scope::Kill, Scope::Read, Scope::Kill].into_iter().collect();
        let text = serde_json::to_string(&scopes).unwrap();
        assert_eq!(text, r#"["read","kill"]"#);
        assert_eq!(serde_json::from_str::<Scopes>(&text).unwrap(), scopes);
        assert!(serde_json::from_str::<Scopes>(r#"["root"]"#).is_err());
    }
}
