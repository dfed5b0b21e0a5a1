//! Generated flags, rules and contexts.
//!
//! Two dialects. **Plain** rules are what people write: every operator gets what it is for. All evaluators must agree
//! on them without exception. **Wild** rules hand every operator anything: a list where a number belongs, an attribute
//! that is not there, a version that is none. There the evaluators have habits of their own; see `habits`.

use serde_json::{Map, Value, json};

use super::random::Random;

/// Names that contexts may have and rules ask for.
const TEXTS: [&str; 4] = ["email", "country", "tier", "city"];
const NUMBERS: [&str; 3] = ["age", "score", "visits"];
const BOOLEANS: [&str; 2] = ["beta", "staff"];
const LISTS: [&str; 2] = ["groups", "marks"];
const WORDS: [&str; 12] =
    ["ada@example.com", "bob@example.org", "DE", "AT", "gold", "free", "Zürich", "東京", "a", "b", "x-1", "user-17"];
const AWKWARD_TEXTS: [&str; 16] =
    ["", " ", "0", "1", "-1", "1.0", " 7 ", "1e3", "0x10", "true", "null", "NaN", "Infinity", "👍🏽", "é", "a.b"];
const VERSIONS: [&str; 8] = ["1.2.3", "1.2.4", "2.0.0", "v1.2.3", "1.2", "2", "1.2.3-rc.1", "1.2.3+build.5"];
const AWKWARD_VERSIONS: [&str; 7] = ["", "1.2.3.4", "01.2.3", "1.x", "latest", "1.2.3-", "v"];
const VERSION_TESTS: [&str; 8] = ["=", "!=", "<", "<=", ">", ">=", "^", "~"];

/// A generator of one dialect.
#[derive(Debug)]
pub struct Rules<'r> {
    /// Where its choices come from.
    pub random: &'r mut Random,
    /// Anything anywhere.
    pub wild: bool,
    /// Inside of `map`, `filter` and so on, where `var` sees the element.
    element: Option<Kind>,
}

/// What an expression yields where it is used as meant.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Text,
    Number,
    Boolean,
    Texts,
    Numbers,
}

const KINDS: [Kind; 5] = [Kind::Text, Kind::Number, Kind::Boolean, Kind::Texts, Kind::Numbers];

impl<'r> Rules<'r> {
    /// A generator.
    pub fn new(random: &'r mut Random, wild: bool) -> Self {
        Self { random, wild, element: None }
    }

    /// A flag: its type as a client asks for it, and its definition.
    pub fn flag(&mut self) -> (&'static str, Value) {
        let (kind, values): (_, [Value; 4]) = match self.random.below(5) {
            0 => ("boolean", [json!(true), json!(false), json!(true), json!(false)]),
            1 => ("integer", [json!(1), json!(-7), json!(0), json!(9_007_199_254_740_991_i64)]),
            2 => ("float", [json!(0.5), json!(-2.25), json!(1e20), json!(0.1)]),
            3 => ("object", [json!({}), json!({"a": {"b": [1, "x", null]}}), json!({"ü": 0.5}), json!({"n": 1})]),
            _ => ("string", [json!("one"), json!(""), json!("drei"), json!("👍🏽")]),
        };
        let mut names = ["a", "b", "c", "d"].map(str::to_owned);
        if self.random.chance(20) {
            names = ["true", "false", "1", "0"].map(str::to_owned);
        }
        let variants: Map<String, Value> = names.clone().into_iter().zip(values).collect();
        let default = match self.random.below(10) {
            0 => Some(Value::Null),
            1 => None,
            2 => Some(json!("")),
            _ => Some(json!(*self.random.pick(&names))),
        };
        let mut flag = json!({"state": "ENABLED", "variants": variants});
        if self.random.chance(3) {
            flag["state"] = json!("DISABLED");
        }
        if let Some(default) = default {
            flag["defaultVariant"] = default;
        }
        match self.random.below(40) {
            0 => {}
            1 => flag["targeting"] = json!({}),
            _ => flag["targeting"] = self.targeting(&names),
        }
        (kind, flag)
    }

    /// A whole context.
    pub fn context(&mut self) -> Value {
        let mut context = Map::new();
        let mut put = |random: &mut Random, name: &str, value: Value| {
            if random.chance(75) {
                context.insert(name.to_owned(), value);
            }
        };
        for name in TEXTS {
            let value = self.text_literal();
            put(self.random, name, value);
        }
        for name in NUMBERS {
            let value = self.number_literal();
            put(self.random, name, value);
        }
        for name in BOOLEANS {
            let value = json!(self.random.chance(50));
            put(self.random, name, value);
        }
        let (groups, marks) = (self.texts_literal(), self.numbers_literal());
        put(self.random, LISTS[0], groups);
        put(self.random, LISTS[1], marks);
        let version = json!(*self.random.pick(&VERSIONS));
        put(self.random, "version", version);
        let place = json!({"country": self.text_literal(), "zone": {"number": self.number_literal()}});
        put(self.random, "place", place);
        let organisation = json!(format!("org-{}", self.random.below(100)));
        put(self.random, "organisation", organisation);
        let key = json!(format!("user-{}", self.random.below(1000)));
        put(self.random, "targetingKey", key);
        if self.wild {
            for name in ["email", "age", "groups", "version", "odd"] {
                if self.random.chance(25) {
                    context.insert(name.to_owned(), self.anything());
                }
            }
            if self.random.chance(5) {
                context.insert("targetingKey".to_owned(), json!(""));
            }
        }
        Value::Object(context)
    }

    /// What a flag's `targeting` holds.
    fn targeting(&mut self, names: &[String; 4]) -> Value {
        match self.random.below(10) {
            0..=5 => self.chain(names, 3),
            6 | 7 => self.fractional(names, 2),
            8 => json!({"if": [self.boolean(3), self.fractional(names, 1), self.outcome(names)]}),
            _ if names[0] == "true" => self.boolean(3),
            _ => json!({"cat": [self.random.pick(names), ""]}),
        }
    }

    /// `if`, perhaps with several steps, perhaps without a last else.
    fn chain(&mut self, names: &[String; 4], depth: usize) -> Value {
        let mut steps = Vec::new();
        for _ in 0..=self.random.below(3) {
            steps.push(self.boolean(depth));
            let outcome = if self.random.chance(15) { self.fractional(names, 1) } else { self.outcome(names) };
            steps.push(outcome);
        }
        if self.random.chance(80) {
            steps.push(self.outcome(names));
        }
        let word = if self.random.chance(90) { "if" } else { "?:" };
        json!({word: steps})
    }

    /// What a branch yields: a variant, null, now and then a name that no variant has.
    fn outcome(&mut self, names: &[String; 4]) -> Value {
        match self.random.below(20) {
            0 | 1 => Value::Null,
            2 => json!("nowhere"),
            3 if names[0] == "true" => json!(self.random.chance(50)),
            4 if names[0] == "true" => json!(self.random.below(2)),
            5 if self.wild => self.any(1),
            _ => json!(*self.random.pick(names)),
        }
    }

    fn fractional(&mut self, names: &[String; 4], depth: usize) -> Value {
        let mut arguments = Vec::new();
        match self.random.below(7) {
            0 | 1 => {}
            2 => arguments.push(json!({"cat": [{"var": "$flagd.flagKey"}, {"var": ["organisation", "none"]}]})),
            3 => arguments.push(json!({"var": ["organisation", "none"]})),
            4 => arguments.push(json!({"cat": ["salt", {"var": ["targetingKey", "nobody"]}]})),
            5 => arguments.push(json!({"var": ["age", 3]})),
            _ if self.wild && self.random.chance(50) => arguments.push(self.any(1)),
            _ if self.wild => {
                arguments.push(json!({"var": *self.random.pick(&["email", "place", "marks", "beta", "targetingKey"])}))
            }
            _ => arguments.push(json!({"var": ["organisation", "none"]})),
        }
        for _ in 0..=self.random.below(4) {
            let variant = match self.random.below(12) {
                0 if depth > 0 => self.fractional(names, depth - 1),
                1 if depth > 0 => json!({"if": [self.boolean(1), self.outcome(names), self.outcome(names)]}),
                _ => self.outcome(names),
            };
            match self.random.below(10) {
                0 => arguments.push(json!([variant])),
                1 => {
                    let weight = json!({"-": [{"var": "$flagd.timestamp"}, 1_700_000_000 + self.random.below(200)]});
                    arguments.push(json!([variant, weight]));
                }
                2 if self.wild => arguments.push(json!([variant, self.any(1)])),
                3 if self.wild => arguments.push(self.any(1)),
                _ => arguments.push(json!([variant, self.random.below(100)])),
            }
        }
        json!({"fractional": arguments})
    }

    /// Anything, in the wild dialect, instead of what belongs there.
    fn meant(&mut self, kind: Kind, depth: usize) -> Value {
        let kind = if self.wild && self.random.chance(25) { *self.random.pick(&KINDS) } else { kind };
        if self.wild && self.random.chance(8) {
            return if self.random.chance(50) { self.anything() } else { self.any(depth.saturating_sub(1)) };
        }
        match kind {
            Kind::Text => self.text(depth),
            Kind::Number => self.number(depth),
            Kind::Boolean => self.boolean(depth),
            Kind::Texts => self.texts(depth),
            Kind::Numbers => self.numbers(depth),
        }
    }

    fn any(&mut self, depth: usize) -> Value {
        let kind = *self.random.pick(&KINDS);
        self.meant(kind, depth)
    }

    fn boolean(&mut self, depth: usize) -> Value {
        let below = depth.saturating_sub(1);
        match if depth == 0 { self.random.below(3) } else { self.random.below(24) } {
            0 => self.asked(Kind::Boolean),
            1 => json!({"==": [self.asked(Kind::Text), self.text_literal()]}),
            2 => json!({"in": [self.asked(Kind::Text), self.texts_literal()]}),
            3 | 4 => json!({"and": self.several(Kind::Boolean, below)}),
            5 | 6 => json!({"or": self.several(Kind::Boolean, below)}),
            7 => json!({"!": [self.meant(Kind::Boolean, below)]}),
            8 => json!({"!!": [self.meant(Kind::Boolean, below)]}),
            9 | 10 => {
                let kind = *self.random.pick(&[Kind::Text, Kind::Number, Kind::Boolean]);
                let word = *self.random.pick(&["==", "===", "!=", "!=="]);
                json!({word: [self.meant(kind, below), self.meant(kind, below)]})
            }
            11..=13 => {
                let word = *self.random.pick(&["<", "<=", ">", ">="]);
                json!({word: [self.meant(Kind::Number, below), self.meant(Kind::Number, below)]})
            }
            14 => {
                let word = *self.random.pick(&["<", "<="]);
                json!({word: [self.number_literal(), self.meant(Kind::Number, below), self.number_literal()]})
            }
            15 => json!({"in": [self.meant(Kind::Text, below), self.meant(Kind::Texts, below)]}),
            // In plain rules never in an empty text, of which evaluators disagree whether it holds the empty text.
            16 => {
                json!({"in": [self.meant(Kind::Text, below), self.meant(Kind::Text, if self.wild { below } else { 0 })]})
            }
            17 => {
                let word = *self.random.pick(&["starts_with", "ends_with"]);
                json!({word: [self.meant(Kind::Text, below), self.meant(Kind::Text, 0)]})
            }
            18 | 19 => self.sem_ver(below),
            20 => self.quantifier(below),
            21 => {
                let names: Vec<Value> = (0..=self.random.below(3)).map(|_| self.name()).collect();
                json!({"!": [{"missing": names}]})
            }
            22 => {
                let names: Vec<Value> = (0..=self.random.below(3)).map(|_| self.name()).collect();
                json!({"!": [{"missing_some": [self.random.below(3), names]}]})
            }
            _ => json!({"==": [{"var": "$flagd.flagKey"}, format!("flag-{}", self.random.below(30))]}),
        }
    }

    fn sem_ver(&mut self, depth: usize) -> Value {
        let asked =
            if self.wild && self.random.chance(30) { self.any(depth) } else { json!({"var": ["version", "1.0.0"]}) };
        let mut held = json!(*self.random.pick(&VERSIONS));
        if self.wild && self.random.chance(30) {
            held = json!(*self.random.pick(&AWKWARD_VERSIONS));
        } else if self.random.chance(5) {
            held = json!(2);
        }
        let mut test = json!(*self.random.pick(&VERSION_TESTS));
        if self.wild && self.random.chance(5) {
            test = json!("===");
        }
        if self.wild && self.random.chance(3) {
            json!({"sem_ver": [asked, test]})
        } else {
            json!({"sem_ver": [asked, test, held]})
        }
    }

    /// `all`, `some`, `none` over a list.
    fn quantifier(&mut self, depth: usize) -> Value {
        let kind = *self.random.pick(&[Kind::Text, Kind::Number]);
        let list = self.meant(if kind == Kind::Text { Kind::Texts } else { Kind::Numbers }, depth);
        let condition = self.inside(kind, |rules| match kind {
            Kind::Text => json!({"==": [rules.asked(kind), rules.text_literal()]}),
            _ => json!({">": [rules.asked(kind), rules.number_literal()]}),
        });
        let word = *self.random.pick(&["all", "some", "none"]);
        json!({word: [list, condition]})
    }

    fn number(&mut self, depth: usize) -> Value {
        let below = depth.saturating_sub(1);
        match if depth == 0 { self.random.below(2) } else { self.random.below(12) } {
            0 => self.number_literal(),
            1 => self.asked(Kind::Number),
            2 | 3 => json!({"+": self.several(Kind::Number, below)}),
            4 => json!({"-": [self.meant(Kind::Number, below), self.meant(Kind::Number, below)]}),
            5 => json!({"-": [self.meant(Kind::Number, below)]}),
            6 => json!({"*": [self.meant(Kind::Number, below), self.meant(Kind::Number, 0)]}),
            7 => {
                let by = if self.wild { self.meant(Kind::Number, 0) } else { json!(*self.random.pick(&[2, 4, -8])) };
                json!({"/": [self.meant(Kind::Number, below), by]})
            }
            8 => {
                let (of, by) = if self.wild {
                    (self.meant(Kind::Number, below), self.meant(Kind::Number, 0))
                } else {
                    (json!(self.random.below(1000)), json!(1 + self.random.below(9)))
                };
                json!({"%": [of, by]})
            }
            9 => json!({"min": self.several(Kind::Number, below)}),
            10 => json!({"max": self.several(Kind::Number, below)}),
            _ => self.reduce(below),
        }
    }

    fn reduce(&mut self, depth: usize) -> Value {
        let list = self.meant(Kind::Numbers, depth);
        let sum = json!({"+": [{"var": "current"}, {"var": "accumulator"}]});
        json!({"reduce": [list, sum, 0]})
    }

    fn text(&mut self, depth: usize) -> Value {
        let below = depth.saturating_sub(1);
        match if depth == 0 { self.random.below(2) } else { self.random.below(6) } {
            0 => self.text_literal(),
            1 => self.asked(Kind::Text),
            2 => json!({"cat": self.several(Kind::Text, below)}),
            3 => json!({"cat": ["n", self.random.below(100), self.meant(Kind::Text, below)]}),
            4 => {
                let from = i64::try_from(self.random.below(7)).expect("small") - 3;
                json!({"substr": [self.meant(Kind::Text, below), from]})
            }
            _ => {
                let (from, length) = (self.random.below(4), self.random.below(5));
                let length = i64::try_from(length).expect("small") - if self.wild { 2 } else { 0 };
                json!({"substr": [self.meant(Kind::Text, below), from, length]})
            }
        }
    }

    fn texts(&mut self, depth: usize) -> Value {
        let below = depth.saturating_sub(1);
        match if depth == 0 { self.random.below(2) } else { self.random.below(5) } {
            0 => self.texts_literal(),
            1 => self.asked(Kind::Texts),
            2 => json!({"merge": [self.meant(Kind::Texts, below), self.meant(Kind::Texts, below)]}),
            3 => {
                let list = self.meant(Kind::Texts, below);
                let condition = self.inside(Kind::Text, |rules| json!({"!=": [{"var": ""}, rules.text_literal()]}));
                json!({"filter": [list, condition]})
            }
            _ => {
                let list = self.meant(Kind::Texts, below);
                json!({"map": [list, {"cat": [{"var": ""}, "!"]}]})
            }
        }
    }

    fn numbers(&mut self, depth: usize) -> Value {
        let below = depth.saturating_sub(1);
        match if depth == 0 { self.random.below(2) } else { self.random.below(5) } {
            0 => self.numbers_literal(),
            1 => self.asked(Kind::Numbers),
            2 => json!({"merge": [self.meant(Kind::Numbers, below), self.meant(Kind::Number, below)]}),
            3 => {
                let list = self.meant(Kind::Numbers, below);
                let condition = self.inside(Kind::Number, |rules| json!({">": [{"var": ""}, rules.number_literal()]}));
                json!({"filter": [list, condition]})
            }
            _ => {
                let list = self.meant(Kind::Numbers, below);
                json!({"map": [list, {"*": [{"var": ""}, 2]}]})
            }
        }
    }

    fn several(&mut self, kind: Kind, depth: usize) -> Vec<Value> {
        (0..=self.random.below(3)).map(|_| self.meant(kind, depth)).collect()
    }

    /// What is generated inside of an operator that walks a list.
    fn inside(&mut self, kind: Kind, make: impl FnOnce(&mut Self) -> Value) -> Value {
        let outside = self.element.replace(kind);
        let made = make(self);
        self.element = outside;
        made
    }

    /// `var` of an attribute that usually has this kind; in plain rules with a default, since an attribute that is not
    /// there has no kind.
    fn asked(&mut self, kind: Kind) -> Value {
        if self.element == Some(kind) {
            return json!({"var": ""});
        }
        let (name, default) = match kind {
            Kind::Text if self.random.chance(10) => ("place.country", json!("DE")),
            Kind::Text => (*self.random.pick(&TEXTS), self.text_literal()),
            Kind::Number if self.random.chance(10) => ("place.zone.number", json!(3)),
            Kind::Number => (*self.random.pick(&NUMBERS), self.number_literal()),
            Kind::Boolean => (*self.random.pick(&BOOLEANS), json!(false)),
            Kind::Texts => (LISTS[0], self.texts_literal()),
            Kind::Numbers => (LISTS[1], self.numbers_literal()),
        };
        match self.random.below(4) {
            0 if self.wild => json!({"var": name}),
            1 if self.wild => json!({"var": [name]}),
            2 if self.wild => {
                json!({"var": *self.random.pick(&["groups.0", "odd", "place.zone", "nope.a", "marks.1"])})
            }
            _ => json!({"var": [name, default]}),
        }
    }

    /// The name of an attribute, for `missing`.
    fn name(&mut self) -> Value {
        json!(*self.random.pick(&["email", "age", "beta", "groups", "place.country", "nope", "place.nope", "version"]))
    }

    fn text_literal(&mut self) -> Value {
        if self.wild && self.random.chance(40) {
            json!(*self.random.pick(&AWKWARD_TEXTS))
        } else {
            json!(*self.random.pick(&WORDS))
        }
    }

    fn number_literal(&mut self) -> Value {
        if self.wild && self.random.chance(30) {
            return self
                .random
                .pick(&[
                    json!(0.1),
                    json!(1e21),
                    json!(-0.0),
                    json!(1e-7),
                    json!(9_007_199_254_740_993_i64),
                    json!(2.0),
                    json!(0.3),
                ])
                .clone();
        }
        match self.random.below(3) {
            0 => json!(i64::try_from(self.random.below(40)).expect("small") - 10),
            1 => json!(*self.random.pick(&[0.5, 2.25, -1.5, 17.75])),
            _ => json!(self.random.below(5)),
        }
    }

    fn texts_literal(&mut self) -> Value {
        let least = usize::from(!self.wild);
        (0..least + self.random.below(4)).map(|_| self.text_literal()).collect()
    }

    fn numbers_literal(&mut self) -> Value {
        let least = usize::from(!self.wild);
        (0..least + self.random.below(4)).map(|_| self.number_literal()).collect()
    }

    /// A literal of any kind.
    fn anything(&mut self) -> Value {
        match self.random.below(10) {
            0 => Value::Null,
            1 => json!(self.random.chance(50)),
            2 | 3 => self.number_literal(),
            4 => self.texts_literal(),
            5 => self.numbers_literal(),
            6 => json!([]),
            7 => json!(*self.random.pick(&AWKWARD_VERSIONS)),
            _ => self.text_literal(),
        }
    }
}
