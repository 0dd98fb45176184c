//! The f32 nearest to a decimal number: rounded once, ties to even.
//!
//! The standard library's parser has tables of powers, which in a module of WebAssembly are larger than the rest of the reader. Here a
//! product of f64 bounds the number, which nearly always decides. Where both bounds don't round to the same f32, the number lies at
//! the middle between two, whose decimal digits are finite, and digits are compared.

use std::cmp::Ordering;

/// A number without its sign: 0.d₁d₂d₃… · 10^`point`, where d₁ is not 0.
struct Decimal<'a> {
    /// Digits, maybe with a point among them, that is passed over.
    text: &'a [u8],
    point: i64,
}

/// The f32 nearest to a number as JSON writes it, infinite where that is too large; `None` where the text is no such number.
pub(super) fn nearest(text: &str) -> Option<f32> {
    let (magnitude, negative) = match text.strip_prefix('-') {
        Some(magnitude) => (magnitude, true),
        None => (text, false),
    };
    // Names of numbers are no JSON.
    magnitude.bytes().next().filter(u8::is_ascii_digit)?;
    let nearest = Decimal::read(magnitude).nearest();
    Some(if negative { -nearest } else { nearest })
}

impl<'a> Decimal<'a> {
    fn read(text: &'a str) -> Self {
        let (digits, exponent) = text.split_once(['e', 'E']).unwrap_or((text, "0"));
        let whole = digits.bytes().position(|byte| byte == b'.').unwrap_or(digits.len());
        let zeros = digits.bytes().take_while(|byte| matches!(byte, b'0' | b'.')).count();
        // What is before the first digit that counts; the point isn't one of them.
        let point = whole as i64 - zeros as i64 + i64::from(zeros > whole);
        Self { text: &digits.as_bytes()[zeros..], point: point.saturating_add(integer(exponent)) }
    }

    fn digits(&self) -> impl Iterator<Item = u8> {
        self.text.iter().filter(|&&byte| byte != b'.').map(|byte| byte - b'0')
    }

    fn nearest(&self) -> f32 {
        /// More digits than f64 has.
        const FIRST: usize = 18;
        /// More than the relative error of a hundred products and of the digits that are left out.
        const ERROR: f64 = 1e-13;
        if self.text.is_empty() || self.point < -50 {
            return 0.0;
        }
        if self.point > 50 {
            return f32::INFINITY;
        }
        let mut bound = (0..FIRST).zip(self.digits().chain(std::iter::repeat(0))).fold(0, |n, (_, d)| n * 10 + u64::from(d)) as f64;
        let power = self.point - FIRST as i64;
        for _ in 0..power.unsigned_abs() {
            bound = if power < 0 { bound / 10.0 } else { bound * 10.0 };
        }
        let [low, high] = [1.0 - ERROR, 1.0 + ERROR].map(|factor| (bound * factor) as f32);
        if low == high {
            return low;
        }
        // In place of infinity, what would be next if exponents went on.
        let next = if high.is_infinite() { 2f64.powi(128) } else { f64::from(high) };
        match self.compare((f64::from(low) + next) / 2.0) {
            Ordering::Less => low,
            Ordering::Greater => high,
            Ordering::Equal => f32::from_bits(low.to_bits() + (low.to_bits() & 1)),
        }
    }

    /// Compares with a number that isn't 0 and has few bits.
    fn compare(&self, other: f64) -> Ordering {
        let bits = other.to_bits();
        let exponent = (bits >> 52) as i64 - 1075;
        let mantissa = bits << 12 >> 12 | 1 << 52;
        let (mantissa, exponent) = (mantissa >> mantissa.trailing_zeros(), exponent + i64::from(mantissa.trailing_zeros()));
        // m · 2ᵉ, or for negative exponents m · 5⁻ᵉ / 10⁻ᵉ; the last digit first.
        let mut digits = vec![mantissa];
        let base = if exponent < 0 { 5 } else { 2 };
        for _ in 0..exponent.unsigned_abs() {
            digits.iter_mut().for_each(|digit| *digit *= base);
            carry(&mut digits);
        }
        carry(&mut digits);
        let point = digits.len() as i64 + exponent.min(0);
        let own = self.digits().chain(std::iter::repeat(0));
        let rest = self.digits().skip(digits.len()).any(|digit| digit != 0);
        let tail = if rest { Ordering::Greater } else { Ordering::Equal };
        let same = own.zip(digits.iter().rev()).map(|(own, other)| u64::from(own).cmp(other)).find(|order| order.is_ne());
        self.point.cmp(&point).then(same.unwrap_or(tail))
    }
}

/// Makes digits below 10 of larger ones.
fn carry(digits: &mut Vec<u64>) {
    let mut carried = 0;
    for digit in digits.iter_mut() {
        carried += *digit;
        *digit = carried % 10;
        carried /= 10;
    }
    while carried > 0 {
        digits.push(carried % 10);
        carried /= 10;
    }
}

/// An exponent, or one that is as good as that where it is large.
fn integer(text: &str) -> i64 {
    let digits = text.trim_start_matches(['+', '-']).bytes();
    let value = digits.fold(0i64, |n, digit| n.saturating_mul(10).saturating_add(i64::from(digit - b'0')));
    if text.starts_with('-') { -value } else { value }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::nearest;

    fn check(text: &str) {
        let expected: f32 = text.parse().expect(text);
        assert_eq!(nearest(text).map(f32::to_bits), Some(expected.to_bits()), "{text}");
    }

    #[test]
    fn ends_of_the_range() {
        for text in [
            "0",
            "-0",
            "0.0",
            "0e9",
            "-0.00e-99999999999999999999",
            "1",
            "10",
            "0.1",
            "1e-45",
            "1e-46",
            "7e-46",
            "7.1e-46",
            "3.4028235e38",
            "3.4028236e38",
            "3.40282357e38",
            "1e39",
            "1e99999999999999999999",
            "0.00001e43",
            "100000000000000000000000000000000000000e-60",
            "1.17549435e-38",
            "1.17549421e-38",
            "16777217",
            "16777217.00000000000000000000000000000000000000001",
            "16777219",
            "123E+2",
            "340282356779733661637539395458142568447",
            "340282356779733661637539395458142568448",
            "340282356779733661637539395458142568449",
        ] {
            check(text);
        }
        check(&format!("0.{}1e{}", "0".repeat(5000), 5001));
        check(&format!("1{}e-{}", "0".repeat(5000), 5000));
        for no_number in ["", "-", "inf", "NaN", "+1", ".5"] {
            assert_eq!(nearest(no_number), None, "{no_number}");
        }
    }

    proptest! {
        #[test]
        fn digits_and_exponents(digits in "[1-9][0-9]{0,30}", fraction in "[0-9]{1,30}", exponent in -60i32..50, negative: bool) {
            let sign = if negative { "-" } else { "" };
            check(&format!("{sign}{digits}.{fraction}e{exponent}"));
            check(&format!("{sign}0.{fraction}{digits}E{exponent:+}"));
        }

        #[test]
        fn what_is_written(bits in 0u32..0x7f80_0000) {
            let x = f32::from_bits(bits);
            check(&x.to_string());
            check(&format!("{x:e}"));
            check(&f64::from(x).to_string());
        }

        #[test]
        fn middles_and_what_is_beside_them(bits in prop_oneof![0u32..0x0100_0000, 0u32..0x7f7f_ffff]) {
            let middle = (f64::from(f32::from_bits(bits)) + f64::from(f32::from_bits(bits + 1))) / 2.0;
            let exact = format!("{middle:.160}");
            check(&exact);
            check(&format!("{exact}0000000"));
            check(&format!("{exact}0000001"));
            let below = exact.trim_end_matches('0').trim_end_matches('.');
            let (start, last) = below.split_at(below.len() - 1);
            check(&format!("{start}{}", last.parse::<u8>().expect("a digit").saturating_sub(1)));
        }
    }
}
