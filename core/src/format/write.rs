//! The writer: the same network gives the same bytes, and what it writes is what the reader takes.

use std::collections::HashSet;

use super::header::{Header, Strings, TensorInfo, dtype_name};
use super::{FILLER, FormatError, KEY_FORMAT, KEY_GRAPH, KEY_PRODUCER, Metadata, RESERVED, TensorEntry, VERSION, check};
use crate::graph::{ConstantId, Constants, Graph, Network};
use crate::tensor::{ALIGNMENT, byte_count};

/// The bytes of a `.qvr` file that holds `network` and `metadata`.
///
/// Constants are written in the order in which values name them; one that no value names is left out, one that several
/// name is written once.
///
/// # Errors
/// [`FormatError`], the same that [`QvrModel::open`](super::QvrModel::open) would give: where the graph doesn't pass its
/// check, a constant's bytes don't fit its shape, or metadata uses a key that is not a caller's.
pub fn write(network: &Network, metadata: &Metadata) -> Result<Vec<u8>, FormatError> {
    check::keys(metadata)?;
    check::limits(&network.graph)?;
    let (graph, order) = number_constants(&network.graph);
    let tensors = entries(&graph, network, &order)?;
    check::structure(&graph, &tensors)?;
    check::meaning(&network.graph, network)?;

    let mut strings = vec![
        (KEY_FORMAT.to_owned(), VERSION.to_owned()),
        (KEY_PRODUCER.to_owned(), concat!("quaver ", env!("CARGO_PKG_VERSION")).to_owned()),
        (KEY_GRAPH.to_owned(), serde_json::to_string(&graph).map_err(|e| FormatError::GraphJson { message: e.to_string() })?),
    ];
    strings.extend(metadata.iter().map(|(k, v)| (k.clone(), v.clone())));
    let (infos, data_len) = infos(&tensors);
    let mut bytes = Header::new(Strings(strings), infos).to_bytes()?;
    let total = bytes.len().saturating_add(data_len);
    bytes.try_reserve_exact(data_len).map_err(|_| FormatError::Memory { bytes: total })?;
    for &id in &order {
        bytes.extend_from_slice(network.bytes_of(id));
        bytes.resize(bytes.len().next_multiple_of(ALIGNMENT), 0);
    }
    Ok(bytes)
}

/// The graph with constants numbered as its values name them, and the constants' old numbers in that order.
fn number_constants(graph: &Graph) -> (Graph, Vec<ConstantId>) {
    let mut graph = graph.clone();
    let mut order: Vec<ConstantId> = Vec::new();
    let mut new = std::collections::HashMap::new();
    for id in graph.values.iter_mut().filter_map(|v| v.constant.as_mut()) {
        *id = *new.entry(*id).or_insert_with(|| {
            order.push(*id);
            ConstantId(order.len() as u32 - 1)
        });
    }
    (graph, order)
}

/// Name, type, shape and place (from the start of the data) of each constant, as the first value that names it says.
fn entries(graph: &Graph, network: &Network, order: &[ConstantId]) -> Result<Vec<TensorEntry>, FormatError> {
    let mut names = HashSet::new();
    let mut entries: Vec<TensorEntry> = Vec::with_capacity(order.len());
    let mut start = 0usize;
    for value in &graph.values {
        let Some(id) = value.constant.filter(|id| id.index() == entries.len()) else { continue };
        let shape: Vec<usize> = value.shape.iter().filter_map(|d| d.fixed()).collect();
        let bytes = order.get(id.index()).map_or(0, |&old| network.bytes_of(old).len());
        if byte_count(value.dtype, &shape) != Some(bytes) {
            return Err(FormatError::TensorLength { tensor: value.name.clone(), dtype: value.dtype, shape, bytes });
        }
        let name = unique_name(&value.name, id, &mut names);
        let end = start.saturating_add(bytes);
        entries.push(TensorEntry { name, dtype: value.dtype, shape, range: start..end });
        start = end.checked_next_multiple_of(ALIGNMENT).ok_or(FormatError::Memory { bytes: usize::MAX })?;
    }
    Ok(entries)
}

fn unique_name(wanted: &str, id: ConstantId, names: &mut HashSet<String>) -> String {
    let mut name = if wanted.is_empty() || wanted.starts_with(RESERVED) { format!("c{}", id.0) } else { wanted.to_owned() };
    while !names.insert(name.clone()) {
        name = format!("{name}.{}", id.0);
    }
    name
}

/// The header's entries, fillers included, and the number of bytes of data.
fn infos(tensors: &[TensorEntry]) -> (Vec<(String, TensorInfo)>, usize) {
    let mut infos = Vec::with_capacity(2 * tensors.len());
    let mut fillers = 0;
    let mut end = 0;
    for tensor in tensors {
        let range = &tensor.range;
        let info =
            TensorInfo { dtype: dtype_name(tensor.dtype).to_owned(), shape: tensor.shape.clone(), data_offsets: [range.start, range.end] };
        infos.push((tensor.name.clone(), info));
        end = range.end.next_multiple_of(ALIGNMENT);
        if end > range.end {
            let info = TensorInfo { dtype: "U8".to_owned(), shape: vec![end - range.end], data_offsets: [range.end, end] };
            infos.push((format!("{FILLER}{fillers}"), info));
            fillers += 1;
        }
    }
    (infos, end)
}
