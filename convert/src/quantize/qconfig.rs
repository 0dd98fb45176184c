//! The qconfig mapping: which node is quantized how. TOML, after PyTorch's `QConfigMapping`.
//!
//! ```toml
//! [global]
//! scheme = "static"          # dynamic, weight_only, float
//! observer = "auto"          # minmax, moving_average, histogram, percentile, entropy
//! weights = "per_channel"    # or "per_tensor"
//! activations = "per_row"    # of dynamic products: parameters for each row, or per_tensor
//! rounding = "feedback"      # or "nearest": how weights are rounded
//! bias_correction = true     # biases take up mean errors
//! equalization = "smooth"    # or "all", "none": scales of channels move between layers; of a node: in what it reads
//! reduce_range = false       # true: activations use 7 bits (whole model)
//!
//! [types.Gemm]               # by operation type
//! weights = "per_tensor"
//!
//! [[regex]]                  # by name, first match wins
//! pattern = "^features/0/"
//! scheme = "float"
//!
//! [names."features/3/conv"]  # by name, exactly
//! observer = "percentile"
//! ```
//!
//! A node takes each setting from the most specific entry that gives it: name, then regex, then type, then global.

use std::collections::BTreeMap;
use std::str::FromStr;

use quaver_core::graph::{Graph, Node};
use regex::Regex;
use serde::{Deserialize, Serialize};
use thiserror::Error;

use crate::calibrate::observer::ObserverKind;

/// How a node's arithmetic is done.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Scheme {
    /// u8 activations with parameters from calibration, i8 weights.
    Static,
    /// u8 activations with parameters that each run chooses, i8 weights, real results: matrix products with constant weights.
    /// Embeddings have a scale a row. The rest is real.
    Dynamic,
    /// Real activations and 8-bit weights, of matrix products and embeddings. The rest is real.
    WeightOnly,
    /// f32.
    Float,
}

impl Scheme {
    /// All of them.
    pub const ALL: [Self; 4] = [Self::Static, Self::Dynamic, Self::WeightOnly, Self::Float];

    /// The name in a mapping.
    pub fn name(self) -> &'static str {
        match self {
            Self::Static => "static",
            Self::Dynamic => "dynamic",
            Self::WeightOnly => "weight_only",
            Self::Float => "float",
        }
    }
}

impl FromStr for Scheme {
    type Err = String;

    fn from_str(name: &str) -> Result<Self, String> {
        let unknown = || format!("unknown scheme '{name}'; there are {}", Self::ALL.map(Self::name).join(", "));
        Self::ALL.into_iter().find(|scheme| scheme.name() == name).ok_or_else(unknown)
    }
}

/// How many scales and zero points the activations of a dynamic product have.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ActivationScheme {
    /// A pair for each row, such as a token.
    PerRow,
    /// One pair, as ONNX Runtime and PyTorch have it.
    PerTensor,
}

/// How many scales a weight tensor has.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum WeightScheme {
    /// One scale an output channel.
    PerChannel,
    /// One scale.
    PerTensor,
}

/// How weights become integers.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Rounding {
    /// Each to the nearest.
    Nearest,
    /// Such that errors cancel on the calibration data ([`crate::refine::rounding`]).
    #[default]
    Feedback,
}

/// Whether channels of what a product reads are scaled, and its weights against it ([`crate::equalize`]).
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Equalization {
    /// No.
    None,
    /// Where the value comes out of a normalization or of HardSwish, or stays real.
    #[default]
    Smooth,
    /// Also where another product gives it.
    All,
}

impl std::str::FromStr for Equalization {
    type Err = String;

    fn from_str(name: &str) -> Result<Self, String> {
        match name {
            "none" => Ok(Self::None),
            "smooth" => Ok(Self::Smooth),
            "all" => Ok(Self::All),
            _ => Err(format!("unknown equalization '{name}'; there are none, smooth, all")),
        }
    }
}

impl std::str::FromStr for Rounding {
    type Err = String;

    fn from_str(name: &str) -> Result<Self, String> {
        match name {
            "nearest" => Ok(Self::Nearest),
            "feedback" => Ok(Self::Feedback),
            _ => Err(format!("unknown rounding '{name}'; there are nearest, feedback")),
        }
    }
}

/// The settings of one entry; what is absent comes from a less specific entry.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Settings {
    /// How its arithmetic is done.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub scheme: Option<Scheme>,
    /// How the range of the node's output is found.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub observer: Option<ObserverKind>,
    /// Scales of the node's weights.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub weights: Option<WeightScheme>,
    /// Parameters of the activations, where each run chooses them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub activations: Option<ActivationScheme>,
    /// How the node's weights are rounded.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rounding: Option<Rounding>,
    /// Whether the node's bias takes up mean errors.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub bias_correction: Option<bool>,
    /// Whether channels of what the node reads are scaled.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub equalization: Option<Equalization>,
}

/// The `[global]` entry.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Global {
    /// How arithmetic is done.
    pub scheme: Scheme,
    /// How ranges are found.
    pub observer: ObserverKind,
    /// Scales of weights.
    pub weights: WeightScheme,
    /// Parameters of the activations, where each run chooses them.
    pub activations: ActivationScheme,
    /// How weights are rounded.
    pub rounding: Rounding,
    /// Whether biases take up mean errors.
    pub bias_correction: bool,
    /// Which scales of channels move between layers.
    pub equalization: Equalization,
    /// 7-bit activations, for machines whose fast path is `vpmaddubsw`.
    pub reduce_range: bool,
}

impl Default for Global {
    fn default() -> Self {
        Self {
            scheme: Scheme::Static,
            observer: ObserverKind::default(),
            weights: WeightScheme::PerChannel,
            activations: ActivationScheme::PerRow,
            rounding: Rounding::default(),
            bias_correction: true,
            equalization: Equalization::default(),
            reduce_range: false,
        }
    }
}

/// One `[[regex]]` entry.
#[derive(Debug, Clone, Serialize, Deserialize)]
struct Pattern {
    #[serde(with = "pattern_text")]
    pattern: Regex,
    // `deny_unknown_fields` doesn't work beside `flatten`, so the settings are spelled out.
    scheme: Option<Scheme>,
    observer: Option<ObserverKind>,
    weights: Option<WeightScheme>,
    activations: Option<ActivationScheme>,
    rounding: Option<Rounding>,
    bias_correction: Option<bool>,
    equalization: Option<Equalization>,
}

mod pattern_text {
    use regex::Regex;
    use serde::{Deserialize, Deserializer, Serializer, de::Error};

    pub fn serialize<S: Serializer>(regex: &Regex, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(regex.as_str())
    }

    pub fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Regex, D::Error> {
        Regex::new(&String::deserialize(deserializer)?).map_err(D::Error::custom)
    }
}

/// The whole mapping.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct QConfigMapping {
    /// What holds where nothing else is said.
    pub global: Global,
    types: BTreeMap<String, Settings>,
    regex: Vec<Pattern>,
    names: BTreeMap<String, Settings>,
}

/// Why a mapping cannot be used.
#[derive(Debug, Clone, PartialEq, Error)]
#[non_exhaustive]
pub enum QConfigError {
    /// Not TOML, or an unknown key or value.
    #[error("the qconfig mapping cannot be read: {0}")]
    Parse(String),
    /// A `[names]` entry without a node.
    #[error(
        "the qconfig mapping names node '{name}', which the simplified network doesn't have; did you mean '{nearest}'? (`quaver inspect` lists them)"
    )]
    UnknownName {
        /// The entry.
        name: String,
        /// A similar name that exists.
        nearest: String,
    },
    /// A `[[regex]]` entry without a node.
    #[error("the qconfig mapping's pattern '{pattern}' matches no node of the simplified network (`quaver inspect` lists them)")]
    UnmatchedPattern {
        /// The pattern.
        pattern: String,
    },
}

/// What holds for one node.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct NodeConfig {
    /// How its arithmetic is done.
    pub scheme: Scheme,
    /// How the range of its output is found.
    pub observer: ObserverKind,
    /// Scales of its weights.
    pub weights: WeightScheme,
    /// Parameters of its activations, where each run chooses them.
    pub activations: ActivationScheme,
    /// How its weights are rounded.
    pub rounding: Rounding,
    /// Whether its bias takes up mean errors.
    pub bias_correction: bool,
    /// Whether channels of what it reads are scaled.
    pub equalization: Equalization,
    /// Whether `scheme` was said of this node, its type or a pattern, rather than of everything.
    pub explicit: bool,
}

impl QConfigMapping {
    /// Reads a mapping.
    ///
    /// # Errors
    /// [`QConfigError::Parse`] with line and key.
    pub fn from_toml(text: &str) -> Result<Self, QConfigError> {
        toml::from_str(text).map_err(|e| QConfigError::Parse(e.to_string().trim_end().to_owned()))
    }

    /// Checks that each name and pattern means some node of `graph`.
    ///
    /// # Errors
    /// [`QConfigError`] for the first that doesn't.
    pub fn check(&self, graph: &Graph) -> Result<(), QConfigError> {
        for name in self.names.keys() {
            if !graph.nodes.iter().any(|n| &n.name == name) {
                let nearest = graph.nodes.iter().map(|n| n.name.as_str()).max_by_key(|n| common_prefix(n, name)).unwrap_or_default();
                return Err(QConfigError::UnknownName { name: name.clone(), nearest: nearest.to_owned() });
            }
        }
        for entry in &self.regex {
            if !graph.nodes.iter().any(|n| entry.pattern.is_match(&n.name)) {
                return Err(QConfigError::UnmatchedPattern { pattern: entry.pattern.as_str().to_owned() });
            }
        }
        Ok(())
    }

    /// Keeps a node in float, whatever was said of it before.
    pub fn keep_float(&mut self, name: &str) {
        self.names.entry(name.to_owned()).or_default().scheme = Some(Scheme::Float);
    }

    /// What holds for `node`.
    pub fn of(&self, node: &Node) -> NodeConfig {
        let by_type = self.types.get(node.op.name()).copied();
        let by_regex = self.regex.iter().find(|e| e.pattern.is_match(&node.name));
        let by_regex = by_regex.map(|e| Settings {
            scheme: e.scheme,
            observer: e.observer,
            weights: e.weights,
            rounding: e.rounding,
            bias_correction: e.bias_correction,
            equalization: e.equalization,
            activations: e.activations,
        });
        let by_name = self.names.get(&node.name).copied();
        let entries = [by_name, by_regex, by_type].map(Option::unwrap_or_default);
        let scheme = entries.iter().find_map(|e| e.scheme);
        NodeConfig {
            scheme: scheme.unwrap_or(self.global.scheme),
            observer: entries.iter().find_map(|e| e.observer).unwrap_or(self.global.observer),
            weights: entries.iter().find_map(|e| e.weights).unwrap_or(self.global.weights),
            activations: entries.iter().find_map(|e| e.activations).unwrap_or(self.global.activations),
            rounding: entries.iter().find_map(|e| e.rounding).unwrap_or(self.global.rounding),
            bias_correction: entries.iter().find_map(|e| e.bias_correction).unwrap_or(self.global.bias_correction),
            equalization: entries.iter().find_map(|e| e.equalization).unwrap_or(self.global.equalization),
            explicit: scheme.is_some(),
        }
    }
}

fn common_prefix(a: &str, b: &str) -> usize {
    a.bytes().zip(b.bytes()).take_while(|(x, y)| x == y).count()
}

#[cfg(test)]
mod tests {
    use super::*;
    use quaver_core::graph::Op;

    fn node(name: &str, op: Op) -> Node {
        Node { name: name.into(), op, inputs: Vec::new(), outputs: Vec::new() }
    }

    #[test]
    fn the_most_specific_entry_wins() {
        let text = "
            [global]
            observer = 'minmax'
            [types.Gemm]
            weights = 'per_tensor'
            scheme = 'float'
            [[regex]]
            pattern = '^head/'
            scheme = 'static'
            [names.'head/fc']
            observer = 'entropy'
        ";
        let mapping = QConfigMapping::from_toml(text).expect("valid");
        let head = mapping.of(&node("head/fc", Op::Gemm));
        assert_eq!((head.scheme, head.observer, head.weights), (Scheme::Static, ObserverKind::Entropy, WeightScheme::PerTensor));
        let other = mapping.of(&node("body/fc", Op::Gemm));
        assert_eq!((other.scheme, other.observer, other.explicit), (Scheme::Float, ObserverKind::MinMax, true));
        let plain = mapping.of(&node("x", Op::MatMul));
        assert_eq!((plain.scheme, plain.weights, plain.explicit), (Scheme::Static, WeightScheme::PerChannel, false));
    }

    #[test]
    fn mistakes_are_named() {
        for text in ["[global]\nscheme = 'dynamite'", "[types.Conv]\nobservers = 'minmax'", "[[regex]]\npattern = '('"] {
            assert!(matches!(QConfigMapping::from_toml(text), Err(QConfigError::Parse(_))), "{text}");
        }
        let graph = Graph { nodes: vec![node("conv1", Op::Gemm)], ..Graph::default() };
        let named = QConfigMapping::from_toml("[names.conv2]\nscheme = 'float'").expect("valid");
        assert_eq!(named.check(&graph), Err(QConfigError::UnknownName { name: "conv2".into(), nearest: "conv1".into() }));
        let pattern = QConfigMapping::from_toml("[[regex]]\npattern = 'zzz'").expect("valid");
        assert!(matches!(pattern.check(&graph), Err(QConfigError::UnmatchedPattern { .. })));
    }
}
