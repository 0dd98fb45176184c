//! What a Reshape does to a transposed value: which dimensions it splits, joins, adds or drops.

use std::ops::Range;

use quaver_core::graph::Dim;

/// Dimensions `from` of the operand that become the dimensions `to` of the result.
#[derive(Debug, PartialEq)]
struct Segment {
    from: Range<usize>,
    to: Range<usize>,
}

const ONE: Dim = Dim::Fixed(1);

/// The smallest runs of dimensions with equal products; `None` where an extent is 0 or the products differ.
fn segments(from: &[Dim], to: &[Dim]) -> Option<Vec<Segment>> {
    let zero = |d: &Dim| matches!(d, Dim::Fixed(0));
    if from.iter().chain(to).any(zero) || Dim::product(from)? != Dim::product(to)? {
        return None;
    }
    // Of the joined dimensions on both sides, the smaller one needs the next; what is open is larger than what isn't.
    let size = |d: &Dim| (d.is_open(), d.is_batch(), d.about());
    let mut found = Vec::new();
    let (mut i, mut j) = (0, 0);
    while i < from.len() || j < to.len() {
        let start = (i, j);
        let (mut a, mut b) = (ONE, ONE);
        if let Some(d) = from.get(i) {
            (a, i) = (d.clone(), i + 1);
        } else {
            (b, j) = (to[j].clone(), j + 1);
        }
        while a != b {
            match (from.get(i), to.get(j)) {
                (Some(d), next) if next.is_none() || size(&a) < size(&b) => (a, i) = (a.times(d)?, i + 1),
                (_, Some(d)) => (b, j) = (b.times(d)?, j + 1),
                _ => return None,
            }
        }
        found.push(Segment { from: start.0..i, to: start.1..j });
    }
    Some(found)
}

/// For each dimension of `base` that isn't 1, its place among those.
fn places(base: &[Dim]) -> Vec<Option<usize>> {
    let mut next = 0;
    let place = |d: &Dim| {
        (*d != ONE).then(|| {
            next += 1;
            next - 1
        })
    };
    base.iter().map(place).collect()
}

/// A value is Transpose(base, perm); reshaped to `to`, it is Transpose(Reshape(base, shape), perm′). Returns shape and
/// perm′; `None` where the Reshape joins dimensions that don't lie side by side in `base`.
pub(super) fn through(base: &[Dim], perm: &[usize], to: &[Dim]) -> Option<(Vec<Dim>, Vec<usize>)> {
    let from: Vec<Dim> = perm.iter().map(|&p| base[p].clone()).collect();
    let places = places(base);
    // Blocks of the result's dimensions, each with the place in base where it starts.
    let mut blocks: Vec<(usize, Vec<usize>)> = Vec::new();
    let mut ones: Vec<usize> = Vec::new();
    for segment in segments(&from, to)? {
        let at: Vec<usize> = segment.from.filter_map(|i| places[perm[i]]).collect();
        if at.windows(2).any(|w| w[1] != w[0] + 1) {
            return None;
        }
        match at.first() {
            Some(&start) => blocks.push((start, ones.drain(..).chain(segment.to).collect())),
            // Extents of 1 can be anywhere; they go with what follows.
            None => ones.extend(segment.to),
        }
    }
    blocks.push((usize::MAX, ones));
    blocks.sort_by_key(|block| block.0);
    let order: Vec<usize> = blocks.into_iter().flat_map(|block| block.1).collect();
    let mut new_perm = vec![0; to.len()];
    for (position, &dim) in order.iter().enumerate() {
        new_perm[dim] = position;
    }
    Some((order.iter().map(|&dim| to[dim].clone()).collect(), new_perm))
}

/// A value is Transpose(base, perm); reshaped to `to`, its last dimension is a reordering of that of Reshape(base, to):
/// element i is element `order[i]` there. `None` where the Reshape does something else.
pub(super) fn flattened(base: &[Dim], perm: &[usize], to: &[Dim]) -> Option<Vec<usize>> {
    let from: Vec<Dim> = perm.iter().map(|&p| base[p].clone()).collect();
    let places = places(base);
    let mut all = segments(&from, to)?;
    while all.last().is_some_and(|s| s.to.is_empty()) {
        all.pop();
    }
    let last = all.pop()?;
    let real = |dims: Range<usize>| to[dims].iter().filter(|d| **d != ONE).count();
    if last.to.end != to.len() || to[last.to.end - 1] == ONE || real(last.to) != 1 {
        return None;
    }
    let leading: Vec<usize> = all.into_iter().flat_map(|s| s.from).filter_map(|i| places[perm[i]]).collect();
    if leading.iter().enumerate().any(|(i, &place)| i != place) {
        return None;
    }
    // (place in base, extent) of the joined dimensions, in the value's order and in base's.
    let joined: Option<Vec<(usize, usize)>> =
        last.from.filter_map(|i| places[perm[i]].map(|place| Some((place, from[i].fixed()?)))).collect();
    let joined = joined?;
    let stride = |place: usize| joined.iter().filter(|d| d.0 > place).map(|d| d.1).product::<usize>();
    let mut order = vec![0];
    for &(place, extent) in &joined {
        let stride = stride(place);
        order = order.iter().flat_map(|&start| (0..extent).map(move |i| start + i * stride)).collect();
    }
    Some(order)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn dims(shape: &[usize]) -> Vec<Dim> {
        // 0 stands for the batch.
        shape.iter().map(|&d| if d == 0 { Dim::BATCH } else { Dim::Fixed(d) }).collect()
    }

    #[test]
    fn runs_of_dimensions() {
        let found = segments(&dims(&[0, 6, 4]), &dims(&[0, 2, 1, 3, 4])).expect("equal products");
        let ranges: Vec<_> = found.into_iter().map(|s| (s.from, s.to)).collect();
        assert_eq!(ranges, [(0..1, 0..1), (1..2, 1..4), (2..3, 4..5)]);
        assert_eq!(segments(&dims(&[2, 3]), &dims(&[5])), None);
    }

    #[test]
    fn reshapes_that_keep_dimensions_pass() {
        // NHWC below an NCHW view.
        let view = [0, 3, 1, 2];
        assert_eq!(through(&dims(&[0, 1, 1, 8]), &view, &dims(&[0, 8])), Some((dims(&[0, 8]), vec![0, 1])));
        assert_eq!(through(&dims(&[0, 5, 6, 8]), &view, &dims(&[0, 8, 30])), Some((dims(&[0, 30, 8]), vec![0, 2, 1])));
        assert_eq!(through(&dims(&[0, 1, 6, 8]), &view, &dims(&[0, 8, 6])), Some((dims(&[0, 6, 8]), vec![0, 2, 1])));
        assert_eq!(through(&dims(&[0, 6, 8]), &[0, 2, 1], &dims(&[0, 8, 1, 6])), Some((dims(&[0, 1, 6, 8]), view.to_vec())));
        assert_eq!(through(&dims(&[0, 5, 6, 8]), &view, &dims(&[0, 2, 4, 5, 6])), Some((dims(&[0, 5, 6, 2, 4]), vec![0, 3, 4, 1, 2])));
        assert_eq!(through(&dims(&[0, 5, 6, 8]), &view, &dims(&[0, 240])), None);
    }

    #[test]
    fn flattening_reorders_the_last_dimension() {
        let order = flattened(&dims(&[0, 2, 3, 2]), &[0, 3, 1, 2], &dims(&[0, 12])).expect("a flatten");
        // NCHW index c·6 + h·3 + w is NHWC index h·6 + w·2 + c.
        for (c, h, w) in [(0, 0, 0), (1, 0, 0), (0, 1, 2), (1, 1, 1)] {
            assert_eq!(order[c * 6 + h * 3 + w], h * 6 + w * 2 + c);
        }
        assert!(flattened(&dims(&[1, 4, 4, 16]), &[0, 3, 1, 2], &dims(&[1, 256])).is_some());
        assert_eq!(flattened(&dims(&[0, 2, 3, 2]), &[0, 3, 1, 2], &dims(&[0, 2, 6])), None);
        assert_eq!(flattened(&dims(&[2, 3, 0]), &[2, 0, 1], &dims(&[0, 6])), None);
    }
}
