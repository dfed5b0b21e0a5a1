//! GO Feature Flag's query language (the grammar of the `nikunjy/rules` library), read into a tree.
//!
//! Traps that are kept: `and` and `or` bind equally and from the left; `not` stands only before parentheses; names and
//! operators are one word each, with exactly one space between. What the tree means is in `meaning`.

use serde_json::Number;

use super::tokens::{Token, Word, cut};
use crate::flag::limits::NESTING_MAX;
use crate::flag::tree::number;

/// What a query asks.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Query {
    /// Every one holds.
    And(Vec<Self>),
    /// At least one holds.
    Or(Vec<Self>),
    /// It does not hold.
    Not(Box<Self>),
    /// `path pr`: the attribute is there.
    Present(Vec<String>),
    /// `path operator value`.
    Compare(Vec<String>, Op, Operand),
}

/// The operators that compare.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Op {
    Eq,
    Ne,
    Gt,
    Lt,
    Ge,
    Le,
    Co,
    Sw,
    Ew,
    In,
}

/// What an attribute is compared with.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Operand {
    Bool(bool),
    Null,
    /// Three numbers without quotes.
    Version(String),
    Text(String),
    Double(Number),
    Int(i64),
    Ints(Vec<i64>),
    Doubles(Vec<Number>),
    Texts(Vec<String>),
}

/// Reads a query.
///
/// # Errors
/// What is not in the grammar, and where.
pub(super) fn read(text: &str) -> Result<Query, String> {
    let text = text.trim_matches(|c: char| c == ' ' || c == '\n' || c == '\r' || c == '\t');
    let tokens = cut(text).map_err(|at| format!("no word of the language begins at character {at}"))?;
    let mut reader = Reader { tokens: &tokens, depth: 0 };
    let query = reader.query()?;
    match reader.tokens.first() {
        None => Ok(query),
        Some(_) => Err(reader.wrong("`and` or `or` with one space before and after, or the end")),
    }
}

struct Reader<'t, 'q> {
    tokens: &'t [Token<'q>],
    depth: usize,
}

impl<'q> Reader<'_, 'q> {
    fn query(&mut self) -> Result<Query, String> {
        self.deeper()?;
        let mut left = self.primary()?;
        let mut turns = 0;
        while let [Token { word: Word::Space, .. }, Token { word: Word::Name(word @ ("and" | "or")), .. }, ..] =
            self.tokens
        {
            let is_and = *word == "and";
            self.tokens = &self.tokens[2..];
            self.space()?;
            let right = self.primary()?;
            match (&mut left, is_and) {
                (Query::And(parts), true) | (Query::Or(parts), false) if turns > 0 => parts.push(right),
                _ => {
                    turns += 1;
                    let parts = vec![left, right];
                    left = if is_and { Query::And(parts) } else { Query::Or(parts) };
                }
            }
            if turns + self.depth > NESTING_MAX / 2 {
                return Err("more turns between `and` and `or` than can be nested here".to_owned());
            }
        }
        self.depth -= 1;
        Ok(left)
    }

    fn primary(&mut self) -> Result<Query, String> {
        match self.tokens {
            [Token { word: Word::Name("not" | "NOT"), .. }, ..] => {
                self.tokens = &self.tokens[1..];
                if self.peek() == Some(Word::Space) {
                    self.tokens = &self.tokens[1..];
                }
                Ok(Query::Not(Box::new(self.parentheses()?)))
            }
            [Token { word: Word::Mark('('), .. }, ..] => self.parentheses(),
            [Token { word: Word::Name(_), .. }, ..] => self.comparison(),
            _ => Err(self.wrong("an attribute, `(` or `not (`")),
        }
    }

    fn parentheses(&mut self) -> Result<Query, String> {
        self.mark('(')?;
        let inner = self.query()?;
        self.mark(')')?;
        // A chain inside parentheses is one part of the chain around it.
        Ok(inner)
    }

    fn comparison(&mut self) -> Result<Query, String> {
        let mut path = vec![self.name()?.to_owned()];
        while self.peek() == Some(Word::Mark('.')) {
            self.tokens = &self.tokens[1..];
            path.push(self.name()?.to_owned());
        }
        self.space()?;
        let op = match self.peek() {
            Some(Word::Name("pr")) => None,
            Some(Word::Name("eq" | "EQ") | Word::Sign("==")) => Some(Op::Eq),
            Some(Word::Name("ne" | "NE") | Word::Sign("!=")) => Some(Op::Ne),
            Some(Word::Name("gt" | "GT") | Word::Sign(">")) => Some(Op::Gt),
            Some(Word::Name("lt" | "LT") | Word::Sign("<")) => Some(Op::Lt),
            Some(Word::Name("ge" | "GE") | Word::Sign(">=")) => Some(Op::Ge),
            Some(Word::Name("le" | "LE") | Word::Sign("<=")) => Some(Op::Le),
            Some(Word::Name("co" | "CO")) => Some(Op::Co),
            Some(Word::Name("sw" | "SW")) => Some(Op::Sw),
            Some(Word::Name("ew" | "EW")) => Some(Op::Ew),
            Some(Word::Name("in" | "IN")) => Some(Op::In),
            _ => return Err(self.wrong("an operator")),
        };
        self.tokens = &self.tokens[1..];
        let Some(op) = op else { return Ok(Query::Present(path)) };
        self.space()?;
        Ok(Query::Compare(path, op, self.operand()?))
    }

    fn operand(&mut self) -> Result<Operand, String> {
        match self.peek() {
            Some(Word::Name("true")) => self.taken(Operand::Bool(true)),
            Some(Word::Name("false")) => self.taken(Operand::Bool(false)),
            Some(Word::Name("null")) => self.taken(Operand::Null),
            Some(Word::Text(text)) => self.taken(Operand::Text(text.to_owned())),
            Some(Word::Number(_) | Word::Mark('-')) => self.numeric(),
            Some(Word::Mark('[')) => self.list(),
            _ => Err(self.wrong("a text in double quotes, a number, true, false, null or a list")),
        }
    }

    fn numeric(&mut self) -> Result<Operand, String> {
        let minus = self.peek() == Some(Word::Mark('-'));
        if minus {
            self.tokens = &self.tokens[1..];
        }
        let Some(Word::Number(text)) = self.peek() else { return Err(self.wrong("a number")) };
        let signed = format!("{}{text}", if minus { "-" } else { "" });
        let parts: Vec<&str> = text.split('.').collect();
        let whole = |part: &&str| !part.is_empty() && (part.len() == 1 || !part.starts_with('0'));
        let operand = match parts.as_slice() {
            [int] if whole(int) => signed.parse().ok().map(Operand::Int),
            [int, fraction] if whole(int) && !fraction.is_empty() => number(&signed).ok().map(Operand::Double),
            [_, _, _] if !minus && parts.iter().all(whole) => Some(Operand::Version(signed)),
            _ => None,
        };
        match operand {
            Some(operand) => self.taken(operand),
            None => Err(self.wrong("a number or a version such as 1.2.3, without leading zeros")),
        }
    }

    fn list(&mut self) -> Result<Operand, String> {
        self.mark('[')?;
        let mut items = Vec::new();
        loop {
            items.push(match self.peek() {
                Some(Word::Text(_) | Word::Number(_) | Word::Mark('-')) => self.operand()?,
                _ => return Err(self.wrong("a text or a number")),
            });
            if self.peek() != Some(Word::Comma) {
                break;
            }
            self.tokens = &self.tokens[1..];
        }
        self.mark(']')?;
        let texts = items.iter().map(|item| if let Operand::Text(text) = item { Some(text.clone()) } else { None });
        let ints = items
            .iter()
            .map(|item| if let Operand::Int(int) = item { Some(*int).filter(|int| *int >= 0) } else { None });
        let doubles = items.iter().map(|item| if let Operand::Double(it) = item { Some(it.clone()) } else { None });
        let ints: Option<Vec<i64>> = ints.collect();
        let doubles: Option<Vec<Number>> = doubles.collect();
        texts
            .collect::<Option<_>>()
            .map(Operand::Texts)
            .or(ints.map(Operand::Ints))
            .or(doubles.map(Operand::Doubles))
            .ok_or_else(|| {
                "a list holds only texts, only whole numbers from 0, or only numbers with decimals".to_owned()
            })
    }

    fn taken(&mut self, operand: Operand) -> Result<Operand, String> {
        self.tokens = &self.tokens[1..];
        Ok(operand)
    }

    fn name(&mut self) -> Result<&'q str, String> {
        const KEYWORDS: [&str; 24] = [
            "not", "NOT", "and", "or", "true", "false", "null", "pr", "IN", "in", "eq", "EQ", "ne", "NE", "gt", "GT",
            "lt", "LT", "ge", "GE", "le", "LE", "MLP", "SUM",
        ];
        match self.peek() {
            Some(Word::Name(name)) if !KEYWORDS.contains(&name) => {
                self.tokens = &self.tokens[1..];
                Ok(name)
            }
            _ => Err(self.wrong("the name of an attribute")),
        }
    }

    fn peek(&self) -> Option<Word<'q>> {
        self.tokens.first().map(|token| token.word)
    }

    fn mark(&mut self, mark: char) -> Result<(), String> {
        self.expect(Word::Mark(mark), &format!("`{mark}`"))
    }

    fn space(&mut self) -> Result<(), String> {
        self.expect(Word::Space, "one space")
    }

    fn expect(&mut self, word: Word<'_>, words: &str) -> Result<(), String> {
        if self.peek() != Some(word) {
            return Err(self.wrong(words));
        }
        self.tokens = &self.tokens[1..];
        Ok(())
    }

    fn deeper(&mut self) -> Result<(), String> {
        self.depth += 1;
        if self.depth > NESTING_MAX / 2 {
            return Err("parentheses nest more deeply than can be nested here".to_owned());
        }
        Ok(())
    }

    fn wrong(&self, wanted: &str) -> String {
        match self.tokens.first() {
            Some(token) => format!("at character {} the grammar wants {wanted}", token.at),
            None => format!("the query ends where the grammar wants {wanted}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn eq(name: &str, value: i64) -> Query {
        Query::Compare(vec![name.to_owned()], Op::Eq, Operand::Int(value))
    }

    #[test]
    fn and_and_or_bind_equally_and_from_the_left() {
        let read = |text| read(text).expect("a query");
        let (a, b, c) = (|| eq("a", 1), || eq("b", 2), || eq("c", 3));
        let or_then_and = Query::And(vec![Query::Or(vec![a(), b()]), c()]);
        assert_eq!(read("a eq 1 or b == 2 and c EQ 3"), or_then_and);
        assert_eq!(read("a eq 1 or (b eq 2 and c eq 3)"), Query::Or(vec![a(), Query::And(vec![b(), c()])]));
        assert_eq!(read("a eq 1 and b eq 2 and c eq 3"), Query::And(vec![a(), b(), c()]));
        assert_eq!(read("not (a eq 1) and b eq 2"), Query::And(vec![Query::Not(Box::new(a())), b()]));
    }

    #[test]
    fn values_have_the_types_of_the_grammar() {
        for (text, operand) in [
            ("1.2.3", Operand::Version("1.2.3".into())),
            ("-4", Operand::Int(-4)),
            ("1.5", Operand::Double(Number::from_f64(1.5).expect("finite"))),
            (r#""a\"b""#, Operand::Text(r#"a\"b"#.into())),
            (r#"["a",  "b"]"#, Operand::Texts(vec!["a".into(), "b".into()])),
            ("[1,2]", Operand::Ints(vec![1, 2])),
            ("null", Operand::Null),
        ] {
            assert_eq!(
                read(&format!("a.b-c in {text}")),
                Ok(Query::Compare(vec!["a".into(), "b-c".into()], Op::In, operand))
            );
        }
    }

    #[test]
    fn what_is_not_in_the_grammar_is_refused() {
        for text in [
            "",
            "a",
            "a  eq 1",
            "a eq 1 AND b eq 2",
            "not a eq 1",
            "a eq 'x'",
            "a eq 1e3",
            "a eq 01",
            "( a eq 1 )",
            "a eq [1, \"x\"]",
            "a eq 1 and",
            "a matches \"x\"",
            "in eq 1",
            "a eq 1)",
            "SUM (a,b) eq 3",
        ] {
            assert!(read(text).is_err(), "{text}");
        }
        assert!(read(&format!("{}a eq 1{}", "(".repeat(5000), ")".repeat(5000))).is_err());
        assert!(read(&"a eq 1 and b eq 1 or ".repeat(5000)).is_err());
    }
}
