//! The native [`Backend`]: binds operations to kernels. Every operation runs by its definition so far.

use quaver_core::backend::{Backend, Operand, OutputMut};
use quaver_core::graph::Op;
use quaver_core::reference::Reference;

use crate::cpu::Isa;

/// The backend of a session.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Native {
    isa: Isa,
}

impl Native {
    /// A backend that uses instructions up to `isa`.
    pub(crate) fn new(isa: Isa) -> Self {
        Self { isa }
    }
}

impl Backend for Native {
    fn name(&self) -> &str {
        self.isa.name()
    }

    fn run(&self, op: &Op, inputs: &[Operand<'_>], output: &mut OutputMut<'_>) {
        Reference.run(op, inputs, output);
    }
}
