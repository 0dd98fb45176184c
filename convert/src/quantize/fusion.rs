//! Which nodes go into the epilogue of a heavy node, or into one table: a residual addition, an activation, arithmetic with numbers.

use quaver_core::arith::table::unary_f64;
use quaver_core::graph::op::{BinaryFn, UnaryFn};
use quaver_core::graph::{Graph, Network, Op, ValueId};

use super::given::Given;
use super::regions::{Kind, Regions};

/// A function of one value, as part of a table.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Step {
    /// One of the functions of the graph.
    Unary(UnaryFn),
    /// A number `c` and the value x: f(c, x) where `first`, else f(x, c).
    Number {
        /// f.
        function: BinaryFn,
        /// c.
        number: f32,
        /// Whether the number is the first operand.
        first: bool,
    },
}

impl Step {
    /// What `node` does to its activation, if it has one only; the number of a `Binary` is a constant of one element.
    pub fn of(network: &Network, node: usize) -> Option<(Self, ValueId)> {
        let graph = &network.graph;
        let node = &graph.nodes[node];
        match (&node.op, &node.inputs[..]) {
            (Op::Unary { function }, &[x]) => Some((Self::Unary(*function), x)),
            (Op::Binary { function }, &[a, b]) => [(a, b, true), (b, a, false)].into_iter().find_map(|(constant, x, first)| {
                let [number] = *network.elements::<f32>(constant)? else { return None };
                let same_rank = graph.value(constant).shape.len() <= graph.value(x).shape.len();
                let alone = same_rank && graph.value(x).constant.is_none();
                alone.then_some((Self::Number { function: *function, number, first }, x))
            }),
            _ => None,
        }
    }

    /// f(x).
    pub fn apply(&self, x: f64) -> f64 {
        match *self {
            Self::Unary(function) => unary_f64(function, x),
            Self::Number { function, number, first: true } => binary(function, f64::from(number), x),
            Self::Number { function, number, first: false } => binary(function, x, f64::from(number)),
        }
    }
}

/// The value of all steps, one after the other.
pub fn apply_all(steps: &[Step], x: f64) -> f64 {
    steps.iter().fold(x, |x, step| step.apply(x))
}

/// HardSwish with no more than a multiple and a shift behind it, multiple·HardSwish(x) + shift, which an epilogue computes itself.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Swish {
    /// The multiple, above 0.
    pub multiple: f64,
    /// The shift.
    pub shift: f64,
}

impl Swish {
    /// Of steps that are no more than that.
    pub fn of(steps: &[Step]) -> Option<Self> {
        let (Step::Unary(UnaryFn::HardSwish), behind) = steps.split_first()? else { return None };
        let (mut multiple, mut shift) = (1.0, 0.0);
        for step in behind {
            let Step::Number { function, number, first } = *step else { return None };
            let number = f64::from(number);
            (multiple, shift) = match (function, first) {
                (BinaryFn::Mul, _) => (multiple * number, shift * number),
                (BinaryFn::Div, false) => (multiple / number, shift / number),
                (BinaryFn::Add, _) => (multiple, shift + number),
                (BinaryFn::Sub, false) => (multiple, shift - number),
                _ => return None,
            };
        }
        (multiple > 0.0 && multiple.is_finite() && shift.is_finite()).then_some(Self { multiple, shift })
    }
}

fn binary(function: BinaryFn, a: f64, b: f64) -> f64 {
    match function {
        BinaryFn::Add => a + b,
        BinaryFn::Sub => a - b,
        BinaryFn::Mul => a * b,
        BinaryFn::Div => a / b,
        BinaryFn::Min => a.min(b),
        BinaryFn::Max => a.max(b),
        BinaryFn::Pow => libm::pow(a, b),
    }
}

/// A node together with what was fused behind it.
#[derive(Debug, Clone, PartialEq)]
pub struct Group {
    /// The value added before rounding.
    pub residual: Option<ValueId>,
    /// Limits of a fused Relu or Clip; they hold before the table, where there is one.
    pub clamp: Option<(f32, f32)>,
    /// What is applied by table, without roundings in between, and the value it is applied to (whose range it needs).
    pub table: Option<(Vec<Step>, ValueId)>,
    /// Where the table's steps are a [`Swish`]: what each channel is multiplied by behind it, positive numbers.
    pub factors: Option<ValueId>,
    /// The value that the group computes.
    pub output: ValueId,
}

/// The groups of a graph.
#[derive(Debug)]
pub struct Groups {
    /// For each node that starts a group (quantized or not), the group.
    pub groups: Vec<Option<Group>>,
}

/// Fuses, in order of execution, what only the node itself feeds. Where the model brings parameters (`given`), no rounding that
/// it asks for is left out.
pub fn fuse(network: &Network, regions: &Regions, given: Option<&Given>) -> Groups {
    let graph = &network.graph;
    let unrounded = |v: ValueId| given.is_none_or(|g| g.unrounded[v.index()]);
    let as_one = |a: ValueId, b: ValueId| given.is_none_or(|g| g.affine[a.index()] == g.affine[b.index()]);
    let consumers = graph.consumers();
    let mut absorbed = vec![false; graph.nodes.len()];
    // The node index from which a value is there, once groups are formed.
    let mut ready: Vec<usize> = vec![usize::MAX; graph.values.len()];
    for input in &graph.inputs {
        ready[input.index()] = 0;
    }
    let mut groups = Vec::with_capacity(graph.nodes.len());
    for (i, node) in graph.nodes.iter().enumerate() {
        if absorbed[i] {
            groups.push(None);
            continue;
        }
        let mut group = Group { residual: None, clamp: None, table: None, factors: None, output: node.outputs[0] };
        let heavy = regions.kinds[i] == Kind::Heavy;
        let only_consumer = |value: ValueId| match consumers[value.index()][..] {
            [c] if regions.quantized[c] && !graph.outputs.contains(&value) && regions.is_u8[value.index()] => Some(c),
            _ => None,
        };
        if regions.quantized[i]
            && heavy
            && let Some((c, residual)) = only_consumer(group.output).and_then(|c| Some((c, residual_of(graph, c, group.output)?)))
            && regions.is_u8[residual.index()]
            && unrounded(group.output)
            && ready[residual.index()] <= i
        {
            absorbed[c] = true;
            group.residual = Some(residual);
            group.output = graph.nodes[c].outputs[0];
        }
        let own = Step::of(network, i).filter(|_| regions.quantized[i] && regions.kinds[i] == Kind::Light);
        if let Some((step, x)) = own {
            group.table = Some((vec![step], x));
        }
        if regions.quantized[i] && matches!(regions.kinds[i], Kind::Heavy | Kind::Light) && !matches!(node.op, Op::Softmax { .. }) {
            while let Some(c) = only_consumer(group.output) {
                let Some((step, _)) = Step::of(network, c) else {
                    if let Some(factors) = factors_of(network, c, &group).filter(|_| heavy && given.is_none()) {
                        absorbed[c] = true;
                        group.factors = Some(factors);
                        group.output = graph.nodes[c].outputs[0];
                    }
                    break;
                };
                let limits = match step {
                    Step::Unary(UnaryFn::Relu) => Some((0.0, f32::INFINITY)),
                    Step::Unary(UnaryFn::Clip { lo, hi }) => Some((lo, hi)),
                    _ => None,
                };
                match (limits, &mut group.table) {
                    // Of a model with parameters of its own no rounding is left out.
                    (_, Some((steps, _))) if given.is_none() => steps.push(step),
                    (_, Some(_)) => break,
                    (Some((lo, hi)), None) if as_one(group.output, graph.nodes[c].outputs[0]) => {
                        let (a, b) = group.clamp.unwrap_or((f32::NEG_INFINITY, f32::INFINITY));
                        group.clamp = Some((a.max(lo).min(hi), b.max(lo).min(hi)));
                    }
                    (_, None) if heavy => group.table = Some((vec![step], group.output)),
                    (_, None) => break,
                }
                absorbed[c] = true;
                group.output = graph.nodes[c].outputs[0];
            }
        }
        ready[group.output.index()] = i + 1;
        for output in &node.outputs {
            ready[output.index()] = i + 1;
        }
        groups.push(Some(group));
    }
    Groups { groups }
}

/// The constant, where node `c` multiplies each channel of what the group gives by one of its own, and an epilogue can.
fn factors_of(network: &Network, c: usize, group: &Group) -> Option<ValueId> {
    // So far from what f32 holds that no quotient of a scale is infinite or 0.
    const PLAIN: std::ops::RangeInclusive<f32> = 1e-6..=1e6;
    let Group { residual: None, clamp: None, table: Some((steps, _)), .. } = group else { return None };
    let (Op::Binary { function: BinaryFn::Mul }, &[a, b]) = (&network.graph.nodes[c].op, &network.graph.nodes[c].inputs[..]) else {
        return None;
    };
    let constant = if a == group.output { b } else { a };
    let channels = network.graph.value(group.output).shape.last()?.fixed()?;
    let numbers = network.elements::<f32>(constant)?;
    let plain = numbers.iter().all(|x| PLAIN.contains(x)) && PLAIN.contains(&(Swish::of(steps)?.multiple as f32));
    (plain && numbers.len() == channels && network.graph.value(constant).shape.last()?.fixed()? == channels).then_some(constant)
}

/// The other operand, where node `c` adds a tensor of the same shape to `value`.
fn residual_of(graph: &Graph, c: usize, value: ValueId) -> Option<ValueId> {
    let node = &graph.nodes[c];
    if node.op != (Op::Binary { function: BinaryFn::Add }) {
        return None;
    }
    let other = if node.inputs[0] == value { node.inputs[1] } else { node.inputs[0] };
    let same = graph.value(other).shape == graph.value(value).shape;
    (other != value && same && graph.value(other).constant.is_none()).then_some(other)
}
