//! A conversion that meets a target: observers, passes, and the few layers that stay float are found by trying.
//!
//! It goes from what costs nothing to what costs speed, and stops as soon as the target is met: the mapping as it is; each observer;
//! each pass left out or widened; then the layers, and functions behind them, that the outputs lose most by ([`crate::weigh`]) kept in
//! float, twice as many each time, until the target is met; and fewer of them again, down to the least number that meets it; at last,
//! where that leaves fewer integers, dynamic quantization of what has products of matrices. A step that gains nothing is taken back.

use quaver_core::graph::{Network, ValueId};

use crate::calibrate::data::Samples;
use crate::calibrate::observer::ObserverKind;
use crate::calibrate::{CalibrateError, burn_exec::RunError};
use crate::pipeline::{Calibrated, ConvertError, Converted};
use crate::quantize::qconfig::{Equalization, QConfigMapping, Rounding, Scheme};
use crate::weigh::{self, Weight};

/// Samples on which layers are weighed.
const WEIGHED_ON: usize = 4;

/// How far a conversion is from float: less is better.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Loss {
    /// What the target bounds: a drop of accuracy, or a noise in decibels below the signal, negated.
    pub value: f64,
    /// What decides where the first says nothing, such as the noise of the outputs.
    pub tie: f64,
}

impl Loss {
    fn is_less(&self, other: &Self) -> bool {
        (self.value, self.tie) < (other.value, other.tie)
    }
}

/// One conversion of the search.
#[derive(Debug, Clone, PartialEq)]
pub struct Trial {
    /// What was changed.
    pub what: String,
    /// What came of it.
    pub loss: Loss,
    /// Nodes in integers, of all.
    pub integers: (usize, usize),
    /// Whether it is kept: the best so far.
    pub kept: bool,
}

/// What a search tells while it goes on.
#[derive(Debug, Clone, Copy)]
pub enum Event<'a> {
    /// A conversion was tried.
    Tried(&'a Trial),
    /// As many layers have been weighed, of so many.
    Weighing(usize, usize),
}

/// The end of a search.
#[derive(Debug)]
pub struct Found {
    /// The best conversion.
    pub converted: Converted,
    /// The mapping that it was made by.
    pub mapping: QConfigMapping,
    /// Whether it meets the target.
    pub met: bool,
    /// What the outputs lose by each layer and function, if that was asked: the order in which they were kept in float.
    pub weights: Vec<Weight>,
}

/// Searches for a conversion whose loss is at most `target`. `measure` finds the loss of one, `observe` sees what
/// happens.
///
/// # Errors
/// Of conversion, or of `measure`.
pub fn search<E: From<ConvertError>>(
    float: &Network,
    samples: &Samples,
    mapping: &QConfigMapping,
    target: f64,
    measure: &mut dyn FnMut(&Converted) -> Result<Loss, E>,
    observe: &mut dyn FnMut(Event<'_>),
) -> Result<Found, E> {
    let mut search = Search { float, samples, target, measure, observe, best: None, weights: Vec::new() };
    if search.attempt("as given", mapping.clone())? {
        return Ok(search.end());
    }
    // What an observer means may be what another does.
    let meant = |observer: ObserverKind| -> Vec<ObserverKind> {
        (0..float.graph.values.len()).map(|value| observer.resolve(&float.graph, ValueId(value as u32))).collect()
    };
    let given = meant(mapping.global.observer);
    for observer in ObserverKind::ALL.into_iter().filter(|&o| meant(o) != given) {
        let mut other = mapping.clone();
        other.global.observer = observer;
        if search.attempt(&format!("observer {}", observer.name()), other)? {
            return Ok(search.end());
        }
    }
    type Change = (&'static str, fn(&mut QConfigMapping));
    const PASSES: [Change; 4] = [
        ("without rounding by feedback", |m| m.global.rounding = Rounding::Nearest),
        ("without bias correction", |m| m.global.bias_correction = false),
        ("without equalization", |m| m.global.equalization = Equalization::None),
        ("equalization of all", |m| m.global.equalization = Equalization::All),
    ];
    for (what, change) in PASSES {
        let before = search.mapping(mapping);
        let mut other = before.clone();
        change(&mut other);
        let same = (other.global.rounding, other.global.bias_correction, other.global.equalization)
            == (before.global.rounding, before.global.bias_correction, before.global.equalization);
        if !same && search.attempt(what, other)? {
            return Ok(search.end());
        }
    }
    search.layers(mapping)?;
    if mapping.global.scheme == Scheme::Static {
        let mut dynamic = mapping.clone();
        dynamic.global.scheme = Scheme::Dynamic;
        search.attempt("dynamic quantization", dynamic)?;
    }
    Ok(search.end())
}

/// The best conversion so far.
struct Best {
    converted: Converted,
    mapping: QConfigMapping,
    loss: Loss,
    /// What it came from.
    calibrated: Calibrated,
}

struct Search<'a, E> {
    float: &'a Network,
    samples: &'a Samples,
    target: f64,
    measure: &'a mut dyn FnMut(&Converted) -> Result<Loss, E>,
    observe: &'a mut dyn FnMut(Event<'_>),
    best: Option<Best>,
    weights: Vec<Weight>,
}

impl<E: From<ConvertError>> Search<'_, E> {
    /// Converts by `mapping`; keeps the result where it is better. Whether the target is met by it.
    fn attempt(&mut self, what: &str, mapping: QConfigMapping) -> Result<bool, E> {
        let calibrated = Calibrated::new(self.float, self.samples, &mapping, &mut |_| {})?;
        let converted = calibrated.convert(&mapping)?;
        let loss = (self.measure)(&converted)?;
        let met = loss.value <= self.target;
        let integers = integers(&converted);
        let kept = match &self.best {
            Some(best) => is_better(self.target, (loss, integers), (best.loss, self::integers(&best.converted))),
            None => true,
        };
        (self.observe)(Event::Tried(&Trial { what: what.to_owned(), loss, integers: (integers, converted.decisions.len()), kept }));
        if kept {
            self.best = Some(Best { converted, mapping, loss, calibrated });
        }
        Ok(met)
    }

    fn mapping(&self, otherwise: &QConfigMapping) -> QConfigMapping {
        self.best.as_ref().map_or_else(|| otherwise.clone(), |best| best.mapping.clone())
    }

    /// Keeps the least number of layers and functions in float, the worst first, with which the target is met.
    fn layers(&mut self, given: &QConfigMapping) -> Result<(), E> {
        let base = self.mapping(given);
        self.weights = self.weigh()?;
        let order: Vec<String> = self.weights.iter().map(|w| w.node.clone()).collect();
        let float = |count: usize| {
            let mut mapping = base.clone();
            order[..count].iter().for_each(|name| mapping.keep_float(name));
            mapping
        };
        let what = |count: usize| match count {
            1 => format!("'{}' in float", order[0]),
            _ => format!("{count} nodes in float"),
        };
        let (mut too_few, mut enough) = (0, None);
        let mut count = 1;
        while enough.is_none() && too_few < order.len() {
            count = count.min(order.len());
            if self.attempt(&what(count), float(count))? {
                enough = Some(count);
            } else {
                too_few = count;
            }
            count *= 2;
        }
        let Some(mut enough) = enough else { return Ok(()) };
        while enough - too_few > 1 {
            let middle = usize::midpoint(enough, too_few);
            if self.attempt(&what(middle), float(middle))? {
                enough = middle;
            } else {
                too_few = middle;
            }
        }
        Ok(())
    }

    /// What the outputs lose by each layer of the best conversion.
    fn weigh(&mut self) -> Result<Vec<Weight>, E> {
        let Some(best) = &self.best else { return Ok(Vec::new()) };
        let samples = self.samples.spread(WEIGHED_ON).map_err(|e| ConvertError::from(CalibrateError::from(e)))?;
        let observe = &mut self.observe;
        weigh::weigh(best.calibrated.float(), &best.converted, &samples, &mut |done, of| observe(Event::Weighing(done, of))).map_err(wrap)
    }

    fn end(self) -> Found {
        let Best { converted, mapping, loss, .. } = self.best.expect("the first attempt is kept");
        Found { converted, mapping, met: loss.value <= self.target, weights: self.weights }
    }
}

/// Whether a conversion, by its loss and its nodes in integers, is better than another: first the target is to be met, then more is to
/// be integers, then less is to be lost.
fn is_better(target: f64, new: (Loss, usize), old: (Loss, usize)) -> bool {
    let met = |(loss, _): (Loss, usize)| loss.value <= target;
    match (met(new), met(old)) {
        (true, true) if new.1 != old.1 => new.1 > old.1,
        (true, false) => true,
        (false, true) => false,
        _ => new.0.is_less(&old.0),
    }
}

/// Nodes in integers.
fn integers(converted: &Converted) -> usize {
    converted.decisions.iter().filter(|d| d.scheme != Scheme::Float).count()
}

fn wrap<E: From<ConvertError>>(error: RunError) -> E {
    E::from(ConvertError::from(CalibrateError::from(error)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_target_comes_before_integers_and_these_before_loss() {
        let of = |value: f64, integers: usize| (Loss { value, tie: 0.0 }, integers);
        let better = |new, old| is_better(1.0, new, old);
        assert!(better(of(0.9, 1), of(1.1, 9)) && !better(of(1.1, 9), of(0.9, 1)));
        assert!(better(of(0.9, 9), of(0.1, 1)) && !better(of(0.1, 1), of(0.9, 9)));
        assert!(better(of(0.1, 5), of(0.9, 5)) && better(of(2.0, 1), of(3.0, 9)) && !better(of(2.0, 1), of(2.0, 1)));
    }
}
