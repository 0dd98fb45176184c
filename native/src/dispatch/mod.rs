//! The dispatcher: which kernel runs a node.
//!
//! [`choose`] is a pure function of a [`Query`] and the instruction sets allowed, so that what an AMX machine would choose is
//! tested on any machine. It is a walk down an ordered table of rules over operation, shape and groups.
//!
//! | module | what it holds |
//! |---|---|
//! | [`kernel`] | the list of kernels, by name |
//! | [`largest`] | the largest byte that each value can hold |
//! | [`query`] | what a rule may look at |
//! | [`rules`] | the table |
//! | [`peaks`] | what a machine can do at most |
//! | [`cost`] | predicted time from multiply-accumulates and bytes |
//! | [`explain`] | the choice for every node of a model, and why |
//! | [`tune`] | what was measured instead of predicted, and its side file |

pub mod cost;
pub mod explain;
pub mod kernel;
pub mod peaks;
pub mod query;
pub mod rules;
pub mod tune;

use crate::backend::work::takes;
use crate::cpu::Isa;
use kernel::{Kernel, Kind, REFERENCE, kernels};
use query::Query;
use rules::{RULES, Rule};
use tune::Tuning;

/// A kernel for a node, and the rule that named it.
#[derive(Debug, Clone, Copy)]
pub struct Choice {
    /// The kernel.
    pub kernel: &'static Kernel,
    /// The rule.
    pub rule: &'static Rule,
}

/// The kernel for `query` among those of `isas`. [`Isa::Scalar`] alone gives the definition.
pub fn choose(query: &Query<'_>, isas: &[Isa]) -> Choice {
    let choices = RULES.iter().filter_map(|rule| {
        let kernel = named(rule, query, isas)?;
        ((rule.applies)(query) && takes(rule.kind, query)).then_some(Choice { kernel, rule })
    });
    choices.into_iter().next().unwrap_or(definition())
}

/// Every kernel that could run `query`, the chosen one first: what tuning measures.
pub fn candidates(query: &Query<'_>, isas: &[Isa]) -> Vec<Choice> {
    let mut found = vec![choose(query, isas)];
    for rule in RULES.iter().filter(|rule| (rule.applies)(query) && takes(rule.kind, query)) {
        for isa in isas.iter().rev().filter(|&&isa| rule.isa.is_none_or(|only| only == isa)) {
            for kernel in kernels(*isa).iter().filter(|k| k.kind == rule.kind && k.may_run(query)) {
                if found.iter().all(|choice| choice.kernel != kernel) {
                    found.push(Choice { kernel, rule });
                }
            }
        }
    }
    found
}

/// The kernel that runs node number `node`: the one that `tuning` names, where it can, else the one that the rules choose.
pub(crate) fn resolve(node: usize, query: &Query<'_>, isas: &[Isa], tuning: Option<&Tuning>) -> Choice {
    let name = tuning.and_then(|tuning| tuning.kernel(node));
    let tuned = name.and_then(|name| candidates(query, isas).into_iter().find(|choice| choice.kernel.name == name));
    tuned.unwrap_or_else(|| choose(query, isas))
}

/// The best kernel that a rule can mean.
fn named(rule: &Rule, query: &Query<'_>, isas: &[Isa]) -> Option<&'static Kernel> {
    if rule.kind == Kind::Reference {
        return Some(&REFERENCE);
    }
    let allowed = isas.iter().rev().filter(|&&isa| rule.isa.map_or(isa != Isa::Amx, |only| only == isa));
    allowed.flat_map(|&isa| kernels(isa)).find(|kernel| kernel.kind == rule.kind && kernel.may_run(query))
}

/// What runs where nothing else does.
fn definition() -> Choice {
    let rule = RULES.iter().find(|rule| rule.kind == Kind::Reference);
    Choice { kernel: &REFERENCE, rule: rule.unwrap_or(&RULES[0]) }
}
