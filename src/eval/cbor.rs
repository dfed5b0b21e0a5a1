//! Core deterministic CBOR (RFC 8949, section 4.2): definite lengths, the shortest heads, floats in the shortest form
//! that is exact, the keys of maps in the order of their encoding.
//!
//! Written piece by piece to whoever wants the bytes, which is the hash: nothing is kept, and only maps need scratch
//! memory, for sorting. Before encoding, flagd makes integers of floats without a fraction that fit into 64 bits, so that
//! `1.0` is `1` on every platform. Which values there are is `logic::value`'s matter; reading CBOR nobody's here.

use super::logic::budget::{Budget, Fault};
use super::logic::value::Value;
use super::number::Number;

const UNSIGNED: u8 = 0x00;
const NEGATIVE: u8 = 0x20;
const TEXT: u8 = 0x60;
const LIST: u8 = 0x80;
const MAP: u8 = 0xA0;

/// Writes a value.
///
/// # Errors
/// The budget is spent: a value that was made of parts of itself can be larger than it looks.
pub fn encode(value: &Value<'_>, budget: &mut Budget, put: &mut dyn FnMut(&[u8])) -> Result<(), Fault> {
    budget.step()?;
    match value {
        Value::Null => put(&[0xF6]),
        Value::Bool(value) => put(&[if *value { 0xF5 } else { 0xF4 }]),
        Value::Number(Number::Integer(value)) => integer(*value, put),
        Value::Number(Number::Float(value)) => float(*value, put),
        Value::Text(value) => {
            budget.bytes(value.len())?;
            text(value, put);
        }
        Value::List(list) => {
            list_head(list.len(), put);
            for index in 0..list.len() {
                encode(&list.get(index).unwrap_or(Value::Null), budget, put)?;
            }
        }
        Value::Object(object) => {
            let mut entries = object.entries();
            budget.steps(entries.len())?;
            // Text keys of one length have heads of one form, so shorter ones come first.
            entries.sort_by(|(left, _), (right, _)| (left.len(), left).cmp(&(right.len(), right)));
            head(MAP, entries.len() as u64, put);
            for (name, value) in &entries {
                budget.bytes(name.len())?;
                text(name, put);
                encode(value, budget, put)?;
            }
        }
    }
    Ok(())
}

/// Writes a text.
#[inline]
pub fn text(text: &str, put: &mut (impl FnMut(&[u8]) + ?Sized)) {
    text_head(text.len(), put);
    put(text.as_bytes());
}

/// Writes what stands before a text of that many bytes.
#[inline]
pub fn text_head(bytes: usize, put: &mut (impl FnMut(&[u8]) + ?Sized)) {
    head(TEXT, bytes as u64, put);
}

/// Writes what stands before a list of that many elements.
#[inline]
pub fn list_head(elements: usize, put: &mut (impl FnMut(&[u8]) + ?Sized)) {
    head(LIST, elements as u64, put);
}

#[inline]
fn head(major: u8, number: u64, put: &mut (impl FnMut(&[u8]) + ?Sized)) {
    // 24 to 27 say that one, two, four or eight bytes follow.
    let bytes = number.to_be_bytes();
    let (more, from) = match number {
        // Below 24 the number is part of the first byte.
        0..24 => (number as u8, 8),
        24..0x100 => (24, 7),
        0x100..0x1_0000 => (25, 6),
        0x1_0000..0x1_0000_0000 => (26, 4),
        _ => (27, 0),
    };
    let mut written = [0; 9];
    written[0] = major | more;
    written[1..=8 - from].copy_from_slice(&bytes[from..]);
    put(&written[..=8 - from]);
}

fn integer(value: i128, put: &mut (impl FnMut(&[u8]) + ?Sized)) {
    match u64::try_from(value) {
        Ok(value) => head(UNSIGNED, value, put),
        // Numbers are 64-bit integers, so this always fits.
        Err(_) => head(NEGATIVE, u64::try_from(-1 - value).unwrap_or(u64::MAX), put),
    }
}

fn float(value: f64, put: &mut (impl FnMut(&[u8]) + ?Sized)) {
    // Both ends are doubles: -2⁶³ itself, and the largest double below 2⁶⁴.
    const LEAST: f64 = -9_223_372_036_854_775_808.0;
    const BEYOND: f64 = 18_446_744_073_709_551_616.0;
    if value.fract() == 0.0 && (LEAST..BEYOND).contains(&value) {
        return integer(value as i128, put);
    }
    if let Some(half) = half(value) {
        let [high, low] = half.to_be_bytes();
        return put(&[0xF9, high, low]);
    }
    let single = value as f32;
    if f64::from(single).to_bits() == value.to_bits() {
        let [a, b, c, d] = single.to_be_bytes();
        return put(&[0xFA, a, b, c, d]);
    }
    let mut written = [0xFB; 9];
    written[1..].copy_from_slice(&value.to_be_bytes());
    put(&written);
}

/// The same number in 16 bits, where they can hold it.
fn half(value: f64) -> Option<u16> {
    if value.is_nan() {
        return Some(0x7E00);
    }
    let sign = if value.is_sign_negative() { 0x8000 } else { 0 };
    if value.is_infinite() {
        return Some(sign | 0x7C00);
    }
    let magnitude = value.abs();
    let exponent = i32::try_from((magnitude.to_bits() >> 52) & 0x7FF).ok()? - 1023;
    // Below 2⁻¹⁴ all halves are multiples of 2⁻²⁴; above it ten digits follow the first one.
    let unit = exponent.max(-14) - 10;
    let units = magnitude * 2f64.powi(-unit);
    if exponent > 15 || units.fract() != 0.0 || units >= 2048.0 {
        return None;
    }
    let units = units as u16;
    let biased = u16::try_from(exponent.max(-15) + 15).ok()?;
    Some(sign | if exponent < -14 { units } else { (biased << 10) | (units & 0x3FF) })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::eval::context::Attribute;

    fn hex(attribute: &Attribute<'_>) -> String {
        let mut bytes = Vec::new();
        encode(&Value::of(attribute), &mut Budget::default(), &mut |part| bytes.extend_from_slice(part)).unwrap();
        bytes.iter().map(|byte| format!("{byte:02x}")).collect()
    }

    #[test]
    fn integers_take_the_shortest_head() {
        for (value, expected) in [
            (0, "00"),
            (23, "17"),
            (24, "1818"),
            (123, "187b"),
            (255, "18ff"),
            (256, "190100"),
            (65_535, "19ffff"),
            (65_536, "1a00010000"),
            (4_294_967_295, "1affffffff"),
            (4_294_967_296, "1b0000000100000000"),
            (-1, "20"),
            (-24, "37"),
            (-25, "3818"),
            (i64::MIN, "3b7fffffffffffffff"),
        ] {
            assert_eq!(hex(&Attribute::Integer(value)), expected, "{value}");
        }
        assert_eq!(hex(&Attribute::Unsigned(u64::MAX)), "1bffffffffffffffff");
    }

    #[test]
    fn floats_take_the_shortest_exact_form_and_whole_ones_are_integers() {
        for (value, expected) in [
            (1.0, "01"),
            (0.0, "00"),
            (-0.0, "00"),
            (-4.0, "23"),
            (1e20, "fb4415af1d78b58c40"),
            (-9_223_372_036_854_775_808.0, "3b7fffffffffffffff"),
            (18_446_744_073_709_551_616.0, "fa5f800000"),
            (0.5, "f93800"),
            (1.5, "f93e00"),
            (-4.1, "fbc010666666666666"),
            (1.1, "fb3ff199999999999a"),
            (1.23, "fb3ff3ae147ae147ae"),
            (100_000.5, "fa47c35040"),
            (5.960_464_477_539_063e-8, "f90001"),
            (0.000_061_035_156_25, "f90400"),
            (0.000_060_975_551_605_224_61, "f903ff"),
            (2.980_232_238_769_531_2e-8, "fa33000000"),
            (1.000_976_562_5, "f93c01"),
            (1.000_488_281_25, "fa3f801000"),
            (2047.5, "fa44fff000"),
            (1023.5, "f963ff"),
            (3.402_823_466_385_288_6e38, "fa7f7fffff"),
            (1e300, "fb7e37e43c8800759c"),
        ] {
            assert_eq!(hex(&Attribute::Float(value)), expected, "{value}");
        }
        // Rules can make numbers that contexts cannot hold.
        for (value, expected) in [(f64::NAN, "f97e00"), (f64::INFINITY, "f97c00"), (f64::NEG_INFINITY, "f9fc00")] {
            let mut bytes = Vec::new();
            float(value, &mut |part| bytes.extend_from_slice(part));
            assert_eq!(bytes.iter().map(|byte| format!("{byte:02x}")).collect::<String>(), expected);
        }
    }

    #[test]
    fn texts_lists_and_maps_are_encoded_as_published() {
        for (json, expected) in [
            (r#"{"v":""}"#, "60"),
            (r#"{"v":"user1"}"#, "657573657231"),
            (r#"{"v":"ü"}"#, "62c3bc"),
            (r#"{"v":true}"#, "f5"),
            (r#"{"v":null}"#, "f6"),
            (r#"{"v":{}}"#, "a0"),
            (r#"{"v":{"z":1,"aa":2}}"#, "a2617a0162616102"),
            (r#"{"v":[1,[2.0,"x"]]}"#, "8201820261 78".replace(' ', "").as_str()),
        ] {
            let context = crate::eval::context::Context::from_json(json.as_bytes()).unwrap();
            assert_eq!(hex(context.get("v").unwrap()), expected, "{json}");
        }
        let long = "a".repeat(300);
        assert!(hex(&Attribute::String(long.as_str().into())).starts_with("79012c61"));
    }
}
