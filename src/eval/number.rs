//! Numbers compared by value across integers and floats, exactly, also where a double cannot hold the integer.

use std::cmp::Ordering;

use serde_json::Number as JsonNumber;

use super::context::Attribute;

/// A whole number of 64 bits, signed or not, or a finite float.
#[derive(Debug, Clone, Copy)]
pub enum Number {
    /// A whole number.
    Integer(i128),
    /// A finite float.
    Float(f64),
}

impl Number {
    /// The number that a definition writes.
    pub fn of_json(number: &JsonNumber) -> Self {
        let integer = number.as_i64().map(i128::from).or_else(|| number.as_u64().map(i128::from));
        // A JSON number that is no 64-bit integer is a finite float in serde_json without `arbitrary_precision`.
        integer.map_or_else(|| Self::Float(number.as_f64().unwrap_or(0.0)), Self::Integer)
    }

    /// The number that an attribute holds, if it holds one.
    #[inline]
    pub fn of_attribute(attribute: &Attribute<'_>) -> Option<Self> {
        match attribute {
            Attribute::Integer(value) => Some(Self::Integer(i128::from(*value))),
            Attribute::Unsigned(value) => Some(Self::Integer(i128::from(*value))),
            Attribute::Float(value) if value.is_finite() => Some(Self::Float(*value)),
            _ => None,
        }
    }

    /// Orders two numbers by value.
    #[inline]
    pub fn compare(self, other: Self) -> Ordering {
        match (self, other) {
            (Self::Integer(left), Self::Integer(right)) => left.cmp(&right),
            // Both are finite, and 0.0 equals -0.0 as values do.
            (Self::Float(left), Self::Float(right)) => left.partial_cmp(&right).unwrap_or(Ordering::Equal),
            (Self::Integer(left), Self::Float(right)) => compare_mixed(left, right),
            (Self::Float(left), Self::Integer(right)) => compare_mixed(right, left).reverse(),
        }
    }
}

fn compare_mixed(integer: i128, float: f64) -> Ordering {
    // Beyond this every float is larger in magnitude than any 64-bit integer; below it the whole part fits an i128.
    const REACH: f64 = 1e30;
    if float.abs() >= REACH {
        return if float > 0.0 { Ordering::Less } else { Ordering::Greater };
    }
    let whole = float.trunc() as i128;
    integer.cmp(&whole).then_with(|| 0.0_f64.partial_cmp(&float.fract()).unwrap_or(Ordering::Equal))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const TWO_TO_53: i128 = 1 << 53;

    #[test]
    fn integers_and_floats_compare_exactly_beyond_what_a_double_can_count() {
        let float = Number::Float(9_007_199_254_740_992.0);
        assert_eq!(Number::Integer(TWO_TO_53).compare(float), Ordering::Equal);
        assert_eq!(Number::Integer(TWO_TO_53 + 1).compare(float), Ordering::Greater);
        assert_eq!(float.compare(Number::Integer(TWO_TO_53 + 1)), Ordering::Less);
        assert_eq!(Number::Integer(i128::from(u64::MAX)).compare(Number::Float(1.8e19)), Ordering::Greater);
        assert_eq!(Number::Integer(i128::from(u64::MAX)).compare(Number::Float(1e300)), Ordering::Less);
        assert_eq!(Number::Integer(i128::from(i64::MIN)).compare(Number::Float(-1e300)), Ordering::Greater);
        assert_eq!(Number::Integer(-1).compare(Number::Float(-1.5)), Ordering::Greater);
        assert_eq!(Number::Integer(-2).compare(Number::Float(-1.5)), Ordering::Less);
        assert_eq!(Number::Integer(0).compare(Number::Float(-0.0)), Ordering::Equal);
        assert_eq!(Number::Float(0.0).compare(Number::Float(-0.0)), Ordering::Equal);
    }

    proptest! {
        #[test]
        fn small_numbers_compare_as_doubles_do(integer in -1_000_000i64..1_000_000, float in -1e6f64..1e6) {
            let expected = (integer as f64).partial_cmp(&float).unwrap();
            prop_assert_eq!(Number::Integer(i128::from(integer)).compare(Number::Float(float)), expected);
        }
    }
}
