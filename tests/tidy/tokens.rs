//! Reads a macro's tokens, which have no syntax yet: paths, renames, `async`, functions.

use proc_macro2::{Delimiter, Group, Ident, TokenStream, TokenTree};

/// What stands among the tokens.
#[derive(Debug)]
pub enum Seen {
    /// A path and its line; a macro call ends in `!`.
    Path(Vec<String>, usize),
    /// `path as name`.
    Alias(String, Vec<String>),
    /// `crate::$name`, which may become any path.
    Hidden(usize),
    /// `async` or `await`.
    Keyword(String, usize),
    /// A function: its name, the line of `fn`, the line of its closing brace.
    Function(String, usize, usize),
}

/// Reads `stream` and the groups inside it. In an attribute, strings that look like paths count as paths
/// (`#[serde(with = "crate::…")]`).
pub fn scan(stream: &TokenStream, attribute: bool, seen: &mut Vec<Seen>) {
    let tokens: Vec<TokenTree> = stream.clone().into_iter().collect();
    let mut rest = tokens.as_slice();
    let mut after_dot = false;
    while let Some((token, behind)) = rest.split_first() {
        rest = behind;
        match token {
            TokenTree::Group(group) => scan(&group.stream(), attribute, seen),
            TokenTree::Literal(literal) if attribute => string_path(literal, seen),
            TokenTree::Ident(ident) if *ident == "async" || *ident == "await" => {
                seen.push(Seen::Keyword(ident.to_string(), line(ident)));
            }
            TokenTree::Ident(ident) if *ident == "fn" => function(ident, behind, seen),
            // A field or a method is no path.
            TokenTree::Ident(ident) if !after_dot => rest = path(ident, behind, seen),
            TokenTree::Ident(_) | TokenTree::Literal(_) | TokenTree::Punct(_) => {}
        }
        after_dot = matches!(token, TokenTree::Punct(punct) if punct.as_char() == '.');
    }
}

fn line(ident: &Ident) -> usize {
    ident.span().start().line
}

fn name(ident: &Ident) -> String {
    ident.to_string().trim_start_matches("r#").to_owned()
}

/// What follows a `::`, if one stands there.
fn after_colons(tokens: &[TokenTree]) -> Option<&[TokenTree]> {
    match tokens {
        [TokenTree::Punct(one), TokenTree::Punct(two), rest @ ..] if one.as_char() == ':' && two.as_char() == ':' => {
            Some(rest)
        }
        _ => None,
    }
}

/// Reads a path that begins with `first`; what is left behind it.
fn path<'t>(first: &Ident, mut rest: &'t [TokenTree], seen: &mut Vec<Seen>) -> &'t [TokenTree] {
    let at = line(first);
    let mut path = vec![name(first)];
    while let Some(behind) = after_colons(rest) {
        match behind {
            [TokenTree::Ident(ident), behind @ ..] => {
                path.push(name(ident));
                rest = behind;
            }
            [TokenTree::Group(group), behind @ ..] if group.delimiter() == Delimiter::Brace => {
                import_group(&path, group, seen);
                return behind;
            }
            [TokenTree::Punct(star), behind @ ..] if star.as_char() == '*' => {
                path.push("*".to_owned());
                rest = behind;
            }
            [TokenTree::Punct(dollar), ..] if dollar.as_char() == '$' => {
                if matches!(path.first().map(String::as_str), Some("crate" | "super" | "self")) {
                    seen.push(Seen::Hidden(at));
                }
                break;
            }
            _ => break,
        }
    }
    if let [TokenTree::Ident(word), TokenTree::Ident(alias), behind @ ..] = rest
        && *word == "as"
    {
        seen.push(Seen::Alias(name(alias), path.clone()));
        rest = behind;
    }
    if let [TokenTree::Punct(bang), TokenTree::Group(_), ..] = rest
        && bang.as_char() == '!'
        && let Some(last) = path.last_mut()
    {
        last.push('!');
    }
    seen.push(Seen::Path(path, at));
    rest
}

/// `prefix::{a, b::c}`.
fn import_group(prefix: &[String], group: &Group, seen: &mut Vec<Seen>) {
    let mut inner = Vec::new();
    scan(&group.stream(), false, &mut inner);
    let whole = |path: Vec<String>| {
        if path == ["self"] { prefix.to_vec() } else { [prefix, path.as_slice()].concat() }
    };
    seen.extend(inner.into_iter().map(|found| match found {
        Seen::Path(path, line) => Seen::Path(whole(path), line),
        Seen::Alias(name, path) => Seen::Alias(name, whole(path)),
        other @ (Seen::Hidden(_) | Seen::Keyword(..) | Seen::Function(..)) => other,
    }));
}

fn function(keyword: &Ident, rest: &[TokenTree], seen: &mut Vec<Seen>) {
    let Some(TokenTree::Ident(ident)) = rest.first() else { return };
    let body = rest
        .iter()
        .take_while(|token| !matches!(token, TokenTree::Punct(punct) if punct.as_char() == ';'))
        .find_map(|token| match token {
            TokenTree::Group(group) if group.delimiter() == Delimiter::Brace => Some(group),
            _ => None,
        });
    if let Some(body) = body {
        seen.push(Seen::Function(name(ident), line(keyword), body.span_close().end().line));
    }
}

fn string_path(literal: &proc_macro2::Literal, seen: &mut Vec<Seen>) {
    let text = literal.to_string();
    let text = text.trim_matches('"');
    let plain = |character: char| character.is_ascii_alphanumeric() || character == '_' || character == ':';
    if text.contains("::") && text.chars().all(plain) {
        let path = text.split("::").filter(|part| !part.is_empty()).map(str::to_owned).collect();
        seen.push(Seen::Path(path, literal.span().start().line));
    }
}
