//! Noisy images of simple shapes, drawn from a seed.

/// Rows and columns of an image.
pub const EDGE: usize = 20;
/// Shapes: a disc, a ring, a square, a frame, a plus, a cross.
pub const CLASSES: usize = 6;

/// Labelled images.
pub struct Shapes {
    /// Row by row, image by image.
    pub pixels: Vec<f32>,
    /// Below [`CLASSES`].
    pub labels: Vec<usize>,
}

impl Shapes {
    /// As many images, of all shapes in turn.
    pub fn draw(count: usize, seed: u64) -> Self {
        let mut rng = fastrand::Rng::with_seed(seed);
        let labels: Vec<usize> = (0..count).map(|i| i % CLASSES).collect();
        let mut pixels = Vec::with_capacity(count * EDGE * EDGE);
        for &label in &labels {
            let radius = 4.0 + 3.0 * rng.f32();
            let [cx, cy] = [0, 1].map(|_| radius + rng.f32() * (EDGE as f32 - 1.0 - 2.0 * radius));
            let strength = 0.4 + 0.6 * rng.f32();
            for p in 0..EDGE * EDGE {
                let (dx, dy) = (((p % EDGE) as f32 - cx).abs(), ((p / EDGE) as f32 - cy).abs());
                let (round, square) = (dx.hypot(dy), dx.max(dy));
                let inside = match label {
                    0 => round <= radius,
                    1 => round <= radius && round > radius - 2.0,
                    2 => square <= radius,
                    3 => square <= radius && square > radius - 2.0,
                    4 => square <= radius && dx.min(dy) < 1.0,
                    _ => square <= radius && (dx - dy).abs() < 1.5,
                };
                let noise = 0.6 * (rng.f32() - 0.5);
                pixels.push(if inside { strength + noise } else { noise });
            }
        }
        Self { pixels, labels }
    }

    /// The pixels of one image.
    pub fn image(&self, i: usize) -> &[f32] {
        &self.pixels[i * EDGE * EDGE..(i + 1) * EDGE * EDGE]
    }

    /// How many images a network's logits get right.
    pub fn right(&self, logits: &[f32]) -> usize {
        let best = |row: &[f32]| row.iter().enumerate().max_by(|a, b| a.1.total_cmp(b.1)).map(|best| best.0);
        logits.chunks_exact(CLASSES).zip(&self.labels).filter(|(row, label)| best(row) == Some(**label)).count()
    }
}
