//! Which layers the error comes from: how well each agrees with float by itself, given the float network's values as operands.
//!
//! In a whole run the errors of all layers before arrive at a layer too. Here its operands are those of the float run, rounded as the
//! quantized network rounds them, so that what is found is the layer's own: its operand's rounding, its weights', its result's.

use std::collections::{BTreeMap, HashMap};

use quaver_core::graph::{Constants, Graph, Network, Sizes};

use crate::agreement::Agreement;
use crate::by_node::{Held, compute};
use crate::calibrate::burn_exec::{FloatRunner, RunError};
use crate::calibrate::{HostTensor, Sample};
use crate::equalize::scaled::Scaled;

/// Adds one sample's agreements, by the name of the value, of each node of `graph` whose result the float network has too.
///
/// # Errors
/// [`RunError`] where the sample doesn't fit.
pub fn alone(
    float: &Network,
    runner: &FloatRunner,
    (graph, constants, scaled): (&Graph, &dyn Constants, &Scaled),
    sample: &Sample,
    agreements: &mut BTreeMap<String, Agreement>,
) -> Result<(), RunError> {
    let mut real: HashMap<&str, HostTensor> = HashMap::new();
    for (&id, tensor) in float.graph.inputs.iter().zip(sample) {
        real.insert(&float.graph.value(id).name, tensor.clone());
    }
    runner.run(sample, &mut |id, data, shape| {
        let name = float.graph.value(id).name.as_str();
        if !name.is_empty() {
            real.insert(name, HostTensor { shape: shape.to_vec(), data: data.to_vec() });
        }
    })?;
    let mut sizes = Sizes::default();
    for (&id, tensor) in graph.inputs.iter().zip(sample) {
        sizes.learn(&graph.value(id).shape, &tensor.shape);
    }
    let sized = graph.fixed(&sizes).map_err(|source| RunError::Sizes { sizes: sizes.to_string(), source })?;
    let name_of = |index: usize| {
        let name = graph.values[index].name.as_str();
        name.strip_suffix(":u8").unwrap_or(name)
    };
    let of = |index: usize| real.get(scaled.original(name_of(index)));
    // What the float network doesn't have (a change of parameters, say) is computed from what it has.
    let mut between: HashMap<usize, Held> = HashMap::new();
    for (node, entry) in graph.nodes.iter().enumerate() {
        let known: HashMap<usize, Held> = entry
            .inputs
            .iter()
            .map(|id| id.index())
            .filter(|&v| graph.values[v].constant.is_none())
            .filter_map(|v| {
                let mut tensor = of(v)?.clone();
                scaled.divide(name_of(v), &mut tensor.data);
                Some((v, Held::new(&graph.values[v], &tensor)?))
            })
            .collect();
        let output = entry.outputs[0];
        let Some(result) = compute((graph, constants), &sized, node, &|v| known.get(&v).or_else(|| between.get(&v))) else { continue };
        match (of(output.index()), result.real(graph.value(output))) {
            (Some(float), Some(mut quantized)) => {
                let name = name_of(output.index());
                scaled.restore(name, &mut quantized);
                agreements.entry(scaled.original(name).to_owned()).or_default().add(&float.data, &quantized);
            }
            _ => {
                between.insert(output.index(), result);
            }
        }
    }
    Ok(())
}
