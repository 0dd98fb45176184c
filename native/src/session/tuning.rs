//! Measures every kernel that could run a node, within whole runs, where caches are as they will be.
//!
//! In variant `i` of the backend each node has its `i`-th candidate. Variants take turns, so that what disturbs the machine
//! disturbs all, and of each node's times with each kernel the least counts.

use std::hash::{DefaultHasher, Hasher};
use std::time::{Duration, Instant};

use quaver_core::exec::Executor;
use quaver_core::graph::largest::largest;
use quaver_core::plan::Plan;
use quaver_core::tensor::TensorView;

use super::Session;
use super::inputs::{in_order, sizes};
use super::measure::Stopwatch;
use crate::Error;
use crate::backend::{Bindings, Native, Net};
use crate::dispatch::kernel::{Kernel, Kind};
use crate::dispatch::query::Query;
use crate::dispatch::tune::{Change, Tuning};
use crate::dispatch::{candidates, choose};

/// Turns that are taken however small the budget is.
const LEAST_TURNS: usize = 3;

/// What a node may run, and the least time that each took so far. The rules' choice is the first.
struct Tried {
    node: usize,
    kernels: Vec<&'static Kernel>,
    least_ns: Vec<u64>,
}

impl Tried {
    /// What runs in a variant: a node with fewer kernels runs the rules' choice again.
    fn at(&self, variant: usize) -> usize {
        if variant < self.kernels.len() { variant } else { 0 }
    }

    /// The change to the fastest kernel, where it saves more than noise would.
    fn change(&self, name: &str) -> Option<Change> {
        let (at, &after_ns) = self.least_ns.iter().enumerate().min_by_key(|&(_, ns)| ns)?;
        let [from, to] = [self.kernels[0], self.kernels[at]].map(|kernel| kernel.name.to_owned());
        let change = Change { node: self.node, name: name.to_owned(), from, to, before_ns: self.least_ns[0], after_ns };
        is_worth_it(change.before_ns, after_ns).then_some(change)
    }
}

/// Whether a time is more than 3 % below another.
fn is_worth_it(before_ns: u64, after_ns: u64) -> bool {
    (after_ns as f64) < before_ns as f64 * 0.97
}

impl Session {
    /// Measures for about so long which kernels are fastest for the nodes, on these inputs, this machine and this session's
    /// threads, and uses them from now on. Calls `progress` with the part of the time that is over, 0 to 1.
    ///
    /// Results stay what they are: it is checked that all kernels give the same bytes.
    ///
    /// # Errors
    /// Those of [`Session::infer`]; [`Error::Disagreement`] where kernels differ, which would be a bug.
    pub fn tune(&mut self, inputs: &[(&str, TensorView<'_>)], budget: Duration, progress: &mut dyn FnMut(f64)) -> Result<Tuning, Error> {
        let mut views = Vec::new();
        in_order(self.model.inputs(), inputs, &mut views)?;
        let sizes = sizes(self.model.inputs(), &views)?;
        let graph = &*self.model.sized(&sizes)?;
        let (batch, constants, threads) = (sizes.batch(), self.model.constants(), self.threads());
        let net = Net { graph, constants };
        let plan = Plan::new(graph, batch, self.options.max_memory)?;
        let mut tried: Vec<Tried> = plan.steps.iter().map(|&node| self.kernels_of(node, net, &plan)).collect();
        let variants = self.variants(&tried, net, &plan);
        let scratch = variants.iter().map(Native::scratch).max().unwrap_or(0);
        let mut executor = Executor::new(plan, scratch)?;

        // Also the first run of each variant, which is not measured.
        let mut expected = vec![0; graph.nodes.len()];
        for (variant, backend) in variants.iter().enumerate() {
            let mut digests = vec![0; graph.nodes.len()];
            executor.run(graph, constants, backend, &views, Some(&mut |node, _, view| digests[node] = digest(view)))?;
            if variant == 0 {
                expected = digests;
            } else if let Some(tried) = tried.iter().find(|tried| expected[tried.node] != digests[tried.node]) {
                let [kernel, other] = [0, tried.at(variant)].map(|at| tried.kernels[at].name);
                return Err(Error::Disagreement { node: graph.nodes[tried.node].name.clone(), kernel, other });
            }
        }

        let mut watch = Stopwatch::new(graph.nodes.len());
        let begin = Instant::now();
        let mut turns = 0;
        while variants.len() > 1 && (turns < LEAST_TURNS || begin.elapsed() < budget) {
            for (variant, backend) in variants.iter().enumerate() {
                watch.start();
                executor.run(graph, constants, backend, &views, Some(&mut |node, _, _| watch.lap(node)))?;
                for tried in &mut tried {
                    let at = tried.at(variant);
                    tried.least_ns[at] = tried.least_ns[at].min(watch.span(tried.node));
                }
                progress((begin.elapsed().as_secs_f64() / budget.as_secs_f64().max(1e-9)).min(1.0));
            }
            turns += 1;
        }

        let changes = tried.iter().filter_map(|tried| tried.change(&graph.nodes[tried.node].name)).collect();
        let tuning = Tuning::new(self.model.name(), graph.nodes.len(), batch, threads, changes);
        self.tuning = Some(tuning.clone());
        // They are bound to the kernels from before.
        self.ready.clear();
        Ok(tuning)
    }

    /// Kernels for a node. The definition is one only where there is no other: it is never faster, and very slow.
    fn kernels_of(&self, node: usize, Net { graph, constants }: Net<'_>, plan: &Plan) -> Tried {
        let query = Query::new(graph, plan, &graph.nodes[node], self.threads()).knowing(&largest(graph, constants), &graph.nodes[node]);
        let mut kernels = vec![choose(&query, self.isas).kernel];
        let others = candidates(&query, self.isas).into_iter().skip(1).map(|choice| choice.kernel);
        kernels.extend(others.filter(|kernel| kernel.kind != Kind::Reference));
        Tried { node, least_ns: vec![u64::MAX; kernels.len()], kernels }
    }

    /// Backends in which every kernel runs.
    fn variants(&self, tried: &[Tried], net: Net<'_>, plan: &Plan) -> Vec<Native> {
        let most = tried.iter().map(|tried| tried.kernels.len()).max().unwrap_or(1);
        let backend = |variant: usize| {
            let change = |tried: &Tried| {
                let [from, to] = [0, tried.at(variant)].map(|at| tried.kernels[at].name.to_owned());
                Change { node: tried.node, name: String::new(), from, to, before_ns: 0, after_ns: 0 }
            };
            let all = tried.iter().map(change).filter(|change| change.from != change.to).collect();
            let tuning = Tuning::new(self.model.name(), net.graph.nodes.len(), plan.batch, self.threads(), all);
            Native::new(&self.pool, &self.model, Bindings::new(self.isas, self.threads(), net, plan, Some(&tuning)))
        };
        (0..most).map(backend).collect()
    }
}

/// Stands for a result's bytes.
fn digest(view: TensorView<'_>) -> u64 {
    let mut hasher = DefaultHasher::new();
    hasher.write(view.bytes());
    hasher.finish()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Isa;
    use crate::dispatch::kernel::kernels;

    #[test]
    fn a_change_pays() {
        let kernels: Vec<&Kernel> = [Isa::Avx512Vnni, Isa::AvxVnni].iter().map(|&isa| &kernels(isa)[0]).collect();
        let of = |least_ns: [u64; 2]| Tried { node: 4, kernels: kernels.clone(), least_ns: least_ns.to_vec() }.change("conv");
        let change = of([1000, 900]).expect("10 % is much");
        assert_eq!((change.node, change.before_ns, change.after_ns), (4, 1000, 900));
        assert_eq!([change.from, change.to], [kernels[0].name, kernels[1].name]);
        assert_eq!([of([1000, 970]), of([1000, 2000]), of([0, 0]), of([u64::MAX, u64::MAX])], [None, None, None, None]);
    }
}
