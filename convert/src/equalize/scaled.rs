//! Which values of a quantized network hold their channels divided, and by what: without it, they can't be compared with float.

use std::collections::{BTreeMap, HashSet};

use quaver_core::format::{METADATA_EQUALIZED, Metadata};
use quaver_core::graph::Graph;
use serde::{Deserialize, Serialize};

use super::{Equalized, SUFFIX};
use crate::report::NamedValues;

/// For the name of each such value, what each channel was divided by; channels are last.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Scaled(BTreeMap<String, Vec<f32>>);

impl Scaled {
    /// After equalization.
    pub fn of(equalized: &[Equalized]) -> Self {
        Self(equalized.iter().flat_map(|e| e.divided.iter().map(|name| (name.clone(), e.factors.clone()))).collect())
    }

    /// As a file's metadata say; of a file that doesn't, there are none.
    pub fn read(metadata: &Metadata) -> Self {
        metadata.get(METADATA_EQUALIZED).and_then(|json| serde_json::from_str(json).ok()).unwrap_or_default()
    }

    /// Writes those of `graph`'s values into a file's metadata, to five digits: agreements are coarser.
    pub fn write(&self, graph: &Graph, metadata: &mut Metadata) {
        let names: HashSet<&str> = graph.values.iter().map(|v| v.name.strip_suffix(":u8").unwrap_or(&v.name)).collect();
        let digits = |factor: &f32| format!("{factor:.4e}").parse::<f32>().unwrap_or(*factor);
        let present = self.0.iter().filter(|(name, _)| names.contains(name.as_str()));
        let short = Self(present.map(|(name, factors)| (name.clone(), factors.iter().map(digits).collect())).collect());
        if let (false, Ok(json)) = (short.0.is_empty(), serde_json::to_string(&short)) {
            metadata.insert(METADATA_EQUALIZED.to_owned(), json);
        }
    }

    /// The name that the float network has for a value.
    pub fn original<'a>(&self, name: &'a str) -> &'a str {
        if self.0.contains_key(name) { name.strip_suffix(SUFFIX).unwrap_or(name) } else { name }
    }

    /// Makes the float network's numbers of a value's.
    pub fn restore(&self, name: &str, data: &mut [f32]) {
        self.each(name, data, |x, factor| x * factor);
    }

    /// Makes a value's numbers of the float network's.
    pub fn divide(&self, name: &str, data: &mut [f32]) {
        self.each(name, data, |x, factor| x / factor);
    }

    fn each(&self, name: &str, data: &mut [f32], f: impl Fn(f32, f32) -> f32) {
        let Some(factors) = self.0.get(name).filter(|factors| !factors.is_empty()) else { return };
        for row in data.chunks_mut(factors.len()) {
            row.iter_mut().zip(factors).for_each(|(x, &factor)| *x = f(*x, factor));
        }
    }

    /// The values of a run with the float network's numbers, under its names.
    pub fn restore_all(&self, values: &mut NamedValues) {
        for name in self.0.keys() {
            if let Some(mut data) = values.remove(name) {
                self.restore(name, &mut data);
                values.insert(self.original(name).to_owned(), data);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use quaver_core::graph::{Dim, Network};
    use quaver_core::tensor::DType;

    use super::*;

    #[test]
    fn values_are_found_again_under_the_names_of_the_float_network() {
        let e = Equalized {
            value: "x".into(),
            in_front: false,
            gain_db: 3.0,
            divided: vec!["x:equalized".into()],
            factors: vec![2.0, 1.0 / 3.0],
        };
        let mut metadata = Metadata::new();
        let mut net = Network::new("n");
        net.input("x:equalized:u8", DType::U8, vec![Dim::BATCH, 2.into()]);
        let gone = Equalized { divided: vec!["fused:equalized".into()], ..e.clone() };
        Scaled::of(&[e, gone]).write(&net.graph, &mut metadata);
        assert!(!metadata[METADATA_EQUALIZED].contains("fused"), "{metadata:?}");
        let read = Scaled::read(&metadata);
        let mut values = NamedValues::from([("x:equalized".into(), vec![1.0, 3.0, 5.0, 6.0]), ("y".into(), vec![1.0])]);
        read.restore_all(&mut values);
        assert_eq!(values.keys().collect::<Vec<_>>(), ["x", "y"]);
        for (x, expected) in values["x"].iter().zip([2.0, 1.0, 10.0, 2.0]) {
            assert!((x - expected).abs() < 1e-3, "{x} {expected}");
        }
        let mut data = values["x"].clone();
        read.divide("x:equalized", &mut data);
        assert!((data[0] - 1.0).abs() < 1e-6 && read.original("x:equalized") == "x" && read.original("z:equalized") == "z:equalized");
        let mut none = Metadata::new();
        Scaled::default().write(&net.graph, &mut none);
        assert!(none.is_empty() && Scaled::read(&none) == Scaled::default());
    }
}
