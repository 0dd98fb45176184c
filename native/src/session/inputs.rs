//! What a caller gives, against what the model takes: names to positions, types, shapes, sizes.

use quaver_core::graph::dim::display;
use quaver_core::graph::extent::BATCH;
use quaver_core::graph::{Dim, Sizes};
use quaver_core::tensor::TensorView;

use crate::Error;
use crate::model::Port;

/// Appends the given tensors to `ordered`, in the order of `ports`, each with its port's type.
pub(super) fn in_order<'a>(ports: &[Port], given: &[(&str, TensorView<'a>)], ordered: &mut Vec<TensorView<'a>>) -> Result<(), Error> {
    for (at, (name, _)) in given.iter().enumerate() {
        if !ports.iter().any(|port| port.name == *name) {
            let known = ports.iter().map(|p| format!("'{}'", p.name)).collect::<Vec<_>>();
            let known = if known.is_empty() { "none".to_owned() } else { known.join(", ") };
            return Err(Error::UnknownInput { name: (*name).to_owned(), known });
        }
        if given[..at].iter().any(|(other, _)| other == name) {
            return Err(Error::DuplicateInput { name: (*name).to_owned() });
        }
    }
    for port in ports {
        match given.iter().find(|(name, _)| port.name == *name) {
            None => {
                return Err(Error::MissingInput { name: port.name.clone(), expected: format!("{}{}", port.dtype, display(&port.shape)) });
            }
            Some((_, view)) if view.dtype() != port.dtype => {
                return Err(Error::InputType { name: port.name.clone(), expected: port.dtype, got: view.dtype() });
            }
            Some((_, view)) => ordered.push(*view),
        }
    }
    Ok(())
}

/// The sizes that the shapes of `tensors` say.
pub(super) fn sizes(ports: &[Port], tensors: &[TensorView<'_>]) -> Result<Sizes, Error> {
    let mut all = Sizes::default();
    for (at, (port, tensor)) in ports.iter().zip(tensors).enumerate() {
        let mut own = Sizes::default();
        if !own.learn(&port.shape, tensor.shape()) {
            return Err(Error::InputShape { name: port.name.clone(), expected: display(&port.shape), got: tensor.shape().to_vec() });
        }
        for (symbol, got) in own.iter() {
            if let Some(expected) = all.get(symbol).filter(|&known| known != got) {
                let other = ports[..at].iter().find(|port| names(port, symbol));
                let (name, other) = (port.name.clone(), other.map(|port| port.name.clone()).unwrap_or_default());
                return Err(match symbol {
                    BATCH => Error::Batch { name, got, other, expected },
                    _ => Error::Extent { name, symbol: symbol.to_owned(), got, other, expected },
                });
            }
            all.set(symbol, got);
        }
    }
    Ok(all)
}

/// Whether an extent of a port has that name.
fn names(port: &Port, symbol: &str) -> bool {
    port.shape.iter().any(|dim| match dim {
        Dim::Fixed(_) => false,
        Dim::Batch { .. } => symbol == BATCH,
        Dim::Open(open) => open.name() == Some(symbol),
    })
}
