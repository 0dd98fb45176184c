//! Finds the component that borrows kernels within one that runs everywhere.

use std::ops::Range;

use wasmparser::{Parser, Payload};

/// The interface that a host lends its kernels through.
pub const INTERFACE: &str = "quaver:inference/native@0.2.0";

/// Where the component that imports [`INTERFACE`] is: the whole of `component`, or one that is directly within it. `None` where none
/// does, and where the bytes are no component.
pub fn lendable(component: &[u8]) -> Option<Range<usize>> {
    // Of each component that the parser is in: its extent, whether it borrows, how deep it is.
    let mut open: Vec<(Range<usize>, bool)> = vec![(0..component.len(), false)];
    let mut found = None;
    for payload in Parser::new(0).parse_all(component) {
        match payload.ok()? {
            Payload::ComponentSection { unchecked_range, .. } => open.push((unchecked_range, false)),
            // Core modules within have ends of their own.
            Payload::ModuleSection { unchecked_range, .. } => open.push((unchecked_range, false)),
            Payload::ComponentImportSection(imports) => {
                for import in imports {
                    let borrows = import.ok()?.name.name == INTERFACE;
                    open.last_mut()?.1 |= borrows;
                }
            }
            Payload::End(_) => {
                let depth = open.len();
                let (range, borrows) = open.pop()?;
                if borrows && depth <= 2 {
                    found = Some(range);
                }
            }
            _ => {}
        }
    }
    found
}
