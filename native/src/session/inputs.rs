//! What a caller gives, against what the model takes: names to positions, types, shapes, the batch size. Allocates for
//! errors only.

use quaver_core::graph::Dim;
use quaver_core::graph::dim::display;
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

/// The batch size that the shapes of `tensors` say; 1 where no input depends on it.
pub(super) fn batch_size(ports: &[Port], tensors: &[TensorView<'_>]) -> Result<usize, Error> {
    let mut batch: Option<(usize, &str)> = None;
    for (port, tensor) in ports.iter().zip(tensors) {
        let refuse = || Error::InputShape { name: port.name.clone(), expected: display(&port.shape), got: tensor.shape().to_vec() };
        if port.shape.len() != tensor.shape().len() {
            return Err(refuse());
        }
        let mut own = None;
        for (dim, &extent) in port.shape.iter().zip(tensor.shape()) {
            match *dim {
                Dim::Fixed(n) if n == extent => {}
                Dim::Batch { times } if times > 0 && extent > 0 && extent % times == 0 => {
                    if *own.get_or_insert(extent / times) != extent / times {
                        return Err(refuse());
                    }
                }
                _ => return Err(refuse()),
            }
        }
        match (own, batch) {
            (Some(got), Some((expected, other))) if got != expected => {
                return Err(Error::Batch { name: port.name.clone(), got, other: other.to_owned(), expected });
            }
            (Some(got), None) => batch = Some((got, &port.name)),
            _ => {}
        }
    }
    Ok(batch.map_or(1, |(n, _)| n))
}
