//! What kinds of values can meet in a rule: literals and attributes as they are, operators by what they yield.
//!
//! Coarse on purpose. It only says where the evaluators' habits can show; it evaluates nothing.

use serde_json::{Map, Value};

/// A set of kinds of values.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Kinds(u8);

impl Kinds {
    /// Nothing, or an attribute that is not there.
    pub const NULL: Self = Self(1);
    /// `true` or `false`.
    pub const BOOL: Self = Self(2);
    /// A number.
    pub const NUMBER: Self = Self(4);
    /// A text.
    pub const TEXT: Self = Self(8);
    /// A list.
    pub const LIST: Self = Self(16);
    /// An object.
    pub const OBJECT: Self = Self(32);
    const ANY: Self = Self(63);

    /// Both sets together.
    pub const fn or(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }

    /// True where the sets share a kind.
    pub const fn meets(self, other: Self) -> bool {
        self.0 & other.0 != 0
    }

    fn of(value: &Value) -> Self {
        match value {
            Value::Null => Self::NULL,
            Value::Bool(_) => Self::BOOL,
            Value::Number(_) => Self::NUMBER,
            Value::String(_) => Self::TEXT,
            Value::Array(_) => Self::LIST,
            Value::Object(_) => Self::OBJECT,
        }
    }
}

/// What can stand at one place of a rule.
#[derive(Debug, Clone)]
pub struct Shape {
    /// Its possible kinds.
    pub kinds: Kinds,
    /// The value, where it is known: a literal, or an attribute.
    pub value: Option<Value>,
}

impl Shape {
    fn of(kinds: Kinds) -> Self {
        Self { kinds, value: None }
    }

    fn known(value: &Value) -> Self {
        Self { kinds: Kinds::of(value), value: Some(value.clone()) }
    }
}

/// One operator where it is applied.
#[derive(Debug)]
pub struct Applied<'r> {
    /// Its word.
    pub operator: &'r str,
    /// Its arguments as written.
    pub written: &'r [Value],
    /// What they can be.
    pub arguments: Vec<Shape>,
}

/// Tells every operator of a rule, innermost first, and yields what the rule can be.
pub fn walk<'r>(rule: &'r Value, context: &Value, tell: &mut dyn FnMut(&Applied<'r>)) -> Shape {
    place(rule, Some(context), tell)
}

/// `context` is none inside of operators that walk a list, where `var` sees an element.
fn place<'r>(rule: &'r Value, context: Option<&Value>, tell: &mut dyn FnMut(&Applied<'r>)) -> Shape {
    match rule {
        Value::Array(elements) => {
            let known: Vec<Shape> = elements.iter().map(|element| place(element, context, tell)).collect();
            let values: Option<Vec<Value>> = known.into_iter().map(|shape| shape.value).collect();
            values.map_or(Shape::of(Kinds::LIST), |values| Shape::known(&Value::Array(values)))
        }
        Value::Object(object) if object.len() == 1 => operation(object, context, tell),
        other => Shape::known(other),
    }
}

fn operation<'r>(object: &'r Map<String, Value>, context: Option<&Value>, tell: &mut dyn FnMut(&Applied<'r>)) -> Shape {
    let (operator, written) = object.iter().next().expect("one entry");
    let written: &'r [Value] = match written {
        Value::Array(arguments) => arguments,
        single => std::slice::from_ref(single),
    };
    let walks = matches!(operator.as_str(), "map" | "filter" | "reduce" | "all" | "some" | "none");
    let arguments: Vec<Shape> = written
        .iter()
        .enumerate()
        .map(|(index, argument)| place(argument, context.filter(|_| !walks || index != 1), tell))
        .collect();
    let yields = match operator.as_str() {
        "var" => variable(written, &arguments, context),
        "if" | "?:" => branches(&arguments),
        "and" | "or" => Shape::of(arguments.iter().fold(Kinds(0), |kinds, shape| kinds.or(shape.kinds))),
        "+" | "-" | "*" | "/" | "%" | "min" | "max" => Shape::of(Kinds::NUMBER),
        "cat" | "substr" => Shape::of(Kinds::TEXT),
        "merge" | "map" | "filter" | "missing" | "missing_some" => Shape::of(Kinds::LIST),
        "sem_ver" | "starts_with" | "ends_with" => Shape::of(Kinds::BOOL.or(Kinds::NULL)),
        "reduce" => Shape::of(Kinds::ANY),
        "fractional" => chosen(written, &arguments, context),
        _ => Shape::of(Kinds::BOOL),
    };
    tell(&Applied { operator, written, arguments });
    yields
}

fn branches(arguments: &[Shape]) -> Shape {
    let outcomes = arguments.iter().enumerate().filter(|(index, _)| index % 2 == 1 || index + 1 == arguments.len());
    Shape::of(outcomes.fold(Kinds::NULL, |kinds, (_, shape)| kinds.or(shape.kinds)))
}

/// One of the shares' variants, or null. A share that is computed may hold anything; what is no list is no share.
fn chosen(written: &[Value], arguments: &[Shape], context: Option<&Value>) -> Shape {
    let variant = |(written, shape): (&Value, &Shape)| match (written, &shape.value) {
        (Value::Array(share), _) => share.first().map_or(Kinds::NULL, |it| place(it, context, &mut |_| ()).kinds),
        (_, Some(Value::Array(share))) => share.first().map_or(Kinds::NULL, Kinds::of),
        (_, None) if shape.kinds.meets(Kinds::LIST) => Kinds::ANY,
        _ => Kinds::NULL,
    };
    Shape::of(written.iter().zip(arguments).map(variant).fold(Kinds::NULL, Kinds::or))
}

fn variable(written: &[Value], arguments: &[Shape], context: Option<&Value>) -> Shape {
    let (Some(context), Some(Value::String(path))) = (context, written.first()) else { return Shape::of(Kinds::ANY) };
    match attribute(context, path) {
        Some(Value::Null) | None => arguments.get(1).cloned().unwrap_or(Shape::known(&Value::Null)),
        Some(value) => Shape::known(value),
    }
}

/// The attribute at a path with dots.
pub fn attribute<'c>(context: &'c Value, path: &str) -> Option<&'c Value> {
    if path.starts_with("$flagd") {
        return None;
    }
    path.split('.').try_fold(context, |value, part| match value {
        Value::Array(elements) => elements.get(part.parse::<usize>().ok()?),
        other => other.get(part),
    })
}
