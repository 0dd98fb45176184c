//! Integer exponentials: softmax of u8 with a sum that is exact in any order.

/// Bits of e⁰ in the table.
pub const BITS: u32 = 23;

/// `e[d]` = rne(2²³·exp(−scale·d)) for the distance d of a byte from its row's largest. In f64, by the converter.
pub fn build(scale: f32) -> [i32; 256] {
    let one = f64::from(1u32 << BITS);
    std::array::from_fn(|d| libm::rint(one * libm::exp(-f64::from(scale) * d as f64)) as i32)
}

#[cfg(test)]
mod tests {
    #[test]
    fn starts_at_one_and_falls() {
        let table = super::build(0.1);
        assert_eq!(table[0], 1 << 23);
        assert!(table.windows(2).all(|w| w[0] >= w[1] && w[1] >= 0));
        assert_eq!(super::build(100.0)[1], 0);
    }
}
