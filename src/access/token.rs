//! Tokens: what they look like, what is kept of them, and how one that is presented becomes a principal.
//!
//! A token is `rampart_<id>_<secret>`: 16 and 64 lower-case hex digits. The prefix lets secret scanners find it, the id
//! is public and stands in the audit trail, and of the 256 random bits of the secret only a hash is kept:
//! `SHA-256("rampart.token.v1" ‖ id ‖ secret)`. No slow hash: there is nothing to guess in 256 random bits, and a slow
//! one would let anybody burn the server's time. Not a place for randomness or a clock: both are arguments.

use std::collections::{BTreeSet, HashMap};
use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};
use subtle::ConstantTimeEq as _;

use super::scope::{Scope, Scopes};
use crate::flag::key::EnvironmentName;
use crate::flag::time::Timestamp;

/// What every token begins with.
pub const TOKEN_PREFIX: &str = "rampart_";
/// Bytes of a token's text: the prefix, 16 digits, `_`, 64 digits.
pub const TOKEN_BYTES: usize = TOKEN_PREFIX.len() + 16 + 1 + 64;
/// Separates these hashes from every other SHA-256 in the world.
const HASH_DOMAIN: &[u8] = b"rampart.token.v1";

/// The public half of a token: 8 random bytes, shown as 16 hex digits.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct TokenId(pub [u8; 8]);

/// What is kept of a token's secret.
#[derive(Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct TokenHash(pub [u8; 32]);

/// A text that is no token, id or hash. Never holds the text: it may be a secret with a typing mistake.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum TokenFault {
    /// Not `rampart_`, 16 hex digits, `_`, 64 hex digits.
    #[error("a token is `rampart_`, 16 hex digits, `_` and 64 hex digits, all in lower case")]
    NotAToken,
    /// Not 16 hex digits.
    #[error("a token id is 16 hex digits in lower case, the part between the two underscores")]
    NotAnId,
    /// Not 64 hex digits.
    #[error("a token hash is 64 hex digits in lower case")]
    NotAHash,
}

/// A new token, the only time its secret exists in the server.
pub struct IssuedToken {
    /// The public half.
    pub id: TokenId,
    /// The whole text, to be shown once.
    pub text: String,
    /// What is kept.
    pub hash: TokenHash,
}

impl fmt::Debug for IssuedToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("IssuedToken").field("id", &self.id).field("text", &"(redacted)").finish_non_exhaustive()
    }
}

/// Makes a token of random bytes. The caller draws them from the operating system.
pub fn issue(id: [u8; 8], secret: [u8; 32]) -> IssuedToken {
    let text = format!("{TOKEN_PREFIX}{}_{}", hex(&id), hex(&secret));
    IssuedToken { id: TokenId(id), text, hash: hash(TokenId(id), &secret) }
}

/// A token whose text was made elsewhere, by whoever keeps the secrets of a deployment.
///
/// # Errors
/// The text is no token.
pub fn known(text: &str) -> Result<IssuedToken, TokenFault> {
    let (id, secret) = parse(text)?;
    Ok(issue(id.0, secret))
}

/// The environments in which a token counts.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Environments {
    /// Every environment, those to come included, and the server itself.
    All,
    /// These and no other.
    Only(Arc<BTreeSet<EnvironmentName>>),
}

impl Environments {
    /// Just one environment.
    pub fn one(name: EnvironmentName) -> Self {
        Self::Only(Arc::new(BTreeSet::from([name])))
    }

    /// True where the environment is among them.
    pub fn contain(&self, name: &EnvironmentName) -> bool {
        match self {
            Self::All => true,
            Self::Only(names) => names.contains(name),
        }
    }

    /// The environment whose flags a request on the data plane sees: the only one there is, or the default where that
    /// is among several. None where the choice is open.
    pub fn decide<'a>(&'a self, default: &'a EnvironmentName) -> Option<&'a EnvironmentName> {
        match self {
            Self::Only(names) if names.len() == 1 => names.first(),
            _ => self.contain(default).then_some(default),
        }
    }
}

/// What is kept of a token.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct TokenInfo {
    /// The public half.
    pub id: TokenId,
    /// What people call it.
    pub name: Arc<str>,
    /// The hash of the secret.
    pub hash: TokenHash,
    /// What it may do.
    pub scopes: Scopes,
    /// Where.
    pub environments: Environments,
    /// The moment from which on it is refused.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expires: Option<Timestamp>,
    /// Refused from now on, and kept so that the audit trail can name it.
    #[serde(default)]
    pub revoked: bool,
}

/// Who is asking: a token that proved itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Principal {
    /// The token's public half.
    pub id: TokenId,
    /// What people call it.
    pub name: Arc<str>,
    /// What it may do.
    pub scopes: Scopes,
    /// Where.
    pub environments: Environments,
}

impl Principal {
    /// True where it may do this in this environment.
    pub fn may(&self, scope: Scope, environment: &EnvironmentName) -> bool {
        self.scopes.allow(scope) && self.environments.contain(environment)
    }
}

/// Why a presented token proves nothing. For logs and metrics: the caller is told one and the same for all of them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum AuthFault {
    /// Not the form of a token.
    #[error("not the form of a token")]
    Malformed,
    /// No such id, or not its secret.
    #[error("unknown token or wrong secret")]
    Unknown,
    /// It was taken back.
    #[error("revoked token")]
    Revoked,
    /// Its time is over.
    #[error("expired token")]
    Expired,
}

/// All tokens at one revision. Immutable and cheap to clone, so that it travels in a snapshot.
#[derive(Debug, Clone, Default)]
pub struct Tokens(Arc<HashMap<TokenId, TokenInfo>>);

impl Tokens {
    /// How many there are, revoked ones included.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// True where there is none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// What is kept of one token.
    pub fn get(&self, id: TokenId) -> Option<&TokenInfo> {
        self.0.get(&id)
    }

    /// Every token, revoked ones included, in no particular order.
    pub fn iter(&self) -> impl Iterator<Item = &TokenInfo> {
        self.0.values()
    }

    /// Who presents this text at `now`. An unknown id costs the same work as a wrong secret, and the hashes are
    /// compared in constant time, so that the time it takes tells nothing.
    ///
    /// # Errors
    /// Why it proves nothing.
    pub fn authenticate(&self, presented: &str, now: Timestamp) -> Result<Principal, AuthFault> {
        let (id, secret) = parse(presented).map_err(|_| AuthFault::Malformed)?;
        let info = self.0.get(&id);
        let kept = info.map_or([0; 32], |info| info.hash.0);
        let same = bool::from(hash(id, &secret).0.ct_eq(&kept));
        info.filter(|_| same).ok_or(AuthFault::Unknown)?;
        self.holder(id, now)
    }

    /// Who holds a token at `now`. For something that was made for the token and has proved itself already; the id alone
    /// is no secret and proves nothing.
    ///
    /// # Errors
    /// Why the token counts no more.
    pub fn holder(&self, id: TokenId, now: Timestamp) -> Result<Principal, AuthFault> {
        let info = self.0.get(&id).ok_or(AuthFault::Unknown)?;
        if info.revoked {
            return Err(AuthFault::Revoked);
        }
        if info.expires.is_some_and(|end| end <= now) {
            return Err(AuthFault::Expired);
        }
        Ok(Principal { id, name: Arc::clone(&info.name), scopes: info.scopes, environments: info.environments.clone() })
    }
}

impl FromIterator<TokenInfo> for Tokens {
    fn from_iter<I: IntoIterator<Item = TokenInfo>>(tokens: I) -> Self {
        Self(Arc::new(tokens.into_iter().map(|token| (token.id, token)).collect()))
    }
}

fn hash(id: TokenId, secret: &[u8; 32]) -> TokenHash {
    TokenHash(Sha256::new().chain_update(HASH_DOMAIN).chain_update(id.0).chain_update(secret).finalize().into())
}

fn parse(text: &str) -> Result<(TokenId, [u8; 32]), TokenFault> {
    let (id, secret) =
        text.strip_prefix(TOKEN_PREFIX).and_then(|rest| rest.split_once('_')).ok_or(TokenFault::NotAToken)?;
    unhex(id).zip(unhex(secret)).map(|(id, secret)| (TokenId(id), secret)).ok_or(TokenFault::NotAToken)
}

/// Lower-case hex.
pub fn hex(bytes: &[u8]) -> String {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    let digit = |nibble: u8| char::from(DIGITS[usize::from(nibble)]);
    bytes.iter().flat_map(|byte| [digit(byte >> 4), digit(byte & 15)]).collect()
}

/// Reads exactly `N` bytes of lower-case hex: one token has one spelling.
fn unhex<const N: usize>(text: &str) -> Option<[u8; N]> {
    let nibble = |digit: u8| match digit {
        b'0'..=b'9' => Some(digit - b'0'),
        b'a'..=b'f' => Some(digit - b'a' + 10),
        _ => None,
    };
    let (pairs, rest) = text.as_bytes().as_chunks::<2>();
    if pairs.len() != N || !rest.is_empty() {
        return None;
    }
    let mut bytes = [0; N];
    for (byte, [high, low]) in bytes.iter_mut().zip(pairs) {
        *byte = nibble(*high)? << 4 | nibble(*low)?;
    }
    Some(bytes)
}

impl fmt::Display for TokenId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&hex(&self.0))
    }
}

impl fmt::Debug for TokenId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "TokenId({self})")
    }
}

impl FromStr for TokenId {
    type Err = TokenFault;

    fn from_str(text: &str) -> Result<Self, TokenFault> {
        unhex(text).map(Self).ok_or(TokenFault::NotAnId)
    }
}

impl TryFrom<String> for TokenId {
    type Error = TokenFault;

    fn try_from(text: String) -> Result<Self, TokenFault> {
        text.parse()
    }
}

impl From<TokenId> for String {
    fn from(id: TokenId) -> Self {
        hex(&id.0)
    }
}

impl fmt::Debug for TokenHash {
    /// Hides the hash too: it is of use to nobody who reads a log.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("TokenHash(redacted)")
    }
}

impl TryFrom<String> for TokenHash {
    type Error = TokenFault;

    fn try_from(text: String) -> Result<Self, TokenFault> {
        unhex(&text).map(Self).ok_or(TokenFault::NotAHash)
    }
}

impl From<TokenHash> for String {
    fn from(hash: TokenHash) -> Self {
        hex(&hash.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const NOW: Timestamp = Timestamp::from_micros(1_000);

    fn info(issued: &IssuedToken) -> TokenInfo {
        TokenInfo {
            id: issued.id,
            name: "ci".into(),
            hash: issued.hash,
            scopes: Scopes::only(Scope::Kill),
            environments: Environments::All,
            expires: None,
            revoked: false,
        }
    }

    fn environment(name: &str) -> EnvironmentName {
        EnvironmentName::new(name).unwrap()
    }

    #[test]
    fn the_form_and_the_hash_of_a_token_are_for_life() {
        let issued = issue([0x01, 0x23, 0x45, 0x67, 0x89, 0xab, 0xcd, 0xef], [0x5a; 32]);
        assert_eq!(issued.text, format!("rampart_0123456789abcdef_{}", "5a".repeat(32)));
        assert_eq!(issued.text.len(), TOKEN_BYTES);
        // printf 'rampart.token.v1' | cat - <(printf '0123456789abcdef%s' 5a… | xxd -r -p) | sha256sum
        assert_eq!(String::from(issued.hash), "978d54f9fdae5229d1db64e5ff2c8e7e8d3f3af89679206891f4e34be604e7ed");
    }

    #[test]
    fn what_was_issued_is_recognised() {
        let issued = issue([7; 8], [9; 32]);
        let tokens: Tokens = [info(&issued)].into_iter().collect();
        let principal = tokens.authenticate(&issued.text, NOW).unwrap();
        assert_eq!((principal.id, principal.name.as_ref()), (issued.id, "ci"));
        assert!(principal.may(Scope::Kill, &environment("production")));
        assert!(!principal.may(Scope::Read, &environment("production")));
    }

    #[test]
    fn what_was_not_issued_is_refused() {
        let issued = issue([7; 8], [9; 32]);
        let tokens: Tokens = [info(&issued)].into_iter().collect();
        for (presented, fault) in [
            (issue([7; 8], [8; 32]).text, AuthFault::Unknown),
            (issue([6; 8], [9; 32]).text, AuthFault::Unknown),
            // The hash that stands in for an unknown id's must not be one that somebody could meet.
            (issue([0; 8], [0; 32]).text, AuthFault::Unknown),
            (issued.text.to_uppercase(), AuthFault::Malformed),
            (format!("{} ", issued.text), AuthFault::Malformed),
            (format!("{}0", issued.text), AuthFault::Malformed),
            (issued.text.replacen('_', "", 1), AuthFault::Malformed),
            (String::new(), AuthFault::Malformed),
            ("rampart_é_é".to_owned(), AuthFault::Malformed),
        ] {
            assert_eq!(tokens.authenticate(&presented, NOW), Err(fault), "{presented}");
        }
    }

    #[test]
    fn a_token_ends_with_its_time_or_when_it_is_revoked() {
        let issued = issue([7; 8], [9; 32]);
        let at = |expires, revoked| {
            let token = TokenInfo { expires, revoked, ..info(&issued) };
            [token].into_iter().collect::<Tokens>().authenticate(&issued.text, NOW).map(|_| ())
        };
        assert_eq!(at(Some(NOW.plus_micros(1)), false), Ok(()));
        assert_eq!(at(Some(NOW), false), Err(AuthFault::Expired));
        assert_eq!(at(None, true), Err(AuthFault::Revoked));
        // Nobody without the secret learns that a token was revoked.
        let tokens: Tokens = [TokenInfo { revoked: true, ..info(&issued) }].into_iter().collect();
        assert_eq!(tokens.authenticate(&issue([7; 8], [1; 32]).text, NOW), Err(AuthFault::Unknown));
    }

    #[test]
    fn a_token_decides_the_environment_and_never_widens_it() {
        let (production, staging, other) = (environment("production"), environment("staging"), environment("other"));
        assert_eq!(Environments::All.decide(&production), Some(&production));
        assert_eq!(Environments::one(staging.clone()).decide(&production), Some(&staging));
        let several = Environments::Only(Arc::new([staging.clone(), other].into_iter().collect()));
        assert_eq!(several.decide(&staging), Some(&staging));
        assert_eq!(several.decide(&production), None);
        assert_eq!(Environments::Only(Arc::default()).decide(&production), None);
    }

    #[test]
    fn what_is_kept_of_a_token_survives_json_and_shows_no_secret() {
        let issued = issue([7; 8], [9; 32]);
        let kept = TokenInfo { environments: Environments::one(environment("staging")), ..info(&issued) };
        let text = serde_json::to_string(&kept).unwrap();
        assert_eq!(serde_json::from_str::<TokenInfo>(&text).unwrap(), kept);
        assert!(!text.contains(&"09".repeat(32)));
        for shown in [format!("{issued:?}"), format!("{kept:?}")] {
            assert!(!shown.contains(&"09".repeat(32)) && !shown.contains(&String::from(issued.hash)), "{shown}");
        }
    }

    proptest! {
        #[test]
        fn every_issued_token_is_recognised_and_no_neighbour_is(
            id: [u8; 8], secret: [u8; 32], at in 0usize..TOKEN_BYTES, with in "[0-9a-f_]",
        ) {
            let issued = issue(id, secret);
            let tokens: Tokens = [info(&issued)].into_iter().collect();
            prop_assert!(tokens.authenticate(&issued.text, NOW).is_ok());
            let mut other = issued.text.clone();
            other.replace_range(at..=at, &with);
            prop_assert_eq!(tokens.authenticate(&other, NOW).is_ok(), other == issued.text);
        }

        #[test]
        fn no_text_panics(text in ".*") {
            prop_assert!(Tokens::default().authenticate(&text, NOW).is_err());
        }
    }
}
