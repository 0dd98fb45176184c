//! Col2Im, which adds overlapping blocks up to an image: the transpose of taking blocks out of one, so a transposed convolution whose
//! weights are ones, each at the place of its element of a block. Blocks that lie side by side are only moved.

use quaver_core::graph::Dim;

use super::compose::{int, ints};
use super::{Ctx, Outputs};
use crate::import::onnx::value::Val;
use crate::import::onnx::{Importer, invalid, unsupported};

/// Most elements of the weights that say where elements of blocks go.
const MOST: usize = 1 << 22;

impl Importer<'_> {
    /// `[N, C·h·w, L]` → `[N, C, H, W]`.
    pub(super) fn col2im(&mut self, ctx: &Ctx<'_>) -> Outputs {
        let x = self.real(ctx, 0)?;
        let dims = self.dims(x);
        let positive =
            |numbers: Vec<i64>| numbers.into_iter().map(|n| usize::try_from(n).ok().filter(|&n| n > 0)).collect::<Option<Vec<_>>>();
        let (Some(image), Some(block)) = (self.ints(ctx, 1)?, self.ints(ctx, 2)?) else {
            return invalid("image_shape or block_shape is missing");
        };
        let (image, block) = match (positive(image).as_deref(), positive(block).as_deref()) {
            (Some(&[h, w]), Some(&[bh, bw])) => ([h, w], [bh, bw]),
            (Some(image), Some(block)) if image.len() == block.len() => return unsupported("only images of two dimensions are supported"),
            _ => return invalid("image_shape and block_shape differ in length, or are not positive"),
        };
        let list = |name: &'static str, count: usize, default: i64| {
            let given = ctx.attrs.ints(name)?.unwrap_or_else(|| vec![default; count]);
            match given.iter().map(|&n| usize::try_from(n).ok().filter(|&n| n as i64 >= default)).collect::<Option<Vec<usize>>>() {
                Some(numbers) if numbers.len() == count => Ok(numbers),
                _ => invalid(format!("{name} should be {count} numbers of {default} at least")),
            }
        };
        let (strides, dilations, pads) = (list("strides", 2, 1)?, list("dilations", 2, 1)?, list("pads", 4, 0)?);
        let elements = block[0].checked_mul(block[1]);
        let (Some(elements), &[_, Dim::Fixed(columns), Dim::Fixed(blocks)]) = (elements, &dims[..]) else {
            return unsupported("its operand's channels and blocks have to be known");
        };
        let padded = |d: usize| image[d].saturating_add(pads[d]).saturating_add(pads[d + 2]);
        let reach = |d: usize| (block[d] - 1).checked_mul(dilations[d])?.checked_add(1);
        let count = |d: usize| Some(padded(d).checked_sub(reach(d)?)? / strides[d] + 1);
        let (Some(rows), Some(lines)) = (count(0), count(1)) else { return invalid("its blocks are larger than the image") };
        if rows.checked_mul(lines) != Some(blocks) || !columns.is_multiple_of(elements) {
            return invalid(format!(
                "an operand of {columns} channels and {blocks} blocks is not what these blocks take ({elements}, {rows}x{lines})"
            ));
        }
        let channels = columns / elements;
        let of = |sizes: &[usize]| [dims[0].clone()].into_iter().chain(sizes.iter().map(|&n| Dim::Fixed(n))).collect::<Vec<Dim>>();
        let x = Val::Tensor(x);
        let side_by_side = strides == block && dilations == [1, 1] && pads == [0; 4] && image == [rows * block[0], lines * block[1]];
        if side_by_side {
            let apart = Self::shape_of(&of(&[channels, block[0], block[1], rows, lines]));
            let apart = self.call(ctx, "Reshape", &[&x, &apart], &[])?;
            let ordered = self.call(ctx, "Transpose", &[&apart], &[ints("perm", [0, 1, 4, 2, 5, 3])])?;
            return self.last(ctx, "Reshape", &[&ordered, &Self::shape_of(&of(&[channels, image[0], image[1]]))], &[]);
        }
        if columns.checked_mul(elements).is_none_or(|n| n > MOST) {
            return unsupported(format!("overlapping blocks of {elements} elements and {channels} channels take too many weights"));
        }
        let mut weights = vec![0.0; columns * elements];
        for (column, weights) in weights.chunks_exact_mut(elements).enumerate() {
            weights[column % elements] = 1.0;
        }
        let weights = Val::floats(vec![columns, 1, block[0], block[1]], weights);
        // What the last blocks don't reach.
        let rest = |d: usize, count: usize| padded(d).checked_sub((count - 1) * strides[d] + reach(d)?);
        let (Some(below), Some(right)) = (rest(0, rows), rest(1, lines)) else { return invalid("its blocks are larger than the image") };
        let whole = |numbers: &[usize]| numbers.iter().map(|&n| n as i64).collect::<Vec<_>>();
        let attributes = [
            int("group", channels as i64),
            ints("strides", whole(&strides)),
            ints("dilations", whole(&dilations)),
            ints("pads", whole(&pads)),
            ints("output_padding", whole(&[below, right])),
        ];
        let blocks = self.call(ctx, "Reshape", &[&x, &Self::shape_of(&of(&[columns, rows, lines]))], &[])?;
        self.last(ctx, "ConvTranspose", &[&blocks, &weights], &attributes)
    }
}
