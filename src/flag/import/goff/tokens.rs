//! The words of a query, as its grammar cuts them: every space counts, and a name may hold `-`, `_` and `:`.

/// One word and the character at which it begins, from 1.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Token<'q> {
    pub(super) at: usize,
    pub(super) word: Word<'q>,
}

/// The kinds of words.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) enum Word<'q> {
    /// A name, an operator in letters, `true`, `null`, `and`, …
    Name(&'q str),
    /// `==`, `!=`, `>`, `<`, `>=`, `<=`.
    Sign(&'q str),
    /// What stands between double quotes, backslashes and all: the other system does not unescape it.
    Text(&'q str),
    /// Digits, with points or an exponent.
    Number(&'q str),
    /// One space, and the line breaks after it.
    Space,
    /// A comma, and the spaces after it.
    Comma,
    /// `(`, `)`, `[`, `]`, `.`, `-`.
    Mark(char),
}

/// Cuts a query into words.
///
/// # Errors
/// The character at which no word begins.
pub(super) fn cut(query: &str) -> Result<Vec<Token<'_>>, usize> {
    let mut tokens = Vec::new();
    let mut rest = query;
    let mut at = 1;
    while let Some(first) = rest.chars().next() {
        let (word, length) = next(rest, first).ok_or(at)?;
        tokens.push(Token { at, word });
        at += rest[..length].chars().count();
        rest = &rest[length..];
    }
    Ok(tokens)
}

fn next(rest: &str, first: char) -> Option<(Word<'_>, usize)> {
    let run = |is: fn(char) -> bool| rest.find(|character| !is(character)).unwrap_or(rest.len());
    Some(match first {
        ' ' => (Word::Space, 1 + rest[1..].find(|c| c != '\n').unwrap_or(rest.len() - 1)),
        ',' => (Word::Comma, 1 + rest[1..].find(|c| c != ' ').unwrap_or(rest.len() - 1)),
        '(' | ')' | '[' | ']' | '.' | '-' => (Word::Mark(first), 1),
        '=' | '!' | '>' | '<' => {
            let length = if rest[1..].starts_with('=') { 2 } else { 1 };
            let sign = &rest[..length];
            (matches!(sign, "==" | "!=" | ">" | "<" | ">=" | "<=")).then_some((Word::Sign(sign), length))?
        }
        '"' => {
            let mut escaped = false;
            let end = rest[1..].find(|character| {
                let end = character == '"' && !escaped;
                escaped = character == '\\' && !escaped;
                end
            })?;
            (Word::Text(&rest[1..=end]), end + 2)
        }
        '0'..='9' => {
            let length = run(|c| c.is_ascii_digit() || c == '.');
            (Word::Number(&rest[..length]), length)
        }
        first if first.is_ascii_alphabetic() => {
            let length = run(|c| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | ':'));
            (Word::Name(&rest[..length]), length)
        }
        _ => return None,
    })
}
