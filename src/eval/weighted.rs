//! Several percentages at once: weighted rendezvous hashing, in integers only.
//!
//! Every participant hashes the unit under its own name, `h = xxh3_64(salt ‖ 0x1F ‖ variant ‖ 0x1F ‖ unit)`, and turns
//! it into `u = ((h >> 11) + 0.5) · 2⁻⁵³`, a number between 0 and 1; the smallest `-log2(u) / weight` wins. So a changed
//! weight moves users only into or out of that one participant, where contiguous ranges would reshuffle bystanders.
//!
//! `-log2(u) = 54 - log2(2·(h >> 11) + 1)` is computed in fixed point with 32 fractional bits from a table of
//! `⌊2³² · log2(1 + i/1024)⌋` with linear interpolation, so that no platform's floating point can disagree. The result
//! differs from the real logarithm by less than 2⁻²²; formula and table are for life and published in
//! `tests/vectors/cohorts-v1.json`.

/// Fractional bits of a fixed-point logarithm.
pub const FRACTION_BITS: u32 = 32;

/// How many steps of the table lie between 1 and 2.
pub const TABLE_STEPS: usize = 1 << TABLE_BITS;

const TABLE_BITS: u32 = 10;

/// `⌊2³² · log2(1 + i/1024)⌋` for i from 0 to 1024.
pub static LOG2_TABLE: [u64; TABLE_STEPS + 1] = log2_table();

/// One of those among whom a unit is placed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Ticket<'n> {
    /// Thousandths of a percent.
    pub weight: u32,
    /// The hash of the unit under the participant's name.
    pub hash: u64,
    /// The name, which decides ties.
    pub name: &'n str,
}

impl Ticket<'_> {
    /// True where this one wins against the other: `L_a / w_a < L_b / w_b`, without dividing; ties go to the name that
    /// sorts first. Without weight nobody wins.
    #[inline]
    pub fn beats(&self, other: &Self) -> bool {
        if self.weight == 0 || other.weight == 0 {
            return other.weight == 0 && self.weight != 0;
        }
        let own = u128::from(negative_log2(self.hash)) * u128::from(other.weight);
        let others = u128::from(negative_log2(other.hash)) * u128::from(self.weight);
        (own, self.name) < (others, other.name)
    }
}

/// `-log2(u)` of a hash in fixed point: 0 to 54 · 2³².
#[inline]
pub fn negative_log2(hash: u64) -> u64 {
    // 2·(h >> 11) + 1 is odd and below 2⁵⁴, so it is never zero.
    (54 << FRACTION_BITS) - log2(((hash >> 11) << 1) | 1)
}

/// `log2(x)` in fixed point for x from 1.
#[inline]
fn log2(x: u64) -> u64 {
    let exponent = 63 - x.leading_zeros();
    // The highest bit stands at 63 now; below it the index into the table, then what lies between two entries.
    let mantissa = x << (63 - exponent);
    let index = ((mantissa >> (63 - TABLE_BITS)) as usize) & (TABLE_STEPS - 1);
    let between = mantissa & ((1 << (63 - TABLE_BITS)) - 1);
    let (low, high) = (LOG2_TABLE[index], LOG2_TABLE[index + 1]);
    let interpolated = (u128::from(high - low) * u128::from(between)) >> (63 - TABLE_BITS);
    (u64::from(exponent) << FRACTION_BITS) + low + interpolated as u64
}

const fn log2_table() -> [u64; TABLE_STEPS + 1] {
    let mut table = [0; TABLE_STEPS + 1];
    let mut index = 0;
    while index < TABLE_STEPS {
        table[index] = log2_digits((TABLE_STEPS + index) as u128);
        index += 1;
    }
    table[TABLE_STEPS] = 1 << FRACTION_BITS;
    table
}

/// The first 32 binary digits of `log2(steps / 1024)`: squaring doubles a logarithm, and whenever the square reaches 2
/// the next digit is 1. Numbers stand with the point after their highest bit, 127 bits behind it, which leaves 2⁻⁹⁴ for
/// the error after 32 squarings.
const fn log2_digits(steps: u128) -> u64 {
    let mut mantissa = steps << (127 - TABLE_BITS);
    let mut digits = 0;
    let mut digit = 0;
    while digit < FRACTION_BITS {
        let square = multiply_high(mantissa, mantissa);
        digits <<= 1;
        if square >> 127 == 1 {
            digits |= 1;
            mantissa = square;
        } else {
            mantissa = square << 1;
        }
        digit += 1;
    }
    digits
}

/// The upper 128 bits of a product of 128-bit numbers.
const fn multiply_high(left: u128, right: u128) -> u128 {
    const LOW: u128 = u64::MAX as u128;
    let (left_high, left_low) = (left >> 64, left & LOW);
    let (right_high, right_low) = (right >> 64, right & LOW);
    let cross = left_high * right_low + ((left_low * right_low) >> 64);
    let middle = left_low * right_high + (cross & LOW);
    left_high * right_high + (cross >> 64) + (middle >> 64)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn the_table_rises_and_agrees_with_floating_point() {
        assert!(LOG2_TABLE.windows(2).all(|pair| pair[0] < pair[1]));
        for (index, entry) in LOG2_TABLE.iter().enumerate() {
            let real = (1.0 + index as f64 / TABLE_STEPS as f64).log2() * 2f64.powi(32);
            assert!((*entry as f64 - real).abs() <= 1.0, "{index}");
        }
    }

    #[test]
    fn the_ends_of_the_hash_range_have_the_ends_of_the_logarithm() {
        assert_eq!(negative_log2(0), 54 << FRACTION_BITS);
        assert!(negative_log2(u64::MAX) <= 1);
    }

    proptest! {
        #[test]
        fn the_logarithm_is_monotone_and_close_to_the_real_one(a: u64, b: u64) {
            let real = -(((a >> 11) as f64 + 0.5) * 2f64.powi(-53)).log2();
            prop_assert!((negative_log2(a) as f64 / 2f64.powi(32) - real).abs() < 2f64.powi(-22));
            prop_assert!((a <= b) <= (negative_log2(a) >= negative_log2(b)));
        }

        #[test]
        fn exactly_one_of_two_different_tickets_wins(a: u64, b: u64, left in 0u32..3, right in 1u32..3) {
            let left = Ticket { weight: left, hash: a, name: "a" };
            let right = Ticket { weight: right, hash: b, name: "b" };
            prop_assert_ne!(left.beats(&right), right.beats(&left));
        }
    }
}
