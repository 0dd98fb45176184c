//! Which layers the outputs lose most by: each in turn is in integers, in a network that is float otherwise.
//!
//! How well a layer agrees with float by itself ([`crate::layers`]) says little of that: what is behind it may hardly look at what it
//! got wrong, or make much of it. So its error is put into a float run, and followed to the outputs. Errors add up nearly as if they
//! had nothing to do with each other, so what the outputs lose by all of them together is about the sum.
//!
//! Of a layer's error it counts what its operand's rounding and its weights' cause, since that is what goes when it stays float; the
//! rounding of its result is its readers'. A function behind it that is applied by table is weighed by itself, by the rounding before
//! the table: if it stays float, the product still is in integers. Means of channels are left out where biases take them up. A float
//! run is recorded once a sample, and only what is behind a layer is computed anew.

use std::collections::HashMap;

use quaver_core::graph::op::Epilogue;
use quaver_core::graph::{Graph, Network, Op, ValueId};
use quaver_core::quant::Affine;

use crate::agreement::Agreement;
use crate::by_node::{Held, compute};
use crate::calibrate::burn_exec::{FloatRunner, Record, RunError};
use crate::calibrate::{HostTensor, Sample};
use crate::pipeline::Converted;
use crate::refine::Product;

/// What the outputs lose by one layer, or by the rounding before a function that is applied by table.
#[derive(Debug, Clone, PartialEq)]
pub struct Weight {
    /// The node.
    pub node: String,
    /// Noise over signal, of the output that loses most by all layers together.
    pub noise: f64,
}

impl Weight {
    /// The output's SQNR in decibels if this layer alone were in integers; infinite without noise.
    pub fn sqnr_db(&self) -> f64 {
        -10.0 * self.noise.log10()
    }
}

/// Weighs the layers of `converted` that have weights or multiply two activations, and tables behind them; the worst comes first.
/// `float` is the network that was quantized, equalized as it was. `progress` is called with the number of layers done, and of all.
///
/// # Errors
/// [`RunError`] where a sample doesn't fit.
pub fn weigh(
    float: &Network,
    converted: &Converted,
    samples: &[Sample],
    progress: &mut dyn FnMut(usize, usize),
) -> Result<Vec<Weight>, RunError> {
    let runner = FloatRunner::new(float)?;
    let records = samples.iter().map(|sample| runner.record(sample)).collect::<Result<Vec<_>, _>>()?;
    let nodes: HashMap<&str, usize> = float.graph.nodes.iter().enumerate().map(|(i, n)| (n.name.as_str(), i)).collect();
    let scale = Scale { float, network: &converted.network, runner: &runner, records: &records, nodes };
    // What stands behind a product in its epilogue; the rounding before a table goes if the first of it stays float. There is none
    // before HardSwish.
    let swished = |node: &str| {
        let of = |op| epilogue(op).is_some_and(|e| e.hard_swish);
        converted.network.graph.nodes.iter().any(|n| n.name == node && of(&n.op))
    };
    let behind = |node: &str| {
        let first = converted.decisions.iter().find(|d| d.fused_into.as_deref() == Some(node))?;
        (!swished(node)).then_some(first.node.as_str())
    };
    let mut parts: Vec<(&str, Part<'_>)> = Vec::new();
    for decision in converted.decisions.iter().filter(|d| d.fused_into.is_none()) {
        let name = decision.node.as_str();
        match converted.products.iter().find(|p| p.node == name) {
            Some(product) => {
                parts.push((name, Part::Product(product)));
                parts.extend(behind(name).map(|node| (node, Part::BeforeTable(product))));
            }
            None if decision.weights.is_some() || is_product(&converted.network, name) => parts.push((name, Part::Other)),
            None => {}
        }
    }
    parts.retain(|(name, _)| !name.is_empty());
    let mut losses: Vec<Vec<f64>> = Vec::with_capacity(parts.len());
    for (done, (name, part)) in parts.iter().enumerate() {
        let result = match part {
            Part::Product(product) => scale.product(product)?,
            Part::BeforeTable(product) => scale.before_table(product),
            Part::Other => scale.other(name)?,
        };
        losses.push(match result {
            Some((id, results)) => scale.loss(id, results)?,
            None => vec![0.0; float.graph.outputs.len()],
        });
        progress(done + 1, parts.len());
    }
    let total = |output: usize| losses.iter().map(|l| l[output]).sum::<f64>();
    let worst = (0..float.graph.outputs.len()).max_by(|&a, &b| total(a).total_cmp(&total(b))).unwrap_or_default();
    let mut weights: Vec<Weight> =
        parts.iter().zip(&losses).map(|((name, _), l)| Weight { node: (*name).to_owned(), noise: l[worst] }).collect();
    weights.sort_by(|a, b| b.noise.total_cmp(&a.noise));
    Ok(weights)
}

/// What an error is of.
enum Part<'a> {
    /// The operand and the weights of a product.
    Product(&'a Product),
    /// The result of a product, before a table is applied.
    BeforeTable(&'a Product),
    /// All that a node does.
    Other,
}

/// Whether the quantized network multiplies two activations there.
fn is_product(network: &Network, name: &str) -> bool {
    network.graph.nodes.iter().any(|n| n.name == name && n.op == Op::MatMul)
}

fn epilogue(op: &Op) -> Option<Epilogue> {
    match op {
        Op::QConv(c) => c.epilogue,
        Op::QConvTranspose(c) => c.epilogue,
        Op::QGemm(g) => g.epilogue,
        _ => None,
    }
}

/// A value of the float network, and what it is for each sample.
type Results = (ValueId, Vec<HostTensor>);

struct Scale<'a> {
    float: &'a Network,
    network: &'a Network,
    runner: &'a FloatRunner,
    records: &'a [Record],
    /// Nodes of the float network by name.
    nodes: HashMap<&'a str, usize>,
}

impl Scale<'_> {
    /// What a static product gives, from the rounded operand and the rounded weights.
    fn product(&self, product: &Product) -> Result<Option<Results>, RunError> {
        let Some(&node) = self.nodes.get(product.node.as_str()) else { return Ok(None) };
        let Some(weights) = self.rounded(product) else { return Ok(None) };
        let entry = &self.float.graph.nodes[node];
        let mut results = Vec::with_capacity(self.records.len());
        for record in self.records {
            let Some(x) = record.value(entry.inputs[0]) else { return Ok(None) };
            let data = x.data.iter().map(|&x| product.from.dequantize(product.from.quantize(x))).collect();
            results.push(self.runner.with_weights(record, node, HostTensor { shape: x.shape.clone(), data }, weights.clone())?);
        }
        if product.passes.bias_correction {
            self.centre(product.output, &mut results);
        }
        Ok(Some((product.output, results)))
    }

    /// What a product gives, rounded as it is before the table behind it; `None` where there is none.
    fn before_table(&self, product: &Product) -> Option<Results> {
        let node = self.network.graph.nodes.iter().find(|n| n.name == product.node)?;
        let epilogue = epilogue(&node.op).filter(|e| e.table && e.residual.is_none())?;
        // multiplier = s_x · s_w / s.
        let multipliers = self.network.elements::<f32>(*node.inputs.get(3)?)?;
        let (scale, multiplier) = product.scales.iter().zip(multipliers).find(|(_, m)| **m > 0.0)?;
        let affine = Affine {
            scale: (f64::from(product.from.scale) * scale / f64::from(*multiplier)) as f32,
            zero_point: epilogue.zero_point,
            q_max: product.from.q_max,
        };
        // What is beyond either end is as good as at the end, once the table's result is rounded: its range ends there too, or it is flat.
        let (least, most) = (affine.dequantize(epilogue.lo), affine.dequantize(epilogue.hi));
        let rounded = |&x: &f32| if (least..=most).contains(&x) { affine.dequantize(affine.quantize(x)) } else { x };
        let of = |record: &Record| {
            let real = record.value(product.output)?;
            Some(HostTensor { shape: real.shape.clone(), data: real.data.iter().map(rounded).collect() })
        };
        Some((product.output, self.records.iter().map(of).collect::<Option<_>>()?))
    }

    /// The weights that a product has, as real numbers in the order of the float network's.
    fn rounded(&self, product: &Product) -> Option<Vec<f32>> {
        let node = self.network.graph.nodes.iter().find(|n| n.name == product.node)?;
        let shape = product.shape;
        let integers = shape.unpack(self.network.elements::<i8>(*node.inputs.get(1)?)?)?;
        let channels = shape.groups * shape.output_channels;
        let scale = |n: usize| product.scales[shape.channel(n / shape.output_channels, n % shape.output_channels)];
        let scales: Vec<f64> = (0..channels).map(scale).collect();
        Some(integers.iter().enumerate().map(|(i, &q)| (f64::from(q) * scales[i % channels]) as f32).collect())
    }

    /// Takes the mean error of each channel out of `results`.
    fn centre(&self, id: ValueId, results: &mut [HostTensor]) {
        let channels = results.first().and_then(|r| r.shape.last().copied()).unwrap_or_default().max(1);
        let (mut sums, mut rows) = (vec![0f64; channels], 0);
        for (result, record) in results.iter().zip(self.records) {
            let real = record.value(id).map_or(&[][..], |real| &real.data);
            for (a, b) in result.data.chunks_exact(channels).zip(real.chunks_exact(channels)) {
                sums.iter_mut().zip(a.iter().zip(b)).for_each(|(sum, (a, b))| *sum += f64::from(a - b));
                rows += 1;
            }
        }
        let means: Vec<f32> = sums.iter().map(|sum| (sum / f64::from(rows.max(1))) as f32).collect();
        for result in results {
            result.data.chunks_exact_mut(channels).for_each(|row| row.iter_mut().zip(&means).for_each(|(x, mean)| *x -= mean));
        }
    }

    /// What any other node gives, by its definition in the quantized network.
    fn other(&self, name: &str) -> Result<Option<Results>, RunError> {
        let graph = &self.network.graph;
        let Some(node) = graph.nodes.iter().position(|n| n.name == name) else { return Ok(None) };
        let output = graph.nodes[node].outputs[0];
        let known: HashMap<&str, ValueId> =
            self.float.graph.values.iter().enumerate().map(|(i, v)| (v.name.as_str(), ValueId(i as u32))).collect();
        let Some(&id) = known.get(plain(&graph.value(output).name)) else { return Ok(None) };
        let producers = graph.producers();
        let mut results = Vec::with_capacity(self.records.len());
        for record in self.records {
            let sized = record.sized(graph)?;
            let operands = Operands { network: self.network, sized: &sized, record, known: &known, producers: &producers };
            let Some(data) = operands.compute(node).and_then(|held| held.real(graph.value(output))) else { return Ok(None) };
            let Some(real) = record.value(id) else { return Ok(None) };
            results.push(HostTensor { shape: real.shape.clone(), data });
        }
        Ok(Some((id, results)))
    }

    /// Noise over signal of each output, where value `id` is `results`.
    fn loss(&self, id: ValueId, results: Vec<HostTensor>) -> Result<Vec<f64>, RunError> {
        let outputs = &self.float.graph.outputs;
        let mut agreements = vec![Agreement::default(); outputs.len()];
        for (record, result) in self.records.iter().zip(results) {
            let values = self.runner.rerun(record, id, result)?;
            for ((agreement, value), output) in agreements.iter_mut().zip(values).zip(outputs) {
                if let Some(real) = record.value(*output) {
                    agreement.add(&real.data, &value.data);
                }
            }
        }
        Ok(agreements.iter().map(Agreement::noise_to_signal).collect())
    }
}

/// The name of a value in the float network.
fn plain(name: &str) -> &str {
    name.strip_suffix(":u8").unwrap_or(name)
}

/// Operands of nodes of the quantized network, from what the float network gives.
struct Operands<'a> {
    network: &'a Network,
    sized: &'a Graph,
    record: &'a Record,
    known: &'a HashMap<&'a str, ValueId>,
    producers: &'a [Option<usize>],
}

impl Operands<'_> {
    /// The result of a node; `None` where the float network has nothing to compute it from.
    fn compute(&self, node: usize) -> Option<Held> {
        let graph = &self.network.graph;
        let mut held = HashMap::new();
        for v in graph.nodes[node].inputs.iter().filter(|v| graph.value(**v).constant.is_none()) {
            let value = graph.value(*v);
            let real = self.known.get(plain(&value.name)).filter(|_| !value.name.is_empty()).and_then(|&id| self.record.value(id));
            // What the float network doesn't have (parameters that a run chooses, say) is computed from what it has.
            let operand = match real {
                Some(tensor) => Held::new(value, tensor)?,
                None => self.compute(self.producers[v.index()]?)?,
            };
            held.insert(v.index(), operand);
        }
        compute((graph, self.network), self.sized, node, &|v| held.get(&v))
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use quaver_core::graph::Dim;
    use quaver_core::graph::op::{BinaryFn, UnaryFn};
    use quaver_core::tensor::DType;

    use super::*;
    use crate::calibrate::data::Samples;
    use crate::layers;
    use crate::pipeline::Calibrated;
    use crate::quantize::qconfig::{QConfigMapping, Scheme};

    const WIDTH: usize = 16;

    fn numbers(count: usize, seed: usize) -> Vec<f32> {
        (0..count).map(|i| (((i + seed) * 7919 + 13) % 1009) as f32 / 504.5 - 1.0).collect()
    }

    /// y = loud(x) + faint(rough(x)). `rough` has a large weight for an element that is nearly always 0, so its others are coarse, but
    /// `faint` makes little of it.
    fn network() -> Network {
        let mut net = Network::new("n");
        let x = net.input("x", DType::F32, vec![Dim::BATCH, WIDTH.into()]);
        let mut rough = numbers(WIDTH * WIDTH, 1);
        rough[..WIDTH].fill(60.0);
        let faint: Vec<f32> = numbers(WIDTH * WIDTH, 2).iter().map(|w| w * 1e-4).collect();
        let gemm = |net: &mut Network, x, name: &str, data: &[f32]| {
            let w = net.constant(format!("{name}.w"), &[WIDTH, WIDTH], data);
            net.push(Op::Gemm, &[x, w], name, name).expect("valid")
        };
        let r = gemm(&mut net, x, "rough", &rough);
        let f = gemm(&mut net, r, "faint", &faint);
        let l = gemm(&mut net, x, "loud", &numbers(WIDTH * WIDTH, 3));
        let y = net.push(Op::Binary { function: BinaryFn::Add }, &[l, f], "add", "y").expect("valid");
        net.output(y);
        net
    }

    fn samples() -> Vec<Sample> {
        let of = |i: usize| {
            let mut data = numbers(WIDTH * 8, 100 + i);
            data.iter_mut().step_by(WIDTH).for_each(|x| *x *= 1e-3);
            vec![HostTensor { shape: vec![8, WIDTH], data }]
        };
        (0..16).map(of).collect()
    }

    #[test]
    fn a_layer_weighs_what_the_outputs_lose_by_it() {
        let net = network();
        for scheme in [Scheme::Static, Scheme::Dynamic] {
            let mut mapping = QConfigMapping::default();
            mapping.global.scheme = scheme;
            let calibrated = Calibrated::new(&net, &Samples::given(samples()), &mapping, &mut |_| {}).expect("runs");
            let converted = calibrated.convert(&mapping).expect("converts");
            let few = &samples()[..4];
            let mut seen = Vec::new();
            let weights = weigh(calibrated.float(), &converted, few, &mut |done, of| seen.push((done, of))).expect("runs");
            assert_eq!(seen, [(1, 3), (2, 3), (3, 3)]);
            assert_eq!(weights[0].node, "loud", "{weights:?}");
            assert!(weights[1].noise < 0.01 * weights[0].noise && weights[2].noise > 0.0, "{weights:?}");
            assert!((25.0..60.0).contains(&weights[0].sqnr_db()), "{weights:?}");

            // By themselves, it is the other way round.
            let runner = FloatRunner::new(&net).expect("float");
            let mut alone = BTreeMap::new();
            let quantized = (&converted.network.graph, &converted.network as &dyn quaver_core::graph::Constants, &converted.scaled());
            few.iter().for_each(|sample| layers::alone(&net, &runner, quantized, sample, &mut alone).expect("runs"));
            assert!(alone["rough"].noise_to_signal() > 4.0 * alone["loud"].noise_to_signal(), "{alone:?}");
        }
    }

    /// A product of weights that 8 bits hold exactly, a table behind it, and a product that reads it.
    #[test]
    fn what_a_table_is_applied_to_is_weighed_by_itself() {
        let mut net = Network::new("n");
        let x = net.input("x", DType::F32, vec![Dim::BATCH, WIDTH.into()]);
        let unit: Vec<f32> = (0..WIDTH * WIDTH).map(|i| if i % (WIDTH + 1) == 0 { 4.0 } else { 0.0 }).collect();
        let w = net.constant("w", &[WIDTH, WIDTH], &unit);
        let a = net.push(Op::Gemm, &[x, w], "a", "a").expect("valid");
        let swish = net.push(Op::Unary { function: UnaryFn::Silu }, &[a], "swish", "s").expect("valid");
        let w = net.constant("v", &[WIDTH, WIDTH], &numbers(WIDTH * WIDTH, 5));
        let b = net.push(Op::Gemm, &[swish, w], "b", "b").expect("valid");
        // An epilogue computes this without a table.
        let hard = net.push(Op::Unary { function: UnaryFn::HardSwish }, &[b], "hard", "h").expect("valid");
        let w = net.constant("u", &[WIDTH, WIDTH], &numbers(WIDTH * WIDTH, 6));
        let y = net.push(Op::Gemm, &[hard, w], "c", "y").expect("valid");
        net.output(y);
        let mut mapping = QConfigMapping::default();
        mapping.global.bias_correction = false;
        let calibrated = Calibrated::new(&net, &Samples::given(samples()), &mapping, &mut |_| {}).expect("runs");
        let converted = calibrated.convert(&mapping).expect("converts");
        let product = |name: &str| converted.products.iter().find(|p| p.node == name).expect("a product");
        // Inputs that 8 bits hold exactly.
        let from = product("a").from;
        let x = HostTensor { shape: vec![16, WIDTH], data: (0..=255).map(|q| from.dequantize(q)).collect() };

        let runner = FloatRunner::new(&net).expect("float");
        let record = runner.record(&[x]).expect("runs");
        let known: HashMap<&str, ValueId> =
            net.graph.values.iter().enumerate().map(|(i, v)| (v.name.as_str(), ValueId(i as u32))).collect();
        let graph = &converted.network.graph;
        let sized = record.sized(graph).expect("fits");
        let producers = graph.producers();
        let operands = Operands { network: &converted.network, sized: &sized, record: &record, known: &known, producers: &producers };
        let node = graph.nodes.iter().position(|n| n.name == "a").expect("a node");
        let computed = operands.compute(node).expect("computed");

        let records = std::slice::from_ref(&record);
        let scale = Scale { float: &net, network: &converted.network, runner: &runner, records, nodes: HashMap::new() };
        let (id, results) = scale.before_table(product("a")).expect("a table");
        assert_eq!(id, a);
        // Behind the table they are what the quantized network has.
        let from = product("b").from;
        let swish = |x: f32| (f64::from(x) / (1.0 + (-f64::from(x)).exp())) as f32;
        let bytes: Vec<u8> = results[0].data.iter().map(|&x| from.quantize(swish(x))).collect();
        assert_eq!(&bytes[..], &computed.bytes[..]);
        let direct: Vec<u8> = record.value(a).expect("kept").data.iter().map(|&x| from.quantize(swish(x))).collect();
        assert_ne!(bytes, direct);
        assert!(scale.before_table(product("b")).is_none());

        // If it stays float, that rounding is gone.
        let named = |converted: &Converted| -> Vec<String> {
            weigh(calibrated.float(), converted, &samples(), &mut |_, _| {}).expect("runs").into_iter().map(|w| w.node).collect()
        };
        let all = named(&converted);
        assert!(all.contains(&"swish".to_owned()) && !all.contains(&"hard".to_owned()), "{all:?}");
        mapping.keep_float("swish");
        let without = named(&calibrated.convert(&mapping).expect("converts"));
        assert!(!without.contains(&"swish".to_owned()) && without.contains(&"a".to_owned()), "{without:?}");
    }
}
