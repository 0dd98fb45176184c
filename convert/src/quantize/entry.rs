//! What a quantized network begins with: a quantization whose result only goes to channels last becomes one that writes it so.

use quaver_core::graph::{Network, Op};

/// The permutation from `[N,C,H,W]` to `[N,H,W,C]`.
const CHANNELS_LAST: [usize; 4] = [0, 2, 3, 1];

/// Merges each `Quantize` with the `Transpose` to channels last behind it, where nothing else reads what lies between.
pub fn merge_transposes(network: &mut Network) {
    let graph = &mut network.graph;
    let (consumers, producers) = (graph.consumers(), graph.producers());
    let mut dropped = vec![false; graph.nodes.len()];
    for i in 0..graph.nodes.len() {
        let Op::Transpose { perm } = &graph.nodes[i].op else { continue };
        let x = graph.nodes[i].inputs[0];
        let Some(p) = producers[x.index()].filter(|_| perm[..] == CHANNELS_LAST) else { continue };
        let alone = consumers[x.index()].len() == 1 && !graph.outputs.contains(&x);
        if alone && graph.nodes[p].op == (Op::Quantize { channels_last: false }) {
            let (name, input) = (graph.nodes[p].name.clone(), graph.nodes[p].inputs[0]);
            let node = &mut graph.nodes[i];
            (node.op, node.name, node.inputs) = (Op::Quantize { channels_last: true }, name, vec![input]);
            dropped[p] = true;
        }
    }
    let mut index = 0;
    graph.nodes.retain(|_| {
        index += 1;
        !dropped[index - 1]
    });
    network.compact();
}

#[cfg(test)]
mod tests {
    use super::*;
    use quaver_core::graph::Dim;
    use quaver_core::quant::Affine;
    use quaver_core::tensor::DType;

    #[test]
    fn only_what_is_read_once_is_merged() {
        for also_output in [false, true] {
            let mut net = Network::new("entry");
            let x = net.input("x", DType::F32, vec![Dim::BATCH, 3.into(), 4.into(), 5.into()]);
            let affine = Some(Affine { scale: 0.1, zero_point: 3, q_max: 255 });
            let q = net.push_typed(Op::Quantize { channels_last: false }, &[x], "q", "q", DType::U8, affine).expect("fits");
            let perm = CHANNELS_LAST.to_vec();
            let t = net.push_typed(Op::Transpose { perm }, &[q], "t", "t", DType::U8, affine).expect("fits");
            net.output(t);
            if also_output {
                net.output(q);
            }
            merge_transposes(&mut net);
            quaver_core::graph::check::check(&net.graph).expect("valid");
            assert_eq!(net.graph.nodes.len(), if also_output { 2 } else { 1 });
            assert_eq!(net.graph.nodes[0].op, Op::Quantize { channels_last: !also_output });
        }
    }
}
