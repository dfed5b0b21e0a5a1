//! Tickets: what lets a browser open a change stream, since its `EventSource` sends no headers.
//!
//! A ticket is `<token id>.<end>.<mac>`. It was made for a token and stands for it, for one selector in one environment,
//! on this one route, for one to two hours. The key of the keyed digest (HMAC-SHA-256, 128 bits of it) is the kept hash
//! of the token's secret, so that tickets outlive a restart and count on every node that knows the token, and end with
//! it. Within an hour the same request gets the same ticket: an answer that holds it has the same entity tag, and a new
//! tag once the ticket is renewed, so that a client which asks whether anything has changed gets the new one in time.
//!
//! What it opens says that something changed, never what. Not a token: nothing else reads it.

use hmac::{Hmac, KeyInit as _, Mac as _};
use sha2::Sha256;

use crate::access::token::{AuthFault, Principal, TokenId, TokenInfo, Tokens};
use crate::flag::key::EnvironmentName;
use crate::flag::time::Timestamp;

/// Separates these digests from every other one under the same key.
const DOMAIN: &[u8] = b"rampart.sse-ticket.v1";
/// How long the same request gets the same ticket, in seconds. It is good until the end of the next such period.
const PERIOD: i64 = 3600;
/// Bytes of the digest that a ticket carries.
const MAC_BYTES: usize = 16;

/// A ticket for a token that is valid now. `selector` is the canonical text of what the stream is about.
pub fn issue(token: &TokenInfo, environment: &EnvironmentName, selector: &str, now: Timestamp) -> String {
    let end = (now.seconds().div_euclid(PERIOD) + 2).saturating_mul(PERIOD);
    let digest = digest(token, environment, selector, end).finalize().into_bytes();
    let mac: String = digest.iter().take(MAC_BYTES).map(|byte| format!("{byte:02x}")).collect();
    format!("{}.{end}.{mac}", token.id)
}

/// Whom a ticket stands for; `default` is the environment of tokens that leave it open.
///
/// # Errors
/// It is none, was made for something else or altered, is too old, or its token counts no more.
pub fn holder(
    text: &str,
    tokens: &Tokens,
    default: &EnvironmentName,
    selector: &str,
    now: Timestamp,
) -> Result<Principal, AuthFault> {
    let (id, end, mac) = parse(text).ok_or(AuthFault::Malformed)?;
    let token = tokens.get(id).ok_or(AuthFault::Unknown)?;
    let environment = token.environments.decide(default).ok_or(AuthFault::Unknown)?;
    digest(token, environment, selector, end).verify_truncated_left(&mac).map_err(|_| AuthFault::Unknown)?;
    if end <= now.seconds() {
        return Err(AuthFault::Expired);
    }
    tokens.holder(id, now)
}

fn digest(token: &TokenInfo, environment: &EnvironmentName, selector: &str, end: i64) -> Hmac<Sha256> {
    let mac = Hmac::<Sha256>::new_from_slice(&token.hash.0).expect("HMAC takes keys of any length");
    // The end has one length and a name holds no NUL, so that no two contents look alike.
    mac.chain_update(DOMAIN)
        .chain_update(end.to_be_bytes())
        .chain_update(environment.as_str())
        .chain_update([0])
        .chain_update(selector)
}

fn parse(text: &str) -> Option<(TokenId, i64, [u8; MAC_BYTES])> {
    let (id, rest) = text.split_once('.')?;
    let (end, digits) = rest.split_once('.')?;
    let one_spelling = |byte: u8| byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte);
    if digits.len() != 2 * MAC_BYTES || !digits.bytes().all(one_spelling) {
        return None;
    }
    let mac = u128::from_str_radix(digits, 16).ok()?.to_be_bytes();
    Some((id.parse().ok()?, end.parse().ok()?, mac))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::access::scope::{Scope, Scopes};
    use crate::access::token::{Environments, issue as issue_token};
    use proptest::prelude::*;

    const HOUR: i64 = 3_600_000_000;
    const NOW: Timestamp = Timestamp::from_micros(1_700_000_000_000_000);

    fn environment(name: &str) -> EnvironmentName {
        EnvironmentName::new(name).unwrap()
    }

    fn token_numbered(number: u8) -> TokenInfo {
        let issued = issue_token([number; 8], [number; 32]);
        TokenInfo {
            id: issued.id,
            name: "t".into(),
            hash: issued.hash,
            scopes: Scopes::only(Scope::Evaluate),
            environments: Environments::one(environment("staging")),
            expires: None,
            revoked: false,
        }
    }

    fn ask(text: &str, token: &TokenInfo, selector: &str, now: Timestamp) -> Result<TokenId, AuthFault> {
        let tokens: Tokens = [token.clone()].into_iter().collect();
        holder(text, &tokens, &environment("production"), selector, now).map(|principal| principal.id)
    }

    #[test]
    fn a_ticket_stands_for_its_token_until_it_ends() {
        let token = token_numbered(1);
        let ticket = issue(&token, &environment("staging"), "flagSetId=web", NOW);
        for (hours, expected) in
            [(0, Ok(token.id)), (1, Ok(token.id)), (2, Err(AuthFault::Expired)), (9, Err(AuthFault::Expired))]
        {
            assert_eq!(ask(&ticket, &token, "flagSetId=web", NOW.plus_micros(hours * HOUR)), expected, "{hours} h");
        }
        let revoked = TokenInfo { revoked: true, ..token.clone() };
        assert_eq!(ask(&ticket, &revoked, "flagSetId=web", NOW), Err(AuthFault::Revoked));
        let ended = TokenInfo { expires: Some(NOW), ..token };
        assert_eq!(ask(&ticket, &ended, "flagSetId=web", NOW), Err(AuthFault::Expired));
    }

    #[test]
    fn a_ticket_is_for_one_selector_and_environment_and_token() {
        let token = token_numbered(1);
        let ticket = issue(&token, &environment("staging"), "flagSetId=web", NOW);
        for selector in ["", "flagSetId=", "flagSetId=ios", "flagSetId=web "] {
            assert_eq!(ask(&ticket, &token, selector, NOW), Err(AuthFault::Unknown), "{selector}");
        }
        let elsewhere = issue(&token, &environment("production"), "flagSetId=web", NOW);
        assert_eq!(ask(&elsewhere, &token, "flagSetId=web", NOW), Err(AuthFault::Unknown));
        let other = TokenInfo { id: token.id, ..token_numbered(2) };
        assert_eq!(ask(&ticket, &other, "flagSetId=web", NOW), Err(AuthFault::Unknown), "another secret");
    }

    #[test]
    fn within_an_hour_the_ticket_stays_the_same() {
        let at = |micros: i64| issue(&token_numbered(1), &environment("staging"), "", Timestamp::from_micros(micros));
        assert_eq!(at(10 * HOUR), at(11 * HOUR - 1));
        assert_ne!(at(10 * HOUR), at(11 * HOUR));
    }

    proptest! {
        #[test]
        fn no_altered_ticket_opens_anything(at in 0usize..80, with in "[0-9a-f.]") {
            let token = token_numbered(1);
            let ticket = issue(&token, &environment("staging"), "", NOW);
            let at = at % ticket.len();
            let altered = format!("{}{with}{}", &ticket[..at], &ticket[at + 1..]);
            prop_assume!(altered != ticket);
            prop_assert!(ask(&altered, &token, "", NOW).is_err());
            prop_assert!(ask(&ticket, &token, "", NOW).is_ok());
        }

        #[test]
        fn no_text_panics(text in "\\PC{0,90}") {
            prop_assert!(ask(&text, &token_numbered(1), "", NOW).is_err());
        }
    }
}
